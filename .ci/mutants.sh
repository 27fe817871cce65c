#!/bin/sh
# Applies mutants, by a database with the schema: the SQL of a mutant is checked as any SQL is. To be run inside with_postgres.sh.
set -eu
cd "$(dirname "$0")/.."
$PLYR_TEST_PSQL -d postgres -c 'DROP DATABASE IF EXISTS plyr_mutants' -c 'CREATE DATABASE plyr_mutants'
for step in migrations/*.sql; do
    $PLYR_TEST_PSQL -d plyr_mutants --single-transaction -f "$step"
done
DATABASE_URL=$(printf '%s' "$PLYR_TEST_SERVER_URL" | sed 's|///postgres|///plyr_mutants|')
export DATABASE_URL
exec cargo run --locked --quiet --package plyr-likes-mutants -- "$@"
