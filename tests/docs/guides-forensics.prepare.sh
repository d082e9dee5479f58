keys
( cd "$WORK" && ewfacquire -u -c empty-block -l log -t "$ROOT/root/disk" "$BASE/disk.img" >/dev/null )
in_root fve create -q /tmp/other.img --size 1M --startup-key-to /tmp
mv "$ROOT"/tmp/*.BEK "$ROOT/root/key.BEK"
