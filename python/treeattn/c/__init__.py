"""The C side: the library, and its headers once more as ctypes, one file for each room."""

from .library import *
from .allocator import *
from .plan import *
from .attention import *
