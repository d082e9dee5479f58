device /dev/sdb1 "$TOP/testdata/ntfs-xts-128.img"
umask 077
echo 'correct horse battery staple' >"$ROOT/root/password.txt"
echo 'another horse' >"$ROOT/root/new.txt"
mkdir "$ROOT/root/keys"
