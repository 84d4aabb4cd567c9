"""Attention: the definition, any plan over a tree, the fast path, the baselines: reference/*.h, reference/cpu."""

import os
from ctypes import byref, c_double

import numpy as np

from . import c
from .checks import array, choice, flag, instance, integer, number
from .errors import Error, raise_tree
from .handle import lock
from .memory import copied, pointer
from .plan import Plan
from .shape import STORAGES, shape_of
from .tree import Tree

ISAS = c.TREE_ISAS
MAX_THREADS = max(64, os.cpu_count() or 1)  # OpenMP ends the process if it cannot start a thread


def scale_of(scale, head_dim):
    """scale, checked; None: 1 / sqrt(head_dim)."""
    return head_dim ** -0.5 if scale is None else number("scale", scale)


def attention_ref(query, key, value, scale=None):
    """One query over contiguous keys: the definition.

      query       float32 [head_dim]
      key, value  float32 [num_tokens][head_dim]
      scale       multiplies q.k; None: 1 / sqrt(head_dim)

    Returns out, float64 [head_dim], and lse, a float: 0 and -inf where there is no token. C: attention_ref.
    """
    array("query", query, np.float32, (None,), "[head_dim]")
    array("key", key, np.float32, (None, len(query)), "[num_tokens][head_dim]")
    array("value", value, np.float32, key.shape, "that of key")
    if not len(query):
        raise Error("query: expected a head_dim of at least 1, got 0")
    out, lse = np.empty(len(query)), c_double()
    with lock:
        c.attention_ref(pointer(out), byref(lse), pointer(query), pointer(key), pointer(value), len(key), len(query),
                        scale_of(scale, len(query)))
    return out, lse.value


# ---- softmax_state.h ----

class SoftmaxState:
    """The softmax of one row over the tokens absorbed so far.

      m = max of score    l = sum of exp(score - m)    o = sum of exp(score - m) * value, float64 [head_dim]

    A new state is that of no tokens: m = -inf, l = 0, o = 0. C: softmax_state_empty.
    """

    def __init__(self, head_dim):
        self._o = np.empty(integer("head_dim", head_dim, 1, 1 << 20))
        self._struct = c.softmax_state(0, 0, pointer(self._o))
        c.inline_softmax_state_empty(byref(self._struct), len(self._o))

    m = property(lambda self: self._struct.m, doc="The largest score; -inf: no token.")
    l = property(lambda self: self._struct.l, doc="The sum of exp(score - m).")
    o = property(lambda self: self._o.copy(), doc="The sum of exp(score - m) * value, float64 [head_dim], a copy.")

    def absorb(self, score, value):
        """One more token. value: float32 [head_dim]. Returns the state. C: softmax_state_absorb."""
        score = number("score", score)
        array("value", value, np.float32, self._o.shape, "[head_dim]")
        with lock:
            c.inline_softmax_state_absorb(byref(self._struct), score, pointer(value), len(self._o))
        return self

    def merge(self, other):
        """The union with the state of other tokens. Returns the state. C: softmax_state_merge."""
        instance("other", other, SoftmaxState)
        if len(other._o) != len(self._o):
            raise Error(f"other: expected a state with head_dim {len(self._o)}, got {len(other._o)}")
        with lock:
            c.inline_softmax_state_merge(byref(self._struct), byref(other._struct), len(self._o))
        return self

    def normalize(self):
        """out = o / l, float32 [head_dim]; 0 where no token was seen. C: softmax_state_normalize."""
        out = np.empty(len(self._o), np.float32)
        c.inline_softmax_state_normalize(pointer(out), byref(self._struct), len(self._o))
        return out

    @property
    def lse(self):
        """log of the sum of exp(score) = m + ln l; -inf where no token was seen. C: softmax_state_lse."""
        return c.inline_softmax_state_lse(byref(self._struct))

    def copy(self):
        """A state of its own with the same tokens."""
        twin = SoftmaxState(len(self._o))
        twin._o[:], twin._struct.m, twin._struct.l = self._o, self.m, self.l
        return twin

    __copy__ = copy

    def __deepcopy__(self, _):
        return self.copy()

    def __repr__(self):
        return f"SoftmaxState(m={self.m:g}, l={self.l:g}, o={self._o})"


# ---- tree_attention.h ----

