"""Prints what dissect.ntfs finds in an NTFS image: a JSON document on each line, with the path and either
the length and SHA-256 of the content, the target of a link, "directory", or an error."""

import hashlib
import json
import sys

from dissect.ntfs import NTFS
from dissect.ntfs.c_ntfs import ATTRIBUTE_TYPE_CODE, FILE_NAME_DOS


def tell(path, **found):
    print(json.dumps({"path": path, **found}))


def content(path, record, stream):
    try:
        reader = record.open(stream)
        digest = hashlib.sha256()
        size = 0
        while piece := reader.read(1 << 20):
            digest.update(piece)
            size += len(piece)
        tell(path, len=size, sha256=digest.hexdigest())
    except Exception as error:
        tell(path, error=str(error) or type(error).__name__)


def walk(directory, prefix):
    for name, entry in directory.listdir().items():
        attribute = entry.attribute
        if attribute.flags == FILE_NAME_DOS or name == ".":
            continue
        if not prefix and entry.dereference().segment < 24:
            continue
        path = prefix + name
        try:
            record = entry.dereference()
            attributes = record.attributes
        except Exception as error:
            tell(path, error=str(error))
            continue
        if record.is_symlink() or record.is_mount_point():
            tell(path, link=record.reparse_point_substitute_name)
        elif record.is_dir():
            tell(path, directory=True)
            walk(record, path + "/")
        else:
            content(path, record, "")
        for stream in {one.name for one in attributes[ATTRIBUTE_TYPE_CODE.DATA] if one.name}:
            content(f"{path}:{stream}", record, stream)


with open(sys.argv[1], "rb") as image:
    walk(NTFS(image).mft.root, "")
