"""treeattn in Python: the library's functions for the CPU, NumPy in, NumPy out.

    import numpy as np
    import treeattn as ta

    # Six tokens, then two branches that go on alone.
    pool = ta.Pool(num_blocks=8, block_tokens=4)
    a = pool.branch()
    a.append(6)
    b = a.fork()
    a.append(3), b.append(4)

    # Keys and values, one head: yours to allocate and to write.
    shape = ta.Shape(num_heads=1, num_kv_heads=1, head_dim=4, block_tokens=4, num_blocks=8, num_queries=2)
    random = np.random.default_rng(1)
    key = random.standard_normal(shape.kv_shape, np.float32)
    value = random.standard_normal(shape.kv_shape, np.float32)
    query = random.standard_normal(shape.query_shape, np.float32)

    # The tree, a plan over it, and attention of the newest token of each branch.
    tree = pool.tree([a, b])
    plan = ta.Plan(tree, "node")
    out, lse = ta.tree_attention_ref(query, key, value, plan)
    print(ta.tree_traffic_count(plan, shape).plan_bytes)

A function of C has its name here, ta.tree_attention_ref, unless it works on an object of the library: then it is a
method, and kv_branch_fork is Branch.fork. Enumerations are names: "cost", "fp32". Arrays that come back are copies;
arrays that go in must have the right type, shape and order, and nothing is converted. What the library refuses raises
ta.Error, with the library's name for it in .status ("KV_NOBLOCKS"); a lack of memory, MemoryError.

`python3 -m treeattn` lists all names; help(ta.Pool) and help(ta.tree_attention_ref) have shapes, units and errors.

    pool, keep, tree                    allocator/
    shape, plan, attention              reference/, its shape/, plan/ and cpu/
    importance, policy, cache, forest   reference/eviction/
    trace, workload, replay, stream     reference/workloads/
    c                                   the headers once more, as ctypes
    errors, checks, handle, memory      what all of these need
"""

try:
    import numpy as _
except ImportError:
    raise ImportError("treeattn needs NumPy: apt-get install python3-numpy") from None

from .errors import Error, kv_status_string, tree_status_string
from .keep import Keep
from .pool import Append, Branch, Copy, Pool, SCOPES, Table
from .tree import NONE, Tree
from .shape import (STORAGES, Shape, bf16_from_float, bf16_to_float, fp16_from_float, fp16_to_float, half_bits,
                    half_from_bits)
from .plan import (NO_MASK, Plan, STRATEGIES, Traffic, VARIANTS, tree_plan_bytes, tree_prices_of, tree_strategy_from_name,
                   tree_traffic_count, tree_traffic_dense_mask, tree_traffic_standard)
from .attention import (ISAS, SoftmaxState, attention_ref, dense_mask_attention_ref, standard_attention_ref,
                        tree_attention_cpu, tree_attention_cpu_workspace_bytes, tree_attention_ref,
                        tree_attention_ref_partials, tree_isa_available, tree_isa_best, tree_isa_for, workspace)
from .importance import (EVICTION_NONE, EVICTION_NOT_FINITE, Tokens, attention_weights, deletion_error, eviction_key,
                         eviction_key_position, eviction_victim, eviction_victim_of_slots, importance_ref,
                         tree_importance_cpu, tree_importance_cpu_workspace_bytes, tree_importance_ref,
                         tree_importance_slots, value_norm)
from .policy import (POLICIES, EvictionPolicy, EvictionView, eviction_all, eviction_between,
                     eviction_policy_from_name)
from .cache import EvictionCache, EvictionStep
from .forest import EvictionForest, ForestBranch, ForestResult, ForestStep
from .trace import Trace, TraceAccept, TraceDraft, TraceTree
from .workload import KINDS, GameOf24, Thought, Workload, WorkloadSize, game_of_24_search
from .replay import POISONS, KvStore, Replay, ReplayStep, replay_count_needs, replay_measure
from .stream import PRESETS, Stream, StreamToken, stream_preset_from_name

__version__ = "0.1.0"
