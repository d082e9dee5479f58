# Sources that are no volume: each with help that can help.
set -u
gunzip -c "$CORPUS"/made-ntfs-xts128.img.gz > v.img; echo anaconda > pw
say() { # exit status, words, arguments
    want=$1 words=$2; shift 2
    "$FVE" "$@" > out 2>&1; got=$?; cat out
    [ $got = "$want" ] && grep -q -e "$words" out || { echo "expected status $want and '$words', got $got"; bad=1; }
    ! grep -q 'os error' out || bad=1
}
truncate -s 2M disk.img; cat v.img >> disk.img
say 3 '4096 may be a sector number: a volume begins at byte 2097152; give --offset 2097152' info disk.img --offset 4096
say 2 'ends in s' info disk.img --offset 63
say 2 'multiple of 512' info disk.img --offset 4097
for offset in 2M 2MiB 4096s 0x200000 2097152 0.001953125G; do say 0 'Password' info disk.img --offset $offset; done
: > empty; say 3 'copy this one again' info empty
seq 1000 > text; say 3 'a text file' info text
mkdir dir; say 3 'name an image file or a block device' info dir
touch dir/clonezilla-img; say 3 'backup by Clonezilla' info dir
printf 'partclone-image' > p; truncate -s 1M p; say 3 'partclone.restore' info p
printf 'MSWIM\0\0\0' > w.wim; truncate -s 1M w.wim; say 3 'WIM or ESD' info w.wim
printf 'QED\0' > q; truncate -s 1M q; say 3 'qemu-nbd .* q;' info q
printf 'AFF10\r\n\0' > a; truncate -s 1M a; say 3 'affconvert' info a
head -c 1M v.img > cut.img; say 5 'has 1048576 bytes, and the first copy of the volume.s metadata ends at byte' unlock cut.img --password-file pw
split -b 20M v.img; say 0 'unlocked' unlock xaa --password-file pw
say 3 'first part of the image: xaa' info xac
mv xab gone; say 5 'xab is missing, but there is xac' info xaa
split -b 20M -d -a 1 v.img piece; say 0 'piece1 is the next part of a split image' info piece0
split -b 20M -d -a 3 v.img d.; rm d.001; ln -s /etc/passwd d.001; say 3 'd.001 is a link' info d.000
[ -z "${bad:-}" ] && echo PASS || echo FAIL
