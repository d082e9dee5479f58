# Expert Witness images of the kinds S01 and E01 of the first version read as the volume they were made of.
set -u
gunzip -c "$CORPUS"/made-ntfs-xts128.img.gz > v.img; echo anaconda > pw
ewfacquire -u -q -f smart -t s v.img >/dev/null 2>&1; ewfacquire -u -q -f ewf -t e v.img >/dev/null 2>&1
ewfacquire -u -q -f smart -S 10MiB -t several v.img >/dev/null 2>&1
want=$("$FVE" decrypt v.img - --password-file pw 2>/dev/null | sha256sum)
for f in s.s01 e.e01 several.s01; do
    "$FVE" unlock $f --password-file pw || bad=1
    [ "$("$FVE" decrypt $f - --password-file pw 2>/dev/null | sha256sum)" = "$want" ] || bad=1
done
"$FVE" info several.s02 2>&1 | tee out; grep -q 'first part of the image: several.s01' out || bad=1
[ -z "${bad:-}" ] && echo PASS || echo FAIL
