"""Fills the server's log, if it can. usage: log_flood.py"""
from netpackets import *

s = sock("10.77.0.3")
s.setblocking(False)
base, sent = os.urandom(256), 0
for i in range(20000):         # ever new clients
    block = os.urandom(8) + base[8:]
    sent += send(s, v4(block, gi="10.77.0.3", hw=b"\2" + struct.pack("!I", i) + b"\1"))
for i in range(20000):         # unknown certificates, and malformed packets
    packet = bytearray(v4(base, tp=os.urandom(20)))
    if i % 2:
        packet[random.randrange(240, len(packet))] = random.randrange(256)
    if i % 5 == 0:
        packet = packet[:random.randrange(0, len(packet))]
    sent += send(s, bytes(packet))
print("sent", sent)
