/* The ladder of eviction as a table, in reading order. */
#include "eviction_internal.h"

typedef uint64_t scratch_bytes(const tree_plan *plan, const eviction_lists *counts, const tree_shape *shape);

template <eviction_launch *LAUNCH, scratch_bytes *SCRATCH_BYTES>
static const tree_eviction_kernels kernels_of = {LAUNCH, SCRATCH_BYTES};

static uint64_t no_scratch_bytes(const tree_plan *, const eviction_lists *, const tree_shape *) { return 0; }

const tree_eviction_step tree_eviction_steps[] = {
    {"evict_0_materialised", "scores, weights and contributions as tensors in memory, a launch for each", false,
     &kernels_of<evict_0_materialised, materialised_scratch_bytes>},
    {"evict_1_second_pass", "after attention, a second kernel reads K and V again, now that lse is known", false,
     &kernels_of<evict_1_second_pass, no_scratch_bytes>},
    {"evict_2_keys_again", "the second kernel reads K alone: norms of values were computed when they were written", false,
     &kernels_of<evict_2_keys_again, no_scratch_bytes>},
    {"evict_3_fused", "attention keeps its scores, and after the barrier of the grid the same launch turns them into "
     "importance and victims", false, &kernels_of<evict_3_fused, fused_scratch_bytes>},
    {"evict_4_warpgroup", "the scores leave straight from the registers in which wgmma has put them", true,
     &kernels_of<evict_4_warpgroup, fused_scratch_bytes>},
    {"evict_5_on_chip", "a task that has all tokens of its query keeps their scores in shared memory, and the next task "
     "turns them into one sum for each token", true, &kernels_of<evict_5_on_chip, fused_scratch_bytes>},
};
const uint32_t tree_eviction_num_steps = sizeof tree_eviction_steps / sizeof tree_eviction_steps[0];
