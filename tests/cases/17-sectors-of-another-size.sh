# A volume in a partition, whose table counts sectors of another size than the device has.
set -u
gunzip -c "$CORPUS"/made-ntfs-xts128.img.gz > v.img; echo anaconda > pw
trap 'losetup -d "$loop" 2>/dev/null' EXIT
for label in gpt dos; do for counted in 512 4096; do
    rm -f disk.img; truncate -s 72M disk.img
    loop=$(losetup -f --show -b $counted disk.img) || bad=1
    printf 'label: %s\nstart=%s, size=%s\n' $label $((2097152 / counted)) $((67108864 / counted)) |
        sfdisk -q --no-reread --no-tell-kernel "$loop" || bad=1
    losetup -d "$loop"
    dd if=v.img of=disk.img bs=1M seek=2 conv=notrunc status=none
    for own in 512 4096; do
        loop=$(losetup -f --show -b $own disk.img) || bad=1
        echo "$label: sectors of $counted bytes in the table, $own on the device"
        "$FVE" unlock "$loop" --password-file pw 2>&1 | tee out
        grep -q 'unlocked with' out || bad=1
        [ $counted = $own ] || grep -q "counts sectors of $counted bytes" out || bad=1
        losetup -d "$loop"
    done
done; done
[ -z "${bad:-}" ] && echo PASS || echo FAIL
