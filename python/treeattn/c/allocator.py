"""allocator/*.h: kv_pool.h, kv_branch.h, kv_tree.h, kv_evict.h."""

from ctypes import (c_bool, c_char, c_char_p, c_int, c_size_t, c_uint32, c_uint64)

from .load import P, Structure, function, names

# ---- kv_pool.h ----

kv_status = c_int
KV_STATUSES = {0: "KV_OK", -1: "KV_INVAL", -2: "KV_OVERFLOW", -3: "KV_NOMEM", -4: "KV_NOBLOCKS", -5: "KV_NOBRANCH",
               -6: "KV_STALE", -7: "KV_RANGE", -8: "KV_BUSY", -9: "KV_FORMAT", -10: "KV_CORRUPT"}
KV_MAX_LENGTH = 1 << 30
KV_MAX_BRANCHES = 1 << 20
KV_MAX_EPOCHS = 1024

kv_order = c_int
KV_ORDERS = ("lifo", "fifo", "shuffle")
kv_branch = c_uint64


class kv_pool(Structure):
    """Opaque: only pointers to it are used."""


class kv_pool_config(Structure):
    _fields_ = [("num_blocks", c_uint32), ("block_tokens", c_uint32), ("max_branches", c_uint32),
                ("max_epochs", c_uint32), ("block_bytes", c_uint64), ("order", kv_order), ("seed", c_uint64),
                ("evicts", c_bool)]


class kv_table(Structure):
    _fields_ = [("blocks", P(c_uint32)), ("num_blocks", c_uint32), ("length", c_uint32), ("version", c_uint64)]


class kv_pool_stats(Structure):
    _fields_ = [("num_blocks", c_uint32), ("block_tokens", c_uint32), ("free_blocks", c_uint32),
                ("used_blocks", c_uint32), ("quarantined_blocks", c_uint32), ("shared_blocks", c_uint32),
                ("reserved_blocks", c_uint32), ("high_water_blocks", c_uint32), ("live_branches", c_uint32),
                ("open_epochs", c_uint32), ("logical_tokens", c_uint64), ("table_blocks", c_uint64),
                ("physical_tokens", c_uint64), ("tail_waste_tokens", c_uint64), ("copies", c_uint64),
                ("copied_tokens", c_uint64), ("kept_tokens", c_uint64), ("evicted_tokens", c_uint64),
                ("moved_tokens", c_uint64), ("operations", c_uint64), ("failures", c_uint64)]


class kv_text_error(Structure):
    _fields_ = [("line", c_uint32), ("column", c_uint32), ("message", c_char * 120)]


@function
def kv_status_string(status: kv_status) -> c_char_p: ...

@function
def kv_pool_create(pool: P(P(kv_pool)), config: P(kv_pool_config)) -> kv_status: ...

@function
def kv_pool_destroy(pool: P(kv_pool), force: c_bool, stats: P(kv_pool_stats)) -> kv_status: ...

@function
def kv_pool_get_stats(pool: P(kv_pool), stats: P(kv_pool_stats)) -> kv_status: ...

@function
def kv_pool_references(pool: P(kv_pool), block: c_uint32) -> c_uint32: ...

@function
def kv_pool_released(pool: P(kv_pool), blocks: P(P(c_uint32)), num_blocks: P(c_uint32)) -> None: ...

@function
def kv_pool_check(pool: P(kv_pool), message: c_char_p, message_bytes: c_size_t) -> kv_status: ...

@function
def kv_pool_dump(pool: P(kv_pool), text: c_char_p, capacity: c_size_t) -> c_size_t: ...

@function
def kv_pool_load(pool: P(P(kv_pool)), text: c_char_p, length: c_size_t, error: P(kv_text_error)) -> kv_status: ...

@function
def kv_pool_epoch_begin(pool: P(kv_pool), epoch: P(c_uint64)) -> kv_status: ...

@function
def kv_pool_epoch_retire(pool: P(kv_pool), epoch: c_uint64) -> kv_status: ...


# ---- kv_branch.h ----

KV_NO_HOLE = 2**32 - 1


class kv_copy(Structure):
    _fields_ = [("from_block", c_uint32), ("to_block", c_uint32), ("num_tokens", c_uint32)]


class kv_append(Structure):
    _fields_ = [("first_new_block", c_uint32), ("num_new_blocks", c_uint32), ("copy", kv_copy), ("hole", c_uint32)]


@function
def kv_branch_create(pool: P(kv_pool), branch: P(kv_branch)) -> kv_status: ...

@function
def kv_branch_fork(pool: P(kv_pool), branch: kv_branch, child: P(kv_branch)) -> kv_status: ...

@function
def kv_branch_fork_at(pool: P(kv_pool), branch: kv_branch, length: c_uint32, child: P(kv_branch)) -> kv_status: ...

@function
def kv_branch_append(pool: P(kv_pool), branch: kv_branch, num_tokens: c_uint32, append: P(kv_append)) -> kv_status: ...

@function
def kv_branch_append_many(pool: P(kv_pool), branches: P(kv_branch), num_tokens: P(c_uint32), count: c_uint32,
                          appends: P(kv_append)) -> kv_status: ...

