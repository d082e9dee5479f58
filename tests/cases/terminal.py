"""Types at the prompts of fve on a pseudo-terminal.

    python3 terminal.py FVE VOLUME PASSWORD RECOVERY_PASSWORD CASE

VOLUME accepts both. Prints what the terminal showed, and ends with PASS or FAIL.
"""
import fcntl, os, pty, select, shutil, signal, subprocess, sys, termios, time

FVE, VOLUME, PASSWORD, DIGITS, CASE = sys.argv[1:]


class Terminal:
    def __init__(self, *words, controls=True):
        self.master, self.slave = pty.openpty()
        self.before = termios.tcgetattr(self.slave)
        self.seen = b""

        def own():
            os.setsid()
            if controls:
                fcntl.ioctl(0, termios.TIOCSCTTY, 0)
            # Python ignores or blocks none of these, but its parent may.
            for each in (signal.SIGINT, signal.SIGQUIT, signal.SIGHUP, signal.SIGTSTP):
                signal.signal(each, signal.SIG_DFL)

        self.child = subprocess.Popen(
            [FVE, *words], stdin=self.slave, stdout=self.slave, stderr=self.slave, preexec_fn=own
        )

    def read(self, seconds=0.0):
        while select.select([self.master], [], [], seconds)[0]:
            try:
                self.seen += os.read(self.master, 4096)
            except OSError:
                return

    def expect(self, words, count=1):
        end = time.time() + 20
        while self.seen.count(words.encode()) < count:
            self.read(0.05)
            assert time.time() < end, f"no {words!r} in {self.seen!r}"

    def type(self, keys):
        os.write(self.master, keys if isinstance(keys, bytes) else keys.encode())

    def settings(self):
        return termios.tcgetattr(self.slave)

    def echoes(self):
        return bool(self.settings()[3] & termios.ECHO)

    def until(self, what, true):
        end = time.time() + 20
        while not true():
            self.read(0.02)
            assert time.time() < end, f"{what}: never; {self.seen!r}"

    def ended(self):
        self.until("end", lambda: self.child.poll() is not None)
        self.read()
        assert self.settings() == self.before, "the terminal is not as it was"
        return self.child.returncode

    def stopped(self):
        state = []

        def stopped():
            pid, status = os.waitpid(self.child.pid, os.WNOHANG | os.WUNTRACED)
            state.append(status)
            return pid == self.child.pid and os.WIFSTOPPED(status)

        self.until("stop", stopped)

    def never_showed(self, *secrets):
        for secret in secrets:
            assert secret.encode() not in self.seen, f"{secret!r} in {self.seen!r}"


def at_prompt(*words, controls=True):
    terminal = Terminal(*words, controls=controls)
    terminal.expect(": ")
    terminal.until("silence", lambda: not terminal.echoes())
    return terminal


def unlock(**how):
    return at_prompt("unlock", VOLUME, **how)


def made(password):
    """A volume with this password alone."""
    with open("password", "w") as file:
        file.write(password)
    os.chmod("password", 0o600)
    subprocess.run(
        [FVE, "create", "made.img", "--force", "--size", "1M", "--new-password-file", "password"], check=True
    )
    return at_prompt("unlock", "made.img")


