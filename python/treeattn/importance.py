"""The contribution of each token to the output: importance.h, tree_importance.h, tree_importance_cpu.h."""

from ctypes import byref
from typing import NamedTuple

import numpy as np

from . import c
from .attention import ISAS, arguments_of, scale_of, threads, workspace_of
from .checks import U32_MAX, U64_MAX, array, choice, describe, instance, integer, integers, number
from .errors import Error, raise_tree
from .handle import lock
from .memory import pointer
from .plan import Plan
from .shape import Shape, shape_of
from .tree import NONE

EVICTION_NONE = c.EVICTION_NONE
EVICTION_NOT_FINITE = c.EVICTION_NOT_FINITE


class Tokens(NamedTuple):
    """The tokens that one query sees, in the order of their positions.

      slots      [num_tokens] places in the pool, block * block_tokens + slot in the block
      positions  [num_tokens] ascending
    """
    slots: np.ndarray
    positions: np.ndarray


def checked_tokens(name, tokens, num_blocks, block_tokens):
    """Tokens with the types that C takes, all within the pool."""
    instance(name, tokens, Tokens)
    slots = integers(f"{name}.slots", tokens.slots, num_blocks * block_tokens - 1, np.uint64)
    positions = integers(f"{name}.positions", tokens.positions)
    if len(slots) != len(positions):
        raise Error(f"{name}: expected as many slots as positions, got {len(slots)} and {len(positions)}")
    if (positions[1:] <= positions[:-1]).any():
        raise Error(f"{name}.positions: expected ascending positions, got {describe(positions.tolist())}")
    return Tokens(slots, positions)


def token_struct(tokens):
    """checked_tokens for C; the struct points into their arrays."""
    return c.token_list(len(tokens.slots), pointer(tokens.slots), pointer(tokens.positions))


def candidate_range(candidates):
    """(first, end) as C takes it; None: all positions."""
    if candidates is None:
        return c.eviction_range(0, U32_MAX)
    if not isinstance(candidates, (tuple, list)) or len(candidates) != 2:
        raise Error(f"candidates: expected (first, end), got {describe(candidates)}")
    return c.eviction_range(*(integer(f"candidates[{i}]", value) for i, value in enumerate(candidates)))


def value_norm(value):
    """The sum of |value[d]|: float32 [...][head_dim] -> float32 [...], for one value or for a whole pool.
    C: value_norm."""
    if not isinstance(value, np.ndarray) or value.ndim < 1 or not value.shape[-1]:
        raise Error(f"value: expected float32 [...][head_dim], got {describe(value)}")
    array("value", value, np.float32, value.shape)
    rows = value.reshape(-1, value.shape[-1])
    norms = np.empty(len(rows), np.float32)
    with lock:
        for i, row in enumerate(rows):
            norms[i] = c.value_norm(pointer(row), len(row))
    return norms.reshape(value.shape[:-1])


def attention_weights(query, key, value, tokens, scale=None):
    """The softmax weights of one query.

      query       float32 [num_heads][head_dim]
      key, value  float32 [num_blocks][num_kv_heads][block_tokens][head_dim]
      tokens      the Tokens that it sees

    Returns weights [num_heads][num_tokens], out [num_heads][head_dim] and lse [num_heads], all float64.
    C: attention_weights.
    """
    array("query", query, np.float32, (None, None), "[num_heads][head_dim]")
    shape = shape_of(query[None], key, value, storages=("fp32",))
    tokens = checked_tokens("tokens", tokens, shape.num_blocks, shape.block_tokens)
    weights, out = np.empty((shape.num_heads, len(tokens.slots))), np.empty(query.shape)
    lse = np.empty(shape.num_heads)
    with lock:
        c.attention_weights(pointer(weights), pointer(out), pointer(lse), pointer(query), pointer(key), pointer(value),
                            byref(token_struct(tokens)), byref(shape._struct()), scale_of(scale, shape.head_dim))
    return weights, out, lse


def importance_ref(weights, norm, tokens, head_dim):
    """The importance of each token, float64 [num_tokens]: the mean, over heads and channels, of |weight * value|.

      weights  float64 [num_heads][num_tokens], as attention_weights returns it
      norm     float32 [num_blocks][num_kv_heads][block_tokens], value_norm of each token

    C: importance_ref.
    """
    array("norm", norm, np.float32, (None, None, None), "[num_blocks][num_kv_heads][block_tokens]")
    array("weights", weights, np.float64, (None, None), "[num_heads][num_tokens]")
    shape = Shape(len(weights), norm.shape[1], head_dim, norm.shape[2], norm.shape[0])
    shape.check()
    tokens = checked_tokens("tokens", tokens, shape.num_blocks, shape.block_tokens)
    array("weights", weights, np.float64, (None, len(tokens.slots)), "[num_heads][num_tokens]")
    importance = np.empty(len(tokens.slots))
    with lock:
        c.importance_ref(pointer(importance), pointer(weights), pointer(norm), byref(token_struct(tokens)),
                         byref(shape._struct()))
    return importance


