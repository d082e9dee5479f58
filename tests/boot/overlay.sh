# Runs in the guest: `fve map --overlay`, where the kernel writes the changes. What one driver writes, another reads: the kernel's
# snapshots and ntfs3 here, fve's overlay with `fve mount`. The volumes in /lab/volumes are those of map.sh.
. /lab/lib.sh
modprobe -a dm_crypt ntfs3 fuse
mkdir -p /data /mnt/inner /mnt/volume
cd /data
left() { echo "$(dmsetup ls | grep -vc '^No devices') mappings, $(losetup -n -O BACK-FILE | grep -c /data/) loop devices"; }
none="0 mappings, 0 loop devices"
# The SHA-256 of what the mapping shows: not of the areas that Windows reserves, which it cannot read.
mapped() {
    dmsetup table ours | awk '$3 != "error" { print $1, $2 }' >areas
    of_areas /dev/mapper/ours
}
of_areas() {
    while read -r start len; do
        dd if="$1" bs=512 skip="$start" count="$len" status=none || echo failed
    done <areas | sha256sum | cut -d' ' -f1
}
# The same of the volume in v.img without changes, and with these changes, through FUSE.
unchanged() { fve decrypt v.img plain --force --quiet --vmk-file "$key.vmk" && of_areas plain; rm -f plain; }
through_fuse() {
    fve mount --volume v.img /mnt/volume --overlay "$1" --quiet --vmk-file "$key.vmk" >out 2>&1 || { cat out; return; }
    of_areas /mnt/volume/volume
    fve unmount /mnt/volume
}

