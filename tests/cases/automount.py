#!/usr/bin/env python3
"""A mount on a directory where an automounter waits. It must not touch the directory: the automounter would wait for it.

usage: automount.py FVE VOLUME OPTION FILE

The kernel reports each access to the directory on a pipe, which this program never reads from.
"""
import ctypes
import os
import select
import subprocess
import sys

fve, volume, *credential = sys.argv[1:]
libc = ctypes.CDLL(None, use_errno=True)
directory = os.path.realpath("auto")
os.mkdir(directory)
reader, writer = os.pipe()
# As the process group of the automounter: processes in it do not trigger the mount.
os.setpgid(0, 0)
options = f"fd={writer},pgrp={os.getpgrp()},minproto=5,maxproto=5,direct"
if libc.mount(b"waits", directory.encode(), b"autofs", 0, options.encode()) != 0:
    print("cannot mount autofs:", os.strerror(ctypes.get_errno()))
    sys.exit("FAIL")
done = 1
try:
    mount = subprocess.run(
        [fve, "mount", "--volume", volume, directory, *credential], process_group=0, timeout=15
    )
    shown = os.path.getsize(directory + "/volume") if mount.returncode == 0 else 0
    triggered = bool(select.select([reader], [], [], 0)[0])
    print("status", mount.returncode, "size", shown, "triggered", triggered)
    ended = subprocess.run([fve, "unmount", directory], process_group=0, timeout=15)
    done = int(mount.returncode != 0 or shown == 0 or triggered or ended.returncode != 0)
except subprocess.TimeoutExpired as late:
    print("no answer from", late.cmd[1])
finally:
    libc.umount2(directory.encode(), 2)
    libc.umount2(directory.encode(), 2)
print("FAIL" if done else "PASS")
