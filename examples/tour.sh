#!/usr/bin/env bash
# Unlocks and mounts a volume from testdata/, reads a file in it, and unmounts it. On Debian or Ubuntu, it
# first installs missing packages.
set -euo pipefail
cd "$(dirname "$0")/.."

. examples/setup.sh fuse3 ntfs-3g
cargo build --release --quiet

fve=target/release/fve
volume=testdata/ntfs-xts-128.img
password=testdata/ntfs-xts-128.recovery.txt
directory=$(mktemp -d)
finish() {
    umount "$directory/files" 2>/dev/null || true
    "$fve" unmount "$directory/volume" 2>/dev/null || true
    rm -rf "$directory"
}
trap finish EXIT
mkdir "$directory/volume" "$directory/files"

show() {
    printf '\n$ %s\n' "$*"
    "$@"
}
show "$fve" info "$volume"
show "$fve" mount "$volume" "$directory/volume" --recovery-password-file "$password"
show ls -l "$directory/volume"
if [ "$(id -u)" = 0 ]; then
    show ntfs-3g -o ro "$directory/volume/volume" "$directory/files"
    show ls -l "$directory/files"
    show cat "$directory/files/hello.txt"
    show umount "$directory/files"
else
    # Mounting needs root; without it, read the file system directly.
    show ntfsls -f "$directory/volume/volume"
    show ntfscat -f "$directory/volume/volume" hello.txt
fi
show "$fve" unmount "$directory/volume"
