"""Writes the volumes that Windows made to one disk, each in a partition: windows.py CORPUS DISK LIST.

A line of LIST has the number of the partition, the name, the code of the method, the state, what is special about the volume (or `-`),
the FVEK in hex digits as cryptsetup prints it, the size of the plaintext and its SHA-256.
"""

import gzip
import json
import lzma
import pathlib
import subprocess
import sys
import tarfile

MIB = 1 << 20
ZEROS = bytes(MIB)

corpus, disk, names = map(pathlib.Path, sys.argv[1:])
volumes = json.loads((corpus / "corpus.json").read_text())["volumes"]


def copy_sparse(source, target, at):
    while piece := source.read(MIB):
        if piece != ZEROS[: len(piece)]:
            target.seek(at)
            target.write(piece)
        at += len(piece)


start = MIB
layout = ["label: gpt"]
places = {}
with names.open("w") as lines:
    for number, volume in enumerate(volumes, 1):
        places[volume.get("member") or volume["file"]] = start
        layout.append(f"start={start // 512},size={volume['size'] // 512}")
        start += -(-volume["size"] // MIB) * MIB
        state = "{}.{}".format(*volume["state"])
        clear = any(protector["type"].startswith("clear") for protector in volume["protectors"])
        if volume["eow_boot_sector"]:
            kind = "encrypt-on-write"
        elif clear:
            kind = "clear-key"
        elif volume["encrypted_extent"] > volume["size"]:
            kind = "cut-off"
        else:
            kind = "-"
        words = number, volume["name"], volume["cipher_id"], state, kind
        print(*words, volume["fvek_hex"], volume["plaintext_size"], volume["expected_sha256"], file=lines)

with disk.open("wb") as out:
    out.truncate(start + MIB)
    for path in sorted(corpus.iterdir()):
        if path.name.endswith(".tar.xz"):
            with lzma.open(path) as data, tarfile.open(fileobj=data) as archive:
                for member in archive:
                    if member.name in places:
                        copy_sparse(archive.extractfile(member), out, places[member.name])
        elif path.name in places:
            with gzip.open(path) as data:
                copy_sparse(data, out, places[path.name])

table = "\n".join(layout).encode()
done = subprocess.run(["sfdisk", "--wipe-partitions", "never", disk], input=table, capture_output=True)
if done.returncode:
    sys.exit(done.stderr.decode())
