device /dev/sdb1 "$BASE/windows.img"
mkdir -p "$ROOT/mnt/bitlocker" "$ROOT/mnt/files"
answer 'password of volume' "$(cat "$BASE/password.txt")"
