"""Compresses standard input into the stream WofCompressedData of a file, with the compressors of libwim:
wof.py ALGORITHM, as Windows numbers them: 0 XPRESS with chunks of 4 KiB, 1 LZX with 32 KiB, 2 XPRESS with
8 KiB, 3 XPRESS with 16 KiB. The stream is a table of offsets, one for each chunk but the first, and the
chunks. A chunk that does not become smaller is stored as it is."""

import ctypes
import struct
import sys

FORMATS = {0: (1, 4096), 1: (2, 32768), 2: (1, 8192), 3: (1, 16384)}

wim = ctypes.CDLL("libwim.so.15")
wim.wimlib_compress.restype = ctypes.c_size_t
kind, size = FORMATS[int(sys.argv[1])]
compressor = ctypes.c_void_p()
if wim.wimlib_create_compressor(kind, ctypes.c_size_t(size), 50, ctypes.byref(compressor)):
    sys.exit("libwim cannot make the compressor")
data = sys.stdin.buffer.read()
chunks = []
for at in range(0, len(data), size):
    plain = data[at : at + size]
    out = ctypes.create_string_buffer(size)
    room = ctypes.c_size_t(len(plain) - 1)
    made = wim.wimlib_compress(plain, ctypes.c_size_t(len(plain)), out, room, compressor)
    chunks.append(out.raw[:made] if made else plain)
ends = [sum(map(len, chunks[: number + 1])) for number in range(len(chunks) - 1)]
sys.stdout.buffer.write(b"".join(struct.pack("<I", end) for end in ends) + b"".join(chunks))
