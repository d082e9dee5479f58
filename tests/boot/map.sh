# Runs in the guest: what `fve map` maps, compared with cryptsetup and dm-crypt. The volumes in /lab/volumes were made by fve, one for
# each method and size of sectors; those in /lab/converted are partly converted. Beside each are its key and the SHA-256 of its
# plaintext, as `fve decrypt` gave them outside.
. /lab/lib.sh
modprobe -a dm_crypt ntfs3
mkdir -p /data /mnt/inner
cd /data
# A table of the mapping $1 without what may differ: the key and the number of the device below.
table() { dmsetup table "$1" | sed -E 's/(crypt [^ ]+) [^ ]+/\1 KEY/; s/ [0-9]+:[0-9]+ / DEVICE /'; }

for image in /lab/volumes/*.img; do
    name=$(basename "$image" .img) key=${image%.img}
    cp "$image" v.img
    check "map $name" fve map v.img ours --fvek-file "$key.fvek"
    same "plaintext of $name" "$(sha /dev/mapper/ours)" "$(cat "$key.sha256")"
    same "$name cannot be written to" "$(blockdev --getro /dev/mapper/ours)" 1
    table ours >ours.table
    same "cryptsetup knows what it is" "$(cryptsetup status ours | sed -n 's/^ *type: *//p')" BITLK
    if dmsetup table --showkeys ours | grep -q "$(xxd -p -c 64 "$key.used")"; then bad "the table of $name has the key"; else ok "no key in the table of $name"; fi
    check "fve unmap $name" fve unmap ours
    same "nothing is left of $name" "$(losetup -n -O BACK-FILE | grep -c v.img)" 0

    dev=$(losetup -r -f --show -b "${name##*.}" v.img)
    check "cryptsetup opens $name" cryptsetup bitlkOpen --readonly --volume-key-file "$key.used" "$dev" theirs
    table theirs >theirs.table
    same "the table of $name is that of cryptsetup" "$(cat ours.table)" "$(cat theirs.table)"
    check "fve unmap removes the mapping of cryptsetup" fve unmap theirs
    losetup -d "$dev"

    check "map $name to write" fve map v.img ours --read-write --vmk-file "$key.vmk"
    check "ntfs3 on it" mount -t ntfs3 /dev/mapper/ours /mnt/inner
    head -c 3000001 /dev/urandom >/mnt/inner/noise
    mkdir /mnt/inner/directory && echo text >/mnt/inner/directory/file
    fve unmap ours >out 2>&1
    same "a mapping in use is not removed" "$? $(grep -c 'is mounted on /mnt/inner' out)" "5 1"
    umount /mnt/inner
    written=$(sha /dev/mapper/ours)
    check "cryptsetup close" cryptsetup close ours
    fve decrypt v.img plain --force --quiet --fvek-file "$key.fvek"
    same "written through the mapping of $name, read by fve" "$(sha plain)" "$written"

    fve export dm-table v.img v.table --with-key --fvek-file "$key.fvek" --device "$(losetup -r -f --show v.img)"
    check "dmsetup takes the table of $name" dmsetup create byhand --readonly v.table
    same "plaintext by the exported table" "$(sha /dev/mapper/byhand)" "$written"
    dmsetup remove byhand
    losetup -D
    rm -f v.table v.img plain
done

echo "== volumes that cryptsetup does not open"
for image in /lab/converted/*.img; do
    name=$(basename "$image" .img) key=${image%.img}
    credential=(); [ ! -s "$key.fvek" ] || credential=(--fvek-file "$key.fvek")
    check "map $name" fve map "$image" ours "${credential[@]}"
    same "plaintext of $name" "$(sha /dev/mapper/ours)" "$(cat "$key.sha256")"
    dmsetup table ours | cut -d' ' -f1-4 | sed 's/^/SEE /' | head -6
    check "unmap $name" fve unmap ours
done

echo "== a partition, the list, names, uses"
set -- /lab/volumes/aes-xts-128.512; key=$1.fvek
truncate -s 40M disk.img
printf 'label: gpt\nstart=2048,size=40960\n' | sfdisk -q disk.img
dd if="$1.img" of=disk.img bs=1M seek=1 conv=notrunc status=none
check "the partition of an image" fve map disk.img ours --fvek-file "$key"
same "its plaintext" "$(sha /dev/mapper/ours)" "$(cat "$1.sha256")"
check "end" fve unmap /dev/mapper/ours
dev=$(losetup -P -f --show disk.img)
check "the partition of a disk" fve map "$dev" ours --fvek-file "$key"
same "its plaintext" "$(sha /dev/mapper/ours)" "$(cat "$1.sha256")"
same "the device below is the partition" "$(ls /sys/block/"$(basename "$(readlink /dev/mapper/ours)")"/slaves)" "$(basename "$dev")p1"
same "the list says so" "$(fve list --json | jq -r ".volumes[] | select(.device == \"${dev}p1\") | .mapped_as[0]")" /dev/mapper/ours
fve map "$dev" ours --fvek-file "$key" >out 2>&1; same "a name that is taken" $? 2
fve map "$dev" other --fvek-file "$key" >out 2>&1; same "a device that is mapped" $? 5; sed 's/^/SEE /' out
check "end" fve unmap ours
fve unmap ours >out 2>&1; same "no such mapping" $? 5; sed 's/^/SEE /' out
echo '0 8 zero' | dmsetup create zeros
fve unmap zeros >out 2>&1; same "a mapping of another kind" $? 5; sed 's/^/SEE /' out
dmsetup remove zeros
same "the journal has no complaint" "$(dmesg | grep -cE 'Oops|BUG:|Call Trace')" 0
losetup -D
echo "end of boot $(cat /lab/stage)"
