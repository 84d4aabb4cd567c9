"""The branches of a shared tree, each under a budget: reference/eviction/eviction_forest.h."""

from ctypes import byref, c_uint64, c_void_p, cast
from typing import NamedTuple

import numpy as np

from . import c
from .checks import U64_MAX, array, choice, flag, instance, integer, integers, number
from .errors import Error, raise_kv
from .handle import Handle, Owner, lock
from .memory import borrowed, copied, pointer
from .importance import Tokens
from .policy import policy_pointer
from .pool import SCOPES, Branch, Pool, pool_config
from .shape import Shape


class ForestResult(NamedTuple):
    """status: "TREE_OK" or "TREE_NOT_FINITE" (the new tokens of this branch were dropped again); num_tokens that its
    attention saw; victims: positions, ascending."""
    status: str
    num_tokens: int
    victims: np.ndarray


class ForestStep(NamedTuple):
    """out [count][num_heads][head_dim]; results: a ForestResult for each branch."""
    out: np.ndarray
    results: list


class ForestBranch(Branch):
    """A branch of a forest. Positions in place of lengths, and the forest writes K and V."""

    def __init__(self, forest, handle):
        """For EvictionForest.branch and fork."""
        self.forest = instance("forest", forest, EvictionForest)
        super().__init__(forest.pool, handle)

    def fork(self):
        """A new ForestBranch with the same tokens, histories and last queries. C: eviction_forest_fork."""
        child = c_uint64()
        raise_kv(self.forest._call(c.eviction_forest_fork, self.handle, byref(child)))
        return ForestBranch(self.forest, child.value)

    def append(self, keys, values):
        """num_tokens tokens without a query: float32 [num_tokens][num_kv_heads][head_dim].
        C: eviction_forest_append."""
        kv = self.forest.shape.num_kv_heads, self.forest.shape.head_dim
        array("keys", keys, np.float32, (None, *kv), "[num_tokens][num_kv_heads][head_dim]")
        array("values", values, np.float32, keys.shape, "that of keys")
        raise_kv(self.forest._call(c.eviction_forest_append, self.handle, len(keys), pointer(keys), pointer(values)))

    def truncate(self, length):
        """Drops tokens at positions >= length. C: eviction_forest_truncate."""
        raise_kv(self.forest._call(c.eviction_forest_truncate, self.handle, integer("length", length)))

    def adopt(self, winner):
        """Takes over another branch, which dies. C: eviction_forest_adopt."""
        raise_kv(self.forest._call(c.eviction_forest_adopt, self.handle, self.pool._handle_of("winner", winner)))

    def prune(self):
        """The branch ends. C: eviction_forest_prune."""
        raise_kv(self.forest._call(c.eviction_forest_prune, self.handle))

    def tokens(self):
        """The Tokens that it keeps. C: eviction_forest_tokens."""
        with lock:
            count = self.keep.num_kept
            slots, positions = np.empty(count, np.uint64), np.empty(count, np.uint32)
            raise_kv(self.forest._call(c.eviction_forest_tokens, self.handle, pointer(slots), pointer(positions)))
        return Tokens(slots.astype(np.int64), positions)


