#!/bin/bash
# fresh_machine.sh [FOLDER]: README's two commands, in its order, on a minimal Debian 12 with git and make. The machine
# is a chroot, made by debootstrap in FOLDER (default: a temporary one, removed afterwards) from the mirror of
# $DEBIAN_MIRROR. It gets this checkout's committed files, /proc, and nothing else: no /dev/pts, no traces, no GPU.
# Needs root, debootstrap, the mirror and a mount of /proc. Status 77 where one is missing.
set -euo pipefail
cd "$(dirname "$0")/.."
cannot() {
    echo "skip fresh_machine $*"
    exit 77
}
[ "$EUID" = 0 ] || cannot "a chroot needs root"
command -v debootstrap >/dev/null || cannot "no debootstrap: apt-get install -y debootstrap"
mirror=${DEBIAN_MIRROR:-http://deb.debian.org/debian}
root=${1:-$(mktemp -d)}
started=$SECONDS
clean_up() {
    ! mountpoint -q "$root/proc" || umount "$root/proc"
    [ -n "${kept:-}" ] || rm -rf --one-file-system "$root"
}
[ $# = 0 ] || kept=yes
trap clean_up EXIT

[ -e "$root/bin/sh" ] || debootstrap --variant=minbase bookworm "$root" "$mirror" >"$root.log" 2>&1 ||
    cannot "debootstrap from $mirror: $(tail -n 1 "$root.log")"
rm -f "$root.log"
echo "minimal Debian 12: $((SECONDS - started)) s"
mount -t proc proc "$root/proc" 2>/dev/null || cannot "may not mount /proc"
inside() { env -i HOME=/root PATH=/usr/sbin:/usr/bin:/sbin:/bin chroot "$root" sh -ec "$1"; }
inside 'apt-get -qq update && apt-get -qq -y --no-install-recommends install git make' >/dev/null 2>&1 ||
    cannot "apt-get there: no network?"
rm -rf "$root/treeattn"
git clone -q --no-hardlinks . "$root/treeattn"
inside 'cd /treeattn && make demo'
echo "make demo: $((SECONDS - started)) s so far"
inside 'cd /treeattn && make test'
echo "make test: $((SECONDS - started)) s so far"
if grep -q 'no C++ compiler' "$root/treeattn/build/summary"; then
    echo "FAIL make test installed g++ and does not use it"
    exit 1
fi
