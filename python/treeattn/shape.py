"""The sizes of a step of attention, and storage types: reference/shape."""

from ctypes import byref
from dataclasses import dataclass

import numpy as np

from . import c
from .checks import array, choice, describe, integer
from .errors import Error, raise_tree
from .memory import pointer

STORAGES = c.TREE_STORAGES
# NumPy has no bf16: its codes are uint16.
STORAGE_TYPES = {"fp32": np.dtype(np.float32), "fp16": np.dtype(np.float16), "bf16": np.dtype(np.uint16)}


@dataclass(frozen=True)
class Shape:
    """The sizes of one step of attention.

      query  [num_queries][num_heads][head_dim]                  out the same
      lse    [num_queries][num_heads]
      key    [num_blocks][num_kv_heads][block_tokens][head_dim]  value the same

    storage: of key and value; "fp32" (np.float32), "fp16" (np.float16) or "bf16" (its codes, as np.uint16).
    Functions of attention take the sizes from the arrays; those that count bytes need a Shape.
    """
    num_heads: int
    num_kv_heads: int
    head_dim: int
    block_tokens: int = 16
    num_blocks: int = 1
    num_queries: int = 1
    storage: str = "fp32"

    @property
    def group_size(self):
        """Query heads that share a KV head: head h reads KV head h // group_size."""
        self.check()
        return self.num_heads // self.num_kv_heads

    @property
    def storage_bytes(self):
        """Bytes of an element of key and value. C: tree_storage_bytes."""
        return c.inline_tree_storage_bytes(choice("storage", self.storage, STORAGES))

    @property
    def query_shape(self):
        """Of query and out."""
        return self.num_queries, self.num_heads, self.head_dim

    @property
    def kv_shape(self):
        """Of key and value."""
        return self.num_blocks, self.num_kv_heads, self.block_tokens, self.head_dim

    def check(self):
        """Error TREE_BAD_SHAPE: a size is 0, num_heads is no multiple of num_kv_heads, block_tokens no power of two up
        to 256, or a buffer would exceed 2^48 elements. C: tree_shape_check."""
        raise_tree(c.tree_shape_check(byref(self._struct())), f"{self!r} is no shape of attention")

    def kv_offset(self, block, kv_head, slot):
        """Index of the first element of (block, kv_head, slot) in key.ravel(). C: tree_kv_offset."""
        self.check()
        return c.inline_tree_kv_offset(byref(self._struct()), integer("block", block),
                                       integer("kv_head", kv_head, 0, self.num_kv_heads - 1),
                                       integer("slot", slot, 0, self.block_tokens - 1))

    def _struct(self):
        """For C."""
        *sizes, _ = (name for name, _ in c.tree_shape._fields_)
        return c.tree_shape(*(integer(name, getattr(self, name)) for name in sizes),
                            choice("storage", self.storage, STORAGES))


def shape_of(query, key, value, *, storages=STORAGES):
    """The Shape that these arrays have, which must fit together."""
    for name, values, ndim, dims in (("query", query, 3, "[num_queries][num_heads][head_dim]"),
                                     ("key", key, 4, "[num_blocks][num_kv_heads][block_tokens][head_dim]")):
        if not isinstance(values, np.ndarray) or values.ndim != ndim:
            raise Error(f"{name}: expected an array {dims}, got {describe(values)}")
    array("query", query, np.float32, (None, None, None))
    storage = next((name for name in storages if STORAGE_TYPES[name] == key.dtype), None)
    if storage is None:
        raise Error(f"key: expected {' or '.join(str(STORAGE_TYPES[name]) for name in storages)}, got {describe(key)}")
    head_dim = query.shape[2]
    array("key", key, key.dtype, (None, None, None, head_dim), "[num_blocks][num_kv_heads][block_tokens][head_dim]")
    array("value", value, key.dtype, key.shape, "that of key")
    shape = Shape(query.shape[1], key.shape[1], head_dim, key.shape[2], key.shape[0], query.shape[0], storage)
    shape.check()
    return shape


# ---- half.h ----

def _convert(function, values, from_type, to_type):
    values = np.asarray(values) if np.isscalar(values) else values
    if not isinstance(values, np.ndarray) or values.dtype != from_type:
        raise Error(f"values: expected {np.dtype(from_type)}, got {describe(values)}")
    values = np.require(values, requirements="CA")  # in C order and aligned
    result = np.empty(values.shape, to_type)
    function(pointer(result), pointer(values), values.size)
    return result


def bf16_from_float(values):
    """float32 [...] -> bf16 codes, uint16 [...], rounded to nearest even. C: bf16_from_float."""
    return _convert(c.inline_bf16_from_float, values, np.float32, np.uint16)


def bf16_to_float(codes):
    """bf16 codes, uint16 [...] -> float32 [...], exact. C: bf16_to_float."""
    return _convert(c.inline_bf16_to_float, codes, np.uint16, np.float32)


def fp16_from_float(values):
    """float32 [...] -> fp16 codes, uint16 [...], rounded to nearest even; .view(np.float16) is the storage "fp16".
    C: fp16_from_float."""
    return _convert(c.inline_fp16_from_float, values, np.float32, np.uint16)


def fp16_to_float(codes):
    """fp16 codes, uint16 [...] -> float32 [...], exact. C: fp16_to_float."""
    return _convert(c.inline_fp16_to_float, codes, np.uint16, np.float32)


def half_bits(values):
    """The bits of float32 [...] as uint32 [...]. C: half_bits."""
    return _convert(c.inline_half_bits, values, np.float32, np.uint32)


def half_from_bits(bits):
    """uint32 [...] as the float32 [...] with these bits. C: half_from_bits."""
    return _convert(c.inline_half_from_bits, bits, np.uint32, np.float32)