def deletion_error(weights, out, value, tokens):
    """The L2 norm of the change of the whole output if a token were deleted, float64 [num_tokens]: the oracle.

      weights, out  as attention_weights returns them
      value         float32 [num_blocks][num_kv_heads][block_tokens][head_dim]

    C: deletion_error.
    """
    array("out", out, np.float64, (None, None), "[num_heads][head_dim]")
    array("value", value, np.float32, (None, None, None, out.shape[1]))
    shape = Shape(len(out), value.shape[1], value.shape[3], value.shape[2], value.shape[0])
    shape.check()
    tokens = checked_tokens("tokens", tokens, shape.num_blocks, shape.block_tokens)
    array("weights", weights, np.float64, (len(out), len(tokens.slots)), "[num_heads][num_tokens]")
    error = np.empty(len(tokens.slots))
    with lock:
        c.deletion_error(pointer(error), pointer(weights), pointer(out), pointer(value), byref(token_struct(tokens)),
                         byref(shape._struct()))
    return error


# ---- victims ----

def eviction_key(importance, position):
    """An int that orders candidates: the smallest is evicted. EVICTION_NOT_FINITE for NaN, infinity, or less than 0.
    C: eviction_key."""
    return c.eviction_key(number("importance", importance), integer("position", position))


def eviction_key_position(key):
    """The position in a key. C: eviction_key_position."""
    return c.inline_eviction_key_position(integer("key", key, 0, U64_MAX))


def eviction_victim(importance, tokens, candidates=None):
    """The smallest eviction_key among the candidates. EVICTION_NONE: there is none; EVICTION_NOT_FINITE: an importance
    is not finite.

      importance  float64 [num_tokens]
      candidates  (first, end): first <= position < end; None: all

    C: eviction_victim.
    """
    tokens = checked_tokens("tokens", tokens, 1 << 32, 256)
    array("importance", importance, np.float64, tokens.slots.shape, "[num_tokens]")
    with lock:
        return c.eviction_victim(pointer(importance), byref(token_struct(tokens)), candidate_range(candidates))


def eviction_victim_of_slots(importance, positions, candidates=None):
    """eviction_victim for one query's row of tree_importance_ref: slots of importance -1 do not count.

      importance  float32 [num_slots]
      positions   uint32 [num_slots] of the same slots: pool.positions[branch.table].ravel()

    C: eviction_victim_of_slots.
    """
    array("importance", importance, np.float32, (None,), "[num_slots]")
    array("positions", positions, np.uint32, importance.shape, "[num_slots]")
    with lock:
        return c.eviction_victim_of_slots(pointer(importance), pointer(positions), len(importance),
                                          candidate_range(candidates))


# ---- over a tree ----

def tree_importance_slots(plan):
    """The smallest num_slots of a plan: the slots of its longest table. C: tree_importance_slots."""
    instance("plan", plan, Plan)
    if (plan.table_index == NONE).any():
        raise Error("plan: expected a plan without draft tokens, whose paths are not tables")
    return plan._call(c.tree_importance_slots)


def _importance_arguments(query, key, value, norm, plan, scale, num_slots, storages):
    out, lse, struct, scale = arguments_of(query, key, value, plan, scale, storages)
    array("norm", norm, np.float32, key.shape[:3], "[num_blocks][num_kv_heads][block_tokens]")
    least = tree_importance_slots(plan)
    num_slots = least if num_slots is None else integer("num_slots", num_slots, least, 1 << 40)
    importance = np.empty((len(query), num_slots), np.float32)
    return out, lse, importance, struct, scale


def tree_importance_ref(query, key, value, norm, plan, scale=None, *, num_slots=None):
    """tree_attention_ref, and the importance of every token for every query that sees it.

      norm       float32 [num_blocks][num_kv_heads][block_tokens], value_norm of each token
      num_slots  at least tree_importance_slots(plan), which None means

    Returns out, lse and importance, float32 [num_queries][num_slots] by slot of the query's table; -1 where the query
    sees no token. C: tree_importance_ref.
    """
    instance("plan", plan, Plan)
    with lock:
        out, lse, importance, struct, scale = _importance_arguments(query, key, value, norm, plan, scale, num_slots,
                                                                    ("fp32",))
        raise_tree(c.tree_importance_ref(pointer(out), pointer(lse), pointer(importance), importance.shape[1],
                                         pointer(query), pointer(key), pointer(value), pointer(norm), plan._pointer,
                                         byref(struct), scale))
    return out, lse, importance


def tree_importance_cpu_workspace_bytes(plan, shape, max_threads=0):
    """Bytes of workspace for tree_importance_cpu. C: tree_importance_cpu_workspace_bytes."""
    instance("plan", plan, Plan).fits(shape)
    return plan._call(c.tree_importance_cpu_workspace_bytes, byref(shape._struct()), threads(max_threads))


def tree_importance_cpu(query, key, value, norm, plan, scale=None, *, num_slots=None, num_threads=0, isa="auto",
                        workspace=None):
    """tree_importance_ref, fast. Arguments as tree_attention_cpu and tree_importance_ref. C: tree_importance_cpu."""
    instance("plan", plan, Plan)
    isa, num_threads = choice("isa", isa, ISAS), threads(num_threads)
    with lock:
        out, lse, importance, struct, scale = _importance_arguments(query, key, value, norm, plan, scale, num_slots,
                                                                    c.TREE_STORAGES)
        space = workspace_of(workspace, plan._call(c.tree_importance_cpu_workspace_bytes, byref(struct), num_threads))
        raise_tree(c.tree_importance_cpu(pointer(out), pointer(lse), pointer(importance), importance.shape[1],
                                         pointer(query), key.ctypes.data, value.ctypes.data, pointer(norm),
                                         plan._pointer, byref(struct), scale, space.ctypes.data, len(space),
                                         num_threads, isa))
    return out, lse, importance
