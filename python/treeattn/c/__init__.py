"""The C side: the library, and its headers once more as ctypes, one file for each room.

A function is declared by the annotations of its signature, and `@function` (load.py) puts the function of C in its place:
its body is `...`, since it never runs. A name with inline_ before it is a function that the header defines inline, which
has no symbol of its own: python/inline.c exports it.
"""

from .load import *
from .allocator import *
from .plan import *
from .attention import *
from .eviction import *
from .workloads import *
