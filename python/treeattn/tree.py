"""The tree in a set of block tables: allocator/kv_tree.h."""

from ctypes import byref, create_string_buffer
from typing import NamedTuple

import numpy as np

from . import c
from .checks import U64_MAX, describe, integer, integers, power_of_two
from .errors import Error, raise_kv
from .handle import Handle, Owner, lock
from .memory import array_field, field, pointer
from .pool import MESSAGE_BYTES

NONE = c.KV_NONE


class TableStructs(NamedTuple):
    """Block tables for C. arrays holds the memory that `tables` and `drafts` point to."""
    tables: object  # kv_table[num_tables]
    drafts: object  # kv_draft[num_tables], or None
    arrays: list
    block_tokens: int
    pool_blocks: int

    @classmethod
    def of_lists(cls, tables, lengths, block_tokens, pool_blocks, versions, drafts):
        """Checks what an engine brings along."""
        power_of_two("block_tokens", block_tokens)
        if not isinstance(tables, (list, tuple)) and not (isinstance(tables, np.ndarray) and tables.ndim == 2):
            raise Error(f"tables: expected a list of block tables, got {describe(tables)}")
        tables = [integers(f"tables[{i}]", table) for i, table in enumerate(tables)]
        if lengths is None:
            lengths = [len(table) * block_tokens for table in tables]
        lengths = integers("lengths", lengths)
        versions = integers("versions", [0] * len(tables) if versions is None else versions, U64_MAX, np.uint64)
        for name, values in (("lengths", lengths), ("versions", versions)):
            if len(values) != len(tables):
                raise Error(f"{name}: expected as many numbers as tables, {len(tables)}, got {len(values)}")
        for i, (table, length) in enumerate(zip(tables, lengths)):
            if len(table) * block_tokens < length:
                raise Error(f"tables[{i}]: expected blocks for {length} tokens, {block_tokens} each, got {len(table)}")
        largest = max((int(table.max()) for table in tables if len(table)), default=0)
        pool_blocks = largest + 1 if pool_blocks is None else integer("pool_blocks", pool_blocks)
        return cls.of_tables(zip(tables, lengths, versions), drafts, block_tokens, pool_blocks)

    @classmethod
    def of_tables(cls, rows, drafts, block_tokens, pool_blocks):
        """rows: (blocks, length, version) of each table."""
        rows = list(rows)
        arrays = [blocks for blocks, _, _ in rows]
        tables = (c.kv_table * len(rows))(*(
            c.kv_table(pointer(blocks), -(-int(length) // block_tokens), int(length), int(version))
            for blocks, length, version in rows))
        structs = None
        if drafts is not None:
            if not isinstance(drafts, (list, tuple)) or len(drafts) != len(rows):
                raise Error(f"drafts: expected as many lists of parents as tables, {len(rows)}, got {describe(drafts)}")
            parents = [draft_parents(f"drafts[{i}]", draft) for i, draft in enumerate(drafts)]
            structs = (c.kv_draft * len(rows))(*(c.kv_draft(len(parent), pointer(parent)) for parent in parents))
            arrays += parents
        return cls(tables, structs, arrays, block_tokens, pool_blocks)

    def explain(self):
        """Why a build refuses them, or ""."""
        message = create_string_buffer(MESSAGE_BYTES)
        status = c.kv_tree_explain(self.tables, self.drafts, len(self.tables), self.block_tokens, self.pool_blocks,
                                   message, MESSAGE_BYTES)
        if status == -3:
            raise_kv(status)
        return message.value.decode()


def draft_parents(name, parents):
    """Parents of draft tokens, -1 or None for one that continues the past, as C takes them."""
    if isinstance(parents, np.ndarray):
        parents = parents.tolist()
    if not isinstance(parents, (list, tuple)):
        raise Error(f"{name}: expected a list of parents, got {describe(parents)}")
    return np.array([NONE if parent is None or (isinstance(parent, int) and parent == -1) else
                     integer(f"{name}[{i}]", parent) for i, parent in enumerate(parents)], np.uint32)


class Tree(Owner):
    """The nodes of a set of branches: maximal runs of tokens that the same branches see. pool.tree(branches) makes one;
    Tree(tables) does so for an engine with block tables of its own.

      tables       a list of block tables, each a list of block ids
      lengths      tokens of each table; None: whole blocks
      pool_blocks  the block ids are below it; None: no bound
      versions     for grow: changes with every change of a table but growth at the end; None: not known
      drafts       drafts[i]: the last tokens of table i are a tree of draft tokens, each given by its parent: an
                   earlier one of the list, or -1, the past. Each is a query of its own

    Error: KV_INVAL or KV_RANGE, with the entry of the table that forms no tree. C: kv_tree_build, kv_tree_build_drafts,
    kv_tree_destroy.
    """

    def __init__(self, tables, lengths=None, block_tokens=16, *, pool_blocks=None, versions=None, drafts=None):
        self._build(TableStructs.of_lists(tables, lengths, block_tokens, pool_blocks, versions, drafts))
        self._branches = None

    @classmethod
    def _of_branches(cls, pool, branches, drafts):
        self = cls.__new__(cls)
        self._build(TableStructs.of_tables(pool.tables(branches), drafts, pool.block_tokens, pool.num_blocks))
        self._branches = list(branches)
        return self

    def _build(self, tables):
        tree = c.P(c.kv_tree)()
        arguments = (len(tables.tables), tables.block_tokens, tables.pool_blocks)
        with lock:
            if tables.drafts is None:
                status = c.kv_tree_build(byref(tree), tables.tables, *arguments)
            else:
                status = c.kv_tree_build_drafts(byref(tree), tables.tables, tables.drafts, *arguments)
        if status:
            raise_kv(status, tables.explain())
        self._tables = tables
        self._handle = Handle(tree, c.kv_tree_destroy)

    @staticmethod
    def explain(tables, lengths=None, block_tokens=16, *, pool_blocks=None, drafts=None):
        """Why Tree refuses these tables: a sentence with the first bad entry; "" if it does not. C: kv_tree_explain."""
        return TableStructs.of_lists(tables, lengths, block_tokens, pool_blocks, None, drafts).explain()

    def grow(self, tables=None, lengths=None, versions=None):
        """Follows branches that only got longer. False: something else changed; the tree is as before, build again.

        Without arguments, for a tree of branches; with tables, lengths and versions for one of tables.
        Error: KV_STALE (a branch is pruned). C: kv_tree_grow.
        """
        with lock:
            old = self._tables
            if tables is None:
                if self._branches is None:
                    raise Error("tables: expected the tables of the engine, since the tree is not one of branches")
                pool = self._branches[0].pool if self._branches else None
                rows = pool.tables(self._branches) if pool else []
                new = TableStructs.of_tables(rows, None, old.block_tokens, old.pool_blocks)
            else:
                new = TableStructs.of_lists(tables, lengths, old.block_tokens, old.pool_blocks, versions, None)
                for i, blocks in enumerate(new.arrays):
                    if len(blocks) and blocks.max() >= old.pool_blocks:
                        raise Error(f"tables[{i}]: expected block ids below {old.pool_blocks}, got {blocks.max()}")
            if not self._call(c.kv_tree_grow, new.tables, len(new.tables)):
                return False
            self._tables = new
            return True

    def check(self):
        """Compares the tree with the tables that it was built from or grew to. Error KV_CORRUPT says what differs.
        C: kv_tree_check, kv_tree_check_drafts."""
        message = create_string_buffer(MESSAGE_BYTES)
        tables = self._tables
        with lock:
            if tables.drafts is None:
                status = self._call(c.kv_tree_check, tables.tables, len(tables.tables), message, MESSAGE_BYTES)
            else:
                status = self._call(c.kv_tree_check_drafts, tables.tables, tables.drafts, len(tables.tables), message,
                                    MESSAGE_BYTES)
        raise_kv(status, message.value.decode())

    # ---- what it holds: copies ----

    block_tokens = field("block_tokens", "Tokens of a block.")
    num_nodes = field("num_nodes", "Nodes.")
    num_queries = field("num_queries", "Tables, or draft tokens.")
    unique_tokens = field("unique_tokens", "U: the tokens of all nodes.")
    path_tokens = field("path_tokens", "S: the tokens that each query sees, summed.")
    nodes = array_field("nodes", "num_nodes", """[num_nodes] record array, a parent before its children: parent (NONE
        for a root), first_token, num_tokens, first_block (of blocks), first_slot, first_row, num_rows (of rows).""")
    blocks = array_field("blocks", "num_blocks", "Block ids, node after node.")
    rows = array_field("rows", "num_queries", "[num_queries] query ids, depth first.")
    query_node = array_field("query_node", "num_queries",
                             "[num_queries] node where the query's path ends; NONE: it sees no token.")

    def __repr__(self):
        if self.closed:
            return "Tree(closed)"
        return f"Tree(queries={self.num_queries}, nodes={self.num_nodes}, unique_tokens={self.unique_tokens}, " \
               f"path_tokens={self.path_tokens})"
