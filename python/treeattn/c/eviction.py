"""reference/eviction/*.h and cpu/tree_importance_cpu.h: importance.h, tree_importance.h, eviction_policy.h,
eviction_cache.h, eviction_forest.h."""

from ctypes import (CFUNCTYPE, c_bool, c_char_p, c_double, c_float, c_int, c_size_t, c_uint32, c_uint64, c_void_p)

from .allocator import kv_branch, kv_pool, kv_pool_config, kv_scope, kv_status
from .attention import tree_isa
from .load import P, Structure, function, library
from .plan import tree_plan, tree_shape, tree_status

# ---- importance.h ----

EVICTION_NOT_FINITE = 0
EVICTION_NONE = 2**64 - 1


class token_list(Structure):
    _fields_ = [("num_tokens", c_uint32), ("slots", P(c_uint64)), ("positions", P(c_uint32))]


class eviction_range(Structure):
    _fields_ = [("first", c_uint32), ("end", c_uint32)]


@function
def value_norm(value: P(c_float), head_dim: c_uint32) -> c_float: ...

@function
def attention_weights(weights: P(c_double), out: P(c_double), lse: P(c_double), query: P(c_float), key: P(c_float),
                      value: P(c_float), tokens: P(token_list), shape: P(tree_shape), scale: c_float) -> None: ...

@function
def importance_ref(importance: P(c_double), weights: P(c_double), norm: P(c_float), tokens: P(token_list),
                   shape: P(tree_shape)) -> None: ...

@function
def deletion_error(error: P(c_double), weights: P(c_double), out: P(c_double), value: P(c_float),
                   tokens: P(token_list), shape: P(tree_shape)) -> None: ...

@function
def eviction_key(importance: c_float, position: c_uint32) -> c_uint64: ...

@function
def inline_eviction_key_position(key: c_uint64) -> c_uint32: ...

@function
def eviction_victim(importance: P(c_double), tokens: P(token_list), candidates: eviction_range) -> c_uint64: ...


# ---- tree_importance.h, tree_importance_cpu.h ----

@function
def tree_importance_slots(plan: P(tree_plan)) -> c_uint64: ...

@function
def tree_importance_ref(out: P(c_float), lse: P(c_float), importance: P(c_float), num_slots: c_uint64,
                        query: P(c_float), key: P(c_float), value: P(c_float), norm: P(c_float), plan: P(tree_plan),
                        shape: P(tree_shape), scale: c_float) -> tree_status: ...

@function
def eviction_victim_of_slots(importance: P(c_float), positions: P(c_uint32), num_slots: c_uint64,
                             candidates: eviction_range) -> c_uint64: ...

@function
def tree_importance_cpu_workspace_bytes(plan: P(tree_plan), shape: P(tree_shape),
                                        max_threads: c_uint32) -> c_size_t: ...

@function
def tree_importance_cpu(out: P(c_float), lse: P(c_float), importance: P(c_float), num_slots: c_uint64,
                        query: P(c_float), key: c_void_p, value: c_void_p, norm: P(c_float), plan: P(tree_plan),
                        shape: P(tree_shape), scale: c_float, workspace: c_void_p, workspace_bytes: c_size_t,
                        num_threads: c_uint32, isa: tree_isa) -> tree_status: ...


# ---- eviction_policy.h ----

class eviction_view(Structure):
    _fields_ = [("tokens", P(token_list)), ("shape", P(tree_shape)), ("key", P(c_float)), ("value", P(c_float)),
                ("norm", P(c_float)), ("weights", P(c_double)), ("out", P(c_double)), ("queries", P(c_float)),
                ("num_queries", c_uint32), ("budget", c_uint32), ("scale", c_float), ("seed", c_uint64),
                ("scratch", P(c_double))]


class eviction_policy(Structure):
    _fields_ = [("name", c_char_p), ("variant", c_char_p), ("source", c_char_p), ("window", c_uint32),
                ("interval", c_uint32), ("candidates", CFUNCTYPE(eviction_range, P(eviction_view))),
                ("observe", CFUNCTYPE(None, P(c_double), P(eviction_view))),
                ("score", CFUNCTYPE(None, P(c_double), P(c_double), P(eviction_view)))]


num_eviction_policies = c_uint32.in_dll(library, "num_eviction_policies").value
eviction_policies = (P(eviction_policy) * num_eviction_policies).in_dll(library, "eviction_policies")


@function
def eviction_policy_from_name(name: c_char_p) -> P(eviction_policy): ...

@function
def eviction_all(view: P(eviction_view)) -> eviction_range: ...

@function
def eviction_between(view: P(eviction_view), num_sinks: c_uint32, num_recent: c_uint32) -> eviction_range: ...


