"""Plays a workload on a pool, with keys and values that can be computed again: reference/workloads/replay.h,
kv_store.h."""

from ctypes import byref, c_uint32
from typing import NamedTuple

import numpy as np

from . import c
from .checks import U64_MAX, choice, flag, instance, integer, number, power_of_two
from .errors import Error, raise_kv
from .handle import Handle, Owner, lock
from .memory import borrowed, copied, pointer
from .pool import Branch, Copy, Pool
from .shape import STORAGE_TYPES, STORAGES, Shape
from .workload import KINDS, Workload

POISONS = c.KV_POISONS


class KvStore(Owner):
    """K and V for the blocks of a pool, filled by a Replay with random vectors that depend on (seed, token, head)
    alone.

      storage    "fp32", "fp16" or "bf16"
      poison     the contents of slots that no branch sees: "off", "nan", "inf" or "decoy" (values of 1e30)
      key_scale  standard deviation of keys; that of values is 1

    C: kv_store_create, kv_store_destroy, kv_store_events.
    """

    _replayed = False

    def __init__(self, num_blocks, block_tokens=16, *, num_kv_heads, head_dim, storage="fp32", seed=1, poison="off",
                 key_scale=1.0):
        Shape(num_kv_heads, num_kv_heads, head_dim, block_tokens, num_blocks, storage=storage).check()
        config = c.kv_store_config(choice("storage", storage, STORAGES), num_blocks, block_tokens, num_kv_heads,
                                   head_dim, integer("seed", seed, 0, U64_MAX), choice("poison", poison, POISONS),
                                   number("key_scale", key_scale, 0, 1e30))
        store = c.P(c.kv_store)()
        with lock:
            raise_kv(c.kv_store_create(byref(store), byref(config)))
        self._handle = Handle(store, c.kv_store_destroy)

    def _view(self, function):
        with lock:
            shape = self.shape(1)
            return borrowed(self._handle, self._call(function), shape.kv_shape, STORAGE_TYPES[shape.storage], True)

    @property
    def key(self):
        """[num_blocks][num_kv_heads][block_tokens][head_dim] of the storage type: a view that can be written, for
        tests. It lives on after close(). C: kv_store_key."""
        return self._view(c.kv_store_key)

    @property
    def value(self):
        """As key. C: kv_store_value."""
        return self._view(c.kv_store_value)

    def shape(self, num_queries, num_heads=None):
        """The Shape for queries over this store; num_heads None: num_kv_heads. C: kv_store_shape."""
        struct = self._call(c.kv_store_shape, integer("num_queries", num_queries),
                            1 if num_heads is None else integer("num_heads", num_heads, 1))
        return Shape(struct.num_kv_heads if num_heads is None else num_heads, struct.num_kv_heads, struct.head_dim,
                     struct.block_tokens, struct.num_blocks, struct.num_queries, STORAGES[struct.storage])

    def check(self):
        """Error KV_NOMEM (MemoryError) if an event could not be followed: the store is unusable. C: kv_store_status."""
        raise_kv(self._call(c.kv_store_status))

    def tokens(self, branch):
        """[length] uint32 the tokens of a branch, by its name in the workload; none if it does not live.
        C: kv_store_tokens."""
        length = c_uint32()
        with lock:
            tokens = self._call(c.kv_store_tokens, integer("branch", branch), byref(length))
            return copied(tokens, length.value)

    def gather(self, branch, kv_head):
        """key and value of a branch, contiguous: float32 [length][head_dim], rounded to the storage type. Reads no
        block. C: kv_store_gather."""
        with lock:
            shape = self.shape(1)
            integer("kv_head", kv_head, 0, shape.num_kv_heads - 1)
            key = np.empty((len(self.tokens(branch)), shape.head_dim), np.float32)
            value = np.empty_like(key)
            self._call(c.kv_store_gather, branch, kv_head, pointer(key), pointer(value))
        return key, value

    def vector(self, token, kv_head, is_value=False):
        """float32 [head_dim] the key or the value of one token, rounded to the storage type. C: kv_store_vector."""
        with lock:
            shape = self.shape(1)
            integer("kv_head", kv_head, 0, shape.num_kv_heads - 1)
            vector = np.empty(shape.head_dim, np.float32)
            self._call(c.kv_store_vector, integer("token", token), kv_head, flag("is_value", is_value),
                       pointer(vector))
        return vector


class ReplayStep(NamedTuple):
    """iteration, from 1; queries: the Branch of each query; names: [num_queries] the same in the workload's names."""
    iteration: int
    queries: list
    names: np.ndarray


