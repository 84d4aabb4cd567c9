"""Arrays on their way to C and back."""

from ctypes import POINTER, c_char
from math import prod

import numpy as np
from numpy.ctypeslib import as_array, as_ctypes_type

from .handle import Handle


def pointer(values):
    """The address of an array's elements, as the type of pointer that the C function expects."""
    return values.ctypes.data_as(POINTER(as_ctypes_type(values.dtype)))


def copied(address, *shape):
    """A new array of this shape from a pointer of C; structs become a record array. No view, since C may move or free
    its memory at the next call."""
    if not prod(shape):
        values = np.empty(shape, address._type_)  # the pointer may be NULL
    else:
        values = as_array(address, shape).copy()
    return values.view(np.recarray) if values.dtype.names else values


def borrowed(handle, address, shape, dtype, writeable=False):
    """An array over memory of C. It needs the handle, so the memory stays as long as the array does."""
    memory = (c_char * (prod(shape) * np.dtype(dtype).itemsize)).from_address(address)
    memory.handle = Handle(address, lambda _: None, handle)  # objects of ctypes take attributes
    values = np.frombuffer(memory, dtype).reshape(shape)
    values.flags.writeable = writeable
    return values


def field(name, doc):
    """A property of an Owner: a number in its struct."""
    return property(lambda owner: owner._field(name), doc=doc)


def array_field(name, count, doc):
    """A property of an Owner: a copy of an array that its struct points to; the field `count` is its length."""
    def get(owner):
        with owner.lock:
            return copied(owner._field(name), owner._field(count))
    return property(get, doc=doc)
