"""reference/shape/*.h and reference/plan/*.h: tree_status.h, tree_shape.h, half.h, tree_plan.h, tree_plan_keep.h,
traffic.h."""

from ctypes import (c_bool, c_char_p, c_int, c_size_t, c_uint32, c_uint64, c_float, c_uint16)

from .allocator import kv_keep, kv_tree
from .load import P, Structure, function, names

# ---- tree_status.h ----

tree_status = c_int
TREE_STATUSES = {0: "TREE_OK", -1: "TREE_INVAL", -2: "TREE_BAD_SHAPE", -3: "TREE_BAD_PLAN", -4: "TREE_NOMEM",
                 -5: "TREE_OVERFLOW", -6: "TREE_WORKSPACE", -7: "TREE_UNSUPPORTED", -8: "TREE_NO_DEVICE",
                 -9: "TREE_OLD_DRIVER", -10: "TREE_NO_KERNEL_IMAGE", -11: "TREE_CUDA_ERROR", -12: "TREE_NOT_FINITE"}


@function
def tree_status_string(status: tree_status) -> c_char_p: ...


# ---- tree_shape.h ----

tree_storage = c_int
TREE_STORAGES = ("fp32", "fp16", "bf16")


class tree_shape(Structure):
    _fields_ = [("num_queries", c_uint32), ("num_heads", c_uint32), ("num_kv_heads", c_uint32),
                ("head_dim", c_uint32), ("num_blocks", c_uint32), ("block_tokens", c_uint32),
                ("storage", tree_storage)]


@function
def inline_tree_storage_bytes(storage: tree_storage) -> c_size_t: ...

@function
def tree_shape_check(shape: P(tree_shape)) -> tree_status: ...

@function
def inline_tree_kv_offset(shape: P(tree_shape), block: c_uint32, kv_head: c_uint32, slot: c_uint32) -> c_uint64: ...


# ---- half.h, over arrays ----

@function
def inline_half_from_bits(values: P(c_float), bits: P(c_uint32), count: c_size_t) -> None: ...

@function
def inline_half_bits(bits: P(c_uint32), values: P(c_float), count: c_size_t) -> None: ...

@function
def inline_bf16_to_float(values: P(c_float), codes: P(c_uint16), count: c_size_t) -> None: ...

@function
def inline_bf16_from_float(codes: P(c_uint16), values: P(c_float), count: c_size_t) -> None: ...

@function
def inline_fp16_to_float(values: P(c_float), codes: P(c_uint16), count: c_size_t) -> None: ...

@function
def inline_fp16_from_float(codes: P(c_uint16), values: P(c_float), count: c_size_t) -> None: ...


# ---- tree_plan.h ----

tree_strategy = c_int
TREE_STRATEGIES = names(8, "tree_strategy_name")
tree_target = c_int
TREE_TARGETS = ("gpu", "cpu")
TREE_NO_MASK = 2**32 - 1


class tree_prices(Structure):
    _fields_ = [("token_bytes", c_uint32), ("item_bytes", c_uint32), ("partial_bytes", c_uint32),
                ("row_bytes", c_uint32), ("mask_bytes", c_uint32), ("masked_rows", c_uint32), ("tile_rows", c_uint32),
                ("max_tile", c_uint32), ("share_bytes", c_uint32), ("merge_bytes", c_uint32),
                ("wait_bytes", c_uint32), ("share_workers", c_uint32), ("cut_tokens", c_uint32),
                ("rest_tokens", c_uint32), ("rest_part", c_uint32)]


class tree_plan_config(Structure):
    _fields_ = [("strategy", tree_strategy), ("target", tree_target), ("max_rows", c_uint32),
                ("piece_tokens", c_uint32), ("group_size", c_uint32), ("num_workers", c_uint32),
                ("prices", tree_prices)]


class tree_range(Structure):
    _fields_ = [("first_block", c_uint32), ("first_slot", c_uint32), ("num_tokens", c_uint32), ("mask", c_uint32)]


