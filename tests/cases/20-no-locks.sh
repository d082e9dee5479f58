# A file system without locks: reading works, and writing works with a warning.
set -u
gunzip -c "$CORPUS"/made-ntfs-xts128.img.gz > v.img; echo anaconda > pw
cat > lock.c <<'C'
#include <errno.h>
#include <stdlib.h>
int flock(int fd, int what) { errno = atoi(getenv("LOCK_ERROR")); return -1; }
C
gcc -shared -fPIC -o lock.so lock.c || bad=1
for error in 37 95 38; do # ENOLCK, EOPNOTSUPP, ENOSYS
    export LOCK_ERROR=$error
    LD_PRELOAD=./lock.so "$FVE" unlock v.img --password-file pw || bad=1
    LD_PRELOAD=./lock.so "$FVE" protector add v.img --password-file pw --recovery-password-to rp.$error 2>&1 | tee out
    grep -q 'warning: the file system of v.img has no locks' out && [ -s rp.$error ] || bad=1
    "$FVE" unlock v.img --recovery-password-file rp.$error || bad=1
done
export LOCK_ERROR=5 # EIO is no lack of locks
LD_PRELOAD=./lock.so "$FVE" protector add v.img --password-file pw --recovery-password-to rp.5 && bad=1
[ -z "${bad:-}" ] && echo PASS || echo FAIL