for image in /lab/volumes/*.img; do
    name=$(basename "$image" .img) key=${image%.img}
    cp "$image" v.img
    source=$(sha v.img)
    check "map $name" fve map v.img ours --overlay changes --vmk-file "$key.vmk"
    plaintext=$(mapped)
    same "fve reads $name, the source of an overlay that is mapped" "$(unchanged)" "$plaintext"
    check "ntfs3 on it" mount -t ntfs3 /dev/mapper/ours /mnt/inner
    head -c 3000001 /dev/urandom >/mnt/inner/noise
    mkdir /mnt/inner/directory && echo text >/mnt/inner/directory/file
    umount /mnt/inner
    written=$(mapped)
    check "unmap $name" fve unmap ours
    same "nothing is left of $name" "$(left)" "$none"
    same "$name is as it was" "$(sha v.img)" "$source"
    [ "$written" != "$plaintext" ] && ok "the plaintext of $name differs" || bad "nothing was written to $name"
    same "fve mount reads what the kernel wrote to $name" "$(through_fuse changes)" "$written"
    check "map $name again" fve map v.img ours --overlay changes --vmk-file "$key.vmk"
    same "its plaintext with the changes" "$(mapped)" "$written"
    check "end" fve unmap ours
    [ "$(stat -c %b changes)" -lt 12000 ] && ok "the changes of $name are sparse" || bad "the changes of $name take $(stat -c %b changes) blocks"
    rm changes
done

echo "== what fve writes, the kernel reads"
key=/lab/volumes/aes-xts-128.512
cp $key.img v.img
source=$(sha v.img)
check "mount for writing" fve mount --volume v.img /mnt/volume --overlay changes --quiet --vmk-file $key.vmk
dev=$(losetup -f --show /mnt/volume/volume)
check "ntfs3 on its file" mount -t ntfs3 "$dev" /mnt/inner
head -c 2000001 /dev/urandom >/mnt/inner/noise
noise=$(sha /mnt/inner/noise)
umount /mnt/inner
losetup -d "$dev"
cp --sparse=always /mnt/volume/volume written
fve map v.img ours --overlay changes --vmk-file $key.vmk >out 2>&1
same "changes that fve writes are not mapped" "$? $(left)" "5 $none"; sed 's/^/SEE /' out
check "unmount" fve unmount /mnt/volume
check "map what fve wrote" fve map v.img ours --overlay changes --json --vmk-file $key.vmk
plaintext=$(mapped)
same "its plaintext" "$plaintext" "$(of_areas written)"
rm written
check "ntfs3 on it" mount -t ntfs3 /dev/mapper/ours /mnt/inner
same "the file that fve wrote" "$(sha /mnt/inner/noise)" "$noise"
same "the list shows it once" "$(fve list --json | jq -c '.volumes[] | select(.mapped_as != []) | .mapped_as')" '["/dev/mapper/ours"]'

echo "== while it is mapped"
same "the changes are locked" "$(flock -n -s changes echo free)" ""
same "the source is locked for writers, and free for readers" "$(flock -n -x v.img echo free) $(flock -n -s v.img echo free)" " free"
fve mount --volume v.img /mnt/volume --overlay changes --vmk-file $key.vmk >out 2>&1
same "fve does not write to them, too" $? 5; sed 's/^/SEE /' out
fve map v.img second --overlay changes --vmk-file $key.vmk >out 2>&1
same "they are not mapped twice" $? 5; sed 's/^/SEE /' out
fve map v.img ours --overlay other --vmk-file $key.vmk >out 2>&1
same "a name that is taken" "$? $(ls other 2>/dev/null)" "2 "; sed 's/^/SEE /' out
fve decrypt v.img plain --vmk-file $key.vmk >out 2>&1
same "the source can be read" "$? $(sha plain) $(grep -c writing out)" "0 $(cat $key.sha256) 0"; sed 's/^/SEE /' out
rm -f plain
fve map v.img second --read-write --vmk-file $key.vmk >out 2>&1
same "the source is not mapped for writing" $? 5; sed 's/^/SEE /' out
fve unmap ours >out 2>&1
same "a mapping in use is not removed" "$? $(grep -c 'is mounted on /mnt/inner' out)" "5 1"; sed 's/^/SEE /' out
echo more >/mnt/inner/more
sync
# What the disk has after a power failure now.
cp --sparse=always changes cut
echo lost >/mnt/inner/lost
umount /mnt/inner
dmsetup remove ours
fve map v.img ours --overlay changes --vmk-file $key.vmk >out 2>&1
same "an overlay without its mapping is in the way" "$? $(grep -c 'fve unmap /dev/mapper/ours-overlay' out)" "2 1"; sed 's/^/SEE /' out
check "what is left of a mapping is removed" fve unmap ours
same "nothing is left" "$(left)" "$none"
check "map it again" fve map v.img ours --overlay changes --vmk-file $key.vmk
check "unmap it by the name of the device below" fve unmap /dev/mapper/ours-overlay
same "nothing is left" "$(left)" "$none"
check "map what the power failure left" fve map v.img ours --overlay cut --vmk-file $key.vmk
check "ntfs3 on it" mount -t ntfs3 -o ro /dev/mapper/ours /mnt/inner
same "what was synced is there" "$(cat /mnt/inner/more) $(sha /mnt/inner/noise)" "more $noise"
umount /mnt/inner
check "end" fve unmap ours
same "the source is as it was" "$(sha v.img)" "$source"
rm -f cut changes

echo "== everything is written"
check "map it with new changes" fve map v.img ours --overlay changes --vmk-file $key.vmk
mapped >/dev/null
while read -r start len; do
    dd if=/dev/urandom of=/dev/mapper/ours bs=512 seek="$start" count="$len" conv=notrunc,fsync status=none || bad "write $len sectors"
done <areas
same "the snapshot is valid" "$(dmsetup status ours-overlay | grep -c Invalid)" 0
written=$(mapped)
check "end" fve unmap ours
same "fve reads all that was written" "$(through_fuse changes)" "$written"
same "the source is as it was" "$(sha v.img)" "$source"
rm changes

echo "== the disk with the changes is full"
mkdir small && mount -t tmpfs -o size=2M tmpfs small
check "map it with changes on a small disk" fve map v.img ours --overlay small/changes --vmk-file $key.vmk
plaintext=$(mapped)
dd if=/dev/urandom of=kept bs=64k count=4 status=none
dd if=kept of=/dev/mapper/ours bs=64k seek=144 conv=fsync status=none
dd if=/dev/urandom of=/dev/mapper/ours bs=1M count=8 oflag=direct 2>out && bad "8 MiB were written to 2 MiB" || ok "the write fails"
same "the kernel gave the changes up" "$(dmsetup status ours-overlay | grep -c Invalid)" 1
fve unmap ours >out 2>&1; sed 's/^/SEE /' out
same "nothing is left" "$(left)" "$none"
check "map what the kernel gave up" fve map v.img ours --overlay small/changes --vmk-file $key.vmk
grep -c "could not write to" /run/check.out | sed 's/^/SEE warned /'
same "what was synced is there" "$(dd if=/dev/mapper/ours bs=64k skip=144 count=4 status=none | sha256sum)" "$(sha256sum <kept)"
check "end" fve unmap ours
same "fve reads it, too" "$(through_fuse small/changes >/dev/null; fve mount --volume v.img /mnt/volume --overlay small/changes --quiet --vmk-file $key.vmk; dd if=/mnt/volume/volume bs=64k skip=144 count=4 status=none | sha256sum; fve unmount /mnt/volume)" "$(sha256sum <kept)"
same "the source is as it was" "$(sha v.img) $(left)" "$source $none"
umount small
rm kept

echo "== without the kernel's module"
rmmod dm_snapshot
echo 'install dm_snapshot /bin/false' >/etc/modprobe.d/no-snapshot.conf
fve map v.img ours --overlay changes --vmk-file $key.vmk >out 2>&1
same "no snapshots in the kernel" "$? $(grep -c 'dm-snapshot' out) $(left)" "5 1 $none"; sed 's/^/SEE /' out
rm -f /etc/modprobe.d/no-snapshot.conf changes

echo "== disks: a partition, and a volume that Windows made"
truncate -s 40M disk.img
printf 'label: gpt\nstart=2048,size=40960\n' | sfdisk -q disk.img
dd if=$key.img of=disk.img bs=1M seek=1 conv=notrunc status=none
disk=$(sha disk.img)
for where in image disk partition; do
    case $where in
        image) from=disk.img ;;
        disk) dev=$(losetup -P -r -f --show disk.img) from=$dev ;;
        partition) from=${dev}p1 ;;
    esac
    check "map the $where" fve map "$from" ours --overlay changes --vmk-file $key.vmk
    same "its plaintext" "$(mapped)" "$(unchanged)"
    check "ntfs3 on it" mount -t ntfs3 /dev/mapper/ours /mnt/inner
    echo "$where" >/mnt/inner/file
    umount /mnt/inner
    # On a disk, the volume is on its partition.
    same "the list shows it once" "$(fve list --json | jq -c '.volumes[] | select(.mapped_as != []) | .mapped_as')" '["/dev/mapper/ours"]'
    check "end" fve unmap ours
    check "map it again" fve map "$from" ours --overlay changes --vmk-file $key.vmk
    check "ntfs3 on it" mount -t ntfs3 -o ro /dev/mapper/ours /mnt/inner
    same "the file is there" "$(cat /mnt/inner/file)" "$where"
    umount /mnt/inner
    check "end" fve unmap ours
    rm changes
done
losetup -D
same "the disk is as it was" "$(sha disk.img)" "$disk"
printf 'start=2048,size=40960\nstart=43008,size=20480\n' | sfdisk -q disk.img
dev=$(losetup -P -f --show disk.img)
mkfs.vfat "${dev}p2" >/dev/null
mount "${dev}p2" /mnt/inner
fve map "$dev" ours --overlay changes --vmk-file $key.vmk >out 2>&1
same "a disk with another partition in use" "$? $(grep -c "${dev}p2 is mounted" out) $(grep -c 'name the partition' out)" "5 1 1"; sed 's/^/SEE /' out
check "its partition is mapped" fve map "${dev}p1" ours --overlay other --vmk-file $key.vmk
check "end" fve unmap ours
umount /mnt/inner
losetup -D
rm -f changes other

windows=$(readlink -f /dev/disk/by-id/virtio-data1)
[ -e /lab/windows/list ] || echo "SKIP the corpus is not present"
while read -r number name method state kind fvek size sum; do
    [ -e "/lab/windows/$name.vmk" ] || continue
    cp "/lab/windows/$name.vmk" key.vmk
    before=$(sha "$windows$number")
    check "map $name" fve map "$windows$number" ours --overlay changes --vmk-file key.vmk
    fve decrypt "$windows$number" plain --force --quiet --vmk-file key.vmk
    same "its plaintext, of which fve reads all" "$(mapped) $(head -c "$size" plain | sha256sum | cut -d' ' -f1)" "$(of_areas plain) $sum"
    # Their file systems lack most of their content.
    dd if=/dev/urandom of=noise bs=4096 count=50 status=none
    check "write to it" dd if=noise of=/dev/mapper/ours bs=4096 seek=17000 conv=notrunc,fsync
    dd if=noise of=plain bs=4096 seek=17000 conv=notrunc status=none
    check "end" fve unmap ours
    same "$name is as it was" "$(sha "$windows$number")" "$before"
    check "map it again" fve map "$windows$number" ours --overlay changes --vmk-file key.vmk
    same "the changes are there, and nothing else" "$(mapped)" "$(of_areas plain)"
    check "end" fve unmap ours
    fve mount --volume "$windows$number" /mnt/volume --overlay changes --quiet --vmk-file key.vmk
    same "fve reads them" "$(sha /mnt/volume/volume)" "$(sha plain)"
    fve unmount /mnt/volume
    rm changes plain
done < <(cat /lab/windows/list 2>/dev/null)
[ ! -e /lab/windows/list ] || same "volumes that Windows made" "$(ls /lab/windows/*.vmk | wc -l)" 2
same "nothing is left" "$(left)" "$none"
same "the journal has no complaint" "$(dmesg | grep -cE 'Oops|BUG:|Call Trace')" 0
echo "end of boot $(cat /lab/stage)"
