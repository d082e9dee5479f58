#!/bin/bash
# Boots a whole Debian in QEMU and tries there what needs one: lines of fstab, the units, a TPM, shutdowns, whether dm-crypt
# reads what was written, and 'fve map'. tests/boot.sh [PACKAGE.deb ...]; see CONTRIBUTING.md. As root. ONLY=boot, ONLY=map and ONLY=overlay leave out
# the others.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
root=$(dirname "$here")
kit=${FVE_VM:-$root/../shared/vm}
export VMLAB=${VMLAB:-$root/target/boot}
[ -x "$kit/run.sh" ] || { echo "the kit that starts the virtual machine is not in $kit: set FVE_VM" >&2; exit 2; }
mkdir -p "$VMLAB"
[ -e "$VMLAB/base.img" ] || "$kit/build.sh"
work=$VMLAB/parts
rm -rf "$work"
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

# Volumes for the kernel's mapping: each method and size of sectors, and those that are partly converted.
mkdir -p "$work/volumes" "$work/converted"
for sector in 512 4096; do
    truncate -s 16M "$work/plain"
    mkntfs -q -F -s $sector -L Mapped "$work/plain" >/dev/null 2>&1
    for cipher in aes-xts-128 aes-xts-256 aes-cbc-128 aes-cbc-256 aes-cbc-128-elephant aes-cbc-256-elephant; do
        volume=$work/volumes/$cipher.$sector
        "$FVE" create "$volume.img" --from "$work/plain" --sector-size $sector --cipher $cipher \
            --new-password-file "$work/password" --startup-key-to "$work/keys" --quiet >/dev/null
        "$FVE" export vmk "$volume.img" "$volume.vmk" --quiet --startup-key "$work/keys"
        "$FVE" export fvek "$volume.img" "$volume.fvek" --quiet --vmk-file "$volume.vmk"
        "$FVE" export fvek "$volume.img" "$volume.used" --quiet --vmk-file "$volume.vmk" --form used
        "$FVE" decrypt "$volume.img" - --quiet --vmk-file "$volume.vmk" | sha256sum | cut -d' ' -f1 >"$volume.sha256"
    done
    rm "$work/plain"
done
printf 'correct horse battery staple' >"$work/password-of-testdata"
for name in encryption-paused decryption-paused encrypt-on-write encrypt-on-write-plain-boot decrypted; do
    volume=$work/converted/$name
    cp "$root/testdata/$name.img" "$volume.img"
    credential=()
    if [ $name != decrypted ]; then
        "$FVE" export fvek "$volume.img" "$volume.fvek" --quiet --password-file "$work/password-of-testdata"
        credential=(--fvek-file "$volume.fvek")
    fi
    "$FVE" decrypt "$volume.img" - --quiet "${credential[@]}" | sha256sum | cut -d' ' -f1 >"$volume.sha256"
done

mkdir "$work/keyutils"
cp -L "$(command -v keyctl)" "$(ldd "$(command -v keyctl)" | awk '/libkeyutils/ { print $3 }')" "$work/keyutils/"

# Those that Windows made, in partitions of one disk.
corpus=${FVE_CORPUS:-$root/../shared/corpus}
rm -f "$VMLAB/windows.img"
mkdir "$work/windows"
if [ -e "$corpus/corpus.json" ]; then
    python3 "$here/boot/windows.py" "$corpus" "$VMLAB/windows.img" "$work/windows/list"
    # Only with the VMK can they be written to.
    for name in cs-aes-xts-128 cs-aes-cbc-256; do
        number=$(awk -v name=$name '$2 == name { print $1 }' "$work/windows/list")
        printf anaconda >"$work/password-of-corpus"
        "$FVE" export vmk "$VMLAB/windows.img" "$work/windows/$name.vmk" --quiet --partition "$number" --password-file "$work/password-of-corpus"
    done
else
    truncate -s 1M "$VMLAB/windows.img"
fi

status=0
passed=0 failed=0 skipped=0
# Boots the guest $2 times for the script $1, and counts what it says.
run() {
    [[ " ${ONLY:-boot map overlay} " == *" $1 "* ]] || return 0
    rm -rf "$VMLAB/runs/$1"
    BOOTS=$2 TIMEOUT=${TIMEOUT:-900} "$kit/run.sh" "$1" "$here/boot/$3" || status=1
    local out=$VMLAB/runs/$1/share/out boot
    grep -hE '^(PASS|FAIL|SKIP|SEE)' "$out"/log.* || true
    for boot in $(seq "$2"); do
        if ! grep -q '^end of boot' "$out/log.$boot" 2>/dev/null; then
            echo "FAIL boot $boot of $1 did not end"
            status=1
        fi
    done
    ! grep -qhE '^FAIL' "$out"/log.* || status=1
    passed=$((passed + $(cat "$out"/log.* | grep -c '^PASS' || true)))
    failed=$((failed + $(cat "$out"/log.* | grep -c '^FAIL' || true)))
    skipped=$((skipped + $(cat "$out"/log.* | grep -c '^SKIP' || true)))
}
FILES="$here/boot/lib.sh $work/packages $work/keys $work/recipe" DISKS=$VMLAB/boot.img TPM=tis run boot 3 guest.sh
TIMEOUT=${TIMEOUT:-1800} FILES="$here/boot/lib.sh $work/packages $work/volumes $work/converted $work/windows $work/keyutils" DISKS=$VMLAB/windows.img run map 1 map.sh
FILES="$here/boot/lib.sh $work/packages $work/volumes $work/windows" DISKS=$VMLAB/windows.img run overlay 1 overlay.sh
echo "boot.sh: $passed passed, $failed failed, $skipped skipped; logs in $VMLAB/runs"
exit $status
