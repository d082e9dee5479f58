#!/usr/bin/env python3
"""Measures fve end to end, and compares it in one run with other programs and upper bounds.

The script makes a file system with files, encrypts it with every method, and mounts each volume with
fve (cached, and with direct I/O), dislocker and bdemount. Two more servers give upper bounds: one
returns the bytes of a plaintext file, the other returns zeros. Each result is the median of several
rounds. The servers take turns within a round, so that a temporary load affects all of them. A server
is started again for every measurement, so that no pages cached by an earlier one are used.

Most results are ratios to fve: throughput (how many times as fast fve is) and CPU time per byte.
Needs root, fio and ntfs-3g. dislocker, libbde-utils and cryptsetup-bin are optional; the script
reports which are missing and skips them.

  sudo benches/end_to_end.py [--size MIB] [--rounds N] [--methods aes-xts-128,…] [--write]
"""

import argparse
import json
import os
import re
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
RELEASE = ROOT / "target" / "release"
FVE = RELEASE / "fve"
METHODS = ["aes-xts-128", "aes-xts-256", "aes-cbc-128", "aes-cbc-256", "aes-cbc-128-elephant"]
PASSWORD = "correct horse battery"
MIB = 1 << 20
START = "<!-- end-to-end table, made by benches/end_to_end.py -->"
END = "<!-- end of end-to-end table -->"


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


class Server:
    """A program that shows a volume as a file."""

    def __init__(self, name, command, file_name, tool=None, refuses=()):
        self.name, self.command, self.file_name = name, command, file_name
        self.refuses = refuses
        self.missing = tool is not None and shutil.which(tool) is None
        self.direct = "direct" in name

    def start(self, volume, directory):
        """Mounts the volume, and waits until its file exists."""
        command = [str(part) for part in self.command(volume, directory)]
        self.directory = directory
        self.process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
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


def sequential(block):
    """Reads the file from start to end; returns the number of bytes."""

    def job(file, size, seconds):
        # Stops at the time limit or at the end of the file.
        limit = time.monotonic() + seconds
        done = 0
        with open(file, "rb", buffering=0) as opened:
            buffer = bytearray(block)
            while time.monotonic() < limit:
                got = opened.readinto(buffer)
                if not got:
                    break
                done += got
        return done

    return job


def random(depth):
    """Reads 4 KiB at random offsets in `depth` threads; returns the number of bytes."""

    def job(file, size, seconds):
        done = run(
            "fio", "--name=random", f"--filename={file}", "--readonly", "--rw=randread", "--bs=4k",
            "--ioengine=psync", "--thread", f"--numjobs={depth}", "--group_reporting",
            f"--runtime={seconds}", "--time_based", f"--size={size}", "--norandommap",
            "--output-format=json", "--randseed=7",
        )
        text = done.stdout.decode()
        return json.loads(text[text.index("{"):])["jobs"][0]["read"]["io_bytes"]

    return job


LARGE = "sequential 1 MiB"
JOBS = {
    LARGE: sequential(MIB),
    "sequential 16 KiB": sequential(16 << 10),
    "random 4 KiB": random(1),
    "random 4 KiB, 32 at a time": random(32),
}


def client_cpu():
    total = 0
    for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN):
        usage = resource.getrusage(who)
        total += usage.ru_utime + usage.ru_stime
    return total


