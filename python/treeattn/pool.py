"""Blocks, reference counts and branches: allocator/kv_pool.h, kv_branch.h, kv_evict.h."""

from ctypes import byref, c_uint32, c_uint64, create_string_buffer, pointer as address_of
from typing import NamedTuple

import numpy as np

from . import c
from .checks import (U32_MAX, U64_MAX, array, choice, copied, flag, instance, integer, integers, items, pointer,
                     power_of_two, shape_text, text)
from .errors import Error, raise_kv
from .handle import Handle, Owner, lock

SCOPES = c.KV_SCOPES
MESSAGE_BYTES = 512


class Copy(NamedTuple):
    """Copy the first num_tokens slots of from_block to to_block, in every layer and head, before anything is written."""
    from_block: int
    to_block: int
    num_tokens: int


class Append:
    """What an append asks of the owner of K and V: first the copy, then the new tokens.

    copy             a Copy, or None
    hole             slot of the table that the one new token takes, where an evicted token was; None: at the end
    first_new_block  index in the branch's table; num_new_blocks ids from there on are new
    num_tokens       tokens appended
    """

    def __init__(self, answer, table, length, num_tokens, block_tokens):
        self.first_new_block, self.num_new_blocks = answer.first_new_block, answer.num_new_blocks
        copy = answer.copy
        self.copy = Copy(copy.from_block, copy.to_block, copy.num_tokens) if copy.num_tokens else None
        self.hole = None if answer.hole == c.KV_NO_HOLE else answer.hole
        self.num_tokens = num_tokens
        self._table, self._block_tokens = table, block_tokens
        self._first = length - num_tokens if self.hole is None else self.hole

    @property
    def new_blocks(self):
        """[num_new_blocks] their ids, the copy's to_block among them."""
        return self._table[self.first_new_block:self.first_new_block + self.num_new_blocks]

    @property
    def slots(self):
        """[num_tokens] places of the new tokens in the pool, block * block_tokens + slot in the block:
        `block, slot = divmod(append.slots, pool.block_tokens)`, then `key[block, :, slot] = ...`."""
        return _places(self._table, np.arange(self._first, self._first + self.num_tokens), self._block_tokens)

    def carry_out(self, *arrays):
        """Carries out the copy, if there is one, in arrays [num_blocks][num_kv_heads][block_tokens]...: key, value, norm."""
        for i, values in enumerate(arrays):
            instance(f"arrays[{i}]", values, np.ndarray)
            if self.copy is None:
                continue
            if values.ndim < 3 or values.shape[0] <= max(self.copy[:2]) or values.shape[2] != self._block_tokens:
                raise Error(f"arrays[{i}]: expected [more than {max(self.copy[:2])} blocks][num_kv_heads]"
                            f"[{self._block_tokens}]..., got shape {shape_text(values.shape)}")
            values[self.copy.to_block, :, :self.copy.num_tokens] = \
                values[self.copy.from_block, :, :self.copy.num_tokens]

    def __repr__(self):
        return f"Append(num_tokens={self.num_tokens}, new_blocks={self.new_blocks.tolist()}, copy={self.copy}" + \
            (f", hole={self.hole})" if self.hole is not None else ")")


