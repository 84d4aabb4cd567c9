"""reference/workloads/*.h: trace.h, workload.h, replay.h, kv_store.h, stream.h, game_of_24.h."""

from ctypes import (CFUNCTYPE, c_bool, c_char, c_char_p, c_double, c_float, c_int, c_int32, c_size_t, c_uint32,
                    c_uint64, c_void_p)

from .allocator import kv_branch, kv_copy, kv_pool, kv_status, kv_text_error
from .load import P, Structure, function, library, names
from .plan import tree_shape, tree_status, tree_storage

# ---- trace.h ----

TRACE_NONE = 2**32 - 1
TRACE_MAX_NODES = 1 << 20
TRACE_MAX_BYTES = 64 << 20
trace_kind = c_int
TRACE_KINDS = ("reason", "draft", "accept")


class trace_node(Structure):
    _fields_ = [("parent", c_uint32), ("num_tokens", c_uint32), ("start", c_int32), ("end", c_int32)]


class trace_tree(Structure):
    _fields_ = [("source", c_uint32), ("ordinal", c_int32), ("last_iteration", c_uint32), ("num_nodes", c_uint32),
                ("num_leaves", c_uint32), ("num_tokens", c_uint64), ("path_tokens", c_uint64),
                ("nodes", P(trace_node))]


class trace_draft(Structure):
    _fields_ = [("index", c_uint32), ("label", c_uint32), ("num_nodes", c_uint32), ("num_leaves", c_uint32),
                ("depth", c_uint32), ("num_pairs", c_uint64), ("parent", P(c_uint32)), ("rank", P(c_uint32))]


class trace_accept(Structure):
    _fields_ = [("name", c_char * 64), ("prompt_tokens", c_uint32), ("exact", c_bool), ("num_steps", c_uint32),
                ("num_recorded", c_uint32), ("num_tokens", c_uint64), ("accepted", P(c_uint32))]


class trace(Structure):
    _fields_ = [("kind", trace_kind), ("name", c_char * 64), ("num_trees", c_uint32), ("num_drafts", c_uint32),
                ("num_accepts", c_uint32), ("trees", P(trace_tree)), ("drafts", P(trace_draft)),
                ("accepts", P(trace_accept))]


class trace_error(Structure):
    _fields_ = [("file", c_char_p), ("line", c_uint32), ("column", c_uint32), ("message", c_char * 160)]


@function
def trace_read(result: P(P(trace)), text: c_char_p, length: c_size_t, file: c_char_p,
               error: P(trace_error)) -> kv_status: ...

@function
def trace_read_file(result: P(P(trace)), file: c_char_p, error: P(trace_error)) -> kv_status: ...

@function
def trace_destroy(trace: P(trace)) -> None: ...

@function
def trace_find(trace: P(trace), ordinal: c_int32) -> P(trace_tree): ...

@function
def trace_find_draft(trace: P(trace), label: c_uint32) -> P(trace_draft): ...

@function
def trace_find_accept(trace: P(trace), name: c_char_p) -> P(trace_accept): ...


# ---- workload.h ----

workload_kind = c_int
WORKLOAD_KINDS = names(9, "workload_kind_name")


class workload_operation(Structure):
    _fields_ = [("kind", workload_kind), ("branch", c_uint32), ("value", c_uint32)]


class workload(Structure):
    _fields_ = [("status", kv_status), ("num_operations", c_uint32), ("num_branches", c_uint32),
                ("num_steps", c_uint32), ("live_branches", c_uint32), ("max_live_branches", c_uint32),
                ("num_tokens", c_uint64), ("operations", P(workload_operation)), ("operations_capacity", c_size_t),
                ("labels_capacity", c_size_t), ("labels_bytes", c_size_t), ("label_of_capacity", c_size_t),
                ("labels", P(c_char)), ("label_of", P(c_uint32))]


class workload_size(Structure):
    _fields_ = [("num_operations", c_uint64), ("num_branches", c_uint64), ("num_tokens", c_uint64)]


class workload_random_config(Structure):
    _fields_ = [("seed", c_uint64), ("num_steps", c_uint32), ("max_branches", c_uint32), ("max_tokens", c_uint32)]


@function
def workload_create() -> P(workload): ...

@function
def workload_destroy(workload: P(workload)) -> None: ...

@function
def workload_add_create(workload: P(workload), label: c_char_p) -> c_uint32: ...

