#!/bin/sh
# Installs the Debian packages named as arguments where they are missing: as root, or with sudo.
# Usage: system-packages.sh PACKAGE...
set -eu

missing=
for package in "$@"; do
    dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null | grep -qx installed || missing="$missing $package"
done
[ -n "$missing" ] || exit 0

if [ "$(id -u)" = 0 ]; then
    as_root=
elif command -v sudo >/dev/null && { [ -t 0 ] || sudo -n true 2>/dev/null; }; then
    as_root=sudo
else
    echo "Libretto needs these system packages:$missing" >&2
    echo "You are not root and cannot use sudo here: ask an administrator for 'apt-get install$missing', then call make again." >&2
    exit 1
fi
echo "Installing system packages:$missing"
$as_root apt-get update -qq
$as_root env DEBIAN_FRONTEND=noninteractive NEEDRESTART_MODE=a apt-get install -y -qq --no-install-recommends $missing >/dev/null
