#!/bin/sh
# Install the Debian packages that the scenarios run: packaging/test-packages.sh PACKAGE...
#
# Only root can; anybody else is told what stays out. No service is started: the
# tests run the daemons themselves, in namespaces of their own.
set -eu

policy=/usr/sbin/policy-rc.d

missing=
for package in "$@"; do
    status=$(dpkg-query --show --showformat='${db:Status-Status}' "$package" 2>/dev/null || true)
    [ "$status" = installed ] || missing="$missing $package"
done
[ -n "$missing" ] || exit 0

if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null 2>&1; then
    echo "test: not installed:$missing (needs root and Debian)" >&2
    exit 0
fi

log=$(mktemp)
denied=
cleanup() {
    rm -f "$log"
    [ -z "$denied" ] || rm -f "$policy"
}
trap cleanup EXIT
trap 'exit 1' HUP INT TERM

if [ ! -e "$policy" ]; then
    denied=yes
    printf '#!/bin/sh\nexit 101\n' >"$policy"
    chmod 755 "$policy"
fi

quietly() {
    DEBIAN_FRONTEND=noninteractive "$@" >"$log" 2>&1 || {
        echo "test: failed: $*" >&2
        tail -n 30 "$log" >&2
        exit 1
    }
}

echo "test: installing$missing" >&2
quietly apt-get -q update
# shellcheck disable=SC2086
quietly apt-get -q -o DPkg::Lock::Timeout=300 install --yes --no-install-recommends $missing
