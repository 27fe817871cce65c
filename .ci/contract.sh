#!/bin/sh
# Asks a real API, with a token and some records, whatever its OpenAPI document allows and forbids, by schemathesis: nothing
# breaks, nothing that is allowed is refused, nothing that is forbidden is taken. SEED and EXAMPLES (per operation) are
# printed and can be set. To be run inside with_postgres.sh, after the program has been built.
set -eu
cd "$(dirname "$0")/.."
seed=${SEED:-1} examples=${EXAMPLES:-20}
data=$(mktemp -d)
api=""
stop() {
    [ -z "$api" ] || kill "$api" 2>/dev/null || true
    rm -rf "$data"
}
trap stop EXIT
trap 'exit 130' INT TERM HUP

program=target/debug/plyr-likes
$PLYR_TEST_PSQL -d postgres -c 'DROP DATABASE IF EXISTS plyr_contract' -c 'CREATE DATABASE plyr_contract'
DATABASE_URL=$(printf '%s' "$PLYR_TEST_SERVER_URL" | sed 's|///postgres|///plyr_contract|')
PLYR_DATA_DIR=$data
export DATABASE_URL PLYR_DATA_DIR
"$program" migrate >"$data/log" 2>&1 && "$program" replay tests/contract/records.jsonl >>"$data/log" 2>&1 || {
    cat "$data/log" >&2
    exit 1
}
CONTRACT_TOKEN=$("$program" tokens create --did did:plc:ewvi7nxzyoun6zhxrhs64oiz --expires 1d 2>/dev/null)
export CONTRACT_TOKEN
"$program" api --bind 127.0.0.1:0 --admin-bind 127.0.0.1:0 >"$data/api" 2>&1 &
api=$!
url="" waited=0
while [ -z "$url" ]; do
    url=$(sed -n 's/.* serving .*api="\([^"]*\)".*/\1/p' "$data/api")
    waited=$((waited + 1))
    if [ "$waited" -gt 300 ] || ! kill -0 "$api" 2>/dev/null; then
        cat "$data/api" >&2
        exit 1
    fi
    sleep 0.1
done

cd tests/contract
printf 'contract: seed %s, %s examples of each operation\n' "$seed" "$examples"
if ! PYTHONPATH=. ../../target/schemathesis/bin/schemathesis --no-color --config-file schemathesis.toml run \
    "$url/openapi.json" --seed "$seed" --max-examples "$examples" >"$data/said" 2>&1; then
    cut -c -400 "$data/said" >&2
    exit 1
fi
tail -n 8 "$data/said"
