#!/bin/sh
# Pin every dependency with the hashes of all its files, so that one lock serves
# every Python from 3.11 on and every architecture: packaging/lock.sh UV
#
# With UPGRADE=1 everything moves to its newest version, else only what has to.
set -eu

uv=$1
export UV_CUSTOM_COMPILE_COMMAND='make lock' UV_SYSTEM_CERTS=true

compile() {
    "$uv" pip compile --quiet --universal --python-version 3.11 --generate-hashes \
        --no-emit-index-url --no-emit-find-links ${UPGRADE:+--upgrade} "$@"
}

compile pyproject.toml --output-file requirements.lock
compile pyproject.toml --group dev --constraint requirements.lock --output-file requirements-dev.lock
compile --group ansible --output-file requirements-ansible.lock

if grep -nE '://|file:|--(extra-)?index|--find-links' requirements.lock requirements-dev.lock requirements-ansible.lock; then
    echo 'lock: a lock file names a host or a path; see the lines above' >&2
    exit 1
fi
