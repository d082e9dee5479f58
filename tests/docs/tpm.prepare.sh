device /dev/sdb1 "$TOP/testdata/ntfs-xts-128.img"
umask 077
echo 'correct horse battery staple' >"$ROOT/root/password.txt"
software_tpm
answer PIN 271828
