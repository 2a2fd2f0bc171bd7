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

if [ ! -e "$policy" ]; then
    trap 'rm -f "$policy"' EXIT
    trap 'exit 1' HUP INT TERM
    printf '#!/bin/sh\nexit 101\n' >"$policy"
    chmod 755 "$policy"
fi
echo "test: installing$missing" >&2
apt-get -qq update
# shellcheck disable=SC2086
DEBIAN_FRONTEND=noninteractive apt-get -qq install --yes --no-install-recommends $missing >/dev/null
