#!/usr/bin/env python3
"""A directory server that answers in bad faith.

usage: ldap_liar.py MODE CERTIFICATE KEY

It listens on a free port of 127.0.0.1 and prints the number. A MODE that begins with `ldaps:` uses TLS
from the start, any other waits for StartTLS. $PASSWORD and $ID (as stored, in hex) are what an honest
entry holds."""

import os
import socket
import ssl
import struct
import sys
import threading
import time

MODE, CERTIFICATE, KEY = sys.argv[1:4]
PASSWORD = os.environ.get("PASSWORD", "111111-" * 7 + "111111")
ID = bytes.fromhex(os.environ.get("ID", "00" * 16))
PAGING = "1.2.840.113556.1.4.319"
FOREVER = 1000


# The encoding of LDAP (RFC 4511 section 5.1).

def length(n):
    if n < 128:
        return bytes([n])
    digits = n.to_bytes((n.bit_length() + 7) // 8, "big")
    return bytes([0x80 | len(digits)]) + digits


def tag(number, *parts):
    content = b"".join(parts)
    return bytes([number]) + length(len(content)) + content


def integer(n, number=2):
    return tag(number, n.to_bytes(max(1, (n.bit_length() + 8) // 8), "big"))


def string(text, number=4):
    return tag(number, text if isinstance(text, bytes) else text.encode())


def message(number, operation, controls=b""):
    return tag(0x30, integer(number), operation, controls)


def result(number, code=0, name="", text="", more=b""):
    return tag(number, integer(code, 0x0A), string(name), string(text), more)


def referral(url):
    return tag(0xA3, string(url))


def attribute(name, *values):
    return tag(0x30, string(name), tag(0x31, *[string(value) for value in values]))


def entry(number, name, *attributes):
    return message(number, tag(0x64, string(name), tag(0x30, *attributes)))


def recovery(number, k=0, name=None, id=None, password=None, more=()):
    """An entry with a recovery password."""
    return entry(
        number,
        name or f"CN=2020-01-01T00:00:00-00:00{{x{k}}},CN=PC,DC=e",
        attribute("msFVE-RecoveryPassword", password or PASSWORD),
        attribute("msFVE-RecoveryGuid", id or ID),
        *more,
    )


def done(number, code=0, cookie=None, text="", more=b""):
    """The end of a page."""
    controls = b""
    if cookie is not None:
        page = tag(0x30, integer(0), string(cookie))
        controls = tag(0xA0, tag(0x30, string(PAGING), string(page)))
    return message(number, result(0x65, code, "", text, more), controls)


def paged(number, *control):
    return message(number, result(0x65), tag(0xA0, tag(0x30, string(PAGING), *control)))


def nested(levels):
    """So many sequences, each in the one before."""
    parts, inside = [], 0
    for _ in range(levels):
        head = b"\x30\x84" + struct.pack(">I", inside)
        parts.append(head)
        inside += len(head)
    return b"".join(reversed(parts))


class Connection:
    def __init__(self, plain):
        self.socket = self.plain = plain
        self.buffer = b""

    def secure(self):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(CERTIFICATE, KEY)
        self.socket = context.wrap_socket(self.plain, server_side=True)

    def send(self, *parts):
        self.socket.sendall(b"".join(parts))

    def send_slowly(self, content, pause):
        for byte in content:
            self.send(bytes([byte]))
            time.sleep(pause)

    def send_forever(self, make):
        while True:
            self.send(make())

    def receive(self):
        """Number, operation and content of the next message; None at the end."""
        while True:
            parsed = self.parse()
            if parsed:
                return parsed
            more = self.socket.recv(65536)
            if not more:
                return None
            self.buffer += more

    def parse(self):
        data = self.buffer
        if len(data) < 6:
            return None
        size, head = data[1], 2
        if size & 0x80:
            head += size & 0x7F
            size = int.from_bytes(data[2:head], "big")
        if len(data) < head + size:
            return None
        content, self.buffer = data[head : head + size], data[head + size :]
        digits = content[1]
        number = int.from_bytes(content[2 : 2 + digits], "big")
        return number, content[2 + digits], content[2 + digits :]


# What is sent in reply to StartTLS, unencrypted. A function that returns True goes on with TLS.

def start_tls(c, i):
    ok = message(i, result(0x78))
    once = {
        "st-refuse": lambda: message(i, result(0x78, 52, "", "no")),
        "st-refuse-protocol": lambda: message(i, result(0x78, 2, "", "no")),
        "st-referral": lambda: message(
            i, result(0x78, 10, "", "", referral("ldap://127.0.0.1:1/"))
        ),
        "st-wrong-operation": lambda: message(i, result(0x61)),
        "st-wrong-number": lambda: message(i + 7, result(0x78)),
        "st-nested": lambda: nested(40_000),
        "st-empty": lambda: b"\x30\x00",
        "st-no-number": lambda: tag(0x30, result(0x78)),
        "st-text-number": lambda: tag(0x30, string("x"), result(0x78)),
        "st-empty-operation": lambda: message(i, tag(0x78)),
        "st-primitive-operation": lambda: message(i, b"\x58\x00"),
        "st-text-result": lambda: message(i, tag(0x78, string("x"), string(""), string(""))),
        "st-bad-control": lambda: message(i, result(0x78), tag(0xA0, string("x"))),
        "st-empty-control": lambda: message(i, result(0x78), tag(0xA0, tag(0x30))),
        "st-not-utf8": lambda: message(
            i, tag(0x78, integer(0, 0x0A), string(b"\xff\xfe"), string(b"\xff"))
        ),
        "st-huge-length": lambda: b"\x30\x88" + b"\xff" * 8 + bytes(10),
        "st-notice": lambda: message(
            0, result(0x78, 52, "", "bye", string("1.3.6.1.4.1.1466.20036", 0x8A))
        ),
    }
    if MODE in once:
        c.send(once[MODE]())
        time.sleep(FOREVER)
    elif MODE == "st-4g":
        c.send(b"\x30\x84\xff\xff\xff\xf0")
        c.send_forever(lambda: bytes(1 << 20))
    elif MODE == "st-drip":
        c.send_slowly(ok, 1.5)
    elif MODE == "st-inject":
        c.send(ok, message(2, result(0x61)), message(3, result(0x61)))
        c.secure()
        time.sleep(FOREVER)
    else:
        c.send(ok)
    if MODE == "st-no-handshake":
        time.sleep(FOREVER)
    c.secure()


def log_in(c, i):
    ok = message(i, result(0x61))
    mode = MODE.removeprefix("ldaps:")
    if mode == "bind-stall":
        time.sleep(FOREVER)
    elif mode == "bind-drip":
        c.send_slowly(ok, 5)
    elif mode == "bind-refuse":
        c.send(message(i, result(0x61, 49, "", "\x1b[31mred\x07\n evil")))
    elif mode == "bind-continue":
        c.send(message(i, result(0x61, 14, "", "", string(b"x", 0x87))))
    elif mode == "bind-referral":
        c.send(message(i, result(0x61, 10, "", "", referral("ldap://127.0.0.1:1/"))))
    elif mode == "bind-nested":
        c.send(nested(200_000))
    else:
        c.send(ok)


def root(c, i):
    """The entry that names where to search."""
    mode = MODE.removeprefix("ldaps:")
    context = "DC=e"
    if mode == "root-none":
        c.send(entry(i, ""), done(i))
        return
    if mode == "root-many":
        c.send_forever(lambda: entry(i, "", attribute("x", "y" * 1000)) * 1000)
    if mode == "root-control":
        context = "DC=\x1b]0;owned\x07\x1b[2J\r\nfve: error: fake,DC=e"
    if mode == "root-nul":
        context = b"DC=\0\xff"
    if mode == "root-long":
        context = "DC=" + "x" * 10_000_000
    c.send(entry(i, "", attribute("defaultNamingContext", context)), done(i))


def search(c, i):
    mode = MODE.removeprefix("ldaps:")
    end = done(i, 0, b"")
    other = lambda: os.urandom(16)
    once = {
        "honest": lambda: recovery(i) + end,
        "root-control": lambda: done(i, 32),
        "huge": lambda: entry(
            i,
            "CN=x",
            attribute("msFVE-RecoveryPassword", b"1" * 100_000_000),
            attribute("msFVE-RecoveryGuid", ID),
        )
        + end,
        "many-values": lambda: entry(
            i,
            "CN=x",
            attribute("msFVE-RecoveryPassword", *[PASSWORD] * 200_000),
            attribute("msFVE-RecoveryGuid", ID),
        )
        + end,
        "many-matching": lambda: b"".join(recovery(i, k) for k in range(20_000)) + end,
        "many-different": lambda: b"".join(
            recovery(i, k, password=f"{11 * (k + 1):06}-" * 7 + "000011") for k in range(100)
        )
        + end,
        "control": lambda: recovery(
            i,
            name="CN=a\x1b]0;x\x07\x1b[2J\nfve: unlocked,CN=PC\x1b[31m,DC=e\u202e",
            more=(
                attribute("whenCreated", "2020\x1b[2J\x00\n"),
                attribute("cn", "\x1b[5mBLINK\x00"),
            ),
        )
        + end,
        "referral": lambda: done(i, 10, more=referral("ldap://127.0.0.1:1/\x1b[2J")),
        "wrong-number": lambda: recovery(i + 1) + done(i + 1, 0, b""),
        "bad-entry": lambda: message(i, tag(0x64, string("CN=x"))) + end,
        "bad-attribute": lambda: message(i, tag(0x64, string("CN=x"), tag(0x30, string("x")))) + end,
        "no-values": lambda: message(
            i, tag(0x64, string("CN=x"), tag(0x30, tag(0x30, string("a"))))
        )
        + end,
        "bad-name": lambda: message(i, tag(0x64, string(b"\xff\xfe\x00"), tag(0x30))) + end,
        "bad-cookie": lambda: paged(i, string(b"\x30\x03\x02")),
        "no-cookie": lambda: paged(i),
        "empty-cookie": lambda: paged(i, string(b"")),
        "empty-result": lambda: message(i, tag(0x65)),
        "nested": lambda: nested(200_000),
        "intermediate": lambda: message(i, tag(0x79)) + recovery(i) + end,
        "refused": lambda: recovery(i) + done(i, 50, None, "\x1b[2Jx"),
        "same-cookie": lambda: done(i, 0, b"again"),
    }
    forever = {
        "endless": lambda: b"".join(recovery(i, k) for k in range(200)),
        "endless-others": lambda: b"".join(recovery(i, k, id=other()) for k in range(200)),
        "endless-unnamed": lambda: b"".join(
            entry(i, f"CN=z{k}", attribute("msFVE-RecoveryPassword", PASSWORD)) for k in range(200)
        ),
        "endless-referrals": lambda: message(i, tag(0x73, string("ldap://127.0.0.1:1/"))) * 500,
        "endless-long": lambda: b"".join(
            recovery(i, k, name="CN=" + "A" * 200_000) for k in range(4)
        ),
    }
    if mode in once:
        c.send(once[mode]())
    elif mode in forever:
        c.send_forever(forever[mode])
    elif mode == "endless-pages":
        c.send(recovery(i, id=other()), done(i, 0, os.urandom(8)))
    elif mode == "16g":
        c.send(b"\x30\x85\x04\x00\x00\x00\x00")
        c.send_forever(lambda: bytes(1 << 20))
    elif mode == "slow-entries":
        while True:
            c.send(recovery(i, id=other()))
            time.sleep(1)
    elif mode == "drip":
        c.send_slowly(recovery(i) + end, 1)
    elif mode == "cut":
        c.send(recovery(i))
        c.socket.close()
    else:
        c.send(recovery(i), end)


def serve(plain):
    c = Connection(plain)
    if MODE == "silent":
        time.sleep(FOREVER)
    if MODE == "garbage":
        c.send(os.urandom(4096))
        time.sleep(FOREVER)
    if MODE.startswith("ldaps:"):
        c.secure()
    while True:
        received = c.receive()
        if received is None:
            return
        i, operation, content = received
        if operation == 0x77:
            start_tls(c, i)
        elif operation == 0x60:
            log_in(c, i)
        elif operation == 0x63 and b"\x04\x00\x0a\x01\x00" in content[:12]:
            root(c, i)
        elif operation == 0x63:
            search(c, i)
        else:
            return


def handle(plain):
    try:
        serve(plain)
    except (OSError, ssl.SSLError):
        pass
    finally:
        plain.close()


listener = socket.socket()
listener.bind(("127.0.0.1", 0))
listener.listen(20)
print(listener.getsockname()[1], flush=True)
while True:
    connection, _ = listener.accept()
    threading.Thread(target=handle, args=(connection,), daemon=True).start()
