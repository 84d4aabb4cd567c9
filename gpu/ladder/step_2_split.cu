/* Step 2: split. The tokens of a row are shared by eight warps, whose states meet in shared memory.
 *   idea    softmax states merge in any cut: what Flash-Decoding does between thread blocks, this does between the
 *           warps of one. Warp w has the tokens w, w + 8, ... of each range, and eight chains of dependent tokens
 *           run at once
 *   wins    1064 to 691 us on 64 branches of 64 tokens behind 2048 (figures/ladder.csv)
 *   price   head_dim + 2 floats of shared memory for each warp, one more merge
 *   leaves  each row still loads the item's K and V for itself: where 64 branches share a prefix, 64 times: step 3
 *   threads as step 1, one head at a time, warp w has every eighth token */
#include "merge.cuh"
#include "row.cuh"

enum { WARPS = 8 };

template <int HEAD_DIM, typename T> struct warp_states {
    float m[WARPS];
    sum_type<T> l[WARPS], o[WARPS][HEAD_DIM];
};

/* merge partial states of the warps, by each of them. */
template <int HEAD_DIM, typename T>
static __device__ row_state<HEAD_DIM, T> merge_warps(const row_state<HEAD_DIM, T> &mine,
                                                    warp_states<HEAD_DIM, T> &states)
{
    uint32_t warp = threadIdx.x / ROW_WARP, lane = threadIdx.x % ROW_WARP;
    row_state<HEAD_DIM, T> all;
    row_clear(all);
    states.m[warp] = mine.m;
    states.l[warp] = mine.l;
    for (int j = 0; j < HEAD_DIM / ROW_WARP; j++)
        states.o[warp][lane + j * ROW_WARP] = mine.o[j];
    __syncthreads();
    for (int w = 0; w < WARPS; w++)
        all.m = states.m[w] > all.m ? states.m[w] : all.m;
    for (int w = 0; w < WARPS; w++) {
        float weight = states.m[w] == -INFINITY ? 0 : expf(states.m[w] - all.m);
        all.l += weight * states.l[w];
        for (int j = 0; j < HEAD_DIM / ROW_WARP; j++)
            all.o[j] += weight * states.o[w][lane + j * ROW_WARP];
    }
    return all;
}

/* Thread block n has partial state n / num_heads and head n % num_heads. */
template <int HEAD_DIM, typename T> static __global__ void attend(attention_arguments a)
{
    SHARED_VARIABLE(states, warp_states<HEAD_DIM, T>);
    uint32_t partial = blockIdx.x / a.shape.num_heads, head = blockIdx.x % a.shape.num_heads;
    uint32_t warp = threadIdx.x / ROW_WARP, lane = threadIdx.x % ROW_WARP;
    const tree_item item = a.plan.items[a.partial_item[partial]];
    uint32_t row = partial - item.first_partial, kv_head = head / (a.shape.num_heads / a.shape.num_kv_heads);
    const float *q_qh = a.query + ((uint64_t)a.plan.rows[item.first_row + row] * a.shape.num_heads + head) * HEAD_DIM;
    float q[HEAD_DIM / ROW_WARP];
    row_state<HEAD_DIM, T> state;
    row_clear(state);
    for (int j = 0; j < HEAD_DIM / ROW_WARP; j++)
        q[j] = q_qh[lane + j * ROW_WARP];
    for (uint32_t r = 0; r < item.num_ranges; r++) {
        const tree_range range = a.plan.ranges[item.first_range + r];
        for (uint32_t t = warp; t < range.num_tokens; t += WARPS) {
            if (!row_sees(a.plan, range, item.num_rows, row, t))
                continue;
            uint64_t offset = row_token_offset(a, range, kv_head, t); /* find this item's blocks */
            /* score the keys, absorb into the running maximum and sum */
            float score = row_score<HEAD_DIM, T>(q, (const T *)a.key + offset, a.scale);
            row_absorb<HEAD_DIM, T>(state, score, (const T *)a.value + offset);
        }
    }
    state = merge_warps<HEAD_DIM, T>(state, states);
    if (warp == 0)
        row_store<HEAD_DIM, T>(a, state, (uint64_t)partial * a.shape.num_heads + head);
}

template <int HEAD_DIM, typename T> static cudaError_t launch(const attention_arguments &a, cudaStream_t stream)
{
    cudaError_t error = launch_kernel(a.plan.num_partials * a.shape.num_heads, WARPS * ROW_WARP, 0, stream,
                                      attend<HEAD_DIM, T>, a);
    return error == cudaSuccess ? launch_merge<HEAD_DIM, T>(a, stream) : error;
}

cudaError_t step_2_split(const attention_arguments *a, cudaStream_t stream) { return DISPATCH_ANY(launch, *a, stream); }
