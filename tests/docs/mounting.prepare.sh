disk /dev/sda
keys
mkdir -p "$ROOT/etc/fve" "$ROOT/mnt/c" "$ROOT/mnt/files" "$ROOT/mnt/bitlocker"
cp "$BASE/key.txt" "$ROOT/etc/fve/c.key"
ln -s /dev/sda3 "$ROOT/dev/disk/by-partuuid/5e2c1a70-8d4b-4f63-9a17-c0d3e84b2f96"
answer 'password of volume' "$(cat "$BASE/password.txt")"
device /dev/sdb1 "$BASE/windows.img"
mkdir -p "$ROOT/mnt/disk"
echo 'Dear reader' >"$ROOT/root/letter.txt"
