#!/usr/bin/env python3
"""notebooks.py --check | --write [NAME...]: the notebooks, from their sources notebooks/NN_name.py.

  --check   each .ipynb has the cells of its source, runs, and shows what is recorded in it; else status 1
  --write   runs each source and records cells and outputs; a notebook is replaced as a whole, and only if it changes
  NAME      1, 01, or 01_blocks; without one: all. NOTEBOOKS=FOLDER: another folder than notebooks

A source is a Python program that plain python3 runs, too. "# %%" begins a cell of code, "# %% [markdown]" one of text,
whose lines begin with "# ". Texts of a cell's output are compared exactly; pictures by their size, their alternative
text and the hash of script and data that notebooks/picture.py writes into them, not by their pixels, as gnuplot and its
libraries draw a little differently from version to version. So an output must not depend on the machine: no timers, no
absolute paths, no host names, no addresses, no warnings. Needs nbclient and ipykernel; two notebooks run at once."""
import asyncio
import ast
import base64
import json
import os
import re
import socket
import struct
import sys
import tempfile
import zlib

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
FOLDER = os.path.join(ROOT, os.environ.get("NOTEBOOKS", "notebooks"))
SOURCE = re.compile(r"(\d\d_[a-z0-9_]+)\.py$")
SECONDS = 60  # of one cell
AT_ONCE = 2
TIMERS = {"time", "timeit", "datetime"}
TIMER = re.compile(r"perf_counter|monotonic|process_time|\btimeit\b")
PLAIN = re.compile(r"\bdisplay\(|get_ipython|^[%!]", re.M)
MACHINE = re.compile(r"gethostname|getfqdn|\bplatform\.|\buname\b|getpass|expanduser|\bgetcwd\b")
PATH = re.compile(r"(?<![\w.:/])/(?:home|root|usr|tmp|var|opt|etc|mnt|media|srv|work|workspace|Users)\b[^\s'\"]*")
ADDRESS = re.compile(r"\b0x[0-9a-f]{6,}\b")
METADATA = {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
            "language_info": {"name": "python"}}


class Wrong(Exception):
    pass


# ---- from source to cells ----

def cells_of(text):
    """The notebook's cells, without outputs."""
    cells = []
    for part in re.split(r"^(?=# %%)", text, flags=re.M):
        if not part.strip():
            continue
        head, _, body = part.partition("\n")
        if head not in ("# %%", "# %% [markdown]"):
            raise Wrong("expected '# %%%%' or '# %%%% [markdown]' at the begin of a cell, got '%s'" % head[:60])
        body = body.strip("\n")
        cell = {"id": "cell-%d" % (len(cells) + 1), "metadata": {}}
        if head == "# %%":
            cell.update(cell_type="code", execution_count=None, outputs=[], source=body)
        else:
            lines = body.split("\n")
            wrong = next((line for line in lines if line != "#" and not line.startswith("# ")), None)
            if wrong is not None:
                raise Wrong("cell %d is text, but its line '%s' does not begin with '# '" % (len(cells) + 1, wrong[:60]))
            cell.update(cell_type="markdown", source="\n".join(line[2:] for line in lines))
        if not body:
            raise Wrong("cell %d is empty" % (len(cells) + 1))
        cells.append(cell)
    if not cells:
        raise Wrong("no cell: a line '# %%' begins one")
    return cells