class tree_item(Structure):
    _fields_ = [("first_row", c_uint32), ("num_rows", c_uint32), ("first_range", c_uint32), ("num_ranges", c_uint32),
                ("num_tokens", c_uint32), ("first_partial", c_uint32)]


class tree_plan_growth(Structure):
    """Private to the library."""


class tree_plan(Structure):
    _fields_ = [("config", tree_plan_config), ("block_tokens", c_uint32), ("num_queries", c_uint32),
                ("num_items", c_uint32), ("num_ranges", c_uint32), ("num_blocks", c_uint32),
                ("num_partials", c_uint32), ("num_mask_words", c_uint32), ("max_block", c_uint32),
                ("unique_tokens", c_uint64), ("path_tokens", c_uint64), ("loaded_tokens", c_uint64),
                ("masked_pairs", c_uint64), ("items", P(tree_item)), ("ranges", P(tree_range)),
                ("blocks", P(c_uint32)), ("table_index", P(c_uint32)), ("rows", P(c_uint32)), ("masks", P(c_uint64)),
                ("merge_first", P(c_uint32)), ("merge_partials", P(c_uint32)), ("growth", P(tree_plan_growth))]


@function
def tree_strategy_from_name(name: c_char_p, strategy: P(tree_strategy)) -> c_bool: ...

@function
def tree_prices_of(target: tree_target) -> P(tree_prices): ...

@function
def tree_plan_build(plan: P(P(tree_plan)), tree: P(kv_tree), config: P(tree_plan_config)) -> tree_status: ...

@function
def tree_plan_bytes(bytes: P(c_uint64), tree: P(kv_tree), config: P(tree_plan_config)) -> tree_status: ...

@function
def tree_plan_grow(plan: P(tree_plan), tree: P(kv_tree)) -> c_bool: ...

@function
def tree_plan_check(plan: P(tree_plan), tree: P(kv_tree), message: c_char_p,
                    message_bytes: c_size_t) -> tree_status: ...

@function
def tree_plan_fits(plan: P(tree_plan), shape: P(tree_shape)) -> tree_status: ...

@function
def tree_plan_destroy(plan: P(tree_plan)) -> None: ...


# ---- tree_plan_keep.h ----

tree_keep_masks = c_int
TREE_KEEP_MASKS = ("needed", "private", "all")


@function
def tree_plan_build_keep(plan: P(P(tree_plan)), tree: P(kv_tree), config: P(tree_plan_config), keeps: P(kv_keep),
                         masks: tree_keep_masks) -> tree_status: ...

@function
def tree_plan_set_keep(plan: P(tree_plan), tree: P(kv_tree), keeps: P(kv_keep)) -> c_bool: ...

@function
def tree_plan_check_keep(plan: P(tree_plan), tree: P(kv_tree), keeps: P(kv_keep), message: c_char_p,
                         message_bytes: c_size_t) -> tree_status: ...


# ---- traffic.h ----

traffic_variant = c_int
TRAFFIC_VARIANTS = names(3, "traffic_variant_name")


class tree_traffic(Structure):
    _fields_ = [("logical_bytes", c_uint64), ("unique_bytes", c_uint64), ("plan_bytes", c_uint64),
                ("query_bytes", c_uint64), ("out_bytes", c_uint64), ("mask_bytes", c_uint64),
                ("partial_bytes", c_uint64)]


@function
def tree_traffic_count(traffic: P(tree_traffic), plan: P(tree_plan), shape: P(tree_shape),
                       variant: traffic_variant) -> tree_status: ...

@function
def tree_traffic_standard(traffic: P(tree_traffic), tree: P(kv_tree), shape: P(tree_shape)) -> tree_status: ...

@function
def tree_traffic_dense_mask(traffic: P(tree_traffic), tree: P(kv_tree), shape: P(tree_shape)) -> tree_status: ...