def _places(table, slots, block_tokens):
    """Places in the pool of slots of a table."""
    return table[slots // block_tokens].astype(np.int64) * block_tokens + slots % block_tokens


class Keep:
    """The tokens that a branch of an evicting pool keeps, as they were when it was read.

    words          [num_blocks][words_per_block] uint64; bit j % 64 of word j / 64: slot j of the block is kept
    num_kept       bits that are set
    next_position  of the next token
    first_private  tokens at this position or later were appended after the last fork
    """

    def __init__(self, words, block_tokens, next_position=0, first_private=0):
        self.block_tokens = power_of_two("block_tokens", block_tokens)
        words = array("words", words, np.uint64, (None, (block_tokens + 63) // 64), "[num_blocks][words_per_block]")
        self.words = words.copy()
        self.words.flags.writeable = False
        self.next_position = integer("next_position", next_position)
        self.first_private = integer("first_private", first_private)
        if block_tokens < 64 and words.size and int(words.max()) >> block_tokens:
            raise Error(f"words: expected no bit beyond slot {block_tokens - 1}, got {int(words.max()):#x}")
        self.num_kept = int(np.unpackbits(self.words.view(np.uint8)).sum())

    @property
    def kept(self):
        """[num_blocks][block_tokens] bool: True where the slot's token is kept."""
        bits = np.unpackbits(self.words.view(np.uint8), axis=1, bitorder="little")
        return bits[:, :self.block_tokens].astype(bool)

    def slot(self, slot):
        """Whether the branch keeps this slot of its table. C: kv_keep_slot."""
        integer("slot", slot, 0, len(self.words) * self.block_tokens - 1)
        return c.inline_kv_keep_slot(byref(self._struct()), self.block_tokens, slot)

    def _struct(self):
        return c.kv_keep(pointer(self.words), self.words.shape[1], len(self.words), self.num_kept, self.next_position,
                         self.first_private)

    def __repr__(self):
        rows = " ".join("".join("01"[bit] for bit in row) for row in self.kept)
        return f"Keep({rows})"


class Branch:
    """One sequence: a block table and a length. A small name for a branch of a pool; forgetting it prunes nothing.

    In a pool that evicts, `length` counts the slots of the table, and truncate and fork take positions.
    """

    def __init__(self, pool, handle):
        """Made by Pool.branch and fork; from a number, as replays give it, a name for the same branch."""
        self.pool = instance("pool", pool, Pool)
        self.handle = integer("handle", handle, 0, U64_MAX)

    def __eq__(self, other):
        return isinstance(other, Branch) and (self.pool, self.handle) == (other.pool, other.handle)

    def __hash__(self):
        return hash((id(self.pool), self.handle))

    def __repr__(self):
        if not self.alive:
            return "Branch(not alive)"
        return f"Branch(length={self.length}, table={self.table.tolist()})"

    # ---- what it lists ----

    @property
    def alive(self):
        """Whether the pool and the branch are alive."""
        try:
            return self.length >= 0
        except Error:
            return False

    @property
    def table(self):
        """[num_blocks] uint32, a copy: token t lies in table[t // block_tokens]. C: kv_branch_tables."""
        return self.pool._tables([self])[0][0]

    @property
    def length(self):
        """Tokens; in a pool that evicts, slots of the table."""
        return self.pool._tables([self], blocks=False)[0][1]

    @property
    def version(self):
        """A number that changes with every change of the table but growth at the end."""
        return self.pool._tables([self], blocks=False)[0][2]

    @property
    def slots(self):
        """[length] places in the pool of the slots of the table, block * block_tokens + slot in the block. Without
        eviction, entry t is the place of token t."""
        table, length, _ = self.pool._tables([self])[0]
        return _places(table, np.arange(length), self.pool.block_tokens)

    # ---- fork, append, truncate, prune ----

    def fork(self, length=None):
        """A new Branch with the same tokens, or with the first `length`: blocks gain references, nothing is copied.

        Error: KV_STALE (pruned), KV_RANGE (length beyond the branch), KV_NOBRANCH. C: kv_branch_fork,
        kv_branch_fork_at.
        """
        child = c_uint64()
        if length is None:
            self._change(c.kv_branch_fork, byref(child))
        else:
            self._change(c.kv_branch_fork_at, integer("length", length), byref(child))
        return Branch(self.pool, child.value)

    def append(self, num_tokens=1):
        """length += num_tokens. Returns an Append: the copy to carry out first, and the places of the new tokens.

        Error: KV_STALE, KV_RANGE (beyond 2^30 tokens), KV_NOBLOCKS (prune, then try again). C: kv_branch_append.
        """
        integer("num_tokens", num_tokens)
        answer = c.kv_append()
        with lock:
            self._change(c.kv_branch_append, num_tokens, byref(answer))
            table, length, _ = self.pool._tables([self])[0]
        return Append(answer, table, length, num_tokens, self.pool.block_tokens)

    def truncate(self, length):
        """Keeps the first `length` tokens. Error: KV_STALE, KV_RANGE. C: kv_branch_truncate."""
        self._change(c.kv_branch_truncate, integer("length", length))

    def adopt(self, winner):
        """Takes over the table of another branch, which dies. Error: KV_STALE, KV_INVAL (itself). C: kv_branch_adopt."""
        self._change(c.kv_branch_adopt, self.pool._handle_of("winner", winner))

    def prune(self):
        """The branch ends; blocks that no other branch lists are free. Error: KV_STALE (pruned before).
        C: kv_branch_prune."""
        self._change(c.kv_branch_prune)

    def reserve(self, num_tokens):
        """A promise: appends of the next num_tokens tokens cannot run out of blocks. 0 cancels it.

        Error: KV_STALE, KV_RANGE, KV_NOBLOCKS. C: kv_branch_reserve.
        """
        self._change(c.kv_branch_reserve, integer("num_tokens", num_tokens))

    # ---- forgetting, in a pool with evicts=True ----

    @property
    def keep(self):
        """A Keep: the tokens that it attends to. Error: KV_INVAL in a pool that does not evict. C: kv_branch_keep."""
        keep = c.kv_keep()
        with lock:
            raise_kv(self.pool._call(c.kv_branch_keep, self.handle, byref(keep)))
            return self.pool._keep(keep)

    def find(self, position):
        """The slot in the table of a position that the branch keeps. Error: KV_RANGE if it keeps none.
        C: kv_branch_find."""
        slot = c_uint32()
        raise_kv(self.pool._call(c.kv_branch_find, self.handle, integer("position", position), byref(slot)))
        return slot.value

    def evict(self, slots, scope="private"):
        """Forgets the tokens in these slots of its table, all or, on error, none.

        scope: "private" (tokens appended after the last fork) or "mask" (every token that it keeps).
        Error: KV_RANGE (a slot beyond the table), KV_INVAL (not kept, or outside the scope). C: kv_branch_evict.
        """
        slots = integers("slots", slots)
        self._change(c.kv_branch_evict, choice("scope", scope, SCOPES), pointer(slots), len(slots))

    def thaw(self):
        """Makes tokens private that no other branch can read any more. C: kv_branch_thaw."""
        self._change(c.kv_branch_thaw)

    def compact(self):
        """Packs the kept tokens of the blocks that it alone lists. Returns the moves to carry out, a record array with
        from_block, from_slot, to_block, to_slot. C: kv_branch_compact."""
        return self._compact(c.kv_branch_compact)

    def compact_shared(self, first_index):
        """Replaces shared blocks of the table, from first_index on, by packed blocks of its own. Returns the moves.

        Error: KV_RANGE (first_index beyond the table), KV_NOBLOCKS. C: kv_branch_compact_shared.
        """
        return self._compact(c.kv_branch_compact_shared, integer("first_index", first_index))

    def _compact(self, function, *arguments):
        num_moves = c_uint32()
        with lock:
            moves = (c.kv_move * max(self.keep.num_kept, 1))()
            self._change(function, *arguments, moves, len(moves), byref(num_moves))
        return np.array(moves[:num_moves.value], dtype=np.dtype(c.kv_move)).view(np.recarray) \
            if num_moves.value else np.empty(0, np.dtype(c.kv_move)).view(np.recarray)

    def _change(self, function, *arguments):
        self.pool._change(function, self.handle, *arguments)


class Pool(Owner):
    """A fixed number of KV blocks with a reference count for each. It holds integers only: K and V are yours.

    num_blocks    1 .. 2^32 - 2
    block_tokens  tokens of a block, a power of two from 1 to 256
    max_branches  living at once, 1 .. 2^20
    max_epochs    unretired at once, 1 .. 1024
    block_bytes   K and V of one block, to refuse a pool too large to exist; 0: unchecked
    order         "lifo", "fifo" or "shuffle": which free block is taken; seed: of "shuffle"
    evicts        branches have keep words, slots have positions: Branch.evict

    C: kv_pool_create, kv_pool_destroy.
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
        stats = self.stats
        self.num_blocks, self.block_tokens = stats.num_blocks, stats.block_tokens
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
        with lock:
            if not force and not self.closed:
                stats = self.stats
                if stats.live_branches or stats.open_epochs:
                    raise_kv(-8, f"{stats.live_branches} branches live, {stats.open_epochs} epochs are unretired")
            super().close()

    def __repr__(self):
        if self.closed:
            return "Pool(closed)"
        return f"Pool(num_blocks={self.num_blocks}, block_tokens={self.block_tokens}, used={self.used})"

    # ---- branches ----

    def branch(self):
        """A new, empty Branch. Error: KV_NOBRANCH. C: kv_branch_create."""
        branch = c_uint64()
        self._change(c.kv_branch_create, byref(branch))
        return Branch(self, branch.value)

    def append_many(self, branches, num_tokens=1):
        """One decoding step: appends num_tokens[i] tokens to branches[i], for all branches or for none.

        num_tokens: one number for all, or a list. Returns a list of Append: carry out all copies, then write.
        Error: KV_INVAL (a branch named twice), otherwise as Branch.append. C: kv_branch_append_many.
        """
        handles = self._handles(branches)
        if np.ndim(num_tokens) == 0:
            num_tokens = [num_tokens] * len(handles)
        counts = integers("num_tokens", num_tokens)
        if len(counts) != len(handles):
            raise Error(f"num_tokens: expected {len(handles)} numbers, one for each branch, got {len(counts)}")
        answers = (c.kv_append * len(handles))()
        with lock:
            self._change(c.kv_branch_append_many, pointer(handles), pointer(counts), len(handles), answers)
            tables = self._tables(branches)
        return [Append(answer, table, length, int(count), self.block_tokens)
                for answer, (table, length, _), count in zip(answers, tables, counts)]

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

    @property
    def used(self):
        """Blocks that at least one branch lists."""
        return self.stats.used_blocks

    def references(self, block=None):
        """The number of living tables that list a block; without an argument, of every block, [num_blocks].
        C: kv_pool_references."""
        if block is None:
            return np.array([self._call(c.kv_pool_references, i) for i in range(self.num_blocks)], np.uint32)
        return self._call(c.kv_pool_references, integer("block", block, 0, self.num_blocks - 1))

    @property
    def released(self):
        """[.] blocks that the last successful change made free. C: kv_pool_released."""
        blocks, count = c.P(c_uint32)(), c_uint32()
        with lock:
            self._call(c.kv_pool_released, byref(blocks), byref(count))
            return copied(blocks, count.value)

    @property
    def positions(self):
        """[num_blocks][block_tokens] position of the token in each slot, a copy; meaningless where no branch keeps one.
        Error in a pool that does not evict. C: kv_pool_positions."""
        with lock:
            positions = self._call(c.kv_pool_positions)
            if not positions:
                raise Error("positions: expected a pool with evicts=True")
            return copied(positions, self.num_blocks * self.block_tokens).reshape(self.num_blocks, self.block_tokens)

    def check(self):
        """Recomputes the whole state from the tables. Error KV_CORRUPT names a broken invariant. C: kv_pool_check."""
        message = create_string_buffer(MESSAGE_BYTES)
        raise_kv(self._call(c.kv_pool_check, message, MESSAGE_BYTES), message.value.decode())

    def dump(self):
        """The state as text, from which Pool.load makes the same pool. C: kv_pool_dump."""
        with lock:
            size = self._call(c.kv_pool_dump, None, 0)
            buffer = create_string_buffer(size)
            self._call(c.kv_pool_dump, buffer, size)
        return buffer.value.decode()

    @classmethod
    def load(cls, dump):
        """The pool that wrote this text: same handles, tables, counts, free order.

        Error: KV_FORMAT with line and column, KV_CORRUPT. C: kv_pool_load.
        """
        dump = dump.encode() if isinstance(dump, str) else instance("dump", dump, bytes)
        pool, error = c.P(c.kv_pool)(), c.kv_text_error()
        status = c.kv_pool_load(byref(pool), dump, len(dump), byref(error))
        raise_kv(status, f"line {error.line} column {error.column}: {error.message.decode(errors='replace')}"
                 if error.line else "")
        return cls.__new__(cls)._own(Handle(pool, _destroy))

    # ---- epochs: blocks that a kernel may still read ----

    def epoch_begin(self):
        """Begins an epoch and returns its number: freed blocks wait until it is retired. Error: KV_BUSY.
        C: kv_pool_epoch_begin."""
        epoch = c_uint64()
        raise_kv(self._call(c.kv_pool_epoch_begin, byref(epoch)))
        return epoch.value

    def epoch_retire(self, epoch):
        """Retires an epoch and all before it. Error: KV_RANGE. C: kv_pool_epoch_retire."""
        raise_kv(self._call(c.kv_pool_epoch_retire, integer("epoch", epoch, 0, U64_MAX)))

    # ---- forgetting ----

    def keeps(self, branches):
        """The Keep of each branch, for plans over evicted tokens. C: kv_branch_keeps."""
        handles = self._handles(branches)
        keeps = (c.kv_keep * len(handles))()
        with lock:
            raise_kv(self._call(c.kv_branch_keeps, pointer(handles), len(handles), keeps))
            return [self._keep(keep) for keep in keeps]

    def evict_shared(self, branches, block, slot):
        """By unanimous vote: these branches, all that list the block, forget its slot.

        Error: KV_INVAL (a branch that lists it is missing or named twice; no branch keeps it), KV_RANGE.
        C: kv_evict_shared.
        """
        handles = self._handles(branches)
        self._change(c.kv_evict_shared, pointer(handles), len(handles), integer("block", block),
                     integer("slot", slot))

    # ---- inside ----

    def _change(self, function, *arguments):
        if self._of_a_forest:
            raise Error("the branches of a forest's pool change through the forest alone: ForestBranch, step")
        if not self.closed and self._handle.users:
            raise Error("the pool is being replayed, and changes through Replay.step alone; close the replay first")
        raise_kv(self._call(function, *arguments))

    def _handle_of(self, name, branch):
        if instance(name, branch, Branch).pool is not self:
            raise Error(f"{name}: expected a branch of this pool, got one of another pool")
        return branch.handle

    def _handles(self, branches):
        branches = items("branches", branches, Branch)
        return np.array([self._handle_of(f"branches[{i}]", branch) for i, branch in enumerate(branches)], np.uint64)

    def _tables(self, branches, blocks=True):
        """(blocks, length, version) of each branch; blocks is a copy, or None."""
        handles = self._handles(branches)
        tables = (c.kv_table * len(handles))()
        with lock:
            raise_kv(self._call(c.kv_branch_tables, pointer(handles), len(handles), tables))
            return [(copied(table.blocks, table.num_blocks) if blocks else None, table.length, table.version)
                    for table in tables]

    def _keep(self, keep):
        words = copied(keep.words, keep.num_blocks * keep.words_per_block)
        return Keep(words.reshape(keep.num_blocks, keep.words_per_block), self.block_tokens, keep.next_position,
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
