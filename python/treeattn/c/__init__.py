"""The C side: the library, and its headers once more as ctypes, one file for each room."""

from .load import *
from .allocator import *
from .plan import *
from .attention import *
from .eviction import *
from .workloads import *
