disk /dev/sda
answer 'password of volume' "$(cat "$BASE/password.txt")"
( cd "$WORK" && ewfacquire -u -c empty-block -l log -t "$ROOT/root/disk" "$BASE/disk.img" >/dev/null )
