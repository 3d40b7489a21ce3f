#!/usr/bin/env bash
# Installs what the build and the tests need and this machine lacks: Debian packages (as root or
# through sudo) and a Python environment in .venv. Running it again is quick and changes nothing.
#
#   scripts/setup.sh build    what `make demo` needs: a C compiler, redis-server
#   scripts/setup.sh test     that, clang, g++, valgrind, Prometheus and its
#                            Alertmanager, curl, jq, openssl, and .venv with the Python tools
#                            and the messages of OpenTelemetry
#   scripts/setup.sh rivals   the C library beside which `make bench-l3` measures
set -euo pipefail
cd "$(dirname "$0")/.."
purpose=${1:-test}

say() { printf 'setup: %s\n' "$*" >&2; }

missing=()
need() { # command, Debian package
    command -v "$1" >/dev/null 2>&1 || missing+=("$2")
}
need cc gcc
need make make
need redis-server redis-server
if [ "$purpose" = test ]; then
    need g++ g++
    need clang clang
    need pkg-config pkg-config
    need valgrind valgrind
    need promtool prometheus
    need prometheus-alertmanager prometheus-alertmanager
    need curl curl
    need jq jq
    need openssl openssl
    python3 -c 'import venv, ensurepip' 2>/dev/null || missing+=(python3-venv)
fi
if [ "$purpose" = rivals ]; then
    echo '#include <hiredis/hiredis.h>' | cc -E - >/dev/null 2>&1 || missing+=(libhiredis-dev)
fi
if [ ${#missing[@]} -gt 0 ]; then
    as_root=()
    if [ "$(id -u)" != 0 ]; then
        command -v sudo >/dev/null 2>&1 || {
            say "these packages are missing and there is no right to install them: ${missing[*]}"
            [ "$purpose" = build ] && [ "${missing[*]}" = redis-server ] && exit 0
            exit 1
        }
        as_root=(sudo)
    fi
    say "installing ${missing[*]}"
    export DEBIAN_FRONTEND=noninteractive
    "${as_root[@]}" apt-get update -qq
    # At run level 1 Debian starts no server of the packages on its own.
    "${as_root[@]}" env RUNLEVEL=1 apt-get install -y -qq --no-install-recommends \
        "${missing[@]}" >/dev/null
fi

command -v cargo >/dev/null 2>&1 || {
    say "cargo is missing: install Rust 1.95 or newer (https://rustup.rs)"
    exit 1
}

if [ "$purpose" = test ]; then
    python3 - <<'PY' || { say "Python 3.10 or newer is needed"; exit 1; }
import sys
sys.exit(sys.version_info < (3, 10))
PY
    [ -x .venv/bin/python ] || python3 -m venv .venv
    stamp=.venv/requirements.stamp
    if ! cmp -s tests/python/requirements.txt "$stamp"; then
        say "installing the Python test tools into .venv"
        .venv/bin/python -m pip install --quiet --disable-pip-version-check \
            -r tests/python/requirements.txt
        cp tests/python/requirements.txt "$stamp"
    fi
fi
