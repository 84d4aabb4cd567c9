"""Pictures and tables of the notebooks: gnuplot in the style of figures/, as PNG in the cell. Under plain python3 a
picture goes to build/notebooks/NAME_1.png and so on.

    p = Picture("Bytes of a step", xlabel="branches", ylabel="MB", logx=2)
    p.line([1, 4, 16], [8.7, 34.6, 138.4], "per-branch reading", style="radix")
    p.show()

A picture carries the hash of its script, its data and the common style, so that scripts/notebooks.py can tell a stale
picture from one that another version of gnuplot has drawn."""
import base64
import csv
import hashlib
import os
import re
import struct
import subprocess
import sys
import tempfile
import zlib

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
STYLE = os.path.join(ROOT, "figures", "style.gnuplot")
SIGNATURE = b"\x89PNG\r\n\x1a\n"
NO_GNUPLOT = "picture left out: it needs gnuplot (sudo apt-get install -y --no-install-recommends gnuplot-nox)"


# ---- gnuplot ----

def text(string):
    """A string as gnuplot reads it."""
    return '"%s"' % str(string).replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def block(name, rows):
    """Rows of values as a data block of gnuplot; None is a missing value."""
    lines = (",".join("NaN" if value is None else str(value) for value in row) for row in rows)
    return "$%s << end_of_data\n%s\nend_of_data\n" % (name, "\n".join(lines))


class Image:
    """A drawn picture: a cell whose last line it is shows it."""

    def __init__(self, png, alt, size):
        self.png, self.alt, self.size = png, alt, size

    def _repr_mimebundle_(self, include=None, exclude=None):
        data = {"image/png": base64.b64encode(self.png).decode(), "text/plain": repr(self)}
        return data, {"image/png": {"alt": self.alt, "width": self.size[0], "height": self.size[1]}}

    def __repr__(self):
        return "[picture: %s]" % self.alt

    def show(self):
        """Shows it in the cell; under plain python3 writes the file and prints the picture's text."""
        shell = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
        if shell is not None:
            sys.modules["IPython"].display.display(self)
            return
        global _number
        _number += 1
        folder = os.path.join(ROOT, "build", "notebooks")
        os.makedirs(folder, exist_ok=True)
        stem = os.path.splitext(os.path.basename(sys.argv[0] or "picture"))[0]
        with open(os.path.join(folder, "%s_%d.png" % (stem, _number)), "wb") as file:
            file.write(self.png)
        print(self)


_number = 0


def _signed(png, digest):
    """The PNG with the digest in it, behind its first chunk."""
    if png[:8] != SIGNATURE or png[-8:-4] != b"IEND":
        raise RuntimeError("gnuplot wrote a part of the picture")
    note = b"tEXt" + b"treeattn\0" + digest.encode()
    chunk = struct.pack(">I", len(note) - 4) + note + struct.pack(">I", zlib.crc32(note))
    return png[:33] + chunk + png[33:]


def gnuplot(script, alt, width=840, height=400):
    """Draws a gnuplot script, in the style of figures/style.gnuplot, and shows the picture. alt: a sentence that says
    what the picture shows, for readers without a screen. width, height: in points."""
    whole = "width = %d; height = %d\nload %s\n%s" % (width, height, text("figures/style.gnuplot"), script)
    with open(STYLE, "rb") as file:
        digest = hashlib.sha256(whole.encode() + file.read()).hexdigest()
    with tempfile.TemporaryDirectory() as folder:
        name = os.path.join(folder, "picture.gp")
        with open(name, "w", encoding="utf-8") as file:
            file.write("image = %s\n%s\nunset output\n" % (text(os.path.join(folder, "picture.png")), whole))
        try:
            run = subprocess.run(["gnuplot", name], cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                 stderr=subprocess.PIPE, text=True)
        except FileNotFoundError:
            print(NO_GNUPLOT)
            return
        if run.returncode != 0 or run.stderr.strip():
            raise RuntimeError("gnuplot: " + run.stderr.strip().replace(folder + "/", ""))
        with open(os.path.join(folder, "picture.png"), "rb") as file:
            png = file.read()
    Image(_signed(png, digest), alt, (width, height)).show()


