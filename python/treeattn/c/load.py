"""Finds libtreeattn.so and declares its functions."""

import os
import pathlib
from ctypes import POINTER as P, PyDLL, Structure, c_char_p

PACKAGE = pathlib.Path(__file__).resolve().parent.parent
NAME = "libtreeattn.so"
BUILD = "cmake -S . -B build && cmake --build build --target treeattn_shared"


def places():
    """Where the library may lie, in the order of the search."""
    if os.environ.get("TREEATTN_LIB"):
        return [pathlib.Path(os.environ["TREEATTN_LIB"])]  # the user's choice: no other will do
    return [PACKAGE.parent.parent / "build" / "python" / NAME,  # a checkout
            PACKAGE / NAME]  # installed


def load():
    """The first library in these places."""
    tried = []
    for place in places():
        try:
            # PyDLL, not CDLL: Python's lock (the GIL) stays held during a call, so that calls of several threads follow
            # one another, as the headers require. The threads of OpenMP run inside a call.
            return PyDLL(str(place))
        except OSError as error:
            tried.append(f"  {place}: {error if place.exists() else 'no such file'}")
    raise ImportError("treeattn found no library that it can load. Tried (TREEATTN_LIB names another place):\n" +
                      "\n".join(tried) + f"\nIn a checkout, this builds it: {BUILD}")


library = load()


def function(prototype):
    """Declares a function of the library: a Python signature in, the C function out.

    The annotations are the C types. Without them, ctypes would take each argument for an int and cut pointers in half.
    """
    types = dict(prototype.__annotations__)
    try:
        c_function = getattr(library, prototype.__name__)
    except AttributeError:
        raise ImportError(f"{library._name} has no function {prototype.__name__}, so it is not the library of this "
                          f"package. This builds it: {BUILD}") from None
    c_function.restype = types.pop("return")
    c_function.argtypes = list(types.values())
    c_function.prototype = prototype  # for a reader, and for the test that compares it with the header
    return c_function


def names(count, symbol):
    """A table of names, `const char *const symbol[count]`, as a tuple of str."""
    return tuple(name.decode() for name in (c_char_p * count).in_dll(library, symbol))


def as_dict(struct):
    """The fields of a struct by name."""
    return {name: getattr(struct, name) for name, *_ in struct._fields_}


__all__ = ["P", "Structure", "function", "library", "names", "as_dict"]
