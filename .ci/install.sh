#!/bin/sh
# Installs what is missing, as far as this machine lets us; otherwise says what to install. Arguments: up, test.
set -eu
cd "$(dirname "$0")/.."

fail() {
    printf 'make: %s\n' "$*" >&2
    exit 1
}

has() {
    command -v "$1" >/dev/null 2>&1
}

apt_install() {
    if [ "$(id -u)" = 0 ]; then sudo=""; elif has sudo; then sudo=sudo; else return 1; fi
    has apt-get || return 1
    printf 'make: installing %s\n' "$*" >&2
    log=$(mktemp)
    if ! { $sudo apt-get -qq update && $sudo env DEBIAN_FRONTEND=noninteractive apt-get -qq install -y \
        --no-install-recommends "$@"; } >"$log" 2>&1; then
        cat "$log" >&2
        fail "apt-get could not install $*"
    fi
    rm -f "$log"
}

has cargo || fail "there is no Rust toolchain: install it"
has cc || apt_install gcc libc6-dev || fail "there is no C compiler (cc): install gcc or clang"
sh .ci/postgres_bin.sh >/dev/null || apt_install postgresql ||
    fail "there is no Postgres server, 15 or newer: install it (Debian: postgresql, Fedora: postgresql-server, Homebrew: postgresql@17)"
[ "${1:-up}" = test ] || exit 0

has node && has npm || apt_install nodejs npm || fail "there is no Node.js: install node (20 or newer) and npm"
network=tests/network
if [ -f "$network/package-lock.json" ] &&
    ! cmp -s "$network/package-lock.json" "$network/node_modules/.installed-lock.json"; then
    printf 'make: installing the PDS and PLC of the tests\n' >&2
    (cd "$network" && npm ci --ignore-scripts --no-audit --no-fund --loglevel=error >&2)
    cp "$network/package-lock.json" "$network/node_modules/.installed-lock.json"
fi

has python3 && python3 -c 'import ensurepip, venv' 2>/dev/null || apt_install python3 python3-venv ||
    fail "there is no Python with venv: install python3 (3.10 or newer) and its venv module"
wanted=tests/contract/requirements.txt venv=target/schemathesis
if ! cmp -s "$wanted" "$venv/requirements.txt"; then
    printf 'make: installing schemathesis\n' >&2
    rm -rf "$venv"
    python3 -m venv "$venv"
    "$venv/bin/pip" install --quiet --disable-pip-version-check --no-deps --requirement "$wanted" >&2
    cp "$wanted" "$venv/requirements.txt"
fi
