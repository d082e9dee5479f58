"""Reads a device through a device-mapper table, as the kernel's documentation describes the targets, with the ciphers of dissect.fve.

dm_table.py TABLE: the table contains the key and the path of the device. Writes the content of the mapping to standard output.
"""

import sys

from dissect.fve.crypto import create_cipher

SECTOR = 512


def read(device, first, count):
    with open(device, "rb") as file:
        file.seek(first * SECTOR)
        data = file.read(count * SECTOR)
    assert len(data) == count * SECTOR, "the target is larger than the device"
    return data


def decrypt(spec, key, number, device, first, *options, count):
    size = SECTOR
    if options:
        assert options[0] == str(len(options) - 1)
        words = set(options[1:])
        (size,) = (int(word.split(":")[1]) for word in words if word.startswith("sector_size:"))
        assert words == {f"sector_size:{size}", "iv_large_sectors"}
    number = int(number) * SECTOR
    assert number % size == 0 and count * SECTOR % size == 0
    key, key_size = bytes.fromhex(key), None
    if spec.endswith("elephant"):
        # dm-crypt takes the two keys one after the other; dissect, with 32 bytes for each as on the disk.
        half = len(key) // 2
        key, key_size = key[:half].ljust(32, b"\0") + key[half:].ljust(32, b"\0"), half * 8
    cipher = create_cipher(spec, key, key_size, sector_size=size, iv_sector_size=size)
    return cipher.decrypt(read(device, int(first), count), number // size)


end = 0
for line in open(sys.argv[1]):
    start, count, kind, *words = line.split()
    assert int(start) == end, "a gap"
    count = int(count)
    end += count
    if kind == "zero":
        data = bytes(count * SECTOR)
    elif kind == "linear":
        device, first = words
        data = read(device, int(first), count)
    elif kind == "crypt":
        data = decrypt(*words, count=count)
    else:
        sys.exit(f"cannot read a target of the kind {kind}")
    sys.stdout.buffer.write(data)
