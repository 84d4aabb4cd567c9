#!/bin/bash
# Claim: on a terminal, treeattn step --wait shows one step after another, goes by the keys that its bottom line names,
# and gives the terminal back as it was at every end: q, the last step, the end of the input, signals.
# shellcheck source=tests/tool_checks.sh
. "$(dirname "$0")/tool_checks.sh"
command -v python3 >/dev/null || { echo "skip test_tool_keys no python3"; exit 77; }
python3 -c 'import os; os.openpty()' 2>/dev/null || { echo "skip test_tool_keys no pseudo-terminal"; exit 77; }
"$TREEATTN_BIN" step --tree '1,2 / 6,3|4' --block-tokens 4 >"$work/plain"
"$TREEATTN_BIN" step --tokens 3 >"$work/alone"
export TREEATTN_BIN work
# Prints a line for each case: pass NAME, or FAIL NAME: REASON.
python3 - >"$work/cases" 2>"$work/err" <<'END'
import fcntl, os, re, resource, select, signal, struct, sys, termios, time

program, work = os.environ["TREEATTN_BIN"], os.environ["work"]
plain, alone = open(work + "/plain").read(), open(work + "/alone").read()
TREE = ["step", "--tree", "1,2 / 6,3|4", "--block-tokens", "4", "--wait"]
LEAVE = "\033[?1049l"


def settings(fd):
    flags = termios.tcgetattr(fd)
    return flags[:4] + [flags[6]]


class Terminal:
    """A pseudo-terminal and the program on it, in a process group of its own below a leader, as under a shell."""

    def __init__(self, arguments, rows=24, columns=80, term="xterm", ignored=None):
        self.master, self.slave = os.openpty()
        fcntl.ioctl(self.slave, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        self.before = settings(self.slave)
        self.text, self.seen = "", 0
        read_end, write_end = os.pipe()
        environment = {k: v for k, v in os.environ.items() if k not in ("CLICOLOR_FORCE", "TERM")}
        environment["NO_COLOR"] = "1"
        if term:
            environment["TERM"] = term
        self.leader = os.fork()
        if self.leader == 0:
            os.setsid()
            fcntl.ioctl(self.slave, termios.TIOCSCTTY, 0)
            signal.signal(signal.SIGTTOU, signal.SIG_IGN)
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            child = os.fork()
            if child == 0:
                os.setpgid(0, 0)
                os.tcsetpgrp(self.slave, os.getpid())
                for number in ("TTOU", "INT", "QUIT", "TERM", "HUP", "TSTP"):  # a background job ignores some
                    signal.signal(getattr(signal, "SIG" + number), signal.SIG_DFL)
                if ignored:
                    signal.signal(ignored, signal.SIG_IGN)
                for fd in (0, 1, 2):
                    os.dup2(self.slave, fd)
                os.close(self.master)
                resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
                os.execve(program, [program] + arguments, environment)
            while True:
                _, status = os.waitpid(child, os.WUNTRACED)
                os.write(write_end, struct.pack("ii", child, status))
                if not os.WIFSTOPPED(status):
                    os._exit(0)
        os.close(write_end)
        self.report = read_end
        self.child = None

    def read(self, seconds):
        if select.select([self.master], [], [], seconds)[0]:
            try:
                self.text += os.read(self.master, 65536).decode()
            except OSError:
                pass
            return True
        return False

    def wait_for(self, pattern):
        """Reads until the text after what was seen before matches; returns that text up to the end of the match."""
        end = time.time() + 20
        while time.time() < end:
            found = re.search(pattern, self.text[self.seen:], re.S)
            if found:
                part = self.text[self.seen:self.seen + found.end()]
                self.seen += found.end()
                return part
            self.read(0.1)
        raise AssertionError("no /%s/ in %r" % (pattern, self.text[self.seen:][-400:]))

    def press(self, keys):
        os.write(self.master, keys.encode())

    def status(self):
        """Of the next end or stop of the program."""
        end = time.time() + 20
        while not select.select([self.report], [], [], 0.05)[0]:
            self.read(0)
            assert time.time() < end, "the program does not end: %r" % self.text[-200:]
        child, status = struct.unpack("ii", os.read(self.report, 8))
        self.child = child
        while self.read(0.02):
            pass
        return status

    def ended(self, wanted=0):
        status = self.status()
        got = -os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)
        os.waitpid(self.leader, 0)
        assert got == wanted, "status %d instead of %d" % (got, wanted)
        assert settings(self.slave) == self.before, "the terminal's settings are restored"
        os.close(self.master)
        os.close(self.slave)
        os.close(self.report)

    def after_screen(self):
        """The text that stays on the terminal."""
        assert self.text.count(LEAVE) >= 1, "the screen was left"
        return self.text.rsplit(LEAVE, 1)[1].replace("\r\n", "\n")


def step(number, columns=80):
    return r"\033\[\d+H" + ("step %d of 12   Enter[^\n]*q quit" if columns > 56 else "%d/12 Enter b n q") % number


