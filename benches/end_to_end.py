#!/usr/bin/env python3
"""Measures fve end to end, and compares it in one run with other programs and upper bounds.

The script makes a file system with files, encrypts it with every method, and mounts each volume with
fve (cached, and with direct I/O), dislocker and bdemount. Two more servers give upper bounds: one
returns the bytes of a plaintext file, the other returns zeros. Each result is the median of several
rounds. The servers take turns within a round, so that a temporary load affects all of them. A server
is started again for every measurement, so that no pages cached by an earlier one are used.

Every server runs in a session of its own, as a mount in the background does: the kernel shares the CPU
between sessions (sched_autogroup_enabled), so a server in the session of the reader gets less of it.

The script refuses to measure while other programs use the CPU. It is made of pieces, each of which takes less
than ten minutes on two cores; without any, all are measured.

Most results are ratios to fve: throughput (how many times as fast fve is) and CPU time per byte. Each piece says
which of its targets are met. With --profile (needs perf), it also says where the time went in what missed one.
Needs root, fio and ntfs-3g. dislocker, libbde-utils and cryptsetup-bin are optional; the script
reports which are missing and skips them.

  sudo benches/end_to_end.py [PIECE…] [--size MIB] [--rounds N] [--methods aes-xts-128,…] [--profile] [--write]
"""

import argparse
import contextlib
import json
import os
import re
import resource
import shutil
import statistics
import struct
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import machine

ROOT = Path(__file__).resolve().parent.parent
RELEASE = ROOT / "target" / "release"
FVE = RELEASE / "fve"
METHODS = ["aes-xts-128", "aes-xts-256", "aes-cbc-128", "aes-cbc-256", "aes-cbc-128-elephant"]
PASSWORD = "correct horse battery"
MIB = 1 << 20


def run(*command, **options):
    """Runs a command that must succeed, silently."""
    done = subprocess.run([str(part) for part in command], capture_output=True, **options)
    if done.returncode != 0:
        said = (done.stderr or b"") + (done.stdout or b"")
        sys.exit(f"{command[0]} failed: {said.decode(errors='replace').strip()}")
    return done


def say(text):
    print(text, file=sys.stderr, flush=True)


class Volume:
    """An encrypted volume and the directory with its credentials."""

    def __init__(self, path, method, plaintext, secrets):
        self.path, self.method, self.plaintext, self.secrets = path, method, plaintext, secrets
        self.size = path.stat().st_size

    def startup_key(self):
        return next(self.secrets.glob("*.BEK"))

    def writable(self):
        """The longest range between copies of the metadata, in bytes: start and length."""
        header = self.path.open("rb").read(512)
        places = sorted([0, *struct.unpack_from("<3Q", header, 176), self.size])
        start, end = max(zip(places, places[1:]), key=lambda pair: pair[1] - pair[0])
        # The moved first sectors and what else belongs to a copy come after it.
        start += 2 * MIB
        return start, (end - start) // MIB * MIB


class Server:
    """A program that shows a volume as a file."""

    def __init__(self, name, command, file_name, tool=None, refuses=(), own_session=True):
        self.name, self.command, self.file_name = name, command, file_name
        self.refuses = refuses
        self.missing = tool is not None and shutil.which(tool) is None
        self.own_session = own_session

    def start(self, volume, directory):
        """Mounts the volume, and waits until its file exists."""
        command = [str(part) for part in self.command(volume, directory)]
        self.directory = directory
        self.process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
            start_new_session=self.own_session,
        )
        self.file = directory / self.file_name
        deadline = time.monotonic() + 30
        while not self.file.exists():
            ended = self.process.poll()
            if time.monotonic() > deadline or ended not in (None, 0):
                said = self.process.stderr.read().decode(errors="replace")
                sys.exit(f"{self.name} did not mount: {' '.join(command)}\n{said}")
            time.sleep(0.01)
        self.pids = pids_of(directory)

    def cpu(self):
        """CPU seconds that the server has used so far."""
        return sum(cpu_of(pid) for pid in self.pids)

    def resident(self):
        """Peak resident memory of the server, in MiB."""
        peak = 0
        for pid in self.pids:
            status = Path(f"/proc/{pid}/status").read_text()
            # A process that is exiting has no memory line.
            if found := re.search(r"VmHWM:\s+(\d+)", status):
                peak = max(peak, int(found[1]) / 1024)
        return peak

    def stop(self):
        deadline = time.monotonic() + 30
        while subprocess.run(["umount", self.directory], capture_output=True).returncode != 0:
            if time.monotonic() > deadline:
                sys.exit(f"cannot unmount {self.directory}")
            time.sleep(0.05)
        self.process.wait()
        while any(Path(f"/proc/{pid}").exists() for pid in self.pids):
            time.sleep(0.01)


