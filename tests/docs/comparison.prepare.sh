home=$ROOT/root
umask 077
for name in two-recovery-passwords xts-256 password-beyond-ascii suspended encryption-paused; do
    cp "$TOP/testdata/$name.img" "$home/"
done
cp "$BASE/disk.img" "$home/"
qemu-img convert -O vhdx "$BASE/windows.img" "$home/windows.vhdx"
echo 268829-618893-669933-719037-035959-058542-586960-447414 >"$home/second.txt"
printf 'correct horse battery staple' >"$home/password.txt"
printf 'Größe 例 naïve' >"$home/beyond-ascii.txt"
