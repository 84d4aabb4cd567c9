/* treeattn: the whole library. A program that needs one part includes the header of that part. */
#ifndef TREEATTN_H
#define TREEATTN_H

#define TREEATTN_VERSION "0.1.0"
#define TREEATTN_VERSION_MAJOR 0
#define TREEATTN_VERSION_MINOR 1
#define TREEATTN_VERSION_PATCH 0

/* blocks, branches, and the tree that they form */
#include "kv_pool.h"
#include "kv_branch.h"
#include "kv_evict.h"
#include "kv_tree.h"

/* attention: the definition, any plan over a tree, the fast path, the baselines that materialise */
#include "attention.h"
#include "half.h"
#include "standard_attention.h"
#include "traffic.h"
#include "tree_attention.h"
#include "tree_attention_cpu.h"
#include "tree_isa.h"
#include "tree_plan.h"
#include "tree_plan_keep.h"
#include "tree_shape.h"
#include "tree_status.h"
#if !defined(__FINITE_MATH_ONLY__) || !__FINITE_MATH_ONLY__
#include "softmax_state.h" /* the one header whose arithmetic is compiled with the caller's flags */
#endif

/* eviction: importance of each token, policies, a branch under a budget */
#include "eviction_cache.h"
#include "eviction_forest.h"
#include "eviction_policy.h"
#include "importance.h"
#include "tree_importance.h"
#include "tree_importance_cpu.h"

/* workloads */
#include "game_of_24.h"
#include "kv_store.h"
#include "replay.h"
#include "stream.h"
#include "trace.h"
#include "workload.h"

#endif
