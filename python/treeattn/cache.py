"""One branch under a budget of tokens: reference/eviction/eviction_cache.h."""

from ctypes import byref
from typing import NamedTuple

import numpy as np

from . import c
from .checks import U64_MAX, array, choice, integer, number
from .errors import raise_tree
from .handle import Handle, Owner, lock
from .memory import copied, pointer
from .importance import Tokens
from .policy import policy_pointer
from .shape import Shape


class EvictionStep(NamedTuple):
    """out [num_heads][head_dim] (None for a prompt); num_tokens that attention saw; victims: positions, ascending."""
    out: np.ndarray
    num_tokens: int
    victims: np.ndarray


class EvictionCache(Owner):
    """A branch that keeps at most `budget` tokens after a step.

      policy         one of ta.POLICIES, or an EvictionPolicy; prompt_policy: of prompt
      num_sinks      at least so many first positions are never evicted; num_recent: so many last ones
      form           "eager": a victim goes at the end of its step; "deferred": when its slot is overwritten
      scale          None: 1 / sqrt(head_dim)

    Error: TREE_BAD_SHAPE, TREE_INVAL (more sinks and recent tokens than the budget holds).
    C: eviction_cache_create, eviction_cache_destroy.
    """

    def __init__(self, policy, budget, *, num_heads, num_kv_heads, head_dim, num_sinks=0, num_recent=0, form="eager",
                 prompt_policy="snapkv", scale=None, seed=0):
        shape = Shape(num_heads, num_kv_heads, head_dim)
        shape.check()
        config = c.eviction_config(
            num_heads, num_kv_heads, head_dim, integer("budget", budget, 1), integer("num_sinks", num_sinks),
            integer("num_recent", num_recent), choice("form", form, c.EVICTION_FORMS), policy_pointer("policy", policy),
            policy_pointer("prompt_policy", prompt_policy), 0 if scale is None else number("scale", scale),
            integer("seed", seed, 0, U64_MAX))
        cache = c.P(c.eviction_cache)()
        with lock:
            raise_tree(c.eviction_cache_create(byref(cache), byref(config)),
                       f"budget {budget} has no room for the sinks and recent tokens that are protected")
        self._own(cache, shape)

    def _own(self, cache, shape):
        self._handle = Handle(cache, c.eviction_cache_destroy)
        self._shape = shape

    def step(self, query, key, value):
        """One token, at the next position. Returns an EvictionStep.

          query       float32 [num_heads][head_dim]
          key, value  float32 [num_kv_heads][head_dim]

        Error TREE_NOT_FINITE: a score is NaN or infinite; the cache is as before. C: eviction_cache_step.
        """
        heads, kv = self._dims()
        array("query", query, np.float32, heads, "[num_heads][head_dim]")
        array("key", key, np.float32, kv, "[num_kv_heads][head_dim]")
        array("value", value, np.float32, kv, "[num_kv_heads][head_dim]")
        out, step = np.empty(heads, np.float32), c.eviction_step()
        with lock:
            raise_tree(self._call(c.eviction_cache_step, pointer(out), pointer(query), pointer(key), pointer(value),
                                  byref(step)))
            return EvictionStep(out, step.num_tokens, copied(step.victims, step.num_victims))

    def prompt(self, queries, keys, values):
        """A prompt in an empty cache; prompt_policy chooses the tokens that stay. Returns an EvictionStep without out.

          queries       float32 [num_tokens][num_heads][head_dim]
          keys, values  float32 [num_tokens][num_kv_heads][head_dim]

        Error: TREE_INVAL (the cache is not empty), TREE_NOT_FINITE. C: eviction_cache_prompt.
        """
        heads, kv = self._dims()
        array("queries", queries, np.float32, (None, *heads), "[num_tokens][num_heads][head_dim]")
        array("keys", keys, np.float32, (len(queries), *kv), "[num_tokens][num_kv_heads][head_dim]")
        array("values", values, np.float32, keys.shape, "that of keys")
        step = c.eviction_step()
        with lock:
            raise_tree(self._call(c.eviction_cache_prompt, pointer(queries), pointer(keys), pointer(values),
                                  len(queries), byref(step)))
            return EvictionStep(None, step.num_tokens, copied(step.victims, step.num_victims))

    def view(self):
        """The cache's memory, copied: a dict with tokens (Tokens), key, value, norm, queries (past ones), budget,
        scale, seed, as EvictionView takes them, once the current query is appended to queries.
        C: eviction_cache_view."""
        view = c.eviction_view()
        with lock:
            self._call(c.eviction_cache_view, byref(view))
            shape, tokens = view.shape.contents, view.tokens.contents
            kv = (shape.num_blocks, shape.num_kv_heads, shape.block_tokens, shape.head_dim)
            queries = (view.num_queries, shape.num_heads, shape.head_dim)
            return {"tokens": Tokens(copied(tokens.slots, tokens.num_tokens).astype(np.int64),
                                     copied(tokens.positions, tokens.num_tokens)),
                    "key": copied(view.key, *kv), "value": copied(view.value, *kv), "norm": copied(view.norm, *kv[:3]),
                    "queries": copied(view.queries, *queries),
                    "budget": view.budget, "scale": view.scale, "seed": view.seed}

    def fork(self):
        """A copy of the whole state. C: eviction_cache_fork."""
        child = c.P(c.eviction_cache)()
        with lock:
            raise_tree(c.eviction_cache_fork(byref(child), self._pointer))
        copy = type(self).__new__(type(self))
        copy._own(child, self._shape)
        return copy

    def _dims(self):
        shape = self._shape
        return (shape.num_heads, shape.head_dim), (shape.num_kv_heads, shape.head_dim)
