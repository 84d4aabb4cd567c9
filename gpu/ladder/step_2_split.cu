/* Step 2: split. Eight warps share the tokens of a query and merge their states in shared memory.
 *   idea    softmax states merge, so the tokens may be cut anywhere. Flash-Decoding cuts them between thread blocks,
 *           this rung between the warps of one: warp w has the tokens w, w + 8, ... of each range, so that eight chains
 *           of dependent tokens run at once
 *   wins    1045 to 710 us on 64 branches with 64 tokens each behind 2048 (figures/ladder.csv)
 *   price   shared memory for the states of eight warps, one more merge, and the heads of a group no longer share the
 *           loads of K and V, as in step 1
 *   leaves  each query and head loads K and V for itself: a prefix that 64 branches share is loaded 64 times per head:
 *           step 3
 *   threads as step 1, but each warp has one head and every eighth token */
#include "merge.cuh"
#include "row.cuh"

enum { WARPS = 8 };

template <int HEAD_DIM, typename T> struct warp_states {
    softmax_state<HEAD_DIM, T> of[WARPS][WARP]; /* [warp][lane]: this lane's part of the state */
};

/* Merges the states of the warps; every warp gets the result. */
template <int HEAD_DIM, typename T>
static __device__ softmax_state<HEAD_DIM, T> merge_warps(const softmax_state<HEAD_DIM, T> &mine,
                                                         warp_states<HEAD_DIM, T> &states)
{
    const uint32_t lane = threadIdx.x % WARP;
    softmax_state<HEAD_DIM, T> all;
    states.of[threadIdx.x / WARP][lane] = mine;
    __syncthreads();
    softmax_state_empty(all);
    for (int w = 0; w < WARPS; w++)
        softmax_state_merge(all, states.of[w][lane]);
    return all;
}

/* Thread block n has partial state n / num_heads and head n % num_heads. */
template <int HEAD_DIM, typename T> static __global__ void attend(attention_arguments a)
{
    SHARED_VARIABLE(states, warp_states<HEAD_DIM, T>);
    uint32_t partial = blockIdx.x / a.shape.num_heads, head = blockIdx.x % a.shape.num_heads;
    uint32_t warp = threadIdx.x / WARP, lane = threadIdx.x % WARP;
    const tree_item item = a.plan.items[a.partial_item[partial]];
    uint32_t row = partial - item.first_partial, kv_head = head / (a.shape.num_heads / a.shape.num_kv_heads);
    const float *q_qh = a.query + ((uint64_t)a.plan.rows[item.first_row + row] * a.shape.num_heads + head) * HEAD_DIM;

    float q[HEAD_DIM / WARP];
    softmax_state<HEAD_DIM, T> state;
    softmax_state_empty(state);
    for (int j = 0; j < HEAD_DIM / WARP; j++)
        q[j] = q_qh[lane + j * WARP];
    for (uint32_t r = 0; r < item.num_ranges; r++) {
        const tree_range range = a.plan.ranges[item.first_range + r];
        for (uint32_t t = warp; t < range.num_tokens; t += WARPS) {
            /* find this item's blocks */
            if (!row_sees(a.plan, range, item.num_rows, row, t))
                continue;
            uint64_t offset = row_token_offset(a, range, kv_head, t);

            /* score the keys */
            float score = row_score<HEAD_DIM, T>(q, (const T *)a.key + offset, a.scale);

            /* absorb into the running maximum and sum */
            softmax_state_absorb(state, score, (const T *)a.value + offset);
        }
    }
    state = merge_warps<HEAD_DIM, T>(state, states);
    if (warp == 0)
        store_partial(a, (uint64_t)partial * a.shape.num_heads + head, state);
}

template <int HEAD_DIM, typename T> static cudaError_t launch(const attention_arguments &a, cudaStream_t stream)
{
    cudaError_t error = launch_kernel(a.plan.num_partials * a.shape.num_heads, WARPS * WARP, 0, stream,
                                      attend<HEAD_DIM, T>, a);
    return error == cudaSuccess ? launch_merge<HEAD_DIM, T>(a, stream) : error; /* merge partial states, normalize */
}

cudaError_t step_2_split(const attention_arguments *a, cudaStream_t stream) { return DISPATCH_ANY(launch, *a, stream); }
