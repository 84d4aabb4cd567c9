/* Step 0: the reference, with one warp for each partial state and head.
 *   idea    nothing but the loops of tree_attention_ref spread over the GPU: no partial state needs another, so each
 *           gets a warp of its own; softmax in three passes, as one would write it down: maximum, sum, values
 *   price   each pass scores all keys again; a row that shares its item with others loads the item's K and V anew, and
 *           so does each head of a GQA group; a partial state is head_dim + 2 floats that go out to memory and back
 *   leaves  a lane walks along its own key, so that the 32 loads of a warp lie head_dim floats apart: step 1
 *   threads scores      lane i has token i, i + 32, ... of a range: the whole dot product; maximum and sum across lanes
 *           values, out lane i has elements i, i + 32, ...; the weights of 32 tokens pass from lane to lane */
#include <math.h>

#include "gpu_internal.h"

enum { WARP = 32, WARPS_PER_BLOCK = 4 };
#define ALL_LANES 0xffffffffu

/* What both kernels get; the plan's arrays are on the device. */
struct attention_arguments {
    float *out, *lse;
    const float *query, *key, *value;
    tree_plan plan;
    const uint32_t *partial_item;
    tree_shape shape;
    float scale;
    float *m, *l; /* [num_partials][num_heads] */
    float *o;     /* [num_partials][num_heads][head_dim] */
};

/* What one warp works on. */
struct warp_row {
    tree_item item;
    uint32_t row, kv_head; /* row of the item */
    const float *q_qh;     /* [head_dim] */
};

static __device__ bool row_sees(const tree_plan &plan, const tree_range &range, uint32_t num_rows, uint32_t row,
                                uint64_t t)
{
    if (range.mask == TREE_NO_MASK)
        return true;
    uint64_t words_per_token = ((uint64_t)num_rows + 63) / 64;
    const uint64_t *mask_t = plan.masks + range.mask + t * words_per_token;
    return mask_t[row / 64] >> (row % 64) & 1;
}

/* Index of the first element in key and value of token t of the range. */
static __device__ uint64_t token_offset(const attention_arguments &a, const tree_range &range, uint32_t kv_head,
                                        uint64_t t)
{
    uint64_t slot = range.first_slot + t;
    uint64_t block = a.plan.blocks[range.first_block + slot / a.shape.block_tokens];
    return ((block * a.shape.num_kv_heads + kv_head) * a.shape.block_tokens + slot % a.shape.block_tokens)
           * a.shape.head_dim;
}

/* The score of token t of the range; -infinity, and nothing is read, behind the range's end and where the row does not
 * see it. */
template <int HEAD_DIM>
static __device__ float token_score(const attention_arguments &a, const warp_row &w, const tree_range &range,
                                    uint64_t t)
{
    /* find this item's blocks */
    if (t >= range.num_tokens || !row_sees(a.plan, range, w.item.num_rows, w.row, t))
        return -INFINITY;
    const float *k_bt = a.key + token_offset(a, range, w.kv_head, t);

    /* score the keys */
    float score = 0;
    for (int d = 0; d < HEAD_DIM; d++)
        score = fmaf(w.q_qh[d], k_bt[d], score);
    return __fmul_rn(score, a.scale); /* rounded, not fused with the subtraction of m: each pass sees the same score */
}

static __device__ float warp_max(float x)
{
    for (int distance = WARP / 2; distance > 0; distance /= 2) {
        float other = __shfl_xor_sync(ALL_LANES, x, distance);
        x = other > x ? other : x;
    }
    return x;
}

static __device__ float warp_sum(float x)
{
    for (int distance = WARP / 2; distance > 0; distance /= 2)
        x += __shfl_xor_sync(ALL_LANES, x, distance);
    return x;
}

/* exp(score - m); a score of -infinity counts as no token, even where m is -infinity too. */
static __device__ float token_weight(float score, float m) { return score == -INFINITY ? 0 : expf(score - m); }

/* Pass 1: m = max over the tokens of score. */
template <int HEAD_DIM> static __device__ float largest_score(const attention_arguments &a, const warp_row &w)
{
    float m = -INFINITY;
    for (uint32_t r = 0; r < w.item.num_ranges; r++) {
        const tree_range range = a.plan.ranges[w.item.first_range + r];
        for (uint64_t t = threadIdx.x; t < range.num_tokens; t += WARP) {
            float score = token_score<HEAD_DIM>(a, w, range, t);
            m = score > m ? score : m;
        }
    }
    return warp_max(m);
}

/* Pass 2: l = sum of exp(score - m). */
template <int HEAD_DIM> static __device__ float sum_weights(const attention_arguments &a, const warp_row &w, float m)
{
    float l = 0;
    for (uint32_t r = 0; r < w.item.num_ranges; r++) {
        const tree_range range = a.plan.ranges[w.item.first_range + r];
        for (uint64_t t = threadIdx.x; t < range.num_tokens; t += WARP)
            l += token_weight(token_score<HEAD_DIM>(a, w, range, t), m);
    }
    return warp_sum(l);
}

