"""Prints what dissect.fat finds in a FAT image: a JSON document per file and directory."""

import hashlib
import json
import sys

from dissect.fat.fat import FATFS


def show(directory, prefix):
    for entry in directory.iterdir():
        if entry.name in (".", "..") or entry.is_volume_id():
            continue
        path = prefix + entry.name
        document = {"path": path, "modified": entry.mtime.strftime("%Y-%m-%dT%H:%M:%S")}
        if not entry.is_directory():
            data = entry.open().read(entry.size) if entry.size else b""
            document["len"] = len(data)
            document["sha256"] = hashlib.sha256(data).hexdigest()
        print(json.dumps(document))
        if entry.is_directory():
            show(entry, path + "/")


with open(sys.argv[1], "rb") as image:
    show(FATFS(image).root, "")
