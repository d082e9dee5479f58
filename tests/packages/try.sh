#!/usr/bin/env bash
# Installs the packages of dist/build.sh in an overlay of a root directory with apt, uses them there as their users do, runs the
# command blocks of the documents there, and removes them: tests/packages/try.sh ROOT PACKAGE.deb...
# Needs root, and a mount and a process namespace of its own (unshare --mount --pid --fork).
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
base=$(realpath "$1")
shift

work=$(mktemp -d)
trap 'umount --recursive --lazy "$work"; rmdir "$work"' EXIT
mount -t tmpfs none "$work"
mkdir "$work"/{upper,work,root}
root=$work/root
mount -t overlay -o "lowerdir=$base,upperdir=$work/upper,workdir=$work/work" none "$root"
mount -t proc none "$root/proc"
mount -t tmpfs none "$root/dev"
for device in null zero full random urandom tty fuse; do
    touch "$root/dev/$device"
    mount --bind "/dev/$device" "$root/dev/$device"
done
ln -s /proc/self/fd "$root/dev/fd"
mkdir "$root/packages"
cp "$@" "$here/inside.sh" "$here"/../../testdata/{ntfs-xts-128.img,ntfs-xts-128.recovery.txt} "$root/packages/"
cp /etc/resolv.conf "$root/etc/resolv.conf"
# As on every running system; fusermount3 reads it.
ln -sf ../proc/self/mounts "$root/etc/mtab"
# Nothing of this machine: neither its programs nor its environment.
inside() {
    env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C.UTF-8 \
        DEBIAN_FRONTEND=noninteractive chroot "$root" sh -eu /packages/inside.sh "$1"
}
inside install
inside use
inside documents
# With fve and fuse3 alone: apt installed neither recommended nor suggested packages.
umount "$root/proc"
"$here/../docs/run" "$root"
mount -t proc none "$root/proc"
inside tpm
inside remove