def arguments_of(query, key, value, over, scale, storages=("fp32",)):
    """What all attention has in common: new arrays out and lse, the shape as C takes it, the scale. over: a Plan or
    Tree."""
    shape = shape_of(query, key, value, storages=storages)
    if isinstance(over, Plan):
        over.fits(shape)
    elif (over.num_queries, over.block_tokens) != (shape.num_queries, shape.block_tokens):
        raise Error(f"tree: expected {shape.num_queries} queries and blocks of {shape.block_tokens} tokens, as the "
                    f"arrays have, got {over.num_queries} and {over.block_tokens}")
    return np.empty_like(query), np.empty(query.shape[:2], np.float32), shape._struct(), scale_of(scale, shape.head_dim)


def tree_attention_ref(query, key, value, plan, scale=None):
    """Attention of each query over its own path in the tree, by any plan: the specification, in double, slow.

      query       float32 [num_queries][num_heads][head_dim]
      key, value  float32 [num_blocks][num_kv_heads][block_tokens][head_dim]
      scale       multiplies q.k; None: 1 / sqrt(head_dim)

    Returns out, float32 as query, and lse, float32 [num_queries][num_heads]; a query that sees no token has out = 0 and
    lse = -inf. Error: TREE_BAD_SHAPE, TREE_BAD_PLAN. C: tree_attention_ref.
    """
    instance("plan", plan, Plan)
    with lock:
        out, lse, struct, scale = arguments_of(query, key, value, plan, scale)
        raise_tree(c.tree_attention_ref(pointer(out), pointer(lse), pointer(query), pointer(key), pointer(value),
                                        plan._pointer, byref(struct), scale))
    return out, lse


def tree_attention_ref_partials(query, key, value, plan, head, scale=None):
    """The partial states of one query head, which tree_attention_ref merges: a list of plan.num_partials SoftmaxState.

    Row r of an item is state item.first_partial + r; query q merges those of its list in plan.merge_partials. Arrays as
    in tree_attention_ref. C: tree_attention_ref_partials.
    """
    instance("plan", plan, Plan)
    with lock:
        _, _, struct, scale = arguments_of(query, key, value, plan, scale)
        head = integer("head", head, 0, struct.num_heads - 1)
        states = [SoftmaxState(struct.head_dim) for _ in range(plan.num_partials)]
        structs = (c.softmax_state * len(states))(*(state._struct for state in states))
        raise_tree(c.tree_attention_ref_partials(structs, pointer(query), pointer(key), pointer(value), plan._pointer,
                                                 head, byref(struct), scale))
    for state, struct in zip(states, structs):
        state._struct.m, state._struct.l = struct.m, struct.l
    return states


# ---- tree_isa.h, tree_attention_cpu.h ----

def tree_isa_available(isa):
    """Whether this build has code for an instruction set, "portable", "avx2", ..., and this machine can run it.
    C: tree_isa_available."""
    return c.tree_isa_available(choice("isa", isa, ISAS))


def tree_isa_best():
    """The instruction set that "auto" stands for on this machine. C: tree_isa_best."""
    return ISAS[c.tree_isa_best()]


def tree_isa_for(isa, storage):
    """The instruction set whose code runs for this argument and storage. C: tree_isa_for."""
    if not tree_isa_available(isa):
        raise Error(f"isa: expected one that this machine can run, got {isa!r}")
    return ISAS[c.tree_isa_for(choice("isa", isa, ISAS), choice("storage", storage, STORAGES))]


def tree_attention_cpu_workspace_bytes(plan, shape, max_threads=0):
    """Bytes of workspace for a plan and a Shape with at most max_threads threads (0: OpenMP's default).
    C: tree_attention_cpu_workspace_bytes."""
    instance("plan", plan, Plan).fits(shape)
    return plan._call(c.tree_attention_cpu_workspace_bytes, byref(shape._struct()), threads(max_threads))


_forked = False  # in a child of fork(), GCC's OpenMP would wait forever for threads that only the parent has


def _after_fork():
    global _forked
    _forked = True


os.register_at_fork(after_in_child=_after_fork)


def threads(num_threads):
    """A checked number of threads; 1 in a child of fork()."""
    num_threads = integer("num_threads", num_threads, 0, MAX_THREADS)
    return 1 if _forked else num_threads


def workspace(bytes):
    """A new workspace for the fast path, aligned to 64 bytes: uint8 [bytes]. Its contents do not matter."""
    values = np.empty(integer("bytes", bytes, 0, 1 << 48) + 64, np.uint8)
    first = -values.ctypes.data % 64
    return values[first:first + bytes]


def workspace_of(given, needed):
    """The caller's workspace, checked, or a new one."""
    if given is None:
        return workspace(needed)
    array("workspace", given, np.uint8, (None,), "[workspace_bytes]")
    if len(given) < needed or given.ctypes.data % 64 or not given.flags.writeable:
        raise Error(f"workspace: expected {needed} writable bytes or more, aligned to 64 as ta.workspace makes them, "
                    f"got {len(given)} at an address of {given.ctypes.data % 64} modulo 64")
    return given