@function
def workload_add_fork(workload: P(workload), parent: c_uint32, label: c_char_p) -> c_uint32: ...

@function
def workload_add(workload: P(workload), kind: workload_kind, branch: c_uint32, value: c_uint32) -> None: ...

@function
def workload_label(workload: P(workload), branch: c_uint32) -> c_char_p: ...

@function
def workload_check(workload: P(workload), operation: P(c_uint32), message: c_char_p,
                   message_bytes: c_size_t) -> kv_status: ...

@function
def workload_size_from_tree(tree: P(trace_tree), prompt_tokens: c_uint32, max_steps: c_uint32) -> workload_size: ...

@function
def workload_size_from_accept(accept: P(trace_accept), num_leaves: c_uint32, prompt_tokens: c_uint32,
                              max_steps: c_uint32) -> workload_size: ...

@function
def workload_size_from_accept_draft(accept: P(trace_accept), draft: P(trace_draft), prompt_tokens: c_uint32,
                                    max_steps: c_uint32) -> workload_size: ...

@function
def workload_size_levels(size: P(workload_size), nodes: c_char_p, tokens: c_char_p,
                         error: P(kv_text_error)) -> kv_status: ...

@function
def workload_from_tree(result: P(P(workload)), tree: P(trace_tree), prompt_tokens: c_uint32,
                       max_steps: c_uint32) -> kv_status: ...

@function
def workload_from_accept(result: P(P(workload)), accept: P(trace_accept), num_leaves: c_uint32,
                         prompt_tokens: c_uint32, max_steps: c_uint32) -> kv_status: ...

@function
def workload_from_accept_draft(result: P(P(workload)), accept: P(trace_accept), draft: P(trace_draft),
                               prompt_tokens: c_uint32, max_steps: c_uint32) -> kv_status: ...

@function
def workload_few_shot(result: P(P(workload)), prompt_tokens: c_uint32, num_branches: c_uint32,
                      num_steps: c_uint32) -> kv_status: ...

@function
def workload_levels(result: P(P(workload)), nodes: c_char_p, tokens: c_char_p,
                    error: P(kv_text_error)) -> kv_status: ...

@function
def workload_draft(result: P(P(workload)), draft: P(trace_draft), past_tokens: c_uint32) -> kv_status: ...

@function
def workload_random(result: P(P(workload)), config: P(workload_random_config)) -> kv_status: ...


# ---- replay.h ----

REPLAY_MEASURE_BLOCKS = 1 << 24


class replay_events(Structure):
    _fields_ = [("context", c_void_p),
                ("branch", CFUNCTYPE(None, c_void_p, workload_kind, c_uint32, c_uint32)),
                ("copy", CFUNCTYPE(None, c_void_p, P(kv_copy))),
                ("token", CFUNCTYPE(None, c_void_p, c_uint32, c_uint32, c_uint32, c_uint32, c_uint32)),
                ("released", CFUNCTYPE(None, c_void_p, P(c_uint32), c_uint32, c_uint32))]


class replay_result(Structure):
    _fields_ = [("done", c_bool), ("iteration", c_uint32), ("num_queries", c_uint32), ("queries", P(kv_branch)),
                ("query_names", P(c_uint32))]


class replay(Structure):
    """Opaque."""


class replay_totals(Structure):
    _fields_ = [("iterations", c_uint32), ("queries_sum", c_uint64), ("unique_tokens_sum", c_uint64),
                ("path_tokens_sum", c_uint64), ("peak_queries", c_uint32), ("peak_branches", c_uint32),
                ("peak_blocks", c_uint32), ("copies", c_uint64), ("copied_tokens", c_uint64),
                ("leaked_blocks", c_uint32)]


class replay_needs(Structure):
    _fields_ = [("most_blocks", c_uint64), ("table_entries", c_uint64), ("most_table_entries", c_uint64),
                ("path_tokens", c_uint64), ("peak_queries", c_uint32)]


@function
def replay_create(result: P(P(replay)), workload: P(workload), pool: P(kv_pool),
                  events: P(replay_events)) -> kv_status: ...

@function
def replay_step(replay: P(replay), result: P(replay_result)) -> kv_status: ...

@function
def replay_handle(replay: P(replay), branch: c_uint32) -> kv_branch: ...

