"""Arguments, checked before the library sees them: each refusal names the argument, what was expected and what came."""

import operator

import numpy as np

from .errors import Error

U32_MAX = 2**32 - 1
U64_MAX = 2**64 - 1


def describe(value):
    """A short text for a value in a message."""
    if isinstance(value, np.ndarray):
        return f"{value.dtype} of shape {shape_text(value.shape)}"
    text, kind = repr(value), type(value).__name__
    if len(text) <= 40:
        return text
    return f"{text[:36]}..." if text.startswith(kind) else f"{kind} {text[:30]}..."


def shape_text(shape):
    """(2, 8, any): None stands for any length."""
    shape = ["any" if length is None else length for length in shape]
    return "(" + ", ".join(map(str, shape)) + ("," if len(shape) == 1 else "") + ")"


def integer(name, value, low=0, high=U32_MAX):
    """value as an int from low to high; also NumPy's integers, but neither bool nor float."""
    try:
        if isinstance(value, (bool, np.bool_)):
            raise TypeError
        number = operator.index(value)
    except TypeError:
        number = None
    if number is None or not low <= number <= high:
        raise Error(f"{name}: expected an integer from {low} to {high}, got {describe(value)}")
    return number


def power_of_two(name, value, high=256):
    """value as an int, a power of two from 1 to high."""
    number = integer(name, value, 1, high)
    if number & (number - 1):
        raise Error(f"{name}: expected a power of two from 1 to {high}, got {number}")
    return number


def number(name, value, low=None, high=None):
    """value as a float, from low to high if they are given; neither bool nor text."""
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, (int, float, np.integer, np.floating)):
        raise Error(f"{name}: expected a number, got {describe(value)}")
    try:
        result = float(value)
    except OverflowError:
        raise Error(f"{name}: expected a number that a float can hold, got {describe(value)}") from None
    if low is not None and not low <= result <= high:  # NaN is not between them
        raise Error(f"{name}: expected a number from {low} to {high}, got {result}")
    return result


def choice(name, value, names):
    """The index of a name in a list of names."""
    if not isinstance(value, str) or value not in names:
        raise Error(f"{name}: expected one of {', '.join(map(repr, names))}, got {describe(value)}")
    return list(names).index(value)


def flag(name, value):
    """value as a bool; 0 and 1 are none."""
    if not isinstance(value, (bool, np.bool_)):
        raise Error(f"{name}: expected True or False, got {describe(value)}")
    return bool(value)


def text(name, value):
    """A str, as bytes for C, which takes it to end at a 0."""
    if not isinstance(value, str) or "\0" in value:
        raise Error(f"{name}: expected text without a 0 character, got {describe(value)}")
    return content(name, value)


def content(name, value):
    """A str or bytes of any content, as bytes for C, which is told the length."""
    if isinstance(value, bytes):
        return value
    if not isinstance(value, str):
        raise Error(f"{name}: expected str or bytes, got {describe(value)}")
    try:
        return value.encode()
    except UnicodeEncodeError:  # half of a surrogate pair
        raise Error(f"{name}: expected text that UTF-8 can hold, got {describe(value)}") from None


def instance(name, value, kind):
    """value, if it is an object of this class."""
    if not isinstance(value, kind):
        article = "an" if kind.__name__[0] in "AEIOU" else "a"
        raise Error(f"{name}: expected {article} {kind.__name__}, got {describe(value)}")
    return value


def array(name, value, dtype, shape, dims=""):
    """value as it is, if it is an array of this type and shape in C order. None in `shape`: any length.

    Nothing is converted: a hidden copy of K and V would be the opposite of this library's subject.
    dims: the shape in words, "[num_queries][num_heads][head_dim]".
    """
    dtype = np.dtype(dtype)
    fits = (isinstance(value, np.ndarray) and value.dtype == dtype and value.ndim == len(shape) and
            all(want is None or want == have for want, have in zip(shape, value.shape)))
    if not fits:
        hint = "" if isinstance(value, np.ndarray) else f"; np.asarray(..., np.{dtype}) makes an array"
        raise Error(f"{name}: expected {dtype} of shape {shape_text(shape)}{' = ' + dims if dims else ''}, "
                    f"got {describe(value)}{hint}")
    if not value.flags.c_contiguous:
        raise Error(f"{name}: expected elements in C order without gaps, got strides {value.strides}; "
                    "np.ascontiguousarray makes a copy of that form")
    if not value.flags.aligned:
        raise Error(f"{name}: expected elements that are aligned to {value.itemsize} bytes; .copy() aligns them")
    return value


def integers(name, values, high=U32_MAX, dtype=np.uint32):
    """A list, tuple or array of integers from 0 to high, as a new array."""
    if isinstance(values, np.ndarray):
        if values.ndim != 1 or values.dtype.kind not in "iu":
            raise Error(f"{name}: expected integers in one dimension, got {describe(values)}")
        if values.size and not (0 <= values.min() and values.max() <= high):
            raise Error(f"{name}: expected integers from 0 to {high}, got {values.min()} to {values.max()}")
        return np.ascontiguousarray(values.astype(dtype))
    if not isinstance(values, (list, tuple, range)):
        raise Error(f"{name}: expected a list or an array of integers, got {describe(values)}")
    return np.array([integer(f"{name}[{i}]", value, 0, high) for i, value in enumerate(values)], dtype)


def objects(name, values, kind):
    """A list or tuple of objects of a class."""
    if not isinstance(values, (list, tuple)):
        raise Error(f"{name}: expected a list of {kind.__name__}, got {describe(values)}")
    return [instance(f"{name}[{i}]", value, kind) for i, value in enumerate(values)]
