"""The first import of a notebook: NumPy as np, the library as ta, the pictures as picture. Where one of them is missing,
one line says how to get it, in a notebook and under plain python3. Nothing is looked for in the current folder."""
import builtins
import os
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
    _stop("this notebook needs NumPy: sudo apt-get install -y --no-install-recommends python3-numpy")
try:
    import treeattn as ta
except ImportError as error:
    _stop("this notebook needs the library, which make notebooks builds: " + " ".join(str(error).split()))
import picture
