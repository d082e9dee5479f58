#!/usr/bin/env bash
# Installs the packages of dist/build.sh in an overlay of a root directory with apt, uses them there as their users do, runs the
# command blocks of the documents there, and removes them: tests/packages/try.sh ROOT PACKAGE.deb...
# Needs root, and a mount and a process namespace of its own (unshare --mount --pid --fork).
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
. "$here/overlay.sh"
overlay "$1"
shift

mkdir "$root/packages"
cp "$@" "$here/inside.sh" "$here"/../../testdata/{ntfs-xts-128.img,ntfs-xts-128.recovery.txt} "$root/packages/"
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