def refuse_source(cells):
    """What a cell must not have, as its output would depend on the machine; and links that lead nowhere."""
    for number, cell in enumerate(cells, 1):
        source = cell["source"]
        for pattern, name in ((TIMER, "a timer"), (MACHINE, "a name of the machine"), (PATH, "an absolute path"),
                              (PLAIN, "a call that plain python3 lacks")):
            found = pattern.search(source)
            if found:
                raise Wrong("cell %d has %s: '%s'" % (number, name, found.group()))
        if cell["cell_type"] == "markdown":
            for link in re.findall(r"\]\(([^)#]+)[^)]*\)", source):
                link = re.sub(r"(^\d\d_\w+)\.ipynb$", r"\1.py", link)  # another notebook, which may not be recorded yet
                if not re.match(r"[a-z]+:", link) and not os.path.exists(os.path.join(FOLDER, link)):
                    raise Wrong("cell %d links to %s: no such file" % (number, link))
            continue
        try:
            tree = ast.parse(source)
        except SyntaxError as error:
            raise Wrong("cell %d, line %d is no Python: %s" % (number, error.lineno, error.msg))
        for node in ast.walk(tree):
            modules = [name.name for name in node.names] if isinstance(node, ast.Import) else \
                [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            if TIMERS & {module.split(".")[0] for module in modules}:
                raise Wrong("cell %d has a timer: 'import %s'" % (number, ", ".join(modules)))


# ---- running ----

def joined(text):
    return "".join(text) if isinstance(text, list) else text


def tidy(outputs):
    """Outputs without the parts that change from run to run; pieces of standard output joined."""
    tidied = []
    for output in outputs:
        kind = output["output_type"]
        if kind == "stream":
            text = joined(output["text"])
            if tidied and tidied[-1]["output_type"] == "stream" and tidied[-1]["name"] == output["name"]:
                tidied[-1]["text"] += text
            else:
                tidied.append({"output_type": kind, "name": output["name"], "text": text})
        elif kind == "error":
            tidied.append({"output_type": kind, "ename": output["ename"], "evalue": output["evalue"]})
        else:
            data = {mime: joined(value) for mime, value in output["data"].items()}
            if "image/png" in data:
                data["image/png"] = data["image/png"].strip()
            tidied.append({"output_type": kind, "data": data, "metadata": output.get("metadata", {})})
    return tidied


async def run(cells):
    """Executes the cells in a kernel of their own; their outputs are filled in."""
    import nbformat
    from nbclient import NotebookClient
    from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError
    book = nbformat.from_dict({"cells": cells, "metadata": METADATA, "nbformat": 4, "nbformat_minor": 5})
    client = NotebookClient(book, timeout=SECONDS, kernel_name="python3", record_timing=False,
                            startup_timeout=SECONDS, iopub_timeout=SECONDS, resources={"metadata": {"path": FOLDER}})
    try:
        await client.async_execute()
    except CellExecutionError:
        pass  # it is in the outputs
    except CellTimeoutError:
        raise Wrong("a cell takes more than %g s" % SECONDS)
    except DeadKernelError:
        raise Wrong("Python died in a cell")
    for number, (cell, executed) in enumerate(zip(cells, book.cells), 1):
        if cell["cell_type"] == "code":
            cell["outputs"] = tidy(json.loads(json.dumps(executed["outputs"])))
            cell["execution_count"] = executed["execution_count"]
            for output in cell["outputs"]:
                if output["output_type"] == "error":
                    raise Wrong("cell %d ends with %s: %s" % (number, output["ename"], output["evalue"].strip()))


def refuse_outputs(cells):
    """What no output may have, recorded or new."""
    host = socket.gethostname()
    names = [(PATH, "an absolute path"), (ADDRESS, "an address"), (re.compile(re.escape(ROOT)), "an absolute path")]
    if len(host) > 3 and not host.isalpha():  # "cache" may be a machine's name, too
        names.append((re.compile(r"\b%s\b" % re.escape(host)), "the name of this machine"))
    for number, cell in enumerate(cells, 1):
        for output in cell.get("outputs", []):
            kind = output["output_type"]
            if kind == "error":
                raise Wrong("cell %d has an error as its output: %s: %s" % (number, output["ename"], output["evalue"]))
            if kind == "execute_result":
                raise Wrong("cell %d ends with a value, which plain python3 does not show: print it" % number)
            if kind == "stream" and output["name"] != "stdout":
                raise Wrong("cell %d warns: %s" % (number, output["text"].strip().split("\n")[-1]))
            data = output.get("data", {})
            other = set(data) - {"text/plain", "image/png"}
            if other:
                raise Wrong("cell %d shows %s: only text and PNG are shown everywhere" % (number, ", ".join(other)))
            text = output.get("text", "") + data.get("text/plain", "") + json.dumps(output.get("metadata", {}))
            for pattern, name in names:
                found = pattern.search(text)
                if found:
                    raise Wrong("the output of cell %d has %s: '%s'" % (number, name, found.group()))


# ---- comparing ----

def picture(text):
    """(width, height, hash) of a PNG, from its chunks, each of which has to be whole."""
    try:
        png = base64.b64decode(text, validate=True)
        if png[:8] != b"\x89PNG\r\n\x1a\n":
            raise ValueError
        at, kind, size, digest = 8, b"", None, None
        while kind != b"IEND":
            length, kind = struct.unpack(">I4s", png[at:at + 8])
            body, check = png[at + 8:at + 8 + length], png[at + 8 + length:at + 12 + length]
            if struct.unpack(">I", check)[0] != zlib.crc32(kind + body):
                raise ValueError
            if kind == b"IHDR":
                size = struct.unpack(">II", body[:8])
            elif kind == b"tEXt" and body.startswith(b"treeattn\0"):
                digest = body[9:].decode()
            at += 12 + length
    except (ValueError, struct.error):
        raise Wrong("a damaged PNG")
    if digest is None:
        raise Wrong("a PNG without a hash: notebooks/picture.py draws the pictures")
    return size + (digest,)


def compared(output):
    """An output as it is compared: a picture by size and hash."""
    if "image/png" not in output.get("data", {}):
        return output
    return dict(output, data=dict(output["data"], **{"image/png": picture(output["data"]["image/png"])}))


def first_line(old, new):
    """The first line in which two texts differ."""
    old, new = old.split("\n"), new.split("\n")
    for number in range(max(len(old), len(new))):
        pair = [lines[number] if number < len(lines) else None for lines in (old, new)]
        if pair[0] != pair[1]:
            return "line %d: recorded %s, now %s" % (number + 1, *("nothing" if p is None else "'%s'" % p for p in pair))


def compare(recorded, cells):
    """The recorded outputs against those of now."""
    for number, (old, new) in enumerate(zip(recorded, cells), 1):
        olds, news = ([compared(output) for output in cell.get("outputs", [])] for cell in (old, new))
        if old.get("execution_count") != new.get("execution_count"):
            raise Wrong("cell %d was not recorded in one run from the top" % number)
        for a, b in zip(olds, news):
            if a == b:
                continue
            if a["output_type"] == b["output_type"] == "stream":
                raise Wrong("cell %d prints something else, %s" % (number, first_line(a["text"], b["text"])))
            if "image/png" in a.get("data", {}) and "image/png" in b.get("data", {}):
                a, b = (output["data"]["image/png"] + (json.dumps(output["metadata"], sort_keys=True),) for output in (a, b))
                parts = [name for name, x, y in zip(("width", "height", "script or data", "text"), a, b) if x != y]
                raise Wrong("cell %d draws another picture: %s" % (number, ", ".join(parts or ["text"])))
            raise Wrong("cell %d shows something else: recorded %s, now %s" %
                        (number, *(str(output.get("data", output))[:200] for output in (a, b))))
        if len(olds) != len(news):
            raise Wrong("cell %d has %d outputs, recorded are %d" % (number, len(news), len(olds)))


def read_recorded(name):
    """The recorded notebook's cells, with outputs as tidy() makes them, and its text."""
    try:
        with open(os.path.join(FOLDER, name + ".ipynb"), encoding="utf-8") as file:
            text = file.read()
    except OSError as error:
        raise Wrong("it is not there: %s" % error.strerror)
    except UnicodeDecodeError:
        raise Wrong("it is no notebook")
    try:
        book = json.loads(text)
        cells = book["cells"]
        for cell in cells:
            cell["source"] = joined(cell["source"])
            if cell["cell_type"] == "code":
                cell["outputs"] = tidy(cell["outputs"])
    except (ValueError, KeyError, TypeError, AttributeError):
        raise Wrong("it is no notebook")
    return cells, text


def written(cells):
    """The text of a .ipynb, as Jupyter orders and indents it."""
    def lines(value):
        return value.splitlines(keepends=True)
    out = []
    for cell in cells:
        cell = dict(cell, source=lines(cell["source"]))
        if cell["cell_type"] == "code":
            outputs = []
            for output in cell["outputs"]:
                if output["output_type"] == "stream":
                    output = dict(output, text=lines(output["text"]))
                elif "data" in output:
                    output = dict(output, data={mime: lines(value) if mime.startswith("text/") else value
                                                for mime, value in output["data"].items()})
                outputs.append(output)
            cell["outputs"] = outputs
        out.append(cell)
    book = {"cells": out, "metadata": METADATA, "nbformat": 4, "nbformat_minor": 5}
    return json.dumps(book, indent=1, sort_keys=True, ensure_ascii=False) + "\n"


# ---- the two verbs ----

async def do(name, write, turn):
    """One notebook: '' or the fault."""
    async with turn:
        try:
            with open(os.path.join(FOLDER, name + ".py"), encoding="utf-8") as file:
                cells = cells_of(file.read())
            refuse_source(cells)
            target, again = os.path.join(FOLDER, name + ".ipynb"), "make notebooks N=%d WRITE=1" % int(name[:2])
            if write:
                await run(cells)
                refuse_outputs(cells)
                for cell in cells:
                    for output in cell.get("outputs", []):
                        compared(output)
                text = written(cells)
                if not os.path.exists(target) or open(target, encoding="utf-8").read() != text:
                    with open(target + ".part", "w", encoding="utf-8") as file:
                        file.write(text)
                    os.replace(target + ".part", target)
                    print("wrote %s" % os.path.relpath(target, ROOT), flush=True)
                return True
            try:
                recorded, text = read_recorded(name)
                refuse_outputs(recorded)
                for number, (old, new) in enumerate(zip(recorded, cells), 1):
                    if any(old.get(key) != new[key] for key in ("cell_type", "source", "id")):
                        raise Wrong("cell %d is not as in the source, %s" % (number, first_line(old["source"], new["source"])
                                                                             or "of another kind"))
                if len(recorded) != len(cells):
                    raise Wrong("it has %d cells, the source %d" % (len(recorded), len(cells)))
                for cell in recorded:
                    for output in cell.get("outputs", []):
                        compared(output)
                if written(recorded) != text:
                    raise Wrong("it was saved by another program")
                await run(cells)
                refuse_outputs(cells)
                compare(recorded, cells)
            except Wrong as wrong:
                raise Wrong("%s\n     after a change of its source or data: %s" % (wrong, again))
            print("pass %s: %d cells, %d pictures" % (name, len(cells), sum("image/png" in output.get("data", {})
                  for cell in cells for output in cell.get("outputs", []))), flush=True)
            return True
        except (Wrong, OSError, UnicodeDecodeError) as wrong:
            print("FAIL %s: %s" % (name, wrong), flush=True)
            return False


async def all_of(names, write):
    turn = asyncio.Semaphore(AT_ONCE)
    return all(await asyncio.gather(*(do(name, write, turn) for name in names)))


def main():
    if len(sys.argv) < 2 or sys.argv[1] not in ("--check", "--write"):
        sys.exit("usage: notebooks.py --check | --write [NAME...]")
    sources = sorted(match.group(1) for match in map(SOURCE.fullmatch, os.listdir(FOLDER)) if match)
    names = sources
    if sys.argv[2:]:
        called = {name: (name, name[:2], name[:2].lstrip("0")) for name in sources}
        names = [name for name in sources if set(called[name]) & set(sys.argv[2:])]
        unknown = [wanted for wanted in sys.argv[2:] if not any(wanted in calls for calls in called.values())]
        if unknown:
            sys.exit("no notebook %s; there are %s" % (unknown[0], ", ".join(sources) or "none"))
    good = bool(names)
    if not names:
        print("FAIL no notebooks in %s" % FOLDER)
    alone = sorted(name[:-6] for name in os.listdir(FOLDER) if name.endswith(".ipynb") and name[:-6] not in sources)
    for name in alone if not sys.argv[2:] else []:
        print("FAIL %s.ipynb has no source %s.py" % (name, name))
        good = False
    # Of IPython and Jupyter, nothing of the user's own, and no file is left behind.
    with tempfile.TemporaryDirectory() as home:
        for name in ("IPYTHONDIR", "JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR"):
            os.environ[name] = os.path.join(home, name)
        os.environ.update(PYTHONDONTWRITEBYTECODE="1", OMP_WAIT_POLICY="passive", PYTHONHASHSEED="0",
                          JUPYTER_PLATFORM_DIRS="1", PYDEVD_DISABLE_FILE_VALIDATION="1")
        good = asyncio.run(all_of(names, sys.argv[1] == "--write")) and good
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