def tree_attention_cpu(query, key, value, plan, scale=None, *, num_threads=0, isa="auto", workspace=None):
    """The same attention, fast: OpenMP and SIMD. The result has the same bits for any number of threads.

      query        float32 [num_queries][num_heads][head_dim]
      key, value   [num_blocks][num_kv_heads][block_tokens][head_dim] float32, float16, or uint16: the codes of bf16
      num_threads  0: OpenMP's default; in a child of fork() always 1
      isa          "auto", or one that tree_isa_available
      workspace    uint8, as ta.workspace makes it, to be used again; None: a new one

    Returns out and lse as tree_attention_ref. Error: TREE_BAD_SHAPE, TREE_BAD_PLAN, TREE_UNSUPPORTED.
    C: tree_attention_cpu.
    """
    instance("plan", plan, Plan)
    isa, num_threads = choice("isa", isa, ISAS), threads(num_threads)
    with lock:
        out, lse, struct, scale = arguments_of(query, key, value, plan, scale, c.TREE_STORAGES)
        space = workspace_of(workspace, plan._call(c.tree_attention_cpu_workspace_bytes, byref(struct), num_threads))
        raise_tree(c.tree_attention_cpu(pointer(out), pointer(lse), pointer(query), key.ctypes.data, value.ctypes.data,
                                        plan._pointer, byref(struct), scale, space.ctypes.data, len(space),
                                        num_threads, isa))
    return out, lse


# ---- standard_attention.h ----

def _standard(function, dims, query, key, value, tree, scale, arrays):
    instance("tree", tree, Tree)
    flag("arrays", arrays)
    with lock:
        out, lse, struct, scale = arguments_of(query, key, value, tree, scale)
        kept = c.standard_arrays() if arrays else None
        raise_tree(function(pointer(out), pointer(lse), pointer(query), pointer(key), pointer(value), tree._pointer,
                            byref(struct), scale, byref(kept) if arrays else None), TREE_BAD_PLAN=
                   f"key: expected more blocks than {len(key)}, since the tree names a block beyond them")
        if not arrays:
            return out, lse
        try:
            shapes = dims(struct, tree, kept.num_tokens)
            copies = {name: copied(getattr(kept, name), *shape) for name, shape in shapes.items()}
        finally:
            num_bytes = kept.bytes
            c.standard_arrays_free(byref(kept))
    return out, lse, {**copies, "bytes": num_bytes}


def standard_attention_ref(query, key, value, tree, scale=None, *, arrays=False):
    """Attention that materialises its intermediate arrays, over a copy of the keys per query.

    Arrays as in tree_attention_ref; a Tree in place of a plan. Returns out, lse; with arrays=True also a dict, S the
    tree's path_tokens: first_token [num_queries + 1], key, value [S][num_kv_heads][head_dim], head_key, head_value
    [S][num_heads][head_dim], scores, weights [num_heads][S], and `bytes` of them all. C: standard_attention_ref,
    standard_arrays_free.
    """
    def dims(shape, tree, n):
        kv, heads = (n, shape.num_kv_heads, shape.head_dim), (n, shape.num_heads, shape.head_dim)
        return {"first_token": (tree.num_queries + 1,), "key": kv, "value": kv, "head_key": heads,
                "head_value": heads, "scores": (shape.num_heads, n), "weights": (shape.num_heads, n)}
    return _standard(c.standard_attention_ref, dims, query, key, value, tree, scale, arrays)


def dense_mask_attention_ref(query, key, value, tree, scale=None, *, arrays=False):
    """Attention that materialises its intermediate arrays, over each token once and a mask, after Medusa.

    As standard_attention_ref, with U, the tree's unique_tokens, in place of S, first_token [num_nodes + 1], scores,
    masked, weights [num_heads][num_queries][U] and mask [num_queries][U]. C: dense_mask_attention_ref.
    """
    def dims(shape, tree, n):
        kv, heads = (n, shape.num_kv_heads, shape.head_dim), (n, shape.num_heads, shape.head_dim)
        scores = (shape.num_heads, shape.num_queries, n)
        return {"first_token": (tree.num_nodes + 1,), "key": kv, "value": kv, "head_key": heads, "head_value": heads,
                "scores": scores, "mask": scores[1:], "masked": scores, "weights": scores}
    return _standard(c.dense_mask_attention_ref, dims, query, key, value, tree, scale, arrays)
