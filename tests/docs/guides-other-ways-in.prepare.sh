disk /dev/sda
keys
qemu-img convert -O vdi "$BASE/disk.img" "$ROOT/root/windows.vdi"
xz --stdout --block-size=1MiB "$BASE/disk.img" >"$ROOT/root/disk.img.xz"
