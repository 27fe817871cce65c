#!/bin/sh
# Runs a command with a Postgres of its own, thrown away afterwards. PLYR_TEST_SERVER_URL says where it is.
set -eu
bin=$(sh "$(dirname "$0")/postgres_bin.sh")
folder=$(mktemp -d /tmp/plyr-pg.XXXXXX)
as=""
if [ "$(id -u)" = 0 ]; then
    user=postgres
    id "$user" >/dev/null 2>&1 || user=nobody
    chown "$user" "$folder"
    as="setpriv --reuid=$user --regid=$(id -g "$user") --clear-groups"
fi
stop() {
    cd /
    $as "$bin/pg_ctl" --pgdata="$folder/data" --mode=immediate --wait stop >/dev/null 2>&1 || true
    rm -rf "$folder"
}
trap stop EXIT
trap 'exit 129' HUP
trap 'exit 130' INT
trap 'exit 143' TERM

here=$(pwd)
cd "$folder"
export LC_ALL=C
$as "$bin/initdb" --pgdata="$folder/data" --username=postgres --auth=trust --encoding=UTF8 --no-sync >/dev/null
$as "$bin/pg_ctl" --pgdata="$folder/data" --log="$folder/log" --wait start --options="-c listen_addresses= \
    -c unix_socket_directories=$folder -c max_connections=300 -c fsync=off -c full_page_writes=off -c jit=off \
    -c shared_buffers=128MB -c max_wal_size=2GB -c random_page_cost=1.1 -c autovacuum_naptime=10s" >/dev/null || {
    cat "$folder/log" >&2
    exit 1
}
unset LC_ALL
chmod 711 "$folder"
cd "$here"
export PLYR_TEST_SERVER_URL="postgres:///postgres?host=$folder&user=postgres"
psql=$bin/psql
[ -x "$psql" ] || psql=psql
PLYR_TEST_PSQL="$psql -X -q -v ON_ERROR_STOP=1 -h $folder -U postgres"
export PLYR_TEST_PSQL
"$@"
