device /dev/sdb1 "$TOP/testdata/ntfs-xts-128.img"
umask 077
home=$ROOT/root
echo 'correct horse battery staple' >"$home/password.txt"
openssl req -quiet -x509 -newkey rsa:2048 -nodes -subj /CN=user -keyout "$WORK/key.pem" -out "$home/cert.pem" 2>/dev/null ||
    openssl req -x509 -newkey rsa:2048 -nodes -subj /CN=user -keyout "$WORK/key.pem" -out "$home/cert.pem"
openssl pkcs12 -export -inkey "$WORK/key.pem" -in "$home/cert.pem" -passout pass:example -out "$home/key.pfx"
answer 'assword of' example