def signals():
    """The terminal is as it was, whatever ends the process."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT):
        terminal = unlock()
        terminal.type("half of a")
        os.kill(terminal.child.pid, number)
        assert terminal.ended() == -number, f"{number}: {terminal.child.returncode}"
        terminal.never_showed("half")
        terminal = at_prompt("serve", "nbd", VOLUME, "--socket", "socket")
        os.kill(terminal.child.pid, number)
        assert terminal.ended() == -number, f"{number}: {terminal.child.returncode}"
        assert not os.path.exists("socket")


def typed_signals():
    for key, number in ((b"\x03", signal.SIGINT), (b"\x1c", signal.SIGQUIT)):
        for words in (["unlock", VOLUME], ["recovery", "check"], ["serve", "nbd", VOLUME, "--socket", "socket"]):
            terminal = at_prompt(*words)
            terminal.type(key)
            assert terminal.ended() == -number, f"{number}: {terminal.child.returncode}"


def suspended():
    """Ctrl-Z gives the terminal back, and the prompt goes on in silence."""
    terminal = unlock()
    terminal.type(PASSWORD[:4])
    time.sleep(0.1)
    terminal.type(b"\x1a")
    terminal.stopped()
    assert terminal.settings() == terminal.before
    shown = len(terminal.seen)
    os.kill(terminal.child.pid, signal.SIGCONT)
    terminal.until("silence", lambda: not terminal.echoes())
    terminal.until("the question again", lambda: b": " in terminal.seen[shown:])
    terminal.type(PASSWORD[4:] + "\n")
    assert terminal.ended() == 0, terminal.seen
    terminal.never_showed(PASSWORD, PASSWORD[4:])


def stopped():
    """After a stop that cannot be caught, a shell has its own settings."""
    terminal = unlock()
    os.kill(terminal.child.pid, signal.SIGSTOP)
    terminal.stopped()
    termios.tcsetattr(terminal.slave, termios.TCSANOW, terminal.before)
    os.kill(terminal.child.pid, signal.SIGCONT)
    terminal.until("silence", lambda: not terminal.echoes())
    terminal.type(PASSWORD + "\n")
    assert terminal.ended() == 0, terminal.seen
    terminal.never_showed(PASSWORD)


def ahead():
    """What is typed while a key is stretched is not shown, and does not reach the shell."""
    terminal = unlock()
    terminal.type("wrong-one\nahead-of-time\n")
    time.sleep(0.02)
    terminal.type("still-ahead\n")
    terminal.expect(": ", 2)
    terminal.expect("wrong password")
    time.sleep(0.3)
    terminal.type(PASSWORD + "\nls -l secret\n")
    assert terminal.ended() == 0, terminal.seen
    terminal.never_showed("wrong-one", "ahead", PASSWORD, "secret")
    os.set_blocking(terminal.slave, False)
    try:
        left = os.read(terminal.slave, 100)
    except BlockingIOError:
        left = b""
    assert not left, left


def keys():
    """Tabulators count; other keys neither count nor take the next one with them."""
    terminal = made("pass\tword Größe 12")
    terminal.type("pass\tworse")
    terminal.type(b"\x7f\x7f")
    terminal.type("d Größeé")
    terminal.type(b"\x7f")
    terminal.type(b"\x1b[A\x1bOP\x1b[15~\x01")
    terminal.type(b" 1\x1b2\r")
    assert terminal.ended() == 0, terminal.seen
    assert b"were ignored" in terminal.seen, terminal.seen
    terminal = made("long enough")
    terminal.type("long enoughx")
    terminal.type(b"\x7f\x1b[\r")
    assert terminal.ended() == 0, terminal.seen


def encoding():
    terminal = made("Größe der Datei")
    terminal.type("Größe der Datei\n".encode("latin-1"))
    terminal.expect("not in UTF-8")
    terminal.type("Größe der Datei\n")
    assert terminal.ended() == 0, terminal.seen


def uncontrolled():
    """Standard input is a terminal, but not the one that controls the process."""
    terminal = unlock(controls=False)
    terminal.type(PASSWORD + "\n")
    assert terminal.ended() == 0, terminal.seen
    terminal.never_showed(PASSWORD)
    terminal = unlock(controls=False)
    terminal.type(b"\x03")
    assert terminal.ended() == -signal.SIGINT, terminal.child.returncode


def digits():
    """The blocks of a recovery password are checked while they are typed."""
    terminal = unlock()
    terminal.type(DIGITS[:5] + ("2" if DIGITS[5] != "2" else "3") + "-")
    terminal.expect("block 1 ")
    terminal.type(b"\x7f")
    terminal.type(DIGITS[5:])
    assert terminal.ended() == 0, terminal.seen
    assert b"******-******" in terminal.seen, terminal.seen
    terminal.never_showed(*DIGITS.split("-"))


def password_like_digits():
    """A password that begins like a recovery password can still be typed."""
    terminal = made("123456-and so on")
    terminal.type("123456-and so on\n")
    assert terminal.ended() == 0, terminal.seen
    terminal.never_showed("123456", "and so on")


def end_of_input():
    terminal = unlock()
    terminal.type(b"\x04")
    assert terminal.ended() == 4, terminal.seen
    assert b"nothing was typed" in terminal.seen, terminal.seen


def new_password():
    """Two different new passwords are asked for again, and then all is as it was."""
    terminal = at_prompt("create", "new.img", "--size", "1M", "--new-password")
    for first, second in (("one password", "an other"), ("a password", "a password")):
        shown = terminal.seen.count(b"New password: ")
        terminal.type(first + "\n")
        terminal.expect("New password again: ", shown)
        terminal.type(second + "\n")
        if first != second:
            terminal.expect("New password: ", shown + 1)
    assert terminal.ended() == 0, terminal.seen
    terminal.never_showed("one password", "an other", "a password")
    terminal = at_prompt("unlock", "new.img")
    terminal.type("a password\n")
    assert terminal.ended() == 0, terminal.seen


def errors_first():
    """Whatever does not depend on what the user types is reported before a question."""
    shutil.copy(VOLUME, "copy.img")
    for words, message in (
        (["protector", "add", "copy.img", "--new-password"], "already has a password"),
        (
            ["protector", "add", "copy.img", "--recovery-password-to", "none/x"],
            "none/x",
        ),
        (
            ["protector", "change-password", "copy.img", "--password-file", "nonexist.txt"],
            "nonexist.txt",
        ),
        (["create", "new.img", "--new-password", "--clear-key"], "size"),
        (["unlock", "copy.img", "--no-prompt"], "the volume accepts"),
    ):
        terminal = Terminal(*words)
        assert terminal.ended() != 0, terminal.seen
        assert message.encode() in terminal.seen, terminal.seen
        for asked in (b"assword: ", b"of volume", b"anyone can read"):
            assert asked not in terminal.seen, terminal.seen


def no_prompt():
    """With --no-prompt, no command asks, and the terminal is asked before any agent."""
    shutil.copy(VOLUME, "copy.img")
    os.mkdir("mnt")
    for words in (
        ["unlock", "copy.img"],
        ["ls", "copy.img"],
        ["find", "copy.img"],
        ["cat", "copy.img", "a"],
        ["cp", "copy.img", "/a", "b"],
        ["decrypt", "copy.img", "out"],
        ["mount", "copy.img", "mnt"],
        ["mount", "--volume", "copy.img", "mnt"],
        ["export", "key-package", "copy.img", "package"],
        ["metadata", "set-identifier", "copy.img", "example.org"],
        ["protector", "add", "copy.img", "--new-recovery-password"],
        ["protector", "remove", "copy.img", "--type", "password"],
        ["protector", "change-password", "copy.img"],
        ["protector", "change-startup-key", "copy.img", "--startup-key-to", "."],
        ["protector", "change-pin", "copy.img"],
        ["protector", "rotate-recovery", "copy.img", "--recovery-password-to", "new"],
        ["protector", "suspend", "copy.img"],
        ["protector", "show-recovery", "copy.img"],
        ["protector", "save-startup-key", "copy.img", "--startup-key-to", "."],
        ["create", "new.img", "--size", "1M", "--new-password"],
    ):
        terminal = Terminal(*words, "--no-prompt")
        terminal.ended()
        for asked in (b"assword: ", b"of volume", b"48 digits"):
            assert asked not in terminal.seen, (words, terminal.seen)
    terminal = at_prompt("unlock", "copy.img", "--systemd-ask-password")
    terminal.type(PASSWORD + "\n")
    assert terminal.ended() == 0, terminal.seen


os.umask(0o077)
try:
    globals()[CASE]()
    print("PASS")
except AssertionError as error:
    print(error)
    print("FAIL")
    sys.exit(1)
