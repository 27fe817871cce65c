#!/bin/sh
# Prints the folder of the newest Postgres server programs (15 or newer); nothing and a failing code when there are none.
newest=0
for folder in $(printf '%s' "$PATH" | tr ':' ' ') /usr/lib/postgresql/*/bin /usr/pgsql-*/bin /usr/libexec/postgresql* \
    /usr/local/pgsql/bin /opt/homebrew/opt/postgresql@*/bin /usr/local/opt/postgresql@*/bin; do
    [ -x "$folder/initdb" ] && [ -x "$folder/postgres" ] || continue
    version=$("$folder/postgres" --version | sed -n 's/.*(PostgreSQL) \([0-9]*\).*/\1/p')
    [ "${version:-0}" -gt "$newest" ] && newest=$version found=$folder
done
[ "$newest" -ge 15 ] && printf '%s\n' "$found"
