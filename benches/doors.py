#!/usr/bin/env python3
"""Measures what each way to the whole plaintext of a volume costs: `fve decrypt`, the mount, NBD, NBD
behind NBD, with an overlay, and the kernel's mapping where the kernel has device-mapper, on the same volume and in the same run. Upper bounds are the NBD servers of QEMU and nbdkit on the
plaintext itself.

Each result is the median of several rounds, in which the ways take turns. Everything is read once, from start to
end, and thrown away. Starting and unlocking are not counted.

Needs root, nbdcopy, qemu-nbd and nbdkit.

  sudo benches/doors.py [--size MIB] [--rounds N] [--methods aes-xts-128,…] [--work DIR] [--write]
"""

import argparse
import contextlib
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import end_to_end as shared
import machine
from end_to_end import FVE, MIB, ROOT, ratio, row, run, say

START = "<!-- table of doors, made by benches/doors.py -->"
END = "<!-- end of table of doors -->"
BOUND = "qemu-nbd, plaintext"


@contextlib.contextmanager
def server(command, ready):
    """A program that runs until the block ends. `ready` exists when it can be used."""
    process = subprocess.Popen(
        [str(word) for word in command], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    try:
        deadline = time.monotonic() + 60
        while not ready.exists():
            if time.monotonic() > deadline or process.poll() not in (None, 0):
                sys.exit(f"{command[0]} did not start: {process.stderr.read().decode(errors='replace')}")
            time.sleep(0.01)
        yield
    finally:
        process.terminate()
        process.wait()


def seconds(*command):
    start = time.monotonic()
    run(*command)
    return time.monotonic() - start


class Bench:
    def __init__(self, volume):
        self.volume, self.key = volume, ["--startup-key", volume.startup_key()]

    def over_nbd(self, command):
        """Copies what a server shows, whose command ends with the option for its socket."""
        with tempfile.TemporaryDirectory(prefix="fve-bench-") as directory:
            socket = Path(directory) / "socket"
            with server([*command, socket], socket):
                return seconds("nbdcopy", f"nbd+unix:///?socket={socket}", "null:")

    def fve(self, source):
        return [FVE, "serve", "nbd", source, *self.key, "--socket"]

    def nbd(self):
        return self.over_nbd(self.fve(self.volume.path))

    def nbd_behind_nbd(self):
        with tempfile.TemporaryDirectory(prefix="fve-bench-") as directory:
            socket = Path(directory) / "socket"
            command = ["qemu-nbd", "-r", "-t", "-e", "8", "-f", "raw", self.volume.path, "-k", socket]
            with server(command, socket):
                return self.over_nbd(self.fve(f"nbd+unix:///?socket={socket}"))

    def overlay(self):
        with tempfile.TemporaryDirectory(prefix="fve-bench-", dir=self.volume.path.parent) as directory:
            command = [FVE, "serve", "nbd", self.volume.path, *self.key, "--overlay", Path(directory) / "changes"]
            return self.over_nbd([*command, "--socket"])

    def map(self):
        name = "fve-bench"
        run(FVE, "map", self.volume.path, name, *self.key)
        try:
            return seconds("dd", f"if=/dev/mapper/{name}", "of=/dev/null", "bs=1M", "iflag=direct")
        finally:
            run(FVE, "unmap", name)

    def qemu(self):
        return self.over_nbd(["qemu-nbd", "-r", "-t", "-e", "8", "-f", "raw", self.volume.plaintext, "-k"])

    def nbdkit(self):
        return self.over_nbd(["nbdkit", "-f", "-r", "file", self.volume.plaintext, "-U"])

    def mount(self, *options):
        with tempfile.TemporaryDirectory(prefix="fve-bench-") as directory:
            run(FVE, "mount", "--volume", *options, *self.key, self.volume.path, directory)
            try:
                return seconds("dd", f"if={directory}/volume", "of=/dev/null", "bs=1M")
            finally:
                run(FVE, "unmount", directory)

    def decrypt(self):
        start = time.monotonic()
        with open(os.devnull, "wb") as nothing:
            command = [FVE, "decrypt", *self.key, self.volume.path, "-"]
            subprocess.run([str(word) for word in command], stdout=nothing, stderr=subprocess.DEVNULL, check=True)
        return time.monotonic() - start

    def ways(self):
        return {
            "`fve serve nbd`": self.nbd,
            "`fve decrypt -`": self.decrypt,
            "`fve mount --volume`": self.mount,
            "`fve mount --volume --direct-io`": lambda: self.mount("--direct-io"),
            "`fve serve nbd`, source behind qemu-nbd": self.nbd_behind_nbd,
            "`fve serve nbd --overlay`, nothing changed": self.overlay,
            **({"`fve map`": self.map} if "device-mapper" in Path("/proc/devices").read_text() else {}),
            BOUND: self.qemu,
            "nbdkit, plaintext": self.nbdkit,
        }


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, default=1024, help="size of the volumes in MiB")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--methods", default="aes-xts-128,aes-cbc-128-elephant")
    parser.add_argument("--work", help="directory to create the volumes in")
    parser.add_argument("--write", action="store_true", help="write the table into docs/benchmarks.md")
    options = parser.parse_args()
    run("cargo", "build", "--release", "--bin", "fve", cwd=ROOT)
    with tempfile.TemporaryDirectory(prefix="fve-bench-", dir=options.work) as work:
        volumes = shared.make_volumes(Path(work), options.size * MIB, options.methods.split(","))
        found = {volume.method: measured(volume, options.rounds) for volume in volumes}
    text = table(found, options)
    print(text)
    if options.write:
        shared.write_page(text, START, END)


def measured(volume, rounds):
    ways = Bench(volume).ways()
    samples = {way: [] for way in ways}
    for number in range(rounds):
        for way, measure in ways.items():
            samples[way].append(measure())
            say(f"{volume.method}, round {number + 1}: {way}: {samples[way][-1]:.3f} s")
    return {way: statistics.median(times) for way, times in samples.items()}


def table(found, options):
    ways = list(next(iter(found.values())))
    lines = [
        f"{machine.description()}; {options.size} MiB, medians of {options.rounds}.",
        "",
        "The first column is the throughput of `nbdcopy` from `fve serve nbd`, in MB/s. The other columns say how many times "
        "as fast the other way is.",
        "",
        row(["volume", *ways]),
        row(["---"] * (1 + len(ways))),
    ]
    for method, times in found.items():
        nbd = times[ways[0]]
        others = [ratio(nbd / times[way]) for way in ways[1:]]
        lines.append(row([method, f"{options.size * MIB / nbd / 1e6:.0f}", *others]))
    lowest = min(times[BOUND] / times[ways[0]] for times in found.values())
    lines += ["", f"`fve serve nbd` reaches at least {ratio(lowest)} of the throughput of `qemu-nbd` on the plaintext."]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
