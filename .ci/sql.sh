#!/bin/sh
# Checks the SQL against a freshly migrated database, and that `.sqlx` says what that database says.
# `sql.sh refresh` writes `.sqlx` instead. To be run inside with_postgres.sh.
set -eu
cd "$(dirname "$0")/.."
$PLYR_TEST_PSQL -d postgres -c 'CREATE DATABASE plyr_check'
for step in migrations/*.sql; do
    $PLYR_TEST_PSQL -d plyr_check --single-transaction -f "$step"
done

said=target/sqlx
rm -rf "$said"
mkdir -p "$said"
url=$(printf '%s' "$PLYR_TEST_SERVER_URL" | sed 's|///postgres|///plyr_check|')
# The compiler asks the database while it reads the source, and only when it reads it.
touch src/lib.rs
SQLX_OFFLINE=false DATABASE_URL="$url" SQLX_OFFLINE_DIR="$(pwd)/$said" cargo check --quiet --lib
touch src/lib.rs

if [ "${1:-check}" = refresh ]; then
    rm -rf .sqlx
    cp -r "$said" .sqlx
    printf '.sqlx holds %s queries\n' "$(ls .sqlx | wc -l)"
elif ! diff -rq "$said" .sqlx; then
    printf 'sql: .sqlx is not what the database says: run `make sqlx` and commit it\n' >&2
    exit 1
fi
