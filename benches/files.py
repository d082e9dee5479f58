#!/usr/bin/env python3
"""Measures how fast the files of an encrypted volume are read: `fve cp`, `fve find` and the mount that
shows files, against ntfs-3g on `fve mount --volume`, and ntfs-3g on the same file system without
encryption.

The script makes an NTFS file system with a large file, a tree of small files and a directory of many
entries, and encrypts it. Each result is the median of several rounds, in which the programs take turns.
Mounts are made again for every measurement, and the time to make them is not counted; that of `fve cp` and
`fve find` to unlock the volume is. Writing the copies to the disk is counted for all.

Needs root and ntfs-3g.

  sudo benches/files.py [--large MIB] [--small COUNT] [--entries COUNT] [--rounds N] [--write]
"""

import argparse
import contextlib
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import end_to_end as shared
import machine
from end_to_end import FVE, MIB, ROOT, ratio, row, run, say

START = "<!-- table of files, made by benches/files.py -->"
END = "<!-- end of table of files -->"
VOLUME = "ntfs-3g on `fve mount --volume`"
PLAIN = "ntfs-3g without encryption"
MOUNT = "`fve mount`"


def make(work, large, small, entries):
    """Makes the file system and the volume."""
    plaintext = work / "plaintext.img"
    with open(plaintext, "wb") as file:
        file.truncate((large + 512) * MIB + small * 16_384 + entries * 2048)
    run("mkntfs", "-F", "-Q", "-q", plaintext)
    with mounted(["ntfs-3g", plaintext]) as root:
        say("writing files")
        with open(root / "large", "wb") as file, open(work / "large", "wb") as plain:
            for _ in range(large):
                piece = os.urandom(MIB)
                file.write(piece)
                plain.write(piece)
        for number in range(small):
            directory = root / "small" / f"{number // 100}"
            if number % 100 == 0:
                directory.mkdir(parents=True)
            (directory / f"file {number}").write_bytes(os.urandom(number * 37 % 16_000))
        for number in range(entries):
            directory = root / "many" / f"{number // 10_000}"
            if number % 10_000 == 0:
                directory.mkdir(parents=True)
            (directory / f"entry number {number}").touch()
    say("making the volume")
    secrets = work / "secrets"
    secrets.mkdir()
    (secrets / "password").write_text(shared.PASSWORD)
    volume = work / "volume.img"
    run(FVE, "create", volume, "--from", plaintext, "--new-password-file", secrets / "password",
        "--startup-key-to", secrets)
    return plaintext, volume, next(secrets.glob("*.BEK"))


@contextlib.contextmanager
def mounted(command):
    """The directory on which a command mounts something until the block ends."""
    directory = Path(tempfile.mkdtemp(prefix="fve-bench-"))
    try:
        run(*command, directory)
        while not os.path.ismount(directory):
            time.sleep(0.01)
        yield directory
        while subprocess.run(["umount", directory], capture_output=True).returncode != 0:
            time.sleep(0.05)
        while any(pid_uses(directory)):
            time.sleep(0.01)
    finally:
        directory.rmdir()


def pid_uses(directory):
    return shared.pids_of(directory)


