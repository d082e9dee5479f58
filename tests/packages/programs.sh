#!/usr/bin/env bash
# Runs test programs in an overlay of a root directory, where this directory has the same path as here:
# tests/packages/programs.sh ROOT PROGRAM...
# Needs root, and a mount and a process namespace of its own (unshare --mount --pid --fork).
set -euo pipefail
here=$(cd "$(dirname "$0")/../.." && pwd)
. "$here/tests/packages/overlay.sh"
overlay "$1"
shift
mount -t sysfs none "$root/sys"
for device in loop-control $(cd /dev && ls -d loop[0-9]* 2>/dev/null); do
    touch "$root/dev/$device"
    mount --bind "/dev/$device" "$root/dev/$device"
done
mkdir -p "$root/dev/shm" "$root/dev/pts" "$root$here"
mount -t devpts -o newinstance,ptmxmode=0666 none "$root/dev/pts"
ln -s pts/ptmx "$root/dev/ptmx"
mount --bind "$here" "$root$here"
# That of users on Ubuntu.
umask 0002
failed=()
for program in "$@"; do
    env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root CARGO_MANIFEST_DIR="$here" \
        chroot "$root" sh -c 'cd "$CARGO_MANIFEST_DIR" && exec "$0" --quiet 2>&1' "$program" >"$work/output" </dev/null || {
        cat "$work/output"
        failed+=("$program")
    }
    echo "$program: $(grep -E '^test result' "$work/output")"
done
[ ${#failed[@]} = 0 ] || { printf 'failed: %s\n' "${failed[@]}" >&2; exit 1; }
