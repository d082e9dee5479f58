# A file system without locks: reading works, and writing works with a warning.
set -u
gunzip -c "$CORPUS"/made-ntfs-xts128.img.gz > v.img; echo anaconda > pw
# Runs a program whose calls of flock(2) fail: LOCK_ERROR PROGRAM ARGUMENT...
cat > without.py <<'P'
import ctypes, os, struct, sys
flock = {"x86_64": 73, "aarch64": 32}[os.uname().machine]
rules = [(0x20, 0, 0, 0), (0x15, 0, 1, flock), (0x06, 0, 0, 0x50000 | int(sys.argv[1])), (0x06, 0, 0, 0x7FFF0000)]
code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *rule) for rule in rules))
class Program(ctypes.Structure):
    _fields_ = [("len", ctypes.c_ushort), ("rules", ctypes.c_void_p)]
libc = ctypes.CDLL(None, use_errno=True)
program = Program(len(rules), ctypes.addressof(code))
if libc.prctl(38, 1, 0, 0, 0) or libc.prctl(22, 2, ctypes.byref(program)):
    sys.exit("no filter")
os.execv(sys.argv[2], sys.argv[2:])
P
for error in 37 95 38; do # ENOLCK, EOPNOTSUPP, ENOSYS
    python3 without.py $error "$FVE" unlock v.img --password-file pw || bad=1
    python3 without.py $error "$FVE" protector add v.img --password-file pw --recovery-password-to rp.$error 2>&1 | tee out
    grep -q 'warning: v.img has no locks' out && [ -s rp.$error ] || bad=1
    "$FVE" unlock v.img --recovery-password-file rp.$error || bad=1
done
# EIO is no lack of locks.
python3 without.py 5 "$FVE" protector add v.img --password-file pw --recovery-password-to rp.5 && bad=1
[ -z "${bad:-}" ] && echo PASS || echo FAIL