class Picture:
    """Lines over an axis; it can be shown again after each further line.

    logx, logy    base of a logarithmic axis
    xrange, ...   (least, most), None where gnuplot may choose
    xtics, ytics  a list of values, or a dict of name: value
    key           the place of the names, in gnuplot's words; None: no names"""

    def __init__(self, title="", xlabel="", ylabel="", logx=None, logy=None, xrange=None, yrange=None, xtics=None,
                 ytics=None, key="bottom right", width=840, height=400, alt=None, more=""):
        self.title, self.key, self.size, self.alt, self.more = title, key, (width, height), alt, more
        self.axes = []
        for axis, label, log, limits, tics in (("x", xlabel, logx, xrange, xtics), ("y", ylabel, logy, yrange, ytics)):
            self.axes.append("set %slabel %s" % (axis, text(label)))
            if log:
                self.axes.append("set logscale %s %g" % (axis, log))
            if limits:  # a little more, or gnuplot leaves out the last tic of a logarithmic axis
                least, most = limits
                if log and most is not None:
                    most *= 1.00001
                self.axes.append("set %srange [%s]" % (axis, ":".join("*" if v is None else repr(v) for v in (least, most))))
            if tics:
                named = tics.items() if isinstance(tics, dict) else ((repr(value), value) for value in tics)
                self.axes.append("set %stics (%s)" % (axis, ", ".join("%s %r" % (text(n), v) for n, v in named)))
        self.blocks, self.plots, self.names = [], [], []
        self.follows = bool(logx and not xrange)
        self.ends = []

    def line(self, xs, ys, name=None, style="cost", kind="linespoints"):
        """style: a name of figures/style.gnuplot (radix, cost, dram_line, ...); kind: lines, linespoints, points or
        boxes."""
        number, xs = len(self.plots), list(xs)
        self.ends += xs
        self.blocks.append(block("line_%d" % number, zip(xs, ys)))
        look = "fill solid 0.8 lt %s" % style if kind == "boxes" else "lt %s" % style
        self.plots.append("$line_%d using 1:2 with %s %s %s" % (number, kind, look, "title " + text(name) if name else
                                                              "notitle"))
        if name:
            self.names.append(name)

    def text(self, x, y, string, side="left"):
        """A text in the picture; side: left, center or right, the end of it that is at x."""
        number = len(self.plots)
        self.blocks.append("$line_%d << end_of_data\n%r,%r,%s\nend_of_data\n" % (number, x, y, text(string)))
        self.plots.append("$line_%d using 1:2:3 with labels %s notitle" % (number, side))

    def show(self, title=None):
        title = self.title if title is None else title
        lines = ["set title " + text(title)] + self.axes
        if self.follows:
            lines.append("set xrange [%r:%r]" % (min(self.ends), max(self.ends) * 1.00001))
        lines.append("set key %s reverse Left" % self.key if self.key else "unset key")
        alt = self.alt or "%s. Lines: %s" % (title.replace("\n", " "), ", ".join(self.names))
        script = "\n".join(["".join(self.blocks)] + lines + [self.more, "plot " + ", \\\n     ".join(self.plots)])
        gnuplot(script, alt, *self.size)


# ---- data and tables ----

def _value(string):
    for kind in int, float:
        try:
            return kind(string)
        except ValueError:
            pass
    return string


def read_csv(name):
    """rows, head of a recorded csv, named from the root of the project: each row a dict, numbers as numbers; the lines
    that begin with # as a dict."""
    with open(os.path.join(ROOT, name), encoding="utf-8", newline="") as file:
        lines = file.read().splitlines()
    head = dict(re.match(r"# ([^:]*): (.*)", line).groups() for line in lines if re.match(r"# [^:]*: ", line))
    rows = csv.DictReader(line for line in lines if line and not line.startswith("#"))
    return [{key: _value(value) for key, value in row.items()} for row in rows], \
        {key: _value(value) for key, value in head.items()}


def table(heads, rows, formats=None):
    """Prints rows under heads, in columns; formats: one for each column, as '%.1f'. Texts are to the left."""
    rows = [list(row) for row in rows]
    numeric = [all(not isinstance(row[i], str) for row in rows) for i in range(len(heads))]
    cells = [[(formats[i] % v if formats and not isinstance(v, str) else str(v)) for i, v in enumerate(row)]
             for row in rows]
    widths = [max(len(row[i]) for row in [heads] + cells) for i in range(len(heads))]
    for row in [heads] + cells:
        print("  ".join(cell.rjust(width) if number else cell.ljust(width)
                        for cell, width, number in zip(row, widths, numeric)).rstrip())
