"""The first import of a notebook: NumPy as np, the library as ta, the pictures as picture, and the program. Where one of
them is missing, one line says how to get it, in a notebook and under plain python3. Nothing is looked for in the current
folder."""
import builtins
import json
import os
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


class Missing(Exception):
    """Shown by a notebook as its one line, without a traceback."""

    def _render_traceback_(self):
        return [str(self)]


def _stop(message):
    if hasattr(builtins, "__IPYTHON__"):
        raise Missing(message)
    sys.exit(message)


sys.path.insert(0, os.path.join(ROOT, "python"))
try:
    import numpy as np
except ImportError:
    _stop("this notebook needs NumPy, which %s lacks: sudo apt-get install -y --no-install-recommends python3-numpy, "
          "then /usr/bin/python3" % sys.executable)
try:
    import treeattn as ta
except ImportError as error:
    _stop("this notebook needs the library, which make notebooks builds: " + " ".join(str(error).split()))
import picture


def program(*arguments):
    """What `treeattn ARGUMENTS --format json` prints, as a dict. The program lies where make builds it, beside the folder
    of the library."""
    library = os.environ.get("TREEATTN_LIB") or os.path.join(ROOT, "build", "python", "libtreeattn.so")
    path = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(library))), "treeattn")
    try:
        run = subprocess.run([path, *arguments, "--format", "json"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                             stderr=subprocess.PIPE, text=True)
    except OSError as error:
        _stop("this notebook needs the program, which make notebooks builds: %s: %s" % (path, error.strerror))
    if run.returncode != 0:
        _stop(run.stderr.strip())
    return json.loads(run.stdout)
