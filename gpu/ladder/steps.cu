/* The ladder as a table, in reading order: what tests and figures run over. */
#include "gpu_internal.h"

enum { ANY_STORAGE = 1 << TREE_FP32 | 1 << TREE_FP16 | 1 << TREE_BF16, HALF_STORAGE = 1 << TREE_FP16 | 1 << TREE_BF16 };

template <step_launch *LAUNCH> static const tree_gpu_kernels kernels_of = {LAUNCH};

const tree_gpu_step tree_gpu_steps[] = {
    {"step_0_naive", "the reference, with one warp for each partial state and head", ANY_STORAGE, false,
     &kernels_of<step_0_naive>},
    {"step_1_coalesced",
     "the lanes of a warp share each key, so that loads are coalesced; a group's heads share K and V",
     ANY_STORAGE, false, &kernels_of<step_1_coalesced>},
    {"step_2_split",
     "the warps of a thread block share the tokens of a query and merge their states",
     ANY_STORAGE, false, &kernels_of<step_2_split>},
    {"step_3_shared_tile", "K and V of an item are loaded once for all its queries", ANY_STORAGE, false,
     &kernels_of<step_3_shared_tile>},
    {"step_4_tensor_cores", "queries x heads of a group are the rows of one matrix, which tensor cores multiply",
     HALF_STORAGE, false, &kernels_of<step_4_tensor_cores>},
    {"step_5_pipeline", "two tiles are prefetched while one is computed", HALF_STORAGE, false,
     &kernels_of<step_5_pipeline>},
    {"step_6_queue", "a persistent kernel: the host deals tiles out to thread blocks that stay", HALF_STORAGE, false,
     &kernels_of<step_6_queue>},
    {"step_7_merge_ahead",
     "the merge requests eight rows of partial states at once, instead of waiting for each in turn",
     HALF_STORAGE, false, &kernels_of<step_7_merge_ahead>},
    {"step_8_one_launch", "the thread blocks wait for each other and merge in the same launch", HALF_STORAGE, false,
     &kernels_of<step_8_one_launch>},
    {"step_9_masks", "masks travel with their tile, and slices that no query of a warp sees are skipped", HALF_STORAGE,
     false, &kernels_of<step_9_masks>},
    {"step_10_warpgroup", "four warps multiply K and V straight from shared memory (wgmma)", HALF_STORAGE, true,
     &kernels_of<step_10_warpgroup>},
    {"step_11_last_arriver",
     "no worker waits if nothing is merged, or if a KV head has few rows: its last worker to finish merges them",
     HALF_STORAGE, true, &kernels_of<step_11_last_arriver>},
    {"step_12_early_launch", "the launch begins before the previous one in the stream has ended", HALF_STORAGE, true,
     &kernels_of<step_12_early_launch>},
    {"step_13_few_rows",
     "if a KV head has few rows, each lane copies its own fragments of K and V, and a cluster of thread blocks merges",
     HALF_STORAGE, true, &kernels_of<step_13_few_rows>},
};
const uint32_t tree_gpu_num_steps = sizeof tree_gpu_steps / sizeof tree_gpu_steps[0];

bool gpu_has_warpgroups()
{
#if defined TREEATTN_EMULATE
    return true;
#elif defined TREEATTN_SM_90A
    int device = 0, major = 0;
    return cudaGetDevice(&device) == cudaSuccess
           && cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device) == cudaSuccess && major == 9;
#else
    return false;
#endif
}

bool tree_gpu_step_takes(const tree_gpu_step *step, tree_storage storage)
{
    return step->storages >> storage & 1 && (!step->needs_warpgroups || gpu_has_warpgroups());
}

const tree_gpu_step *tree_gpu_last_step(tree_storage storage)
{
    for (uint32_t i = tree_gpu_num_steps; i-- > 0;)
        if (tree_gpu_step_takes(&tree_gpu_steps[i], storage))
            return &tree_gpu_steps[i];
    return NULL;
}
