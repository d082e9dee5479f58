#!/usr/bin/env python3
"""Programs that try everything on a mount: odd offsets, modes and flags, many readers, readers that are killed.

usage: fuse_clients.py DIR PLAINTEXT [rw]

Prints what each try gave, and ends with PASS, or with FAIL and the tries that gave something else than expected.
"""
import ctypes
import errno
import fcntl
import mmap
import os
import random
import resource
import signal
import subprocess
import sys
import threading
import time

DIR, VOLUME = sys.argv[1], sys.argv[1] + "/volume"
PLAIN = open(sys.argv[2], "rb").read()
RW = len(sys.argv) > 3
SIZE = len(PLAIN)
# An ordinary file system that is read-only refuses first with EROFS.
REFUSED = "EPERM" if RW else "EROFS"
libc = ctypes.CDLL(None, use_errno=True)
wrong = []


def attempt(name, action, *expected):
    start = time.time()
    try:
        result = action()
    except OSError as error:
        result = errno.errorcode.get(error.errno, error.errno)
    took = time.time() - start
    print(f"{name}: {result} ({took:.2f}s)", flush=True)
    if (expected and result not in expected) or took > 15:
        wrong.append(f"{name}: {result}, expected {expected}")


def fallocate(file, mode, offset, length):
    done = libc.fallocate(file, mode, ctypes.c_long(offset), ctypes.c_long(length))
    return errno.errorcode.get(ctypes.get_errno()) if done else "OK"


def is_plain(file, offset, length):
    return os.pread(file, length, offset) == PLAIN[offset : offset + length]


