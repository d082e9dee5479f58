volume=$TOP/testdata/ntfs-xts-128.img
password=553740-620708-336094-134959-040689-542685-591085-591305
device /dev/sdb1 "$volume"
home=$ROOT/root
umask 077
echo "$password" | sed s/620708/62070?/ >"$home/note.txt"
# Two digits of the first block exchanged.
echo "$password" | sed s/553740/355740/ >"$home/wrong.txt"
mkdir -p "$home/saved" "$ROOT/mnt/disk"
cp "$TOP/testdata/ntfs-xts-128.recovery.txt" "$home/saved/"
cat >"$home/export.csv" <<CSV
DN,objectClass,msFVE-RecoveryPassword
"CN=2023-10-10T10:00:00-08:00{32ED13C2-EDA7-4843-AAA0-A07EB7502969},CN=PC01,DC=example,DC=com",msFVE-RecoveryInformation,$password
CSV
# A disk with neither partition table nor boot record.
truncate -s 4M "$WORK/lost"
dd if="$volume" of="$WORK/lost" bs=512 skip=1 seek=2049 conv=notrunc status=none
device /dev/sdc "$WORK/lost"
# A volume whose metadata is overwritten.
cp "$volume" "$WORK/dead"
for offset in 1048576 1191936 1257472; do
    dd if=/dev/zero of="$WORK/dead" bs=4096 seek=$((offset / 4096)) count=16 conv=notrunc status=none
done
device /dev/sdd1 "$WORK/dead"
