keys
( cd "$WORK" && ewfacquire -u -c empty-block -l log -t "$ROOT/root/disk" "$BASE/disk.img" >/dev/null )