@function
def replay_position(replay: P(replay)) -> c_uint32: ...

@function
def replay_destroy(replay: P(replay)) -> None: ...

@function
def replay_count(totals: P(replay_totals), pool: P(kv_pool), step: P(replay_result)) -> None: ...

@function
def replay_count_needs(needs: P(replay_needs), workload: P(workload), block_tokens: c_uint32) -> kv_status: ...

@function
def replay_measure(totals: P(replay_totals), workload: P(workload), block_tokens: c_uint32) -> kv_status: ...


# ---- kv_store.h ----

kv_poison = c_int
KV_POISONS = names(4, "kv_poison_name")


class kv_store_config(Structure):
    _fields_ = [("storage", tree_storage), ("num_blocks", c_uint32), ("block_tokens", c_uint32),
                ("num_kv_heads", c_uint32), ("head_dim", c_uint32), ("seed", c_uint64), ("poison", kv_poison),
                ("key_scale", c_float)]


class kv_store(Structure):
    """Opaque."""


@function
def kv_store_create(result: P(P(kv_store)), config: P(kv_store_config)) -> kv_status: ...

@function
def kv_store_destroy(store: P(kv_store)) -> None: ...

@function
def kv_store_events(store: P(kv_store)) -> replay_events: ...

@function
def kv_store_status(store: P(kv_store)) -> kv_status: ...

@function
def kv_store_key(store: P(kv_store)) -> c_void_p: ...

@function
def kv_store_value(store: P(kv_store)) -> c_void_p: ...

@function
def kv_store_shape(store: P(kv_store), num_queries: c_uint32, num_heads: c_uint32) -> tree_shape: ...

@function
def kv_store_tokens(store: P(kv_store), branch: c_uint32, length: P(c_uint32)) -> P(c_uint32): ...

@function
def kv_store_gather(store: P(kv_store), branch: c_uint32, kv_head: c_uint32, key: P(c_float),
                    value: P(c_float)) -> None: ...

@function
def kv_store_vector(store: P(kv_store), token: c_uint32, kv_head: c_uint32, is_value: c_bool,
                    vector: P(c_float)) -> None: ...


# ---- stream.h ----

STREAM_MAX_TOPICS = 65536


class stream_config(Structure):
    _fields_ = [("num_heads", c_uint32), ("num_kv_heads", c_uint32), ("head_dim", c_uint32), ("num_topics", c_uint32),
                ("dwell_tokens", c_uint32), ("rho", c_double), ("logit_scale", c_double), ("focus", c_double),
                ("value_noise", c_double), ("seed", c_uint64)]


class stream_preset(Structure):
    _fields_ = [("name", c_char_p), ("config", stream_config), ("sentence", c_char_p)]


num_stream_presets = c_uint32.in_dll(library, "num_stream_presets").value
stream_presets = (stream_preset * num_stream_presets).in_dll(library, "stream_presets")


class stream(Structure):
    """Opaque."""


@function
def stream_preset_from_name(name: c_char_p) -> P(stream_preset): ...

@function
def stream_create(result: P(P(stream)), config: P(stream_config)) -> tree_status: ...

@function
def stream_destroy(stream: P(stream)) -> None: ...

@function
def stream_next(stream: P(stream), query: P(c_float), key: P(c_float), value: P(c_float)) -> None: ...

@function
def stream_topic(stream: P(stream)) -> c_uint32: ...


# ---- game_of_24.h ----

class game_of_24_config(Structure):
    _fields_ = [("numbers", c_uint32 * 4), ("breadth", c_uint32)]


class game_of_24_thought(Structure):
    _fields_ = [("branch", c_uint32), ("parent", c_uint32), ("level", c_uint32), ("num_tokens", c_uint32),
                ("score", c_int32), ("duplicate", c_bool), ("kept", c_bool), ("text", c_char * 112)]


class game_of_24(Structure):
    _fields_ = [("config", game_of_24_config), ("workload", P(workload)), ("prompt", c_char * 160),
                ("num_thoughts", c_uint32), ("thoughts", P(game_of_24_thought)), ("solved", c_bool),
                ("solution_thought", c_uint32), ("solution", c_char * 96)]


@function
def game_of_24_search(result: P(P(game_of_24)), config: P(game_of_24_config)) -> kv_status: ...

@function
def game_of_24_destroy(game: P(game_of_24)) -> None: ...
