#!/bin/bash
# Boots a whole Debian in QEMU and tries there what needs one: lines of fstab, the units, a TPM, shutdowns, and whether dm-crypt
# reads what was written. tests/boot.sh [PACKAGE.deb ...]; see CONTRIBUTING.md. As root.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
root=$(dirname "$here")
kit=${FVE_VM:-$root/../shared/vm}
export VMLAB=${VMLAB:-$root/target/boot}
[ -x "$kit/run.sh" ] || { echo "the kit that starts the virtual machine is not in $kit: set FVE_VM" >&2; exit 2; }
mkdir -p "$VMLAB"
[ -e "$VMLAB/base.img" ] || "$kit/build.sh"
work=$VMLAB/parts
rm -rf "$work" "$VMLAB/runs/boot"
mkdir -p "$work/packages" "$work/keys" "$work/recipe"

# What is installed in the guest: the packages, or else a tree like theirs.
if [ $# -gt 0 ]; then
    cp "$@" "$work/packages/"
    for package in "$@"; do dpkg-deb -x "$package" "$work/unpacked"; done
    FVE=$work/unpacked/usr/bin/fve
else
    FVE=${FVE:-$root/target/release/fve}
    tree=$work/tree
    install -D -m 755 "$FVE" "$tree/usr/bin/fve"
    install -d -m 755 "$tree/usr/lib/systemd/system" "$tree/usr/sbin" "$tree/etc/default"
    install -d -m 700 "$tree/etc/fve"
    ln -s ../bin/fve "$tree/usr/sbin/mount.fve"
    install -m 644 "$root"/dist/systemd/*.{service,socket} "$tree/usr/lib/systemd/system/"
    install -D -m 755 -t "$tree/usr/lib/systemd/system-generators" "$root"/dist/systemd/*-generator
    install -D -m 644 -t "$tree/usr/lib/sysusers.d" "$root"/dist/sysusers/*.conf
    install -D -m 644 -t "$tree/usr/lib/udev/rules.d" "$root"/dist/udev/*.rules
    install -m 644 "$root"/dist/default/* "$tree/etc/default/"
    tar -C "$tree" --owner=0 --group=0 -cf "$work/packages/tree.tar" .
fi
export FVE

# The blocks of commands and settings of docs/tpm.md, "At boot", one file for each: 1, 2, ...
awk -v to="$work/recipe/" '
    /^## / { inside = /^## At boot/ }
    inside && /^```[a-z]/ { n++; file = to n; next }
    /^```$/ { file = "" }
    file { print > file }' "$root/docs/tpm.md"
[ -s "$work/recipe/3" ] || { echo "docs/tpm.md has not the blocks that this script expects" >&2; exit 2; }

# A disk with four volumes: for fstab, for an automount, for a TPM, for a TPM with a PIN.
printf 'correct horse' >"$work/password"
chmod 600 "$work/password"
rm -f "$VMLAB/boot.img"
truncate -s 170M "$VMLAB/boot.img"
printf 'label: gpt\nstart=2048,size=81920\nsize=81920\nsize=81920\nsize=81920\n' | sfdisk -q "$VMLAB/boot.img"
for n in 1 2 3 4; do
    truncate -s 40M "$work/plain"
    mkntfs -q -F -L "Boot$n" "$work/plain" >/dev/null 2>&1
    "$FVE" create "$work/volume" --from "$work/plain" --new-password-file "$work/password" --startup-key-to "$work/keys" --quiet >/dev/null
    # What dm-crypt is given, as cryptsetup gets it from the password: stretching it takes long in the guest.
    cryptsetup bitlkDump "$work/volume" --dump-volume-key --key-file "$work/password" --volume-key-file "$work/keys/$n.fvek" -q >/dev/null
    dd if="$work/volume" of="$VMLAB/boot.img" bs=1M seek=$((1 + 40 * (n - 1))) conv=notrunc status=none
    rm "$work/volume" "$work/plain"
done

status=0
FILES="$here/boot/lib.sh $work/packages $work/keys $work/recipe" DISKS=$VMLAB/boot.img TPM=tis BOOTS=3 TIMEOUT=${TIMEOUT:-900} \
    "$kit/run.sh" boot "$here/boot/guest.sh" || status=1
cd "$VMLAB/runs/boot/share/out"
grep -hE '^(PASS|FAIL|SKIP|SEE)' log.* || true
for boot in 1 2 3; do
    if ! grep -q '^end of boot' "log.$boot" 2>/dev/null; then
        echo "FAIL boot $boot did not end"
        status=1
    fi
done
! grep -qhE '^FAIL' log.* || status=1
echo "boot.sh: $(cat log.* | grep -c '^PASS') passed, $(cat log.* | grep -c '^FAIL') failed, $(cat log.* | grep -c '^SKIP') skipped; logs in $VMLAB/runs/boot"
exit $status