def keys_go():
    t = Terminal(TREE)
    first = t.wait_for(step(1))
    assert "Enter next   b back   n next item   q quit" in first, "the keys are named: %r" % first
    assert "token 0" in first and "token 1" not in first, "one step: %r" % first
    raw = settings(t.slave)
    assert not raw[3] & (termios.ICANON | termios.ECHO) and raw[3] & termios.ISIG, "keys come at once, without echo"
    for keys, number, has, lacks in (("\n", 2, "token 1", "token 2"), ("\r", 3, "token 2", "token 3"),
                                     ("b", 2, "token 1", "token 2"), ("n", 5, "item 1", "token 5"),
                                     ("b", 4, "token 3", "item 1"), ("n", 5, "token 4", "token 5"),
                                     ("n", 10, "merge", "item 1 left"), ("x", 10, "merge", "item 1 left"),
                                     ("n", 12, "out = o / l", "rescale  exp"), ("n", 12, "lse", "rescale  exp"),
                                     ("b", 11, "item 1 left", "out = o / l")):
        t.press(keys)
        frame = t.wait_for(step(number))
        assert has in frame and lacks not in frame, "after %r: %r" % (keys, frame)
    t.press("q")
    t.ended()
    assert t.after_screen() == plain[:plain.index("out = ")], "the steps seen so far stay: %r" % t.after_screen()


def back_stops_at_the_first():
    t = Terminal(TREE)
    t.wait_for(step(1))
    t.press("b")
    t.wait_for(step(1))
    t.press("q")
    t.ended()


def enter_to_the_end():
    t = Terminal(TREE)
    for number in range(1, 13):
        frame = t.wait_for(step(number))
        t.press("\n")
    assert "Enter quit   b back" in frame, "the last line says that it is the end: %r" % frame
    t.ended()
    assert t.after_screen() == plain, "all of it stays"


def end_of_input():
    t = Terminal(TREE)
    t.wait_for(step(1))
    t.press("\004")
    t.ended()


def signals():
    for number, how in ((signal.SIGINT, "\003"), (signal.SIGQUIT, "\034"), (signal.SIGTERM, None), (signal.SIGHUP, None),
                        (signal.SIGABRT, None)):
        t = Terminal(TREE)
        t.wait_for(step(1))
        if how:
            t.press(how)
        else:
            os.killpg(os.tcgetpgrp(t.master), number)
        t.ended(-number)
        assert t.text.endswith(LEAVE), "signal %d: the screen is left: %r" % (number, t.text[-40:])


def ignored_signal():
    t = Terminal(TREE, ignored=signal.SIGHUP)
    t.wait_for(step(1))
    os.killpg(os.tcgetpgrp(t.master), signal.SIGHUP)
    t.press("\n")
    t.wait_for(step(2))
    t.press("q")
    t.ended()


def stop_and_go_on():
    t = Terminal(TREE)
    t.wait_for(step(1))
    for turn in range(2):
        t.press("\032")
        assert os.WIFSTOPPED(t.status()), "Ctrl-Z stops it"
        assert settings(t.slave) == t.before, "the shell gets its settings"
        assert t.text.endswith(LEAVE), "and its screen: %r" % t.text[-40:]
        t.seen = len(t.text)
        os.kill(t.child, signal.SIGCONT)
        t.wait_for(step(turn + 1))
        assert not settings(t.slave)[3] & termios.ICANON, "keys come at once again"
        t.press("\n")
        t.wait_for(step(turn + 2))
    t.press("q")
    t.ended()


def frame_rows(frame, columns):
    """Rows that the text of a frame takes, without the bottom line."""
    text = re.split(r"\033\[H\033\[J", frame)[-1]
    text = re.sub(r"\033\[\d+H.*", "", text, flags=re.S)
    return sum(max(1, -(-len(line) // columns)) for line in text.replace("\r", "").split("\n")[:-1])


def sizes():
    for rows, columns in ((24, 80), (8, 80), (10, 33), (2, 20)):
        t = Terminal(TREE, rows, columns)
        for number in range(1, 13):
            frame = t.wait_for(step(number, columns))
            assert frame_rows(frame, columns) < rows, "%d x %d: %r" % (rows, columns, frame)
            assert ("\033[%dH" % rows) in frame, "the keys are in the last line"
            t.press("\n")
        t.ended()
        assert t.after_screen() == plain, "%d x %d: all of it stays" % (rows, columns)


def resize():
    t = Terminal(TREE)
    t.wait_for(step(1))
    fcntl.ioctl(t.master, termios.TIOCSWINSZ, struct.pack("HHHH", 12, 50, 0, 0))
    frame = t.wait_for(step(1, 50))
    assert "\033[12H1/12" in frame, "drawn again: %r" % frame
    t.press("q")
    t.ended()


def no_screen():
    for term in ("dumb", None):
        t = Terminal(TREE, term=term)
        t.ended()
        text = t.text.replace("\r\n", "\n")
        said = "treeattn: --wait: TERM is dumb or unset, so all steps follow without stopping\n"
        assert said in text and text.replace(said, "") == plain, "TERM %s: %r" % (term, text[:200])


def without_a_tree():
    t = Terminal(["step", "--tokens", "3", "--wait"])
    for line in ("absorb +0 ", "absorb +1 ", "absorb +2 ", "left +0 ", r"right +1\.\.2 ", "merge ", "two_passes "):
        t.wait_for(line)
        t.press("\n")
    t.ended()
    words = re.sub(r"\s+", " ", t.text).strip()
    assert words == re.sub(r"\s+", " ", alone).strip(), "as without --wait: %r" % t.text


for case in (keys_go, back_stops_at_the_first, enter_to_the_end, end_of_input, signals, ignored_signal, stop_and_go_on,
             sizes, resize, no_screen, without_a_tree):
    try:
        case()
        print("pass", case.__name__)
    except Exception as error:
        print("FAIL %s: %s %s" % (case.__name__, type(error).__name__, error))
    sys.stdout.flush()
END
expect "the cases ran: status" 0 $?
cat "$work/err"
while read -r word text; do
    if [ "$word" = pass ]; then pass "$text"; else fail "${text%%:*}" "${text#*: }"; fi
done <"$work/cases"
expect "all cases ran" 11 "$(wc -l <"$work/cases")"
finish