@function
def kv_branch_truncate(pool: P(kv_pool), branch: kv_branch, length: c_uint32) -> kv_status: ...

@function
def kv_branch_adopt(pool: P(kv_pool), branch: kv_branch, winner: kv_branch) -> kv_status: ...

@function
def kv_branch_prune(pool: P(kv_pool), branch: kv_branch) -> kv_status: ...

@function
def kv_branch_reserve(pool: P(kv_pool), branch: kv_branch, num_tokens: c_uint32) -> kv_status: ...

@function
def kv_branch_table(pool: P(kv_pool), branch: kv_branch, table: P(kv_table)) -> kv_status: ...

@function
def kv_branch_tables(pool: P(kv_pool), branches: P(kv_branch), count: c_uint32, tables: P(kv_table)) -> kv_status: ...


# ---- kv_tree.h ----

KV_NONE = 2**32 - 1


class kv_node(Structure):
    _fields_ = [("parent", c_uint32), ("first_token", c_uint32), ("num_tokens", c_uint32), ("first_block", c_uint32),
                ("first_slot", c_uint32), ("first_row", c_uint32), ("num_rows", c_uint32)]


class kv_tree(Structure):
    _fields_ = [("block_tokens", c_uint32), ("num_nodes", c_uint32), ("num_queries", c_uint32),
                ("num_blocks", c_uint32), ("unique_tokens", c_uint64), ("path_tokens", c_uint64),
                ("nodes", P(kv_node)), ("blocks", P(c_uint32)), ("rows", P(c_uint32)), ("query_node", P(c_uint32)),
                ("versions", P(c_uint64))]


class kv_draft(Structure):
    _fields_ = [("num_tokens", c_uint32), ("parent", P(c_uint32))]


@function
def kv_tree_build(tree: P(P(kv_tree)), tables: P(kv_table), num_tables: c_uint32, block_tokens: c_uint32,
                  pool_blocks: c_uint32) -> kv_status: ...

@function
def kv_tree_build_drafts(tree: P(P(kv_tree)), tables: P(kv_table), drafts: P(kv_draft), num_tables: c_uint32,
                         block_tokens: c_uint32, pool_blocks: c_uint32) -> kv_status: ...

@function
def kv_tree_explain(tables: P(kv_table), drafts: P(kv_draft), num_tables: c_uint32, block_tokens: c_uint32,
                    pool_blocks: c_uint32, message: c_char_p, message_bytes: c_size_t) -> kv_status: ...

@function
def kv_tree_grow(tree: P(kv_tree), tables: P(kv_table), num_tables: c_uint32) -> c_bool: ...

@function
def kv_tree_check(tree: P(kv_tree), tables: P(kv_table), num_tables: c_uint32, message: c_char_p,
                  message_bytes: c_size_t) -> kv_status: ...

@function
def kv_tree_check_drafts(tree: P(kv_tree), tables: P(kv_table), drafts: P(kv_draft), num_tables: c_uint32,
                         message: c_char_p, message_bytes: c_size_t) -> kv_status: ...

@function
def kv_tree_destroy(tree: P(kv_tree)) -> None: ...


# ---- kv_evict.h ----

kv_scope = c_int
KV_SCOPES = names(3, "kv_scope_name")


class kv_keep(Structure):
    _fields_ = [("words", P(c_uint64)), ("words_per_block", c_uint32), ("num_blocks", c_uint32),
                ("num_kept", c_uint32), ("next_position", c_uint32), ("first_private", c_uint32)]


class kv_move(Structure):
    _fields_ = [("from_block", c_uint32), ("from_slot", c_uint32), ("to_block", c_uint32), ("to_slot", c_uint32)]


@function
def inline_kv_keep_slot(keep: P(kv_keep), block_tokens: c_uint32, slot: c_uint32) -> c_bool: ...

@function
def kv_branch_keep(pool: P(kv_pool), branch: kv_branch, keep: P(kv_keep)) -> kv_status: ...

@function
def kv_branch_keeps(pool: P(kv_pool), branches: P(kv_branch), count: c_uint32, keeps: P(kv_keep)) -> kv_status: ...

@function
def kv_pool_positions(pool: P(kv_pool)) -> P(c_uint32): ...

@function
def kv_branch_find(pool: P(kv_pool), branch: kv_branch, position: c_uint32, slot: P(c_uint32)) -> kv_status: ...

@function
def kv_branch_evict(pool: P(kv_pool), branch: kv_branch, scope: kv_scope, slots: P(c_uint32),
                    count: c_uint32) -> kv_status: ...

@function
def kv_evict_shared(pool: P(kv_pool), branches: P(kv_branch), count: c_uint32, block: c_uint32,
                    slot: c_uint32) -> kv_status: ...

@function
def kv_branch_thaw(pool: P(kv_pool), branch: kv_branch) -> kv_status: ...

@function
def kv_branch_compact(pool: P(kv_pool), branch: kv_branch, moves: P(kv_move), max_moves: c_uint32,
                      num_moves: P(c_uint32)) -> kv_status: ...

@function
def kv_branch_compact_shared(pool: P(kv_pool), branch: kv_branch, first_index: c_uint32, moves: P(kv_move),
                             max_moves: c_uint32, num_moves: P(c_uint32)) -> kv_status: ...
