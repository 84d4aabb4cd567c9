"""Blocks, reference counts and branches: allocator/kv_pool.h, kv_branch.h, kv_evict.h."""

from ctypes import byref, c_uint32, c_uint64, create_string_buffer
from typing import NamedTuple

import numpy as np

from . import c
from .checks import (U32_MAX, U64_MAX, choice, content, describe, flag, instance, integer, integers, objects,
                     power_of_two, shape_text)
from .errors import Error, raise_kv
from .handle import Handle, Owner, lock
from .memory import copied, pointer
from .keep import Keep

SCOPES = c.KV_SCOPES
MESSAGE_BYTES = 512


class Copy(NamedTuple):
    """Copy the first num_tokens slots of from_block to to_block, in every layer and head, before anything is
    written."""
    from_block: int
    to_block: int
    num_tokens: int


class Table(NamedTuple):
    """blocks: uint32 [num_blocks], token t lies in blocks[t // block_tokens]; length in tokens; version: changes with
    every change but growth at the end."""
    blocks: np.ndarray
    length: int
    version: int

    @classmethod
    def _of(cls, table):
        return cls(copied(table.blocks, table.num_blocks), table.length, table.version)

    def _places(self, slots, block_tokens):
        """Places in the pool of slots of the table."""
        return self.blocks[slots // block_tokens].astype(np.int64) * block_tokens + slots % block_tokens


class Append:
    """What an append wants from the owner of K and V: first the copy, then the new tokens.

      copy             a Copy, or None
      hole             slot of the table that the one new token takes, where an evicted token was; None: at the end
      first_new_block  index in the branch's table: num_new_blocks ids from there on are new
      num_tokens       tokens appended
    """

    def __init__(self, answer, table, num_tokens, block_tokens):
        copy = answer.copy
        self.copy = Copy(copy.from_block, copy.to_block, copy.num_tokens) if copy.num_tokens else None
        self.hole = None if answer.hole == c.KV_NO_HOLE else answer.hole
        self.first_new_block, self.num_new_blocks = answer.first_new_block, answer.num_new_blocks
        self.num_tokens = num_tokens
        self._table, self._block_tokens = table, block_tokens

    @property
    def new_blocks(self):
        """[num_new_blocks] their ids, the copy's to_block among them."""
        return self._table.blocks[self.first_new_block:self.first_new_block + self.num_new_blocks]

    @property
    def slots(self):
        """int64 [num_tokens] places of the new tokens in the pool, block * block_tokens + slot in the block:
        `block, slot = divmod(append.slots, pool.block_tokens)`, then `key[block, :, slot] = ...`."""
        first = self._table.length - self.num_tokens if self.hole is None else self.hole
        return self._table._places(np.arange(first, first + self.num_tokens), self._block_tokens)

    def carry_out(self, *arrays):
        """Carries out the copy, if there is one, in arrays [num_blocks][num_kv_heads][block_tokens]...: key, value,
        norm."""
        for i, values in enumerate(arrays):
            instance(f"arrays[{i}]", values, np.ndarray)
        if self.copy is None:
            return
        for i, values in enumerate(arrays):
            blocks = max(self.copy.from_block, self.copy.to_block)
            if values.ndim < 3 or len(values) <= blocks or values.shape[2] != self._block_tokens:
                raise Error(f"arrays[{i}]: expected more than {blocks} blocks, heads, and {self._block_tokens} tokens, "
                            f"got shape {shape_text(values.shape)}")
        for values in arrays:
            values[self.copy.to_block, :, :self.copy.num_tokens] = \
                values[self.copy.from_block, :, :self.copy.num_tokens]

    def __repr__(self):
        hole = "" if self.hole is None else f", hole={self.hole}"
        return f"Append(num_tokens={self.num_tokens}, new_blocks={self.new_blocks.tolist()}, copy={self.copy}{hole})"


class Branch:
    """One sequence: a block table and a length. It is a small name for a branch of a pool: to forget it prunes nothing.

    In a pool that evicts, `length` counts the slots of the table, and truncate and fork take positions.
    Every method raises Error KV_STALE once the branch is pruned.
    """

    def __init__(self, pool, handle):
        """For Pool.branch and fork; from a handle, a name for the same branch."""
        self.pool = instance("pool", pool, Pool)
        self.handle = integer("handle", handle, 0, U64_MAX)

    def __eq__(self, other):
        return isinstance(other, Branch) and self.pool is other.pool and self.handle == other.handle

    def __hash__(self):
        return hash((id(self.pool), self.handle))

    def __repr__(self):
        return f"Branch(length={self.length}, table={self.table.tolist()})" if self.alive else "Branch(not alive)"

    # ---- what it lists ----

    def _table(self):
        table = c.kv_table()
        with lock:
            self._call(c.kv_branch_table, byref(table))
            return Table._of(table)

    @property
    def alive(self):
        """Whether the pool and the branch are alive."""
        return not self.pool.closed and self.pool._call(c.kv_branch_table, self.handle, byref(c.kv_table())) == 0

    @property
    def table(self):
        """uint32 [num_blocks], a copy: token t lies in table[t // block_tokens]. C: kv_branch_table."""
        return self._table().blocks

    @property
    def length(self):
        """Tokens; in a pool that evicts, slots of the table."""
        return self._table().length

    @property
    def version(self):
        """A number that changes with every change of the table but growth at the end."""
        return self._table().version

    @property
    def slots(self):
        """int64 [length] places in the pool of the table's slots, block * block_tokens + slot in the block: without
        eviction, entry t is the place of token t."""
        table = self._table()
        return table._places(np.arange(table.length), self.pool.block_tokens)

    # ---- fork, append, truncate, prune ----

    def fork(self, length=None):
        """A new Branch with the same tokens, or with the first `length`: blocks gain references, nothing is copied.

        Error: KV_RANGE (length beyond the branch), KV_NOBRANCH. C: kv_branch_fork, kv_branch_fork_at.
        """
        child = c_uint64()
        if length is None:
            self._change(c.kv_branch_fork, byref(child))
        else:
            self._change(c.kv_branch_fork_at, integer("length", length), byref(child),
                         KV_RANGE=f"length: expected at most that of the branch, got {length}")
        return Branch(self.pool, child.value)

    def append(self, num_tokens=1):
        """length += num_tokens. Returns an Append: the copy to carry out first, and the places of the new tokens.

        Error: KV_RANGE (beyond 2^30 tokens), KV_NOBLOCKS (prune, then try again). C: kv_branch_append.
        """
        num_tokens = integer("num_tokens", num_tokens)
        answer = c.kv_append()
        with lock:
            self._change(c.kv_branch_append, num_tokens, byref(answer), KV_RANGE=
                         f"num_tokens: expected a branch of at most {c.KV_MAX_LENGTH} tokens, got {num_tokens} more")
            return Append(answer, self._table(), num_tokens, self.pool.block_tokens)

    def truncate(self, length):
        """Keeps the first `length` tokens, and cancels a promise of reserve.

        Error: KV_RANGE (length beyond the branch). C: kv_branch_truncate.
        """
        self._change(c.kv_branch_truncate, integer("length", length),
                     KV_RANGE=f"length: expected at most that of the branch, got {length}")

    def adopt(self, winner):
        """Takes over the table of another branch, which dies. Error: KV_INVAL (itself). C: kv_branch_adopt."""
        self._change(c.kv_branch_adopt, self.pool._handle_of("winner", winner),
                     KV_INVAL="winner: expected another branch, got the branch itself")

    def prune(self):
        """The branch ends; blocks that no other branch lists are free. C: kv_branch_prune."""
        self._change(c.kv_branch_prune)

    def reserve(self, num_tokens):
        """A promise: appends of the next num_tokens tokens cannot run out of blocks. 0 cancels it.

        Error: KV_RANGE (beyond 2^30 tokens), KV_NOBLOCKS. C: kv_branch_reserve.
        """
        self._change(c.kv_branch_reserve, integer("num_tokens", num_tokens), KV_RANGE=
                     f"num_tokens: expected a branch of at most {c.KV_MAX_LENGTH} tokens, got {num_tokens} more")

    # ---- forgetting, in a pool with evicts=True ----

    @property
    def keep(self):
        """A Keep: the tokens that it attends to. C: kv_branch_keep."""
        keep = c.kv_keep()
        with lock:
            self._call(c.kv_branch_keep, byref(keep), KV_INVAL=_NEVER_EVICTS)
            return self.pool._keep(keep)

    def find(self, position):
        """The slot in the table of a position. Error: KV_RANGE (it keeps no such position). C: kv_branch_find."""
        slot = c_uint32()
        self._call(c.kv_branch_find, integer("position", position), byref(slot), KV_INVAL=_NEVER_EVICTS,
                   KV_RANGE=f"position: expected one that the branch keeps, got {position}")
        return slot.value

    def evict(self, slots, scope="private"):
        """Forgets the tokens in these slots of its table, all or, on error, none.

        scope: "private" (tokens appended after the last fork) or "mask" (every token that it keeps).
        Error: KV_RANGE (a slot beyond the table), KV_INVAL (not kept, named twice, or outside the scope).
        C: kv_branch_evict.
        """
        slots = integers("slots", slots)
        scope_number = choice("scope", scope, SCOPES)
        self._change(c.kv_branch_evict, scope_number, pointer(slots), len(slots),
                     KV_RANGE=f"slots: expected slots of the table, got {describe(slots.tolist())}",
                     KV_INVAL=_NEVER_EVICTS if not self.pool.evicts else
                     "scope: expected 'private' or 'mask', since a vote takes Pool.evict_shared" if scope == "vote" else
                     f"slots: expected slots that the branch keeps, each once and in scope {scope!r}, "
                     f"got {describe(slots.tolist())}")

    def thaw(self):
        """Makes tokens private that no other branch can read any more. C: kv_branch_thaw."""
        self._change(c.kv_branch_thaw, KV_INVAL=_NEVER_EVICTS)

    def compact(self):
        """Packs the kept tokens of the blocks that it alone lists. Returns the moves to carry out, a record array with
        from_block, from_slot, to_block, to_slot. C: kv_branch_compact."""
        return self._compact(c.kv_branch_compact)

    def compact_shared(self, first_index):
        """Replaces shared blocks of the table, from first_index on, by packed blocks of its own. Returns moves as
        compact.

        Error: KV_RANGE (first_index beyond the table), KV_NOBLOCKS. C: kv_branch_compact_shared.
        """
        return self._compact(c.kv_branch_compact_shared, integer("first_index", first_index))

    def _compact(self, function, *arguments):
        with lock:
            moves, num_moves = (c.kv_move * max(self.keep.num_kept, 1))(), c_uint32()
            self._change(function, *arguments, moves, len(moves), byref(num_moves),
                         KV_RANGE=f"first_index: expected an index of the table, got {arguments}")
        return np.ctypeslib.as_array(moves)[:num_moves.value].view(np.recarray)

    # ---- inside ----

    def _call(self, function, *arguments, **reasons):
        raise_kv(self.pool._call(function, self.handle, *arguments), **_REASONS, **reasons)

    def _change(self, function, *arguments, **reasons):
        self.pool._change(function, self.handle, *arguments, **reasons)


_NEVER_EVICTS = "pool: expected one with evicts=True"
_REASONS = {"KV_STALE": "the branch is pruned, or was never one of this pool"}


class Pool(Owner):
    """A fixed number of KV blocks with a reference count for each. It holds integers only: K and V are yours.

      num_blocks    1 .. 2^32 - 2
      block_tokens  tokens of a block, a power of two from 1 to 256
      max_branches  living at once, 1 .. 2^20
      max_epochs    unretired at once, 1 .. 1024
      block_bytes   K and V of one block, to refuse a pool too large to exist; 0: unchecked
      order         "lifo", "fifo" or "shuffle": which free block is taken; seed: of "shuffle"
      evicts        branches have keep words, slots have positions: Branch.evict

    Error: KV_OVERFLOW (block_bytes). C: kv_pool_create, kv_pool_destroy.
    """

    _of_a_forest = False

    def __init__(self, num_blocks, block_tokens=16, *, max_branches=1024, max_epochs=8, block_bytes=0, order="lifo",
                 seed=0, evicts=False):
        config = pool_config(num_blocks, block_tokens, max_branches=max_branches, max_epochs=max_epochs,
                             block_bytes=block_bytes, order=order, seed=seed, evicts=evicts)
        pool = c.P(c.kv_pool)()
        raise_kv(c.kv_pool_create(byref(pool), byref(config)))
        self._own(Handle(pool, _destroy))

    def _own(self, handle):
        self._handle = handle
        return self

    @classmethod
    def _of_forest(cls, pool, forest):
        """The pool inside of a forest, which destroys it."""
        self = cls.__new__(cls)
        self._of_a_forest = True
        return self._own(Handle(pool, lambda _: None, forest))

    def close(self, force=True):
        """Frees the pool, also while branches live; with force=False, Error KV_BUSY while branches live or epochs are
        unretired. A second call does nothing."""
        flag("force", force)
        with lock:
            if not force and not self.closed:
                stats = self.stats
                if stats.live_branches or stats.open_epochs:
                    raise Error(f"{stats.live_branches} branches live, {stats.open_epochs} epochs are unretired "
                                "(KV_BUSY)", "KV_BUSY")
            super().close()

    def __repr__(self):
        if self.closed:
            return "Pool(closed)"
        return f"Pool(num_blocks={self.num_blocks}, block_tokens={self.block_tokens}, used={self.used})"

    # ---- branches ----

    def branch(self):
        """A new, empty Branch. Error: KV_NOBRANCH (max_branches are alive). C: kv_branch_create."""
        branch = c_uint64()
        self._change(c.kv_branch_create, byref(branch))
        return Branch(self, branch.value)

    def append_many(self, branches, num_tokens=1):
        """One decoding step: appends num_tokens[i] tokens to branches[i], for all branches or for none.

        num_tokens: one number for all, or a list. Returns a list of Append: carry out all copies, then write.
        Error: KV_INVAL (a branch named twice), otherwise as Branch.append. C: kv_branch_append_many.
        """
        handles = self._handles(branches)
        if not isinstance(num_tokens, (list, tuple, np.ndarray)):
            num_tokens = [num_tokens] * len(handles)
        counts = integers("num_tokens", num_tokens)
        if len(counts) != len(handles):
            raise Error(f"num_tokens: expected as many numbers as branches, {len(handles)}, got {len(counts)}")
        answers = (c.kv_append * len(handles))()
        with lock:
            self._change(c.kv_branch_append_many, pointer(handles), pointer(counts), len(handles), answers,
                         KV_INVAL="branches: expected each branch once")
            return [Append(answer, table, int(count), self.block_tokens)
                    for answer, table, count in zip(answers, self.tables(branches), counts)]

    def tables(self, branches):
        """The Table of each branch. C: kv_branch_tables."""
        handles = self._handles(branches)
        tables = (c.kv_table * len(handles))()
        with lock:
            raise_kv(self._call(c.kv_branch_tables, pointer(handles), len(handles), tables), **_REASONS)
            return [Table._of(table) for table in tables]

    def tree(self, branches, drafts=None):
        """The Tree that these branches form. drafts: see Tree."""
        from .tree import Tree
        return Tree._of_branches(self, branches, drafts)

    # ---- its state ----

    @property
    def stats(self):
        """The counts at this moment, with the fields of kv_pool_stats: used_blocks, free_blocks, copies, ...
        C: kv_pool_get_stats."""
        stats = c.kv_pool_stats()
        raise_kv(self._call(c.kv_pool_get_stats, byref(stats)))
        return stats

    num_blocks = property(lambda self: self.stats.num_blocks, doc="Blocks, free ones included.")
    block_tokens = property(lambda self: self.stats.block_tokens, doc="Tokens of a block.")
    evicts = property(lambda self: bool(self._call(c.kv_pool_positions)), doc="Whether branches have keep words.")

    @property
    def used(self):
        """Blocks that at least one branch lists."""
        return self.stats.used_blocks

    def references(self, block=None):
        """The number of living tables that list a block; without an argument, of every block, uint32 [num_blocks].
        C: kv_pool_references."""
        if block is None:
            return np.array([self._call(c.kv_pool_references, i) for i in range(self.num_blocks)], np.uint32)
        return self._call(c.kv_pool_references, integer("block", block, 0, self.num_blocks - 1))

    @property
    def released(self):
        """uint32 [.] blocks that the last successful change made free. C: kv_pool_released."""
        blocks, count = c.P(c_uint32)(), c_uint32()
        with lock:
            self._call(c.kv_pool_released, byref(blocks), byref(count))
            return copied(blocks, count.value)

    def check(self):
        """Recomputes the whole state from the tables. Error KV_CORRUPT names a broken invariant. C: kv_pool_check."""
        message = create_string_buffer(MESSAGE_BYTES)
        raise_kv(self._call(c.kv_pool_check, message, MESSAGE_BYTES), message.value.decode())

    def dump(self):
        """The state as text, from which Pool.load makes the same pool. C: kv_pool_dump."""
        with lock:
            size = self._call(c.kv_pool_dump, None, 0)
            text = create_string_buffer(size)
            self._call(c.kv_pool_dump, text, size)
        return text.value.decode()

    @classmethod
    def load(cls, dump):
        """The pool that wrote this str or bytes: same handles, tables, counts, free order.

        Error: KV_FORMAT with line and column, KV_CORRUPT. C: kv_pool_load.
        """
        dump = content("dump", dump)
        pool, error = c.P(c.kv_pool)(), c.kv_text_error()
        status = c.kv_pool_load(byref(pool), dump, len(dump), byref(error))
        raise_kv(status, KV_FORMAT=f"line {error.line} column {error.column}: {error.message.decode(errors='replace')}")
        return cls.__new__(cls)._own(Handle(pool, _destroy))

    # ---- epochs: blocks that a kernel may still read ----

    def epoch_begin(self):
        """Begins an epoch and returns its number: freed blocks wait until it is retired. Error: KV_BUSY (max_epochs).
        C: kv_pool_epoch_begin."""
        epoch = c_uint64()
        raise_kv(self._call(c.kv_pool_epoch_begin, byref(epoch)),
                 KV_BUSY="max_epochs are unretired: retire one, then retry")
        return epoch.value

    def epoch_retire(self, epoch):
        """Retires an epoch and all before it. Error: KV_RANGE (not begun, or retired). C: kv_pool_epoch_retire."""
        raise_kv(self._call(c.kv_pool_epoch_retire, integer("epoch", epoch, 0, U64_MAX)),
                 KV_RANGE=f"epoch: expected one that is begun and not retired, got {epoch}")

    # ---- forgetting, with evicts=True ----

    @property
    def positions(self):
        """uint32 [num_blocks][block_tokens] position of the token in each slot, a copy; meaningless where no branch
        keeps one. C: kv_pool_positions."""
        with lock:
            positions = self._call(c.kv_pool_positions)
            if not positions:
                raise Error(_NEVER_EVICTS)
            return copied(positions, self.num_blocks, self.block_tokens)

    def keeps(self, branches):
        """The Keep of each branch, for plans over evicted tokens. C: kv_branch_keeps."""
        handles = self._handles(branches)
        keeps = (c.kv_keep * len(handles))()
        with lock:
            raise_kv(self._call(c.kv_branch_keeps, pointer(handles), len(handles), keeps), **_REASONS,
                     KV_INVAL=_NEVER_EVICTS)
            return [self._keep(keep) for keep in keeps]

    def evict_shared(self, branches, block, slot):
        """By unanimous vote: these branches, all that list the block, forget its slot.

        Error: KV_INVAL (a branch that lists it is missing or named twice; no branch keeps it), KV_RANGE.
        C: kv_evict_shared.
        """
        handles = self._handles(branches)
        self._change(c.kv_evict_shared, pointer(handles), len(handles),
                     integer("block", block, 0, self.num_blocks - 1), integer("slot", slot, 0, self.block_tokens - 1),
                     KV_INVAL=_NEVER_EVICTS if not self.evicts else
                     f"branches: expected all that list block {block}, each once, and one that keeps its slot {slot}")

    # ---- inside ----

    def _change(self, function, *arguments, **reasons):
        with lock:
            if self._of_a_forest:
                raise Error("the branches of a forest's pool change through the forest alone: ForestBranch, step")
            if not self.closed and self._handle.users:
                raise Error("the pool is being replayed, and changes through Replay.step alone; close the replay first")
            status = self._call(function, *arguments)
            if status:
                free = self.stats.free_blocks - self.stats.reserved_blocks
                raise_kv(status, **_REASONS, **reasons, KV_NOBLOCKS=
                         f"not enough free blocks ({free} of {self.num_blocks} are free and not promised): prune or "
                         "retire an epoch, then retry")

    def _handle_of(self, name, branch):
        if instance(name, branch, Branch).pool is not self:
            raise Error(f"{name}: expected a branch of this pool, got one of another pool")
        return branch.handle

    def _handles(self, branches):
        branches = objects("branches", branches, Branch)
        return np.array([self._handle_of(f"branches[{i}]", branch) for i, branch in enumerate(branches)], np.uint64)

    def _keep(self, keep):
        return Keep(copied(keep.words, keep.num_blocks, keep.words_per_block), self.block_tokens, keep.next_position,
                    keep.first_private)


def _destroy(pool):
    c.kv_pool_destroy(pool, True, None)


def pool_config(num_blocks, block_tokens=16, *, max_branches=1024, max_epochs=8, block_bytes=0, order="lifo", seed=0,
                evicts=False):
    """A checked kv_pool_config."""
    return c.kv_pool_config(
        integer("num_blocks", num_blocks, 1, U32_MAX - 1), power_of_two("block_tokens", block_tokens),
        integer("max_branches", max_branches, 1, c.KV_MAX_BRANCHES),
        integer("max_epochs", max_epochs, 1, c.KV_MAX_EPOCHS), integer("block_bytes", block_bytes, 0, U64_MAX),
        choice("order", order, c.KV_ORDERS), integer("seed", seed, 0, U64_MAX), flag("evicts", evicts))
