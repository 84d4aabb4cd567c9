/* Step 1: coalesced loads. The lanes of a warp share each key, instead of walking one key each.
 *   idea    lane i has the elements i, i + 32, ... of the query, of each key and of each value, so the 32 loads of a
 *           warp are neighbours in memory and coalesce. A score is a sum over the lanes. Softmax is online: m is the
 *           largest score so far, the sums are rescaled when m grows, and one pass replaces three, so each key is read
 *           once. A warp has up to 8 query heads of a group, since they see the same K and V
 *   wins    7272 to 1045 us on 64 branches with 64 tokens each behind 2048 (figures/ladder.csv)
 *   price   five shuffles per score; each token waits for the one before it
 *   leaves  one warp walks all tokens of its query, so a long path keeps few warps busy: step 2
 *   threads scores, values, out   lane i has the elements i, i + 32, ... of 8 heads */
#include "merge.cuh"
#include "row.cuh"

enum { WARPS_PER_BLOCK = 4, HEADS = 8 };

/* The heads of a group are cut into parts of 8. Warp n of the grid has part n % parts, KV head
 * n / parts % num_kv_heads and partial state n / parts / num_kv_heads. */
template <int HEAD_DIM, typename T> static __global__ void attend(attention_arguments a, uint32_t parts)
{
    uint64_t n = (uint64_t)blockIdx.x * WARPS_PER_BLOCK + threadIdx.x / WARP;
    uint32_t part = (uint32_t)(n % parts), kv_head = (uint32_t)(n / parts % a.shape.num_kv_heads);
    uint64_t partial = n / parts / a.shape.num_kv_heads;
    if (partial >= a.plan.num_partials)
        return;
    const tree_item item = a.plan.items[a.partial_item[partial]];
    uint32_t row = (uint32_t)partial - item.first_partial, group_size = a.shape.num_heads / a.shape.num_kv_heads;
    uint32_t head = kv_head * group_size + part * HEADS;
    uint32_t num_heads = group_size - part * HEADS < HEADS ? group_size - part * HEADS : (uint32_t)HEADS;
    const float *q_qh = a.query + ((uint64_t)a.plan.rows[item.first_row + row] * a.shape.num_heads + head) * HEAD_DIM;

    float q[HEADS][HEAD_DIM / WARP];
    softmax_state<HEAD_DIM, T> state[HEADS];
#pragma unroll
    for (uint32_t h = 0; h < HEADS; h++) {
        softmax_state_empty(state[h]);
        for (int j = 0; j < HEAD_DIM / WARP && h < num_heads; j++)
            q[h][j] = q_qh[h * HEAD_DIM + threadIdx.x % WARP + j * WARP];
    }
    for (uint32_t r = 0; r < item.num_ranges; r++) {
        const tree_range range = a.plan.ranges[item.first_range + r];
        for (uint32_t t = 0; t < range.num_tokens; t++) {
            /* find this item's blocks */
            if (!row_sees(a.plan, range, item.num_rows, row, t))
                continue;
            uint64_t offset = row_token_offset(a, range, kv_head, t);
#pragma unroll
            for (uint32_t h = 0; h < HEADS; h++) {
                if (h >= num_heads)
                    break;
                /* score the keys */
                float score = row_score<HEAD_DIM, T>(q[h], (const T *)a.key + offset, a.scale);

                /* absorb into the running maximum and sum */
                softmax_state_absorb(state[h], score, (const T *)a.value + offset);
            }
        }
    }
#pragma unroll
    for (uint32_t h = 0; h < HEADS; h++) {
        if (h < num_heads)
            store_partial(a, partial * a.shape.num_heads + head + h, state[h]);
    }
}

template <int HEAD_DIM, typename T> static cudaError_t launch(const attention_arguments &a, cudaStream_t stream)
{
    uint32_t parts = (a.shape.num_heads / a.shape.num_kv_heads + HEADS - 1) / HEADS;
    uint64_t num_warps = (uint64_t)a.plan.num_partials * a.shape.num_kv_heads * parts;
    cudaError_t error = launch_kernel((uint32_t)((num_warps + WARPS_PER_BLOCK - 1) / WARPS_PER_BLOCK),
                                      WARPS_PER_BLOCK * WARP, 0, stream, attend<HEAD_DIM, T>, a, parts);
    return error == cudaSuccess ? launch_merge<HEAD_DIM, T>(a, stream) : error; /* merge partial states, normalize */
}

cudaError_t step_1_coalesced(const attention_arguments *a, cudaStream_t stream)
{
    return DISPATCH_ANY(launch, *a, stream);
}
