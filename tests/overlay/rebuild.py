#!/usr/bin/env python3
"""Rebuilds a whole image from a source and a store of device-mapper's target `snapshot`.

usage: rebuild.py SOURCE STORE OUT

Follows the kernel's documentation (admin-guide/device-mapper/snapshot.rst) and its comments on the
persistent store, and shares no code with fve.
"""

import shutil
import struct
import sys

source, store, out = sys.argv[1:]
with open(store, "rb") as file:
    cow = file.read()
magic, valid, version, sectors = struct.unpack_from("<IIII", cow, 0)
assert magic == 0x70416E53 and valid == 1 and version == 1, "not a valid store"
size = sectors * 512
assert size & (size - 1) == 0 and len(cow) % size == 0, "chunk size"
pairs = size // 16
changed, area, ended = {}, 0, False
while not ended:
    start = (1 + area * (pairs + 1)) * size
    assert start + size <= len(cow), "the next map area is missing"
    for index in range(pairs):
        old, new = struct.unpack_from("<QQ", cow, start + index * 16)
        if new == 0:
            ended = True
            break
        assert old not in changed and new not in changed.values(), "a pair occurs twice"
        assert new % (pairs + 1) != 1 and (new + 1) * size <= len(cow), "place"
        changed[old] = new
    area += 1
shutil.copyfile(source, out)
with open(out, "r+b") as file:
    end = file.seek(0, 2)
    for old, new in changed.items():
        assert old * size < end, "outside the source"
        file.seek(old * size)
        file.write(cow[new * size : (new + 1) * size][: end - old * size])
print(len(changed))