class EvictionForest(Owner):
    """A pool that evicts, the keys, values and norms of its blocks, a policy and a scope.

      policy, num_sinks, num_recent, scale, seed   as of EvictionCache
      scope       "private", "mask" or "vote": the tokens that a branch may evict
      compacts    after evictions, the kept tokens of a branch are packed
      pool        more arguments of Pool, by name

    Error: KV_INVAL, as EvictionCache and Pool. C: eviction_forest_create, eviction_forest_destroy.
    """

    def __init__(self, policy, budget, num_blocks, block_tokens=16, *, num_heads, num_kv_heads, head_dim,
                 scope="private", num_sinks=0, num_recent=0, compacts=False, scale=None, seed=0, **pool):
        if "evicts" in pool:
            raise Error("evicts: expected no such argument, since the pool of a forest always evicts")
        unknown = set(pool) - {"max_branches", "max_epochs", "block_bytes", "order"}
        if unknown:
            raise Error(f"{min(unknown)}: expected no such argument")
        Shape(num_heads, num_kv_heads, head_dim, block_tokens, num_blocks).check()
        config = c.eviction_forest_config(
            pool_config(num_blocks, block_tokens, evicts=True, **pool), num_heads, num_kv_heads, head_dim,
            policy_pointer("policy", policy), choice("scope", scope, SCOPES), integer("budget", budget, 1),
            integer("num_sinks", num_sinks), integer("num_recent", num_recent), flag("compacts", compacts),
            0 if scale is None else number("scale", scale), integer("seed", seed, 0, U64_MAX))
        forest = c.P(c.eviction_forest)()
        with lock:
            raise_kv(c.eviction_forest_create(byref(forest), byref(config)), KV_INVAL=
                     f"budget {budget} has no room for the sinks and recent tokens that are protected")
            self._handle = Handle(forest, c.eviction_forest_destroy)
            parts = self._parts()
            shape = {name: getattr(parts.shape, name) for name, *_ in c.tree_shape._fields_[:-1]}
            self._shape, self._scale = Shape(**shape), parts.scale
            self._pool = Pool._of_forest(parts.pool, self._handle)

    shape = property(lambda self: self._shape, doc="The Shape of its keys and values.")
    scale = property(lambda self: self._scale, doc="It multiplies q.k.")
    pool = property(lambda self: self._pool, doc="Its Pool, for reading: trees, keeps, stats.")

    def _parts(self):
        parts = c.eviction_forest_parts()
        self._call(c.eviction_forest_get, byref(parts))
        return parts

    @property
    def counts(self):
        """Sums over all steps so far, with the fields of eviction_forest_counts. C: eviction_forest_get."""
        return self._parts().counts

    def _view(self, name, shape):
        with lock:
            return borrowed(self._handle, cast(getattr(self._parts(), name), c_void_p).value, shape, np.float32)

    key = property(lambda self: self._view("key", self._shape.kv_shape), doc=
                   "float32 [num_blocks][num_kv_heads][block_tokens][head_dim], a view for reading.")
    value = property(lambda self: self._view("value", self._shape.kv_shape), doc="As key.")
    norm = property(lambda self: self._view("norm", self._shape.kv_shape[:3]), doc=
                    "float32 [num_blocks][num_kv_heads][block_tokens], a view for reading.")

    def branch(self):
        """A new, empty ForestBranch. C: eviction_forest_branch."""
        branch = c_uint64()
        raise_kv(self._call(c.eviction_forest_branch, byref(branch)))
        return ForestBranch(self, branch.value)

    def step(self, branches, query, key, value, num_tokens=None):
        """One step: each branch appends its tokens and has one query, at its newest token. Returns a ForestStep.

          query       float32 [count][num_heads][head_dim]
          key, value  float32 [sum of num_tokens][num_kv_heads][head_dim] in the order of the branches
          num_tokens  a number for each branch, may be 0; None: one each

        Error: KV_INVAL (a branch named twice), KV_NOBLOCKS, KV_STALE, KV_RANGE; nothing has changed then.
        C: eviction_forest_step.
        """
        handles = self._pool._handles(branches)
        counts = integers("num_tokens", [1] * len(handles) if num_tokens is None else num_tokens)
        if len(counts) != len(handles):
            raise Error(f"num_tokens: expected as many numbers as branches, {len(handles)}, got {len(counts)}")
        heads = len(handles), self._shape.num_heads, self._shape.head_dim
        kv = int(counts.sum(dtype=np.uint64)), self._shape.num_kv_heads, self._shape.head_dim
        array("query", query, np.float32, heads, "[count][num_heads][head_dim]")
        array("key", key, np.float32, kv, "[sum of num_tokens][num_kv_heads][head_dim]")
        array("value", value, np.float32, kv, "that of key")
        out, results = np.empty(heads, np.float32), (c.eviction_forest_result * len(handles))()
        with lock:
            raise_kv(self._call(c.eviction_forest_step, pointer(handles), len(handles), pointer(counts), pointer(out),
                                pointer(query), pointer(key), pointer(value), results),
                     KV_INVAL="branches: expected each branch once")
            return ForestStep(out, [ForestResult(c.TREE_STATUSES[result.status], result.num_tokens,
                                                 copied(result.victims, result.num_victims)) for result in results])
