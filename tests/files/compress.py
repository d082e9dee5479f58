"""Compresses what it reads from standard input: a byte with the format (0 LZNT1, 1 XPRESS, 2 LZX), the size
of a chunk, the length and the data; numbers have 32 bits. Writes the length and the compressed data, or a
length of 0 if they did not become smaller.

libwim compresses XPRESS and LZX. LZNT1 is compressed here, and dissect.util checks that."""

import ctypes
import struct
import sys

from dissect.util.compression import lznt1

wim = ctypes.CDLL("libwim.so.15")
wim.wimlib_compress.restype = ctypes.c_size_t
compressors = {}


def compress_with_wim(kind, size, data):
    compressor = compressors.get((kind, size))
    if compressor is None:
        compressor = compressors[kind, size] = ctypes.c_void_p()
        if wim.wimlib_create_compressor(kind, ctypes.c_size_t(size), 50, ctypes.byref(compressor)):
            sys.exit("libwim cannot make the compressor")
    out = ctypes.create_string_buffer(len(data) + 1)
    room = ctypes.c_size_t(len(data) - 1)
    made = wim.wimlib_compress(data, ctypes.c_size_t(len(data)), out, room, compressor)
    return out.raw[:made]


def compress_chunk(chunk):
    """Greedy: the last place with the same three bytes."""
    out, at, seen = bytearray(), 0, {}
    while at < len(chunk):
        flags, group = 0, bytearray()
        for bit in range(8):
            if at >= len(chunk):
                break
            bits = max(4, (at - 1).bit_length()) if at else 4
            start = seen.get(chunk[at : at + 3]) if at + 3 <= len(chunk) else None
            length = 1
            if start is not None:
                most = min(len(chunk) - at, (1 << (16 - bits)) + 2)
                length = 3
                while length < most and chunk[start + length] == chunk[at + length]:
                    length += 1
                flags |= 1 << bit
                group += struct.pack("<H", (at - start - 1) << (16 - bits) | (length - 3))
            else:
                group.append(chunk[at])
            for place in range(at, at + length):
                seen[chunk[place : place + 3]] = place
            at += length
        out.append(flags)
        out += group
    return bytes(out)


def compress_lznt1(data):
    out = bytearray()
    for at in range(0, len(data), 4096):
        chunk = data[at : at + 4096]
        small = compress_chunk(chunk)
        if len(small) < len(chunk):
            out += struct.pack("<H", 0xB000 | len(small) - 1) + small
        else:
            out += struct.pack("<H", 0x3000 | len(chunk) - 1) + chunk
    if lznt1.decompress(bytes(out)) != data:
        sys.exit("dissect.util reads other bytes")
    return bytes(out)


HEADER = struct.Struct("<BII")
while header := sys.stdin.buffer.read(HEADER.size):
    kind, size, length = HEADER.unpack(header)
    data = sys.stdin.buffer.read(length)
    made = compress_with_wim(kind, size, data) if kind else compress_lznt1(data)
    sys.stdout.buffer.write(struct.pack("<I", len(made)) + made)
