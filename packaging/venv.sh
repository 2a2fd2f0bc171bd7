#!/bin/sh
# Make the virtual environment: packaging/venv.sh DIRECTORY REQUIREMENTS_LOCK
#
# Needs python3 3.11 or newer with venv. Where they are missing, root on Debian
# gets them with apt; anybody else is told what to install.
set -eu

venv=$1
lock=$2

say() { echo "venv: $*" >&2; }

# The first interpreter that is new enough and able to make environments.
find_python() {
    for candidate in ${PYTHON:-} python3 python3.13 python3.12 python3.11 /usr/bin/python3; do
        if command -v "$candidate" >/dev/null 2>&1 &&
            "$candidate" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            echo "$candidate"
            return
        fi
    done
    return 1
}

if ! python=$(find_python); then
    if [ "$(id -u)" -eq 0 ] && command -v apt-get >/dev/null 2>&1; then
        say "python3 3.11 or newer with venv is missing, installing python3 and python3-venv with apt"
        apt-get -qq update
        DEBIAN_FRONTEND=noninteractive apt-get -qq -o DPkg::Lock::Timeout=300 install --yes --no-install-recommends python3 python3-venv >/dev/null
    fi
    if ! python=$(find_python); then
        say "python3 3.11 or newer with venv is needed; on Debian 12 or newer, as root: apt-get install python3 python3-venv"
        exit 1
    fi
fi

# An environment of another interpreter, or one left half, is made anew.
if ! "$venv/bin/python" -m pip --version >/dev/null 2>&1; then
    rm -rf "$venv"
    "$python" -m venv "$venv"
fi
"$venv/bin/python" -m pip install -qq --disable-pip-version-check --require-hashes --requirement "$lock"
# The project itself, in place; what builds it came with the lock.
"$venv/bin/python" -m pip install -qq --disable-pip-version-check --no-deps --no-build-isolation --editable .
