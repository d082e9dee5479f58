"""A Network Unlock client that shares no code with fve. Its cryptography is PyCryptodome.

usage: client.py CERTIFICATE.der dhcp4|dhcp6 INTERFACE ADDRESS [bootp|discover]
Prints a line for each reply: "key", "not authentic", or "foreign" for one that is not of this
protocol; and "silence" if there was no key.
"""
import fcntl
import hashlib
import os
import socket
import struct
import sys
import time

from Crypto.Cipher import AES, PKCS1_v1_5
from Crypto.PublicKey import RSA

der = open(sys.argv[1], "rb").read()
transport, interface, address = sys.argv[2:5]
form = sys.argv[5] if len(sys.argv) > 5 else "bootp"
thumbprint = hashlib.sha1(der).digest()
network, session, xid = os.urandom(32), os.urandom(32), os.urandom(4)
protector = PKCS1_v1_5.new(RSA.import_key(der)).encrypt(network + session)


def opens(sealed):
    """Whether these 60 bytes, tag first, decrypt to the key that was sent."""
    cipher = AES.new(session, AES.MODE_CCM, nonce=bytes(12), mac_len=16)
    try:
        content = cipher.decrypt_and_verify(sealed[16:], sealed[:16])
    except ValueError:
        return False
    return content == bytes.fromhex("2c0000000100000006200000") + network


def option(code, content):
    return bytes([code, len(content)]) + content


if transport == "dhcp4":
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    mac = fcntl.ioctl(sock, 0x8927, struct.pack("256s", interface.encode()))[18:24]
    header = struct.pack(">BBBB4sHH4s4s4s4s16s", 1, 1, 6, 0, xid, 0, 0,
                         socket.inet_aton(address), bytes(4), bytes(4), bytes(4), mac)
    request = header + bytes(192) + bytes.fromhex("63825363")
    if form == "discover":
        request += option(53, b"\1")
    request += option(60, b"BITLOCKER")
    request += option(43, option(1, thumbprint) + option(2, protector[:128]))
    request += option(125, struct.pack(">IB", 311, 130) + option(1, protector[128:])) + b"\xff"
    port, to = 68, ("255.255.255.255", 67)
else:
    sock = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)

    def long(code, content):
        return struct.pack(">HH", code, len(content)) + content

    enterprise = struct.pack(">I", 311)
    request = b"\x0b" + xid[:3] + long(1, b"\0\3\0\1" + os.urandom(6)) + long(8, bytes(2))
    request += long(16, enterprise + struct.pack(">H", 9) + b"BITLOCKER")
    request += long(17, enterprise + long(1, thumbprint) + long(2, protector))
    port, to = 546, ("ff02::1:2", 547, 0, socket.if_nametoindex(interface))

sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, interface.encode() + b"\0")
sock.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
sock.bind(("", port))
sock.sendto(request, to)


def sealed_part(reply):
    """The 60 bytes of a reply to this request."""
    if transport == "dhcp4":
        if reply[0] != 2 or reply[4:8] != xid or reply[28:34] != mac:
            return None
        at, vendor, ours = 240, None, False
        while at < len(reply) and reply[at] != 255:
            if reply[at] == 0:
                at += 1
                continue
            code, content = reply[at], reply[at + 2:at + 2 + reply[at + 1]]
            at += 2 + reply[at + 1]
            ours |= code == 60 and content == b"BITLOCKER"
            vendor = content if code == 43 else vendor
        return vendor[2:] if ours and vendor and vendor[:2] == b"\2\x3c" else None
    if reply[0] != 7 or reply[1:4] != xid[:3]:
        return None
    at, found = 4, {}
    while at + 4 <= len(reply):
        code, length = struct.unpack(">HH", reply[at:at + 4])
        found[code] = reply[at + 4:at + 4 + length]
        at += 4 + length
    whole = 2 in found and found.get(16, b"")[6:] == b"BITLOCKER"
    return found[17][8:] if whole and found.get(17, b"")[:8] == enterprise + b"\0\2\0\x3c" else None


end = time.monotonic() + 3
while time.monotonic() < end:
    sock.settimeout(max(0.01, end - time.monotonic()))
    try:
        reply, source = sock.recvfrom(2048)
    except TimeoutError:
        break
    sealed = sealed_part(reply)
    if sealed is None:
        print("foreign", reply[0], source[0])
    elif opens(sealed):
        print("key", source[0], source[1])
        sys.exit(0)
    else:
        print("not authentic", source[0])
print("silence")
sys.exit(4)