def pids_of(directory):
    """IDs of the processes that have the directory in their command line."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                words = (entry / "cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            if os.fsencode(directory) in words:
                found.append(int(entry.name))
    return found


def cpu_of(pid):
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def fve_command(*options):
    return lambda volume, directory: [
        FVE, "mount", "--volume", volume.path, directory, "--foreground",
        "--startup-key", volume.secrets, *options,
    ]


def servers():
    return [
        Server("fve", fve_command(), "volume"),
        Server("fve --direct-io", fve_command("--direct-io"), "volume"),
        # As a user gets it with --foreground, in the terminal in which the volume is then read.
        Server("fve, same session", fve_command(), "volume", own_session=False),
        Server(
            "dislocker",
            lambda volume, directory: [
                "dislocker-fuse", "-r", "-V", volume.path, "-f", volume.startup_key(), "--", "-f",
                directory,
            ],
            "dislocker-file",
            "dislocker-fuse",
        ),
        Server(
            "bdemount",
            lambda volume, directory: ["bdemount", "-p", PASSWORD, volume.path, directory],
            "bde1",
            "bdemount",
            # libbde 20190102: "invalid tweak key value too small".
            refuses=["aes-xts-256"],
        ),
        Server(
            "copy",
            lambda volume, directory: [RELEASE / "examples/copy_server", volume.plaintext, directory],
            "volume",
        ),
        Server(
            "copy, direct",
            lambda volume, directory: [
                RELEASE / "examples/copy_server", volume.plaintext, directory, "--direct-io",
            ],
            "volume",
        ),
        Server(
            "null",
            lambda volume, directory: [RELEASE / "examples/null_server", volume.size, directory],
            "volume",
        ),
        Server(
            "null, direct",
            lambda volume, directory: [
                RELEASE / "examples/null_server", volume.size, directory, "--direct-io",
            ],
            "volume",
        ),
    ]


def writers():
    return [
        Server("fve", fve_command("--read-write"), "volume"),
        Server(
            "dislocker",
            lambda volume, directory: [
                "dislocker-fuse", "-V", volume.path, "-f", volume.startup_key(), "--", "-f", directory,
            ],
            "dislocker-file",
            "dislocker-fuse",
        ),
        Server(
            "copy",
            lambda volume, directory: [
                RELEASE / "examples/copy_server", volume.plaintext, directory, "--read-write",
            ],
            "volume",
        ),
    ]


def sequential(block):
    """Reads the file from start to end; returns the number of bytes and the seconds."""

    def job(file, volume, seconds):
        # Stops at the time limit or at the end of the file.
        start = time.monotonic()
        limit = start + seconds
        done = 0
        with open(file, "rb", buffering=0) as opened:
            buffer = bytearray(block)
            while time.monotonic() < limit:
                got = opened.readinto(buffer)
                if not got:
                    break
                done += got
        return done, time.monotonic() - start

    return job


def fio(kind, file, seconds, *options):
    """What fio reports of a job of one kind, `read` or `write`: the number of bytes and the seconds, without those in which it
    starts."""
    done = run(
        "fio", "--name=job", f"--filename={file}", "--ioengine=psync", "--thread", "--group_reporting",
        f"--runtime={max(1, round(seconds))}", "--time_based", "--output-format=json", "--randseed=7", *options,
    )
    text = done.stdout.decode()
    found = json.loads(text[text.index("{"):])["jobs"][0][kind]
    return found["io_bytes"], found["runtime"] / 1000


def random(depth):
    """Reads 4 KiB at random offsets in `depth` threads."""

    def job(file, volume, seconds):
        return fio(
            "read", file, seconds, "--readonly", "--rw=randread", "--bs=4k", f"--numjobs={depth}",
            f"--size={volume.size // 4096 * 4096}", "--norandommap",
        )

    return job


def writing(order, block, flushed):
    """Writes blocks in an order, `write` or `randwrite`, and calls fsync(2) after each if they are to be flushed."""

    def job(file, volume, seconds):
        start, length = volume.writable()
        return fio(
            "write", file, seconds, f"--rw={order}", f"--bs={block}", f"--offset={start}", f"--size={length}",
            "--fallocate=none", "--norandommap", f"--fsync={int(flushed)}",
        )

    return job


def times(samples, other, value):
    """How many times as fast fve is as the other program ("rate", "seconds"), or how many times as much CPU time that one
    needs ("cpu")."""
    own, other = samples["fve"][value], samples[other][value]
    return own / other if value == "rate" else other / own


class Target:
    """At least this ratio of fve to another program."""

    def __init__(self, other, value, least, words):
        self.other, self.value, self.least, self.words = other, value, least, words

    def missed_by(self, results):
        """The methods that miss it, and the ratio that each reaches."""
        found = {
            method: times(samples, self.other, self.value)
            for method, samples in results.items()
            if self.other in samples
        }
        return {method: reached for method, reached in found.items() if reached < self.least}


def rate_target(other, least):
    return Target(other, "rate", least, f"at least {least} times the throughput of {other}")


def against_targets(results, targets):
    """A line for each target, and the methods that miss one."""
    lines, methods = [], []
    for target in targets:
        missed = target.missed_by(results)
        methods += missed
        by = ", ".join(f"{method} ({reached:.2f})" for method, reached in missed.items())
        lines.append(f"- {target.words}: {f'missed by {by}' if missed else 'met'}")
    return (["", "Targets:", "", *lines] if lines else []), dict.fromkeys(methods)


class Access:
    """A kind of reading or writing, which is a piece of this script. `without`: servers that are not measured. `targets`: what
    fve is to reach."""

    def __init__(self, name, job, without, targets, writes=False):
        self.name, self.job, self.without, self.targets, self.writes = name, job, without, targets, writes

    def servers(self):
        found = writers() if self.writes else servers()
        return [server for server in found if server.name not in self.without]


DIRECT = ("fve --direct-io", "copy, direct", "null, direct")
ACCESSES = {
    "sequential": Access(
        "sequential 1 MiB", sequential(MIB), ("fve, same session",), [rate_target("null", 0.85), rate_target("fve --direct-io", 0.9)],
    ),
    "small": Access("sequential 16 KiB", sequential(16 << 10), (*DIRECT, "fve, same session"), []),
    "random": Access("random 4 KiB", random(1), DIRECT, [rate_target("null", 0.9), rate_target("dislocker", 2)]),
    "parallel": Access(
        "random 4 KiB, 32 at a time", random(32), DIRECT, [rate_target("null", 0.8), rate_target("dislocker", 3)],
    ),
    "write": Access(
        "sequential 1 MiB", writing("write", "1M", False), (), [rate_target("dislocker", 3)], writes=True,
    ),
    "write-flushed": Access(
        "sequential 1 MiB, each flushed", writing("write", "1M", True), (), [rate_target("dislocker", 3)], writes=True,
    ),
    "write-random": Access("random 4 KiB", writing("randwrite", "4k", False), (), [], writes=True),
    "write-random-flushed": Access(
        "random 4 KiB, each flushed", writing("randwrite", "4k", True), (), [], writes=True,
    ),
}


def client_cpu():
    total = 0
    for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN):
        usage = resource.getrusage(who)
        total += usage.ru_utime + usage.ru_stime
    return total


def measure(server, volume, job, seconds, profile=None):
    """Throughput in bytes per second, and CPU seconds (server and reader) per byte. `profile` is recorded meanwhile."""
    directory = Path(tempfile.mkdtemp(prefix="fve-bench-"))
    try:
        server.start(volume, directory)
        served, read = server.cpu(), client_cpu()
        with profile or contextlib.nullcontext():
            done, elapsed = job(server.file, volume, seconds)
        cpu = server.cpu() - served
        cpu_all = cpu + client_cpu() - read
        resident = server.resident()
        server.stop()
    finally:
        directory.rmdir()
    return {"rate": done / elapsed, "server": cpu / done, "cpu": cpu_all / done, "resident": resident}


class Samples:
    """What was measured in several rounds: values by name."""

    def __init__(self):
        self.rounds = []

    def add(self, values):
        self.rounds.append(values)

    def __getitem__(self, name):
        return statistics.median(values[name] for values in self.rounds)

    def spread(self, name):
        """How far the rounds are from the median at most, as a share of it."""
        median = self[name]
        return max(abs(values[name] - median) for values in self.rounds) / median


def spread_of(found, name):
    """The largest spread in a row of a table."""
    return f"{max(samples.spread(name) for samples in found.values()):.0%}"


def timed(command, inputs=None):
    """Elapsed and CPU seconds of a command."""
    cpu = client_cpu()
    start = time.monotonic()
    run(*command, input=inputs)
    return {"seconds": time.monotonic() - start, "cpu": client_cpu() - cpu}


def compare_mounts(access, volumes, rounds, seconds):
    """What was measured with each server, for each method. Direct I/O is meant for sequential reads
    in large blocks, and is measured only with these."""
    for server in access.servers():
        if server.missing:
            say(f"skipped: {server.name} is not installed")
    results = {}
    for volume in volumes:
        present = [
            server
            for server in access.servers()
            if not server.missing and volume.method not in server.refuses
        ]
        found = results[volume.method] = {server.name: Samples() for server in present}
        for number in range(rounds):
            for server in present:
                say(f"{volume.method}, {access.name}, round {number + 1}: {server.name}")
                found[server.name].add(measure(server, volume, access.job, seconds))
    return results


def decrypt_commands(volume, out):
    commands = {
        "fve": [FVE, "decrypt", volume.path, out, "--startup-key", volume.secrets],
        "copy": [RELEASE / "examples/copy_file", volume.plaintext, out],
    }
    if shutil.which("dislocker-file"):
        commands["dislocker"] = ["dislocker-file", "-V", volume.path, "-f", volume.startup_key(), "--", out]
    return commands


def compare_decrypt(volumes, rounds, work):
    out = work / "out"
    results = {}
    for volume in volumes:
        commands = decrypt_commands(volume, out)
        samples = results[volume.method] = {name: Samples() for name in commands}
        for number in range(rounds):
            for name, command in commands.items():
                say(f"{volume.method}, decrypt, round {number + 1}: {name}")
                out.unlink(missing_ok=True)
                found = timed(command)
                # A program that leaves dirty pages must be charged for writing them.
                start = time.monotonic()
                run("sync", out)
                found["seconds"] += time.monotonic() - start
                samples[name].add(found)
        out.unlink()
    return results


def read_all(command):
    """Elapsed and CPU seconds until everything that a command writes to a pipe was read."""
    cpu = client_cpu()
    start = time.monotonic()
    buffer = bytearray(MIB)
    with subprocess.Popen([str(part) for part in command], stdout=subprocess.PIPE, bufsize=0) as process:
        while process.stdout.readinto(buffer):
            pass
    if process.returncode != 0:
        sys.exit(f"{command[0]} failed")
    return {"seconds": time.monotonic() - start, "cpu": client_cpu() - cpu}


def pipe_commands(volume):
    return {
        "fve": [FVE, "decrypt", volume.path, "-", "--startup-key", volume.secrets],
        "cat": ["cat", volume.plaintext],
    }


def compare_pipe(volumes, rounds):
    results = {}
    for volume in volumes:
        samples = results[volume.method] = {name: Samples() for name in pipe_commands(volume)}
        for number in range(rounds):
            for name, command in pipe_commands(volume).items():
                say(f"{volume.method}, pipe, round {number + 1}: {name}")
                samples[name].add(read_all(command))
    return results


def compare_unlock(volume, rounds):
    recovery = volume.secrets / "recovery"
    digits = re.search(r"(\d{6}-){7}\d{6}", recovery.read_bytes().decode("utf-16"))[0]
    commands = {
        "fve": ([FVE, "unlock", volume.path, "--recovery-password-file", recovery], None),
        "cryptsetup": (["cryptsetup", "bitlkOpen", "--test-passphrase", volume.path], digits.encode()),
    }
    if shutil.which("cryptsetup") is None:
        say("skipped: cryptsetup is not installed")
        del commands["cryptsetup"]
    samples = {name: Samples() for name in commands}
    for _ in range(rounds):
        for name, (command, inputs) in commands.items():
            samples[name].add(timed(command, inputs))
    return samples


def make_volumes(work, size, methods):
    """Makes a file system full of files, and a volume from it with each method."""
    plaintext = work / "plaintext.img"
    with open(plaintext, "wb") as file:
        file.truncate(size)
    run("mkntfs", "-F", "-Q", "-q", plaintext)
    directory = work / "files"
    directory.mkdir()
    run("ntfs-3g", plaintext, directory)
    try:
        # Some space stays free: the metadata needs it, and few real disks are full.
        for number in range(8):
            with open(directory / f"file-{number}", "wb") as file:
                for _ in range(size // 9 // MIB):
                    file.write(os.urandom(MIB))
    finally:
        run("umount", directory)
    volumes = []
    for method in methods:
        say(f"making a volume: {method}")
        path = work / f"{method}.img"
        secrets = work / f"{method}.secrets"
        secrets.mkdir()
        (secrets / "password").write_text(PASSWORD)
        run(
            FVE, "create", path, "--from", plaintext, "--cipher", method,
            "--new-password-file", secrets / "password", "--startup-key-to", secrets,
            "--recovery-password-to", secrets / "recovery",
        )
        volumes.append(Volume(path, method, plaintext, secrets))
    return volumes


def ratio(value):
    return f"{value:.2f}" if value < 10 else f"{value:.0f}"


def row(cells):
    return "| " + " | ".join(cells) + " |"


def legend_of(access):
    mount, user = ("mount", "writer") if access.writes else ("cached mount", "reader")
    return (
        f"The column `fve` is the throughput of fve's {mount} in MB/s. The other columns say how many times as fast that is as "
        f"the other server, and in brackets how many times as much CPU time per byte (server and {user}) the other server "
        "needs. The last column says how far a round was from the median at most."
    )


def table_of_access(piece, results):
    access = ACCESSES[piece]
    names = max((list(found) for found in results.values()), key=len)
    others = [name for name in names if name != "fve"]
    lines = [
        f"{'Writing' if access.writes else 'Reading'} through a mount: {access.name}. {legend_of(access)}",
        "",
        row(["volume", "fve"] + others + ["spread"]),
        row(["---"] * (3 + len(others))),
    ]
    for method, found in results.items():
        own = found["fve"]
        cells = [method, f"{own['rate'] / 1e6:.0f}"]
        for name in others:
            known = name in found
            cells.append(f"{ratio(times(found, name, 'rate'))} ({ratio(times(found, name, 'cpu'))})" if known else "")
        lines.append(row(cells + [spread_of(found, "rate")]))
    lines += [""] + [
        f"{server.name} cannot unlock volumes encrypted with {method}."
        for server in access.servers()
        for method in server.refuses
        if method in results and not server.missing
    ]
    peak = max(found["fve"]["resident"] for found in results.values())
    return lines + ["", f"Peak resident memory of an fve mount: {peak:.0f} MiB."]


DECRYPT_LEGEND = (
    "The column `fve` is in seconds. The other columns say how many times as long the other program takes, and in brackets "
    "how many times as much CPU time. The last column says how far a round was from the median at most."
)


def table_of_decrypt(title, results):
    names = [name for name in next(iter(results.values())) if name != "fve"]
    lines = [
        f"{title} {DECRYPT_LEGEND}",
        "",
        row(["volume", "fve"] + names + ["spread"]),
        row(["---"] * (3 + len(names))),
    ]
    for method, found in results.items():
        own = found["fve"]
        cells = [method, f"{own['seconds']:.2f}"]
        for name in names:
            cells.append(f"{ratio(times(found, name, 'seconds'))} ({ratio(times(found, name, 'cpu'))})")
        lines.append(row(cells + [spread_of(found, "seconds")]))
    return lines


def starts(volume, directory):
    """Elapsed seconds of each thing that a user waits for before there is anything to read."""
    mount = next(server for server in servers() if server.name == "fve")

    def first_byte():
        start = time.monotonic()
        mount.start(volume, directory)
        with open(mount.file, "rb", buffering=0) as opened:
            opened.read(1)
        elapsed = time.monotonic() - start
        mount.stop()
        return elapsed

    return {
        # What the system itself needs to start a program that does nothing.
        "true": timed(["true"])["seconds"],
        "fve --help": timed([FVE, "--help"])["seconds"],
        "fve info": timed([FVE, "info", volume.path])["seconds"],
        "first byte of fve mount": first_byte(),
    }


# Seconds.
START_TARGETS = {"fve --help": 0.010, "fve info": 0.010, "first byte of fve mount": 0.150}
LARGEST_PROGRAM = 6 * MIB


def measure_start(volume, rounds, work):
    """The lines about the time until something can be read, and the size of the program."""
    samples = Samples()
    directory = work / "start"
    directory.mkdir(exist_ok=True)
    for _ in range(4 * rounds):
        samples.add(starts(volume, directory))
    lines = [
        "The time until there is something to read, in milliseconds, and how far a round was from the median at most. `true` does "
        "nothing: that is what the system needs to start a program, and this script to notice its end.",
        "",
        row(["what", "ms", "spread", "target"]),
        row(["---"] * 4),
    ]
    for name in samples.rounds[0]:
        limit = START_TARGETS.get(name)
        target = "" if limit is None else f"{limit * 1000:.0f}: {'met' if samples[name] <= limit else 'missed'}"
        lines.append(row([f"`{name}`", f"{samples[name] * 1000:.1f}", f"{samples.spread(name):.0%}", target]))
    stripped = work / "stripped"
    run("strip", "-o", stripped, FVE)
    size = stripped.stat().st_size
    met = "met" if size <= LARGEST_PROGRAM else "missed"
    return lines + ["", f"The stripped program with the default features has {size / MIB:.2f} MiB (at most {LARGEST_PROGRAM // MIB}: {met})."]


def table_of_unlock(found):
    own = found["fve"]["seconds"]
    line = f"Unlocking with a recovery password: {own:.2f} s"
    if "cryptsetup" in found:
        longer = ratio(times(found, "cryptsetup", "seconds"))
        line += f"; `cryptsetup bitlkOpen --test-passphrase` takes {longer} times as long"
    return [f"{line}. A round was at most {spread_of(found, 'seconds')} from the median."]


def write_page(text, start, end):
    """Puts a text between two lines of the page."""
    page = ROOT / "docs" / "benchmarks.md"
    content = page.read_text()
    before, found, rest = content.partition(start)
    _, ended, after = rest.partition(end)
    if not found or not ended:
        sys.exit(f"{page} has no lines {start} and {end}")
    page.write_text(f"{before}{start}\n{text}{end}{after}")


PIPE_TARGETS = [Target("cat", "seconds", 0.9, "at least 0.9 times the throughput of cat")]
DECRYPT_TARGETS = [
    Target("copy", "seconds", 1 / 1.15, "copy takes at least 0.87 of the time of fve (fve at most 1.15 times that of copy)"),
    Target("copy", "cpu", 1 / 1.5, "copy needs at least 0.67 of the CPU time of fve (fve at most 1.5 times that of copy)"),
]


def measured(piece, volumes, options, work):
    """The lines of a piece."""
    if piece == "unlock":
        return table_of_unlock(compare_unlock(volumes[-1], options.rounds))
    if piece == "start":
        return measure_start(volumes[0], options.rounds, work)
    if piece == "decrypt":
        results = compare_decrypt(volumes, options.rounds, work)
        title = "`decrypt` to a file, including `sync`. 'copy' writes the same plaintext in the same way without decrypting."
        lines, targets = table_of_decrypt(title, results), DECRYPT_TARGETS
    elif piece == "pipe":
        results = compare_pipe(volumes, options.rounds)
        title = "`decrypt -` to a pipe, and `cat` of the same plaintext, until a program has read everything in blocks of 1 MiB."
        lines, targets = table_of_decrypt(title, results), PIPE_TARGETS
    else:
        results = compare_mounts(ACCESSES[piece], volumes, options.rounds, options.seconds)
        lines, targets = table_of_access(piece, results), ACCESSES[piece].targets
    verdicts, missing = against_targets(results, targets)
    if options.profile:
        # One method shows what limits the others too.
        for volume in [volume for volume in volumes if volume.method in missing][:1]:
            verdicts += profiles(piece, volume, work)
    return lines + verdicts


def profiles(piece, volume, work):
    """Where the time goes in fve, and in the upper bound."""
    lines = []
    recorded = machine.Profile(work / "profile")
    if piece == "pipe":
        for name, command in pipe_commands(volume).items():
            with recorded:
                read_all(command)
            lines += recorded.lines(f"{volume.method}, {name}")
        return lines
    if piece == "decrypt":
        out = work / "out"
        for name, command in decrypt_commands(volume, out).items():
            if name != "dislocker":
                with recorded:
                    run(*command)
                out.unlink()
                lines += recorded.lines(f"{volume.method}, {name}")
        return lines
    access = ACCESSES[piece]
    bound = "copy" if access.writes else "null"
    for server in access.servers():
        if server.name in ("fve", bound):
            measure(server, volume, access.job, 5, recorded)
            lines += recorded.lines(f"{volume.method}, {server.name}")
    return lines


PIECES = [*ACCESSES, "decrypt", "pipe", "unlock", "start"]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("pieces", nargs="*", metavar="PIECE", help=f"what to measure: {', '.join(PIECES)}; without it, all")
    parser.add_argument("--size", type=int, default=1024, help="size of each volume in MiB")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=1, help="time limit of one measurement")
    parser.add_argument("--methods", default=",".join(METHODS))
    parser.add_argument("--loaded", action="store_true", help="measure also if other programs use the CPU")
    parser.add_argument("--profile", action="store_true", help="say where the time goes where a target is missed")
    parser.add_argument("--work", help="directory to create the volumes in; without it, reading from a disk may be measured too")
    parser.add_argument("--write", action="store_true", help="write the tables into docs/benchmarks.md")
    options = parser.parse_args()
    pieces = options.pieces or PIECES
    if unknown := set(pieces) - set(PIECES):
        parser.error(f"unknown piece: {', '.join(unknown)}")
    run("cargo", "build", "--release", "--bin", "fve", "--example", "null_server",
        "--example", "copy_server", "--example", "copy_file", cwd=ROOT)
    with tempfile.TemporaryDirectory(prefix="fve-bench-", dir=options.work) as work:
        work = Path(work)
        volumes = make_volumes(work, options.size * MIB, options.methods.split(","))
        for piece in pieces:
            machine.check_quiet(options.loaded)
            watch = machine.Watch()
            lines = measured(piece, volumes, options, work)
            head = f"{machine.description()}; {options.size} MiB, medians of {options.rounds}. {watch.sentence()}"
            text = "\n".join([head, "", *lines]) + "\n"
            print(text, flush=True)
            if options.write:
                name = f"table of {piece}"
                write_page(text, f"<!-- {name}, made by benches/end_to_end.py -->", f"<!-- end of {name} -->")


if __name__ == "__main__":
    main()
