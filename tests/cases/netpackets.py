"""Network Unlock packets that share no code with fve. Addresses are those of the segment in
tests/network/server/attacks.rs; ./network-unlock.cer is the server's certificate.
"""
import hashlib
import os
import random
import socket
import struct
import sys
import time

from Crypto.Cipher import AES, PKCS1_v1_5
from Crypto.PublicKey import RSA

DER = open("network-unlock.cer", "rb").read()
TP = hashlib.sha1(DER).digest()
KEY = RSA.import_key(DER)
SRV = "10.77.0.1"


def kp():
    """A valid key protector, the network key and the session key in it."""
    ck, sk = os.urandom(32), os.urandom(32)
    return PKCS1_v1_5.new(KEY).encrypt(ck + sk), ck, sk


def v4(block, xid=None, ci="0.0.0.0", gi="0.0.0.0", hw=b"\2\0\0\0\0\1", tp=TP):
    """A request in the form of DHCPv4."""
    xid = xid or os.urandom(4)
    header = struct.pack("!BBBB4sHH", 1, 1, 6, 0, xid, 0, 0) + socket.inet_aton(ci) + bytes(8)
    header += socket.inet_aton(gi) + hw.ljust(16, b"\0") + bytes(192) + b"\x63\x82\x53\x63"
    return header + b"\x3c\x09BITLOCKER\x2b\x98\x01\x14" + tp + b"\x02\x80" + block[:128] \
        + b"\x7d\x87\0\0\1\x37\x82\1\x80" + block[128:] + b"\xff"


def sock(src, port=68, wait=1.0):
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    s.bind((src, port))
    s.settimeout(wait)
    return s


def ask(s, packet):
    s.sendto(packet, (SRV, 67))
    try:
        return s.recvfrom(4096)[0]
    except socket.timeout:
        return None


def check(reply, ck, sk):
    """Whether the reply decrypts to the key that was sent."""
    at = (reply or b"").find(b"\x2b\x3e\x02\x3c")
    if at < 0:
        return False
    sealed = reply[at + 4:at + 64]
    cipher = AES.new(sk, AES.MODE_CCM, nonce=bytes(12), mac_len=16)
    try:
        return cipher.decrypt_and_verify(sealed[16:], sealed[:16])[12:] == ck
    except ValueError:
        return False


def send(s, packet):
    try:
        s.sendto(packet, (SRV, 67))
        return 1
    except BlockingIOError:
        time.sleep(.001)
        return 0
