#!/bin/sh
# Make the virtual environment: packaging/venv.sh DIRECTORY REQUIREMENTS_LOCK
#
# Needs python3 3.11 or newer. Where venv lacks its pip, as on Debian without
# python3-venv, root gets that with apt, and anybody else unpacks Debian's pip
# beside it. Where python3 is missing or older, root gets it, and others are told.
set -eu

venv=$1
lock=$2

say() { echo "venv: $*" >&2; }

# The first interpreter that is new enough and has these modules.
find_python() {
    for candidate in ${PYTHON:-} python3 python3.13 python3.12 python3.11 /usr/bin/python3; do
        if command -v "$candidate" >/dev/null 2>&1 &&
            "$candidate" -c "import sys, $1; sys.exit(sys.version_info < (3, 11))" 2>/dev/null; then
            echo "$candidate"
            return
        fi
    done
    return 1
}

# An environment with Debian's pip, unpacked for this user alone.
make_without_root() {
    beside=$(mktemp -d)
    trap 'rm -rf "$beside"' EXIT
    (cd "$beside" && apt-get -qq download python3-pip-whl && dpkg-deb --extract python3-pip-whl_*.deb .) || return 1
    wheel=$(echo "$beside"/usr/share/python-wheels/pip-*.whl)
    "$1" -m venv --without-pip "$venv"
    "$venv/bin/python" "$wheel/pip" install -qq --disable-pip-version-check --no-index "$wheel"
}

modules="venv, ensurepip"
if ! python=$(find_python "$modules"); then
    if [ "$(id -u)" -eq 0 ] && command -v apt-get >/dev/null 2>&1; then
        say "python3 3.11 or newer with venv is missing, installing python3 and python3-venv with apt"
        apt-get -qq update
        DEBIAN_FRONTEND=noninteractive apt-get -qq -o DPkg::Lock::Timeout=300 install --yes --no-install-recommends python3 python3-venv >/dev/null
    fi
    if ! python=$(find_python "$modules"); then
        modules=venv
        if ! python=$(find_python "$modules") || ! command -v apt-get >/dev/null 2>&1; then
            say "python3 3.11 or newer with venv is needed; on Debian 12 or newer, as root: apt-get install python3 python3-venv"
            exit 1
        fi
    fi
fi

# An environment of another interpreter, or one left half, is made anew.
if ! "$venv/bin/python" -m pip --version >/dev/null 2>&1; then
    rm -rf "$venv"
    if [ "$modules" = venv ]; then
        say "venv has no pip here, taking Debian's without root"
        if ! make_without_root "$python"; then
            say "that failed; as root: apt-get install python3-venv"
            exit 1
        fi
    else
        "$python" -m venv "$venv"
    fi
fi
"$venv/bin/python" -m pip install -qq --disable-pip-version-check --require-hashes --requirement "$lock"
# The project itself, in place; what builds it came with the lock.
"$venv/bin/python" -m pip install -qq --disable-pip-version-check --no-deps --no-build-isolation --editable .