/* Pass 3: o = sum of exp(score - m) * value. All lanes stay together: they exchange weights. */
template <int HEAD_DIM>
static __device__ void sum_values(float *o, const attention_arguments &a, const warp_row &w, float m)
{
    for (uint32_t r = 0; r < w.item.num_ranges; r++) {
        const tree_range range = a.plan.ranges[w.item.first_range + r];
        for (uint64_t first = 0; first < range.num_tokens; first += WARP) {
            float my_score = token_score<HEAD_DIM>(a, w, range, first + threadIdx.x);
            float my_weight = token_weight(my_score, m);
            for (int i = 0; i < WARP; i++) {
                float score = __shfl_sync(ALL_LANES, my_score, i), weight = __shfl_sync(ALL_LANES, my_weight, i);
                if (score == -INFINITY) /* the same for all lanes; its V may be NaN */
                    continue;
                const float *v_bt = a.value + token_offset(a, range, w.kv_head, first + i);
                for (int j = 0; j < HEAD_DIM / WARP; j++)
                    o[j] = fmaf(weight, v_bt[threadIdx.x + j * WARP], o[j]);
            }
        }
    }
}

/* Warp n of the grid makes the partial state n / num_heads of head n % num_heads. */
template <int HEAD_DIM> static __global__ void attend(attention_arguments a)
{
    uint64_t state = (uint64_t)blockIdx.x * WARPS_PER_BLOCK + threadIdx.y;
    if (state >= (uint64_t)a.plan.num_partials * a.shape.num_heads)
        return;
    uint32_t partial = (uint32_t)(state / a.shape.num_heads), head = (uint32_t)(state % a.shape.num_heads);
    warp_row w;
    w.item = a.plan.items[a.partial_item[partial]];
    w.row = partial - w.item.first_partial;
    w.kv_head = head / (a.shape.num_heads / a.shape.num_kv_heads);
    uint64_t q = a.plan.rows[w.item.first_row + w.row];
    w.q_qh = a.query + (q * a.shape.num_heads + head) * HEAD_DIM;

    /* absorb into the running maximum and sum: here in three passes, so nothing runs */
    float m = largest_score<HEAD_DIM>(a, w);
    float l = sum_weights<HEAD_DIM>(a, w, m);
    float o[HEAD_DIM / WARP] = {};
    sum_values<HEAD_DIM>(o, a, w, m);

    if (threadIdx.x == 0) {
        a.m[state] = m;
        a.l[state] = l;
    }
    for (int j = 0; j < HEAD_DIM / WARP; j++)
        a.o[state * HEAD_DIM + threadIdx.x + j * WARP] = o[j];
}

/* Warp n of the grid makes out and lse of query n / num_heads, head n % num_heads. */
template <int HEAD_DIM> static __global__ void merge(attention_arguments a)
{
    uint64_t qh = (uint64_t)blockIdx.x * WARPS_PER_BLOCK + threadIdx.y;
    if (qh >= (uint64_t)a.plan.num_queries * a.shape.num_heads)
        return;
    uint32_t q = (uint32_t)(qh / a.shape.num_heads), head = (uint32_t)(qh % a.shape.num_heads);

    /* merge partial states */
    float m = -INFINITY, l = 0, o[HEAD_DIM / WARP] = {};
    for (uint32_t i = a.plan.merge_first[q]; i < a.plan.merge_first[q + 1]; i++) {
        uint64_t state = (uint64_t)a.plan.merge_partials[i] * a.shape.num_heads + head;
        float other_m = a.m[state], other_l = a.l[state];
        if (other_l == 0)
            continue;
        float new_m = other_m > m ? other_m : m;
        float rescale = expf(m - new_m), other_rescale = expf(other_m - new_m);
        m = new_m;
        l = l * rescale + other_l * other_rescale;
        for (int j = 0; j < HEAD_DIM / WARP; j++)
            o[j] = o[j] * rescale + a.o[state * HEAD_DIM + threadIdx.x + j * WARP] * other_rescale;
    }

    /* normalize */
    for (int j = 0; j < HEAD_DIM / WARP; j++)
        a.out[qh * HEAD_DIM + threadIdx.x + j * WARP] = l == 0 ? 0 : o[j] / l;
    if (a.lse && threadIdx.x == 0)
        a.lse[qh] = m + logf(l);
}

static uint32_t blocks_for(uint64_t num_warps)
{
    return (uint32_t)((num_warps + WARPS_PER_BLOCK - 1) / WARPS_PER_BLOCK);
}

/* An empty grid is an error to CUDA, so that nothing is launched where there is nothing to do. */
template <int HEAD_DIM> static cudaError_t launch(const attention_arguments &a, cudaStream_t stream)
{
    const dim3 threads(WARP, WARPS_PER_BLOCK);
    cudaError_t error = cudaSuccess;
    if (a.plan.num_partials > 0) {
        attend<HEAD_DIM><<<blocks_for((uint64_t)a.plan.num_partials * a.shape.num_heads), threads, 0, stream>>>(a);
        error = cudaGetLastError();
    }
    if (error == cudaSuccess && a.plan.num_queries > 0) {
        merge<HEAD_DIM><<<blocks_for((uint64_t)a.plan.num_queries * a.shape.num_heads), threads, 0, stream>>>(a);
        error = cudaGetLastError();
    }
    return error;
}

cudaError_t step_0_naive(float *out, float *lse, const float *query, const void *key, const void *value,
                         const tree_plan *device_plan, const uint32_t *partial_item, const tree_shape *shape,
                         float scale, void *workspace, cudaStream_t stream)
{
    uint64_t num_states = (uint64_t)device_plan->num_partials * shape->num_heads;
    attention_arguments a = {out,          lse,    query, (const float *)key, (const float *)value, *device_plan,
                             partial_item, *shape, scale, NULL,               NULL,                 (float *)workspace};
    a.m = a.o + num_states * shape->head_dim;
    a.l = a.m + num_states;
    switch (shape->head_dim) {
    case 64: return launch<64>(a, stream);
    case 128: return launch<128>(a, stream);
    case 256: return launch<256>(a, stream);
    }
    return cudaErrorInvalidValue;
}
