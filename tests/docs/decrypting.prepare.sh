disk /dev/sda
keys
qemu-img convert -O vhdx "$BASE/windows.img" "$ROOT/root/windows.vhdx"
blank /dev/sdb1 64M