def measure(server, volume, job, seconds):
    """Throughput in bytes per second, and CPU seconds (server and reader) per byte."""
    directory = Path(tempfile.mkdtemp(prefix="fve-bench-"))
    try:
        server.start(volume, directory)
        served, read = server.cpu(), client_cpu()
        start = time.monotonic()
        done = job(server.file, volume.size // 4096 * 4096, seconds)
        elapsed = time.monotonic() - start
        cpu = server.cpu() - served
        cpu_all = cpu + client_cpu() - read
        resident = server.resident()
        server.stop()
    finally:
        directory.rmdir()
    return {"rate": done / elapsed, "server": cpu / done, "cpu": cpu_all / done, "resident": resident}


def medians(samples):
    return {key: statistics.median(sample[key] for sample in samples) for key in samples[0]}


def timed(command, inputs=None):
    """Elapsed and CPU seconds of a command."""
    cpu = client_cpu()
    start = time.monotonic()
    run(*command, input=inputs)
    return {"seconds": time.monotonic() - start, "cpu": client_cpu() - cpu}


def compare_mounts(volumes, rounds, seconds):
    """The medians of each server, for each volume and job. Direct I/O is meant for sequential reads
    in large blocks, and is measured only with these."""
    installed = [server for server in servers() if not server.missing]
    for server in servers():
        if server.missing:
            say(f"skipped: {server.name} is not installed")
    results = {}
    for volume in volumes:
        for name, job in JOBS.items():
            present = [
                server
                for server in installed
                if (name == LARGE or not server.direct) and volume.method not in server.refuses
            ]
            samples = {server.name: [] for server in present}
            for number in range(rounds):
                for server in present:
                    say(f"{volume.method}, {name}, round {number + 1}: {server.name}")
                    samples[server.name].append(measure(server, volume, job, seconds))
            results[volume.method, name] = {
                server: medians(found) for server, found in samples.items()
            }
    return results


def compare_decrypt(volumes, rounds, work):
    out = work / "out"
    results = {}
    for volume in volumes:
        commands = {
            "fve": [FVE, "decrypt", volume.path, out, "--startup-key", volume.secrets],
            "copy": [RELEASE / "examples/copy_file", volume.plaintext, out],
        }
        if shutil.which("dislocker-file"):
            commands["dislocker"] = [
                "dislocker-file", "-V", volume.path, "-f", volume.startup_key(), "--", out,
            ]
        samples = {name: [] for name in commands}
        for number in range(rounds):
            for name, command in commands.items():
                say(f"{volume.method}, decrypt, round {number + 1}: {name}")
                out.unlink(missing_ok=True)
                found = timed(command)
                # A program that leaves dirty pages must be charged for writing them.
                start = time.monotonic()
                run("sync", out)
                found["seconds"] += time.monotonic() - start
                samples[name].append(found)
        out.unlink()
        results[volume.method] = {name: medians(found) for name, found in samples.items()}
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
    samples = {name: [] for name in commands}
    for _ in range(rounds):
        for name, (command, inputs) in commands.items():
            samples[name].append(timed(command, inputs))
    return {name: medians(found) for name, found in samples.items()}


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


def table(mounts, decrypts, unlock, machine, size, rounds):
    lines = [f"{machine}; {size // MIB} MiB, medians of {rounds}.", ""]
    names = max((list(found) for found in mounts.values()), key=len)
    others = [name for name in names if name != "fve"]
    lines += [
        "Reading through a mount. The column `fve` is the throughput of fve's cached mount in MB/s. The "
        "other columns say how many times as fast that is as the other server, and in brackets how many "
        "times as much CPU time per byte (server and reader) the other server needs.",
        "",
        row(["volume", "reading", "fve"] + others),
        row(["---"] * (3 + len(others))),
    ]
    for (method, job), found in mounts.items():
        own = found["fve"]
        cells = [method, job, f"{own['rate'] / 1e6:.0f}"]
        for name in others:
            other = found.get(name)
            if other is None:
                cells.append("")
                continue
            cells.append(f"{ratio(own['rate'] / other['rate'])} ({ratio(other['cpu'] / own['cpu'])})")
        lines.append(row(cells))
    lines += [""] + [
        f"{server.name} cannot unlock volumes encrypted with {method}."
        for server in servers()
        for method in server.refuses
        if any(volume == method for volume, _ in mounts)
    ]
    peak = max(found["fve"]["resident"] for found in mounts.values())
    lines += ["", f"Peak resident memory of an fve mount: {peak:.0f} MiB."]
    if decrypts:
        names = [name for name in next(iter(decrypts.values())) if name != "fve"]
        lines += [
            "",
            "`decrypt` to a file, including `sync`. The column `fve` is in seconds. The other columns say "
            "how many times as long the other program takes, and in brackets how many times as much CPU "
            "time. 'copy' writes the same plaintext in the same way without decrypting.",
            "",
            row(["volume", "fve"] + names),
            row(["---"] * (2 + len(names))),
        ]
        for method, found in decrypts.items():
            own = found["fve"]
            cells = [method, f"{own['seconds']:.2f}"]
            for name in names:
                other = found[name]
                times = ratio(other["seconds"] / own["seconds"])
                cells.append(f"{times} ({ratio(other['cpu'] / own['cpu'])})")
            lines.append(row(cells))
    own = unlock["fve"]
    line = f"Unlocking with a recovery password: {own['seconds']:.2f} s"
    if "cryptsetup" in unlock:
        line += f"; `cryptsetup bitlkOpen --test-passphrase` takes {ratio(unlock['cryptsetup']['seconds'] / own['seconds'])} times as long"
    lines += ["", line + "."]
    return "\n".join(lines) + "\n"


def machine():
    """The processor model and its AES and SHA instructions, for the head of the table."""
    text = Path("/proc/cpuinfo").read_text()
    model = re.search(r"model name\s*: (.*)", text)
    flags = re.search(r"flags\s*: (.*)", text)
    wanted = ["aes", "avx2", "avx512f", "vaes", "vpclmulqdq", "sha_ni"]
    present = [flag for flag in wanted if flags and flag in flags[1].split()]
    absent = [flag for flag in wanted if flag not in present]
    return (
        f"{model[1] if model else 'unknown processor'}, {os.cpu_count()} cores, with "
        f"{' '.join(present)}, without {' '.join(absent) or 'none of these'}; Linux {os.uname().release}"
    )


def write_page(text):
    page = ROOT / "docs" / "benchmarks.md"
    content = page.read_text()
    before, start, rest = content.partition(START)
    _, end, after = rest.partition(END)
    if not start or not end:
        sys.exit(f"{page} has no lines {START} and {END}")
    page.write_text(f"{before}{START}\n{text}{END}{after}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, default=1024, help="size of each volume in MiB")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=2, help="time limit of one measurement")
    parser.add_argument("--methods", default=",".join(METHODS))
    parser.add_argument("--job", action="append", help="measure only this kind of reading; may be repeated")
    parser.add_argument("--work", help="directory to create the volumes in")
    parser.add_argument("--write", action="store_true", help="write the tables into docs/benchmarks.md")
    options = parser.parse_args()
    for name in list(JOBS):
        if options.job and name not in options.job:
            del JOBS[name]
    run("cargo", "build", "--release", "--bin", "fve", "--example", "null_server",
        "--example", "copy_server", "--example", "copy_file", cwd=ROOT)
    size = options.size * MIB
    with tempfile.TemporaryDirectory(prefix="fve-bench-", dir=options.work) as work:
        work = Path(work)
        volumes = make_volumes(work, size, options.methods.split(","))
        unlock = compare_unlock(volumes[-1], options.rounds)
        mounts = compare_mounts(volumes, options.rounds, options.seconds)
        decrypts = compare_decrypt([volumes[0], volumes[-1]], options.rounds, work)
    text = table(mounts, decrypts, unlock, machine(), size, options.rounds)
    print(text)
    if options.write:
        write_page(text)


if __name__ == "__main__":
    main()
