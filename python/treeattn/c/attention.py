"""reference/*.h and reference/cpu/*.h: attention.h, softmax_state.h, tree_attention.h, standard_attention.h,
tree_isa.h, tree_attention_cpu.h."""

from ctypes import c_bool, c_double, c_float, c_int, c_size_t, c_uint32, c_uint64, c_void_p

from .allocator import kv_tree
from .load import P, Structure, function, names
from .plan import tree_plan, tree_shape, tree_status, tree_storage

# ---- attention.h ----

@function
def attention_ref(out: P(c_double), lse: P(c_double), query: P(c_float), key: P(c_float), value: P(c_float),
                  num_tokens: c_size_t, head_dim: c_uint32, scale: c_float) -> None: ...


# ---- softmax_state.h ----

class softmax_state(Structure):
    _fields_ = [("m", c_double), ("l", c_double), ("o", P(c_double))]


@function
def inline_softmax_state_empty(state: P(softmax_state), head_dim: c_uint32) -> None: ...

@function
def inline_softmax_state_absorb(state: P(softmax_state), score: c_double, value: P(c_float),
                                head_dim: c_uint32) -> None: ...

@function
def inline_softmax_state_merge(state: P(softmax_state), other: P(softmax_state), head_dim: c_uint32) -> None: ...

@function
def inline_softmax_state_normalize(out: P(c_float), state: P(softmax_state), head_dim: c_uint32) -> None: ...

@function
def inline_softmax_state_lse(state: P(softmax_state)) -> c_double: ...


# ---- tree_attention.h ----

@function
def tree_attention_ref(out: P(c_float), lse: P(c_float), query: P(c_float), key: P(c_float), value: P(c_float),
                       plan: P(tree_plan), shape: P(tree_shape), scale: c_float) -> tree_status: ...

@function
def tree_attention_ref_partials(partials: P(softmax_state), query: P(c_float), key: P(c_float), value: P(c_float),
                                plan: P(tree_plan), head: c_uint32, shape: P(tree_shape),
                                scale: c_float) -> tree_status: ...


# ---- standard_attention.h ----

class standard_arrays(Structure):
    _fields_ = [("num_tokens", c_uint64), ("first_token", P(c_uint64)), ("key", P(c_float)), ("value", P(c_float)),
                ("head_key", P(c_float)), ("head_value", P(c_float)), ("scores", P(c_float)), ("mask", P(c_float)),
                ("masked", P(c_float)), ("weights", P(c_float)), ("bytes", c_uint64)]


@function
def standard_attention_ref(out: P(c_float), lse: P(c_float), query: P(c_float), key: P(c_float), value: P(c_float),
                           tree: P(kv_tree), shape: P(tree_shape), scale: c_float,
                           arrays: P(standard_arrays)) -> tree_status: ...

@function
def dense_mask_attention_ref(out: P(c_float), lse: P(c_float), query: P(c_float), key: P(c_float), value: P(c_float),
                             tree: P(kv_tree), shape: P(tree_shape), scale: c_float,
                             arrays: P(standard_arrays)) -> tree_status: ...

@function
def standard_arrays_free(arrays: P(standard_arrays)) -> None: ...


# ---- tree_isa.h ----

tree_isa = c_int
TREE_ISAS = names(6, "tree_isa_name")


@function
def tree_isa_available(isa: tree_isa) -> c_bool: ...

@function
def tree_isa_best() -> tree_isa: ...

@function
def tree_isa_for(isa: tree_isa, storage: tree_storage) -> tree_isa: ...


# ---- tree_attention_cpu.h ----

@function
def tree_attention_cpu_workspace_bytes(plan: P(tree_plan), shape: P(tree_shape), max_threads: c_uint32) -> c_size_t: ...

@function
def tree_attention_cpu(out: P(c_float), lse: P(c_float), query: P(c_float), key: c_void_p, value: c_void_p,
                       plan: P(tree_plan), shape: P(tree_shape), scale: c_float, workspace: c_void_p,
                       workspace_bytes: c_size_t, num_threads: c_uint32, isa: tree_isa) -> tree_status: ...