# ---- eviction_cache.h ----

eviction_form = c_int
EVICTION_FORMS = ("eager", "deferred")


class eviction_cache(Structure):
    """Opaque."""


class eviction_config(Structure):
    _fields_ = [("num_heads", c_uint32), ("num_kv_heads", c_uint32), ("head_dim", c_uint32), ("budget", c_uint32),
                ("num_sinks", c_uint32), ("num_recent", c_uint32), ("form", eviction_form),
                ("policy", P(eviction_policy)), ("prompt_policy", P(eviction_policy)), ("scale", c_float),
                ("seed", c_uint64)]


class eviction_step(Structure):
    _fields_ = [("num_tokens", c_uint32), ("num_victims", c_uint32), ("victims", P(c_uint32))]


@function
def eviction_cache_create(cache: P(P(eviction_cache)), config: P(eviction_config)) -> tree_status: ...

@function
def eviction_cache_destroy(cache: P(eviction_cache)) -> None: ...

@function
def eviction_cache_step(cache: P(eviction_cache), out: P(c_float), query: P(c_float), key: P(c_float),
                        value: P(c_float), step: P(eviction_step)) -> tree_status: ...

@function
def eviction_cache_prompt(cache: P(eviction_cache), queries: P(c_float), keys: P(c_float), values: P(c_float),
                          num_tokens: c_uint32, step: P(eviction_step)) -> tree_status: ...

@function
def eviction_cache_view(cache: P(eviction_cache), view: P(eviction_view)) -> None: ...

@function
def eviction_cache_fork(child: P(P(eviction_cache)), cache: P(eviction_cache)) -> tree_status: ...


# ---- eviction_forest.h ----

class eviction_forest(Structure):
    """Opaque."""


class eviction_forest_config(Structure):
    _fields_ = [("pool", kv_pool_config), ("num_heads", c_uint32), ("num_kv_heads", c_uint32), ("head_dim", c_uint32),
                ("policy", P(eviction_policy)), ("scope", kv_scope), ("budget", c_uint32), ("num_sinks", c_uint32),
                ("num_recent", c_uint32), ("compacts", c_bool), ("scale", c_float), ("seed", c_uint64)]


class eviction_forest_result(Structure):
    _fields_ = [("status", tree_status), ("num_tokens", c_uint32), ("num_victims", c_uint32),
                ("victims", P(c_uint32))]


class eviction_forest_counts(Structure):
    _fields_ = [("steps", c_uint64), ("queries", c_uint64), ("read_tokens", c_uint64), ("distinct_tokens", c_uint64),
                ("evicted_tokens", c_uint64), ("voted_tokens", c_uint64), ("freed_blocks", c_uint64),
                ("above_budget", c_uint64)]


class eviction_forest_parts(Structure):
    _fields_ = [("pool", P(kv_pool)), ("key", P(c_float)), ("value", P(c_float)), ("norm", P(c_float)),
                ("shape", tree_shape), ("scale", c_float), ("counts", eviction_forest_counts)]


@function
def eviction_forest_create(forest: P(P(eviction_forest)), config: P(eviction_forest_config)) -> kv_status: ...

@function
def eviction_forest_destroy(forest: P(eviction_forest)) -> None: ...

@function
def eviction_forest_branch(forest: P(eviction_forest), branch: P(kv_branch)) -> kv_status: ...

@function
def eviction_forest_fork(forest: P(eviction_forest), branch: kv_branch, child: P(kv_branch)) -> kv_status: ...

@function
def eviction_forest_truncate(forest: P(eviction_forest), branch: kv_branch, length: c_uint32) -> kv_status: ...

@function
def eviction_forest_adopt(forest: P(eviction_forest), branch: kv_branch, winner: kv_branch) -> kv_status: ...

@function
def eviction_forest_prune(forest: P(eviction_forest), branch: kv_branch) -> kv_status: ...

@function
def eviction_forest_append(forest: P(eviction_forest), branch: kv_branch, num_tokens: c_uint32, keys: P(c_float),
                           values: P(c_float)) -> kv_status: ...

@function
def eviction_forest_step(forest: P(eviction_forest), branches: P(kv_branch), count: c_uint32, num_tokens: P(c_uint32),
                         out: P(c_float), query: P(c_float), key: P(c_float), value: P(c_float),
                         results: P(eviction_forest_result)) -> kv_status: ...

@function
def eviction_forest_tokens(forest: P(eviction_forest), branch: kv_branch, slots: P(c_uint64),
                           positions: P(c_uint32)) -> kv_status: ...

@function
def eviction_forest_get(forest: P(eviction_forest), parts: P(eviction_forest_parts)) -> None: ...
