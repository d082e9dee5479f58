"""What a benchmark must know of the machine: what it is, whether it is quiet, and how much of its time went elsewhere."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

# Instructions that decide how fast the ciphers and key stretching are.
INSTRUCTIONS = ["aes", "avx2", "avx512f", "vaes", "vpclmulqdq", "sha_ni"]
# Shares of the CPU time: more than this in other programs, or taken by the host, and ratios are not to be trusted.
MOST_BUSY = 0.05
MOST_STOLEN = 0.02


def description():
    """The processor model and its AES and SHA instructions, for the head of a table."""
    text = Path("/proc/cpuinfo").read_text()
    model = re.search(r"model name\s*: (.*)", text)
    flags = re.search(r"flags\s*: (.*)", text)
    present = [flag for flag in INSTRUCTIONS if flags and flag in flags[1].split()]
    absent = [flag for flag in INSTRUCTIONS if flag not in present]
    without = f", without {' '.join(absent)}" if absent else ""
    name = model[1].strip() if model else "unknown processor"
    return f"{name}, {os.cpu_count()} cores, with {' '.join(present) or 'none'}{without}; Linux {os.uname().release}"


def times():
    """CPU time of the machine since it was started, in ticks: all, used, and taken by the host."""
    fields = [int(field) for field in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:]]
    user, nice, system, idle, waiting, interrupts, soft, stolen = fields[:8]
    used = user + nice + system + interrupts + soft
    return used + idle + waiting + stolen, used, stolen


def shares(before, after):
    """Shares of the CPU time between two calls of times(): used, and taken by the host."""
    every, used, stolen = (later - earlier for earlier, later in zip(before, after))
    return used / max(every, 1), stolen / max(every, 1)


def check_quiet(anyway, seconds=3):
    """Ends the program if other programs use the CPU. `anyway`: only warns."""
    before = times()
    time.sleep(seconds)
    used, stolen = shares(before, times())
    if used <= MOST_BUSY and stolen <= MOST_STOLEN:
        return
    found = f"the machine is not quiet: {used:.0%} of the CPU time is used, and {stolen:.0%} taken by the host"
    if not anyway:
        sys.exit(f"{found}; end what runs, or measure all the same with --loaded")
    print(f"warning: {found}", file=sys.stderr, flush=True)


class Watch:
    """How much of the CPU time the host has taken since this was made."""

    def __init__(self):
        self.start = times()

    def sentence(self):
        _, stolen = shares(self.start, times())
        doubt = " (too much: measure again)" if stolen > MOST_STOLEN else ""
        return f"The host took {stolen:.1%} of the CPU time meanwhile{doubt}."


class Profile:
    """Where the time of all CPUs goes while a block runs, as perf records it."""

    def __init__(self, path):
        self.path = path

    def __enter__(self):
        self.recorder = subprocess.Popen(["perf", "record", "-q", "-a", "-F", "997", "-o", self.path])
        time.sleep(0.3)

    def __exit__(self, *_):
        self.recorder.send_signal(signal.SIGINT)
        self.recorder.wait()

    def lines(self, title, most=14):
        """The functions that took most of it, with the program that called them."""
        report = subprocess.run(
            ["perf", "report", "-i", self.path, "--stdio", "--no-children", "--sort", "comm,sym", "-F", "overhead,comm,sym", "-t", "|"],
            capture_output=True, text=True,
        )
        found = [line.split("|") for line in report.stdout.splitlines() if line.count("|") >= 2 and "#" not in line]
        found.sort(key=lambda fields: -float(fields[0].strip().rstrip("%")))
        rows = [f"    {share.strip():>7}  {program.strip():<12}  {name.strip()}" for share, program, name, *_ in found[:most]]
        return ["", f"{title}:", "", *rows]
