# Runs in the guest: what `fve map` maps, compared with cryptsetup and dm-crypt. The volumes in /lab/volumes were made by fve, one for
# each method and size of sectors; those in /lab/converted are partly converted. Beside each are its key and the SHA-256 of its
# plaintext, as `fve decrypt` gave them outside.
. /lab/lib.sh
modprobe -a dm_crypt ntfs3
install -m 755 /lab/keyutils/keyctl /usr/bin/
install -m 644 /lab/keyutils/libkeyutils.so.1 /usr/lib/x86_64-linux-gnu/
mkdir -p /data /mnt/inner
cd /data
# A table of the mapping $1 without what may differ: the key and the number of the device below.
table() { dmsetup table "$1" | sed -E 's/(crypt [^ ]+) [^ ]+/\1 KEY/; s/ [0-9]+:[0-9]+ / DEVICE /'; }

# The first $1 bytes of the device $2, up to the sector before one that cannot be read: the page cache reads 4096 bytes at once.
content() {
    head -c $(($1 / 4096 * 4096)) "$2"
    dd if="$2" bs=512 skip=$(($1 / 4096 * 8)) count=$(($1 % 4096 / 512)) iflag=direct status=none
}

for image in /lab/volumes/*.img; do
    name=$(basename "$image" .img) key=${image%.img}
    cp "$image" v.img
    check "map $name" fve map v.img ours --fvek-file "$key.fvek"
    same "plaintext of $name" "$(sha /dev/mapper/ours)" "$(cat "$key.sha256")"
    same "$name cannot be written to" "$(blockdev --getro /dev/mapper/ours)" 1
    table ours >ours.table
    same "cryptsetup knows what it is" "$(cryptsetup status ours | sed -n 's/^ *type: *//p')" BITLK
    if dmsetup table --showkeys ours | grep -q "$(xxd -p -c 64 "$key.used")"; then bad "the table of $name has the key"; else ok "no key in the table of $name"; fi
    same "$name is locked for writers" "$(flock -n -x v.img echo free)" ""
    same "$name is not locked for readers" "$(flock -n -s v.img echo free)" free
    fve unlock v.img --fvek-file "$key.fvek" >out 2>&1
    same "fve reads $name, which is mapped read-only" "$? $(grep -cE 'in use|out of date' out)" "0 0"
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
    same "$name is locked for readers" "$(flock -n -s v.img echo free)" ""
    fve map v.img second --fvek-file "$key.fvek" >out 2>&1
    same "$name is not mapped twice" $? 5
    sed 's|^|SEE |' out
    dmsetup table ours | grep -E ' error' | sed "s/^/SEE reserved in $name: /"
    umount /mnt/inner
    check "unmapped at once after writing to $name" fve unmap ours
    fve map v.img ours --quiet --fvek-file "$key.fvek"
    written=$(sha /dev/mapper/ours)
    check "cryptsetup close" cryptsetup close ours
    fve decrypt v.img plain --force --quiet --fvek-file "$key.fvek"
    same "written through the mapping of $name, read by fve" "$(sha plain)" "$written"

    fve export dm-table v.img v.table --with-key --fvek-file "$key.fvek" --device "$(losetup -r -f --show v.img)"
    check "dmsetup takes the table of $name" dmsetup create byhand --readonly v.table
    same "plaintext by the exported table" "$(sha /dev/mapper/byhand)" "$written"
    dmsetup remove byhand
    check "a key in the keyring" keyctl padd logon fve:byhand @s <"$key.used"
    fve export dm-table v.img --key-name fve:byhand --fvek-file "$key.fvek" --device "$(losetup -n -O NAME -j v.img)" >v.table
    check "dmsetup takes the table of $name without the key" dmsetup create byhand --readonly v.table
    same "plaintext by that table" "$(sha /dev/mapper/byhand)" "$written"
    dmsetup remove byhand
    keyctl clear @s
    losetup -D
    rm -f v.table v.img plain
done

