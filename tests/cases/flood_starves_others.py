"""One host floods the server; prints how often another client is served.
usage: flood_starves_others.py none|direct|relayed|spoofed SECONDS TIMES
"""
import threading

from netpackets import *

kind, seconds, times = sys.argv[1], float(sys.argv[2]), int(sys.argv[3])
pool = [os.urandom(256) for _ in range(50)]


def packet(number):
    """Garbage with the right thumbprint, which is public."""
    block = pool[number % 50]
    hardware = b"\2" + struct.pack("!I", number) + b"\1"
    if kind == "relayed":      # as from ever new clients of a relay
        return v4(block, gi="10.77.0.3", hw=hardware)
    if kind == "spoofed":      # as from ever new clients of ever new relays
        return v4(block, gi="10.77.%d.%d" % (number >> 8 & 127, number & 127 or 1), hw=hardware)
    return v4(block, hw=hardware)


def flood(rate=1500):
    s = sock("10.77.0.3", port=6800)
    s.setblocking(False)
    start, number = time.time(), 0
    while time.time() - start < seconds:
        number += sum(send(s, packet(number + i)) for i in range(rate // 100))
        time.sleep(max(0, start + number / rate - time.time()))
    print("sent", number)


thread = threading.Thread(target=flood) if kind != "none" else None
if thread:
    thread.start()
    # By then, every allowance that refused requests could use up is used up.
    time.sleep(seconds / 2)
s, served = sock("10.77.9.4"), 0
for i in range(times):
    block, ck, sk = kp()
    served += check(ask(s, v4(block)), ck, sk)
    time.sleep(.55)
if thread:
    thread.join()
print("served", served, "of", times)
