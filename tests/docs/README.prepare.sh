# The session shows a volume of testdata/, whose identifiers are always the same.
truncate -s 6M "$WORK/session"
sfdisk --quiet "$WORK/session" <<'TABLE'
label: gpt
start=2048, size=2048, type=U
start=4096, size=3072, type=EBD0A0A2-B9E5-4433-87C0-68B6B72699C7
TABLE
dd if="$TOP/testdata/ntfs-xts-128.img" of="$WORK/session" bs=1M seek=2 conv=notrunc status=none
device /dev/sdb "$WORK/session"
answer 'key ID 32ED13C2' 553740-620708-336094-134959-040689-542685-591085-591305
disk /dev/sda
keys
answer 'password of volume' "$(cat "$BASE/password.txt")"
( cd "$WORK" && ewfacquire -u -c empty-block -l log -t "$ROOT/root/disk" "$BASE/disk.img" >/dev/null )
