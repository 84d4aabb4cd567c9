/* Step 0: the reference, with one warp for each partial state and head.
 *   idea    the loops of tree_attention_ref, spread over the GPU: no partial state depends on another, so each gets a
 *           warp of its own. Softmax takes three passes, as in a textbook: maximum, sum, values
 *   wins    nothing, this is the start: 7272 us on 64 branches with 64 tokens each behind 2048 (figures/ladder.csv)
 *   price   each pass computes all scores again. The queries of an item load its K and V separately, and so do the
 *           heads of a GQA group. A partial state, head_dim elements and two floats, travels to memory and back
 *   leaves  each lane walks along its own key, so the 32 loads of a warp are head_dim elements apart and none of them
 *           coalesce: step 1
 *   threads scores       lane i has the tokens i, i + 32, ... of a range and computes whole dot products; maximum and
 *                        sum are reduced over the lanes
 *           values, out  lane i has the elements i, i + 32, ...; weights pass between lanes by shuffles */
#include "merge.cuh"
#include "row.cuh"

enum { WARPS_PER_BLOCK = 4 };

/* What one warp works on. */
struct warp_row {
    tree_item item;
    uint32_t row, kv_head; /* row of the item */
    const float *q_qh;     /* [head_dim] */
};

/* The score of token t of the range. Past the range's end, and for a token that the row does not see, it is -infinity
 * and no key is read. */
template <int HEAD_DIM, typename T>
static __device__ float token_score(const attention_arguments &a, const warp_row &w, const tree_range &range,
                                    uint32_t t)
{
    /* find this item's blocks */
    if (t >= range.num_tokens || !row_sees(a.plan, range, w.item.num_rows, w.row, t))
        return -INFINITY;
    const T *k_bt = (const T *)a.key + row_token_offset(a, range, w.kv_head, t);

    /* score the keys */
    float score = 0;
    for (int d = 0; d < HEAD_DIM; d++)
        score = fmaf(w.q_qh[d], to_float(k_bt[d]), score);
    return __fmul_rn(score, a.scale); /* rounded, not fused with the subtraction of m: all passes see the same score */
}

/* exp(score - m); a score of -infinity counts as no token, even where m is -infinity too. */
static __device__ float token_weight(float score, float m) { return score == -INFINITY ? 0 : expf(score - m); }

/* Pass 1: m = max over the tokens of score. */
template <int HEAD_DIM, typename T>
static __device__ float largest_score(const attention_arguments &a, const warp_row &w)
{
    float m = -INFINITY;
    for (uint32_t r = 0; r < w.item.num_ranges; r++) {
        const tree_range range = a.plan.ranges[w.item.first_range + r];
        for (uint32_t t = threadIdx.x; t < range.num_tokens; t += WARP) {
            float score = token_score<HEAD_DIM, T>(a, w, range, t);
            m = score > m ? score : m;
        }
    }
    return warp_max(m);
}

/* Pass 2: l = sum of exp(score - m). */
template <int HEAD_DIM, typename T>
static __device__ sum_type<T> sum_weights(const attention_arguments &a, const warp_row &w, float m)
{
    sum_type<T> l = 0;
    for (uint32_t r = 0; r < w.item.num_ranges; r++) {
        const tree_range range = a.plan.ranges[w.item.first_range + r];
        for (uint32_t t = threadIdx.x; t < range.num_tokens; t += WARP)
            l += token_weight(token_score<HEAD_DIM, T>(a, w, range, t), m);
    }
    return warp_sum(l);
}

/* Pass 3: o = sum of exp(score - m) * value. The lanes stay converged, because they exchange weights. */
template <int HEAD_DIM, typename T>
static __device__ void sum_values(softmax_state<HEAD_DIM, T> &state, const attention_arguments &a, const warp_row &w)
{
    for (uint32_t r = 0; r < w.item.num_ranges; r++) {
        const tree_range range = a.plan.ranges[w.item.first_range + r];
        for (uint32_t first = 0; first < range.num_tokens; first += WARP) {
            float my_score = token_score<HEAD_DIM, T>(a, w, range, first + threadIdx.x);
            float my_weight = token_weight(my_score, state.m);
            for (int i = 0; i < WARP; i++) {
                float score = __shfl_sync(ALL_LANES, my_score, i);
                float weight = __shfl_sync(ALL_LANES, my_weight, i);
                if (score == -INFINITY) /* the same in all lanes; the token's V may be NaN */
                    continue;
                const T *v_bt = (const T *)a.value + row_token_offset(a, range, w.kv_head, first + i);
                for (int j = 0; j < state.ELEMENTS; j++)
                    state.o[j] = multiply_add(weight, to_float(v_bt[threadIdx.x + j * WARP]), state.o[j]);
            }
        }
    }
}

/* Warp n of the grid computes the partial state n / num_heads of head n % num_heads. */
template <int HEAD_DIM, typename T> static __global__ void attend(attention_arguments a)
{
    uint64_t n = (uint64_t)blockIdx.x * WARPS_PER_BLOCK + threadIdx.y;
    if (n >= (uint64_t)a.plan.num_partials * a.shape.num_heads)
        return;
    uint32_t partial = (uint32_t)(n / a.shape.num_heads), head = (uint32_t)(n % a.shape.num_heads);
    warp_row w;
    w.item = a.plan.items[a.partial_item[partial]];
    w.row = partial - w.item.first_partial;
    w.kv_head = head / (a.shape.num_heads / a.shape.num_kv_heads);
    uint64_t q = a.plan.rows[w.item.first_row + w.row];
    w.q_qh = a.query + (q * a.shape.num_heads + head) * HEAD_DIM;

    /* absorb into the running maximum and sum: here in three passes, so nothing is running yet */
    softmax_state<HEAD_DIM, T> state;
    softmax_state_empty(state);
    state.m = largest_score<HEAD_DIM, T>(a, w);
    state.l = sum_weights<HEAD_DIM, T>(a, w, state.m);
    sum_values(state, a, w);
    store_partial(a, n, state);
}

template <int HEAD_DIM, typename T> static cudaError_t launch(const attention_arguments &a, cudaStream_t stream)
{
    uint64_t num_states = (uint64_t)a.plan.num_partials * a.shape.num_heads;
    cudaError_t error = launch_kernel((uint32_t)((num_states + WARPS_PER_BLOCK - 1) / WARPS_PER_BLOCK),
                                      dim3(WARP, WARPS_PER_BLOCK), 0, stream, attend<HEAD_DIM, T>, a);
    return error == cudaSuccess ? launch_merge<HEAD_DIM, T>(a, stream) : error; /* merge partial states, normalize */
}

cudaError_t step_0_naive(const attention_arguments *a, cudaStream_t stream) { return DISPATCH_ANY(launch, *a, stream); }
