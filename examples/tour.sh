#!/usr/bin/env bash
# Mounts a volume from testdata/, reads a file in it, and unmounts it. On Debian or Ubuntu, it first
# installs missing packages.
set -euo pipefail
cd "$(dirname "$0")/.."

. examples/setup.sh fuse3
cargo build --release --quiet

fve=target/release/fve
volume=testdata/ntfs-xts-128.img
password=testdata/ntfs-xts-128.recovery.txt
directory=$(mktemp -d)
finish() {
    "$fve" unmount "$directory" 2>/dev/null || true
    rmdir "$directory"
}
trap finish EXIT

show() {
    printf '\n$ %s\n' "$*"
    "$@"
}
show "$fve" info "$volume"
show "$fve" mount "$volume" "$directory" --recovery-password-file "$password"
show ls -l "$directory"
show cat "$directory/hello.txt"
show "$fve" unmount "$directory"