class Bench:
    def __init__(self, work, plaintext, volume, key):
        self.work, self.plaintext, self.volume, self.key = work, plaintext, volume, key
        self.out = work / "out"

    @contextlib.contextmanager
    def root(self, way):
        """The files of the volume in a directory."""
        fve = [FVE, "mount", self.volume, "--startup-key", self.key]
        if way == PLAIN:
            with mounted(["ntfs-3g", "-o", "ro", self.plaintext]) as root:
                yield root
        elif way == MOUNT:
            with mounted(fve) as root:
                yield root
        else:
            with mounted([*fve, "--volume"]) as outer:
                with mounted(["ntfs-3g", "-o", "ro", outer / "volume"]) as root:
                    yield root

    def seconds(self, command, output=None):
        """How long a command takes until its output is on the disk."""
        self.clean()
        os.sync()
        start = time.monotonic()
        with open(output, "wb") if output else contextlib.nullcontext(subprocess.DEVNULL) as stdout:
            done = subprocess.run([str(part) for part in command], stdout=stdout, stderr=subprocess.PIPE)
        if done.returncode != 0:
            sys.exit(f"{command}: {done.stderr.decode(errors='replace')}")
        if self.out.exists():
            os.sync()
        taken = time.monotonic() - start
        return taken

    def clean(self):
        if self.out.is_dir():
            shutil.rmtree(self.out)
        else:
            self.out.unlink(missing_ok=True)

    def copy(self, way, name):
        if way == "fve":
            return self.seconds([FVE, "cp", "-r", self.volume, name, self.out, "--startup-key", self.key])
        with self.root(way) as root:
            return self.seconds(["cp", "-r", root / name, self.out])

    def find(self, way, condition=()):
        """Finds all entries. A condition, of which `fve find` spells the option with two dashes, makes
        the programs look at each file."""
        if way == "fve":
            wanted = [f"-{part}" if part.startswith("-") and part[1:].isalpha() else part for part in condition]
            command = [FVE, "find", self.volume, "many", "--startup-key", self.key, *wanted]
            return self.seconds(command, self.work / "list")
        with self.root(way) as root:
            return self.seconds(["find", root / "many", *condition], self.work / "list")

    def plain_copy(self):
        """A copy without any volume: no program can copy faster to this place."""
        return self.seconds(["cp", self.work / "large", self.out])

    def decrypt(self):
        return self.seconds([FVE, "decrypt", self.volume, self.out, "--startup-key", self.key])

    def read(self, way, name, size):
        """Seconds for reading that many bytes in blocks of 1 MiB."""
        fve = [FVE, "mount", self.volume, "--startup-key", self.key]
        with mounted(fve if way == MOUNT else [*fve, "--volume"]) as root:
            start = time.monotonic()
            with open(root / name, "rb", buffering=0) as file:
                buffer = bytearray(MIB)
                left = size
                while left > 0:
                    left -= file.readinto(buffer) or sys.exit("the file is too short")
            return time.monotonic() - start


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--large", type=int, default=1024, help="size of the large file in MiB")
    parser.add_argument("--small", type=int, default=10_000, help="number of small files")
    parser.add_argument("--entries", type=int, default=100_000, help="number of entries to find")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--work", help="directory to create the volume in")
    parser.add_argument("--write", action="store_true", help="write the table into docs/benchmarks.md")
    options = parser.parse_args()
    run("cargo", "build", "--release", "--bin", "fve", cwd=ROOT)
    ways = ["fve", MOUNT, VOLUME, PLAIN]
    with tempfile.TemporaryDirectory(prefix="fve-bench-", dir=options.work) as work:
        work = Path(work)
        bench = Bench(work, *make(work, options.large, options.small, options.entries))
        size = bench.volume.stat().st_size
        jobs = {
            f"a file of {options.large} MiB, copied": {way: lambda way=way: bench.copy(way, "large") for way in ways},
            f"{options.small} small files, copied": {way: lambda way=way: bench.copy(way, "small") for way in ways},
            f"{options.entries} entries, found": {way: lambda way=way: bench.find(way) for way in ways},
            f"{options.entries} entries, found by their size": {
                way: lambda way=way: bench.find(way, ["-type", "f", "-size", "-10M"]) for way in ways
            },
            "decrypt": {"fve": bench.decrypt},
            "plain copy": {"cp": bench.plain_copy},
            "read": {
                MOUNT: lambda: bench.read(MOUNT, "large", options.large * MIB),
                VOLUME: lambda: bench.read(VOLUME, "volume", options.large * MIB),
            },
        }
        samples = {job: {way: [] for way in found} for job, found in jobs.items()}
        for number in range(options.rounds):
            for job, found in jobs.items():
                for way, measure in found.items():
                    samples[job][way].append(measure())
                    say(f"round {number + 1}: {job}, {way}: {samples[job][way][-1]:.3f} s")
    found = {
        job: {way: statistics.median(times) for way, times in ways.items()} for job, ways in samples.items()
    }
    text = table(found, ways, options, size)
    print(text)
    if options.write:
        shared.write_page(text, START, END)


def table(found, ways, options, size):
    lines = [
        f"{machine.description()}; medians of {options.rounds}.",
        "",
        "The column `fve` is in seconds, for `fve cp -r` and `fve find`. The other columns say how many "
        "times as long it takes with `cp -r` and `find` in another mount.",
        "",
        row(["job"] + [way if "`" in way else f"`{way}`" if way == "fve" else way for way in ways]),
        row(["---"] * (1 + len(ways))),
    ]
    for job, times in found.items():
        if "fve" in times and len(times) > 1:
            others = [ratio(times[way] / times["fve"]) for way in ways[1:]]
            lines.append(row([job, f"{times['fve']:.2f}"] + others))
    fve = next(iter(found.values()))["fve"]
    plain = found["plain copy"]["cp"]
    copied = options.large * MIB / fve
    decrypted = size / found["decrypt"]["fve"]
    seen = found["read"]
    lines += [
        "",
        f"`fve cp` copies the large file at {copied / 1e6:.0f} MB/s, {ratio(copied / decrypted)} of the rate of "
        f"`fve decrypt` on the whole volume; `cp` of a file of that size, without any volume, takes "
        f"{ratio(plain / fve)} times as long. In blocks of 1 MiB, the large file in `fve mount` is read at "
        f"{options.large * MIB / seen[MOUNT] / 1e6:.0f} MB/s, {ratio(seen[VOLUME] / seen[MOUNT])} of the rate of "
        "the file that `fve mount --volume` shows.",
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