echo "== volumes that Windows made: their keys and the SHA-256 of their plaintext come from other programs"
disk=$(readlink -f /dev/disk/by-id/virtio-data1)
[ -e /lab/windows/list ] || echo "SKIP the corpus is not present"
same "volumes of the corpus" "$([ ! -e /lab/windows/list ] || [ "$(wc -l </lab/windows/list)" -gt 20 ]; echo $?)" 0
while read -r number name method state kind fvek size sum; do
    part=$disk$number
    (umask 077 && xxd -r -p <<<"$fvek" >key)
    fve map "$part" ours --fvek-file key >out 2>&1 && rc=0 || rc=$?
    case $name in
        ds-vista) refused=3 ;;
        # Their conversion map is lost.
        cs-aes-xts-128-eow | cs-partially-encrypted-aes-cbc-128) refused=6 ;;
        *) refused= ;;
    esac
    if [ "$refused" ]; then
        same "$name is not mapped" "$rc $(dmsetup info ours >/dev/null 2>&1 || echo none)" "$refused none"
        sed 's/^/SEE /' out
        continue
    fi
    if [ $rc != 0 ]; then bad "map $name ($rc): $(cat out)"; continue; fi
    same "plaintext of $name, $method, $state, $kind" "$(content "$size" /dev/mapper/ours | sha256sum | cut -d' ' -f1)" "$sum"
    table ours >ours.table
    fve unmap ours || bad "unmap $name"
    # cryptsetup refuses the others, and does not end for an image that is cut off.
    [ "$state.$kind" = 4.4.- ] || continue
    if ! cryptsetup bitlkOpen --readonly --volume-key-file key "$part" theirs >out 2>&1; then
        bad "cryptsetup does not open $name: $(tail -1 out)"
        continue
    fi
    table theirs >theirs.table
    same "the table of $name is that of cryptsetup" "$(cat ours.table)" "$(cat theirs.table)"
    cryptsetup close theirs
done < <(cat /lab/windows/list 2>/dev/null)

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
fve close ours >out 2>&1; same "a mapping is not unmounted" "$? $(grep -c "'fve unmap' removes" out)" "2 1"
fve map "$dev" other --fvek-file "$key" >out 2>&1; same "a device that is mapped" $? 5; sed 's/^/SEE /' out
check "end" fve unmap ours
# Each time, udev may have the kernel read the partition table again meanwhile.
for n in 1 2 3 4 5; do
    check "the partition of a disk, to write, time $n" fve map "$dev" ours --read-write --vmk-file "$1.vmk"
    check "end" fve unmap ours
done
check "the partition of a disk, to write" fve map "$dev" ours --read-write --vmk-file "$1.vmk"
check "ntfs3 on it" mount -t ntfs3 /dev/mapper/ours /mnt/inner
echo text >/mnt/inner/from-here
umount /mnt/inner
check "end" fve unmap ours
same "fve reads the file" "$(fve cat "$dev" --quiet --fvek-file "$key" /from-here)" text
losetup -D
dev=$(losetup -r -f --show /lab/volumes/aes-xts-128.512.img)
perl -e 'use Fcntl; sysopen(F, $ARGV[0], O_RDONLY|O_EXCL) or die; $| = 1; print "held\n"; sleep 60' "$dev" >held &
wait_for 5 grep -q held held
fve map "$dev" other --fvek-file "$key" >out 2>&1
same "a device that another program holds" "$? $(grep -vc warning out) $(dmsetup info -c --noheadings -o name other 2>/dev/null)" "5 1 "
sed 's/^/SEE /' out
kill %1
same "its key is not left" "$(grep -c 'fve:' /proc/keys)" 0
fve unmap ours >out 2>&1; same "no such mapping" $? 2; sed 's/^/SEE /' out
echo '0 8 zero' | dmsetup create zeros
fve unmap zeros >out 2>&1; same "a mapping of another kind" $? 2; sed 's/^/SEE /' out
dmsetup remove zeros
same "the journal has no complaint" "$(dmesg | grep -cE 'Oops|BUG:|Call Trace')" 0
losetup -D
echo "end of boot $(cat /lab/stage)"