def read_directly(file, offset, length):
    buffer = mmap.mmap(-1, (length + 4095) // 4096 * 4096)
    return buffer[: os.preadv(file, [memoryview(buffer)[:length]], offset)]


file = os.open(VOLUME, os.O_RDONLY)
attempt("size", lambda: os.fstat(file).st_size == SIZE, True)
for offset in (SIZE - 1, SIZE, SIZE + 1, 1 << 40):
    attempt(f"read at {offset}", lambda: is_plain(file, offset, 4096), True)
for offset in ((1 << 63) - 1, (1 << 63) - 4096):
    attempt(f"read at {offset}", lambda: is_plain(file, offset, 4096), True, "EINVAL", "EOVERFLOW")
attempt(
    "seek",
    lambda: [os.lseek(file, 0, how) for how in (os.SEEK_DATA, os.SEEK_HOLE, os.SEEK_END)],
    [0, SIZE, SIZE],
)
direct = os.open(VOLUME, os.O_RDONLY | os.O_DIRECT)
for offset, length in ((0, 4096), (1, 4096), (511, 513), (SIZE - 100, 4096), (0, 1), (3, 7), (SIZE, 512), (SIZE + 9, 512)):
    attempt(
        f"O_DIRECT, {length} at {offset}",
        lambda: read_directly(direct, offset, length) == PLAIN[offset : offset + length],
        True,
    )
# Without the page cache, a file cannot be mapped as shared.
attempt(
    "shared mapping",
    lambda: mmap.mmap(file, SIZE, mmap.MAP_SHARED, mmap.PROT_READ)[:] == PLAIN,
    True,
    "ENODEV",
)
attempt(
    "writable mapping of a file open for reading",
    lambda: mmap.mmap(file, SIZE, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE),
    "EACCES",
)
for name in ("user.x", "security.capability", "trusted.x"):
    attempt("getxattr " + name, lambda: os.getxattr(VOLUME, name), "ENOTSUP", "ENODATA")
    attempt(
        "setxattr " + name,
        lambda: os.setxattr(VOLUME, name, b"x" * 65536),
        "EROFS",
        "ENOTSUP",
        "EINVAL",
        "EPERM",
    )
for request in (0x5401, 0x1260, 0x80081272, 0x40086602, 0xC0045878, 0xFFFFFFFF):
    attempt(
        f"ioctl {request:#x}",
        lambda: fcntl.ioctl(file, request, b"\0" * 64),
        *("ENOTTY", "EROFS", "EINVAL", "EFAULT", "ENOTSUP", "EPERM"),
    )
for mode in (0, 1, 2, 3, 8, 0x10, 0x11, 0x20, 0x40, 0x80):
    attempt(
        f"fallocate {mode:#x}, open for reading",
        lambda: fallocate(file, mode, 0, 4096),
        "EBADF",
        "ENOTSUP",
        "EOPNOTSUPP",
    )
attempt("free space", lambda: os.statvfs(DIR).f_bavail, 0)
for name, action, *expected in (
    ("unlink", lambda: os.unlink(VOLUME), REFUSED),
    ("rename", lambda: os.rename(VOLUME, DIR + "/x"), REFUSED),
    ("mkdir", lambda: os.mkdir(DIR + "/d"), REFUSED),
    ("create", lambda: os.open(DIR + "/n", os.O_CREAT | os.O_WRONLY), REFUSED),
    ("symlink", lambda: os.symlink("a", DIR + "/s"), REFUSED),
    ("link", lambda: os.link(VOLUME, DIR + "/l"), REFUSED),
    ("mknod", lambda: os.mknod(DIR + "/k"), REFUSED),
    ("rmdir", lambda: os.rmdir(DIR), "EBUSY"),
    ("chmod", lambda: os.chmod(VOLUME, 0o777), REFUSED),
    ("chown", lambda: os.chown(VOLUME, 1, 1), REFUSED),
    ("truncate to 0", lambda: os.truncate(VOLUME, 0), REFUSED),
    ("truncate to more", lambda: os.truncate(VOLUME, SIZE + 1), REFUSED),
    ("long name", lambda: os.stat(DIR + "/" + "x" * 255), "ENOENT"),
    ("name that is not UTF-8", lambda: os.stat(os.fsencode(DIR) + b"/\xff\xfe"), "ENOENT"),
    ("name in a file", lambda: os.stat(VOLUME + "/x"), "ENOTDIR"),
    ("open a directory for writing", lambda: os.open(DIR, os.O_RDWR), "EISDIR"),
    ("O_TMPFILE", lambda: os.open(DIR, os.O_TMPFILE | os.O_RDWR), "EROFS", "ENOTSUP"),
    ("O_TRUNC", lambda: os.open(VOLUME, os.O_WRONLY | os.O_TRUNC), REFUSED),
    ("locks", lambda: [fcntl.flock(file, fcntl.LOCK_EX), fcntl.lockf(file, fcntl.LOCK_SH)], [None, None]),
):
    attempt(name, action, *expected)


def many_handles():
    resource.setrlimit(resource.RLIMIT_NOFILE, (3000, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
    files = [os.open(VOLUME, os.O_RDONLY) for _ in range(2000)]
    right = all(is_plain(one, at, 64) for at, one in enumerate(files[::50]))
    for one in files:
        os.close(one)
    return right


attempt("2000 open files", many_handles, True)
bad = []


def read_at_random(seed, end):
    chance = random.Random(seed)
    directly = seed % 4 == 0
    one = os.open(VOLUME, os.O_RDONLY | (os.O_DIRECT if directly else 0))
    while time.time() < end:
        offset = chance.randrange(SIZE + 1000)
        length = chance.choice((1, 7, 511, 512, 4096, 65536, 131072, 300000))
        data = read_directly(one, offset, length) if directly else os.pread(one, length, offset)
        if data != PLAIN[offset : offset + length]:
            bad.append((offset, length, len(data)))
        if seed % 17 == 0:
            os.posix_fadvise(one, 0, 0, os.POSIX_FADV_DONTNEED)
    os.close(one)


def many_threads():
    end = time.time() + 1.5
    threads = [threading.Thread(target=read_at_random, args=(seed, end)) for seed in range(100)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return bad[:3]


attempt("100 threads", many_threads, [])


def killed():
    program = f"""import mmap, os
file = os.open({VOLUME!r}, os.O_RDONLY | os.O_DIRECT)
buffer = mmap.mmap(-1, 1 << 17)
while True:
    for offset in range(0, {SIZE}, 4096):
        os.preadv(file, [buffer], offset)"""
    readers = [subprocess.Popen([sys.executable, "-c", program]) for _ in range(4)]
    time.sleep(1)
    for reader in readers:
        reader.send_signal(signal.SIGKILL)
    for reader in readers:
        reader.wait()
    return is_plain(file, 0, 4096)


attempt("readers killed in the middle", killed, True)
attempt("200 times the directory", lambda: all(os.listdir(DIR) == ["volume"] for _ in range(200)), True)
attempt("the whole file again", lambda: open(VOLUME, "rb").read() == PLAIN, True)
if RW:
    writer = os.open(VOLUME, os.O_RDWR)
    for mode in (0, 1, 2, 3, 8, 0x10, 0x11, 0x20, 0x40):
        attempt(
            f"fallocate {mode:#x} beyond the end",
            lambda: fallocate(writer, mode, SIZE - 4096, 1 << 40),
            *("ENOTSUP", "EOPNOTSUPP", "ENOSPC"),
        )
    attempt("write beyond the end", lambda: os.pwrite(writer, b"x" * 4096, SIZE), "ENOSPC")
    attempt("write far beyond the end", lambda: os.pwrite(writer, b"x", 1 << 50), "ENOSPC")
    attempt("write over the end", lambda: os.pwrite(writer, PLAIN[-512:] + b"x" * 3584, SIZE - 512), 512)
    attempt("hole up to 2^63", lambda: fallocate(writer, 3, SIZE - 8192, (1 << 63) - 1 - SIZE), "ENOSPC", "EFBIG")
    attempt("shorten", lambda: os.ftruncate(writer, 4096), "EPERM")
    attempt("sync", lambda: os.fsync(writer), None)
    attempt("size at the end", lambda: os.stat(VOLUME).st_size == SIZE, True)
print("\n".join(wrong))
print("FAIL" if wrong else "PASS")