class Replay(Owner):
    """Plays a Workload on a Pool, one step at a time; use it in a for statement. While it is open, only it changes the
    pool.

      store   a KvStore of the pool's num_blocks and block_tokens, in which keys and values appear; each for one Replay
      events  True: after each call of step, Replay.events tells the owner of K and V what to do, in this order:
                ("branch", kind, branch, value)  it was born, shortened, took over another or died
                ("copy", Copy)                   carry out before the tokens that follow
                ("token", branch, position, block, slot, token)  a new token, numbered through the replay
                ("released", blocks, first_slot) the slots from first_slot on of these blocks may be overwritten

    Error: KV_INVAL or KV_RANGE if Workload.check refuses. C: replay_create, replay_destroy.
    """

    def __init__(self, workload, pool, *, store=None, events=False):
        instance("workload", workload, Workload), instance("pool", pool, Pool)
        self._events = [] if flag("events", events) else None
        with lock:
            workload.check()
            needs = [workload, pool]
            if pool._of_a_forest:
                raise Error("pool: expected a pool of its own, not that of a forest")
            if store is not None:
                needs.append(self._checked_store(store, pool))
            self._callbacks = self._make_events(store)
            replay = c.P(c.replay)()
            raise_kv(c.replay_create(byref(replay), workload._pointer, pool._pointer, byref(self._callbacks)))
            self._handle = Handle(replay, c.replay_destroy, *(owner._handle for owner in needs))
            if store is not None:
                store._replayed = True
        self._pool, self._totals = pool, c.replay_totals()

    @staticmethod
    def _checked_store(store, pool):
        shape = instance("store", store, KvStore).shape(1)
        if (shape.num_blocks, shape.block_tokens) != (pool.num_blocks, pool.block_tokens):
            raise Error(f"store: expected {pool.num_blocks} blocks of {pool.block_tokens} tokens, as the pool has, "
                        f"got {shape.num_blocks} of {shape.block_tokens}")
        if store._replayed:
            raise Error("store: expected one that no replay has used, since names and tokens would repeat")
        return store

    def _make_events(self, store):
        """Functions for C that note each event, then tell it to the store. No code of a user runs inside of C."""
        own = store._call(c.kv_store_events) if store is not None else None
        if self._events is None:
            return own or c.replay_events()
        note = self._events.append
        kinds = dict(c.replay_events._fields_)

        def branch(context, kind, branch, value):
            note(("branch", KINDS[kind], branch, value))
            if own:
                own.branch(context, kind, branch, value)

        def copy(context, copy):
            note(("copy", Copy(copy.contents.from_block, copy.contents.to_block, copy.contents.num_tokens)))
            if own:
                own.copy(context, copy)

        def token(context, *numbers):
            note(("token", *numbers))
            if own:
                own.token(context, *numbers)

        def released(context, blocks, num_blocks, first_slot):
            note(("released", blocks[:num_blocks], first_slot))
            if own:
                own.released(context, blocks, num_blocks, first_slot)

        functions = {function.__name__: kinds[function.__name__](function)
                     for function in (branch, copy, token, released)}
        return c.replay_events(own.context if own else None, **functions)

    def step(self):
        """Plays the operations up to and including the next step. Returns a ReplayStep; None: no step was left.

        Error: KV_NOBLOCKS, KV_NOBRANCH: it stopped before an operation; the same call goes on once there is room.
        C: replay_step.
        """
        result = c.replay_result()
        with lock:
            if self._events:
                self._events.clear()
            raise_kv(self._call(c.replay_step, byref(result)))
            c.replay_count(byref(self._totals), self._pool._handle.pointer, byref(result))
            if result.done:
                return None
            queries = [Branch(self._pool, handle) for handle in result.queries[:result.num_queries]]
            return ReplayStep(result.iteration, queries, copied(result.query_names, result.num_queries))

    def __iter__(self):
        while (step := self.step()) is not None:
            yield step

    def branch(self, name):
        """The Branch of a name in the workload; None if it is unborn or dead. C: replay_handle."""
        handle = self._call(c.replay_handle, integer("name", name))
        return Branch(self._pool, handle) if handle else None

    @property
    def events(self):
        """The events of the last call of step, a list of tuples; None without events=True."""
        return None if self._events is None else list(self._events)

    @property
    def position(self):
        """Index of the next operation. C: replay_position."""
        return self._call(c.replay_position)

    @property
    def totals(self):
        """Counts of the steps so far, with the fields of replay_totals: path_tokens_sum, unique_tokens_sum, ...; peaks
        and copies once there is no step left. C: replay_count."""
        return c.replay_totals.from_buffer_copy(self._totals)


def replay_count_needs(workload, block_tokens=16):
    """What a replay needs, from the lengths of the branches alone, with the fields of replay_needs: most_blocks,
    table_entries, most_table_entries, path_tokens, peak_queries. C: replay_count_needs."""
    needs = c.replay_needs()
    with lock:
        instance("workload", workload, Workload).check()
        raise_kv(c.replay_count_needs(byref(needs), workload._pointer, power_of_two("block_tokens", block_tokens)))
    return needs


def replay_measure(workload, block_tokens=16):
    """The totals of a dry run, with the fields of replay_totals: peak_blocks is the number of blocks that a pool needs.
    C: replay_measure."""
    totals = c.replay_totals()
    with lock:
        instance("workload", workload, Workload).check()
        raise_kv(c.replay_measure(byref(totals), workload._pointer, power_of_two("block_tokens", block_tokens)),
                 KV_NOBLOCKS=f"more than {c.REPLAY_MEASURE_BLOCKS} blocks are needed at once")
    return totals
