/* Rung 0: the definition, a launch for each line of it, and each line's result in memory as a tensor.
 *   idea    scores, weights and contributions weight x value of every query, head, token and element: then the output
 *           is their sum over the tokens, and importance the sum of their absolute values over heads and elements.
 *           LongFlow's speed_test.py compares with such tensors
 *   wins    nothing, this is the start. Every tensor can be looked at
 *   price   bytes: the contributions of a token are num_heads x head_dim floats, written once and read twice, where its
 *           K and V are 2 x num_kv_heads x head_dim elements of two bytes. At 32/8 heads and 128 elements, 52 KB for 4
 *           KB. The workspace grows with them
 *   leaves  the sums need no tensor of contributions, since weight x norm says the same: rung 1
 *   threads scores, contributions   a thread block has a job, 32 tokens of one query, and all heads
 *           softmax, output         a thread block has a query and a head
 *           importance              a thread block has a job; warp w has the heads w, w + 8, ... */
#include "job.cuh"
#include "row.cuh"

enum { THREADS = 256, WARPS = THREADS / WARP };

/* Tensors [partial state][head][token of its item]: the rows of lists.first_rows. */
struct tensors {
    float *scores, *weights;
    float4 *contributions; /* [..][head_dim / 4] */
};

static __device__ tensors find_tensors(const eviction_arguments &e)
{
    const uint64_t num_scores = e.lists.num_pairs * e.shape.num_heads;
    tensors t;
    t.contributions = (float4 *)e.scratch;
    t.scores = (float *)e.scratch + num_scores * e.shape.head_dim;
    t.weights = t.scores + num_scores;
    return t;
}

uint64_t materialised_scratch_bytes(const tree_plan *plan, const eviction_lists *counts, const tree_shape *shape)
{
    (void)plan;
    /* below 2^56: eviction_gpu.cu limits pairs and heads */
    return counts->num_pairs * shape->num_heads * (shape->head_dim + 2) * sizeof(float);
}

/* The index of the first token of a head's row. */
static __device__ uint64_t first_of_row(const eviction_arguments &e, uint64_t first_row, uint64_t rounds, uint32_t head)
{
    return (first_row * e.shape.num_heads + head * rounds) * SCORE_ROUND;
}

static __device__ uint64_t first_of_job(const eviction_arguments &e, const score_job &job, uint32_t head)
{
    return first_of_row(e, job.first_row, job.row_rounds, head) + job.first;
}

/* ---- launch 1: scores ---- */

/* Warp w of the thread block has the heads w, w + 8, ...; lane i keeps the score of token i: -infinity if it is not
 * seen. */
template <int HEAD_DIM, typename T> static __global__ void score_keys(eviction_arguments e)
{
    const score_job job = e.lists.jobs[blockIdx.x];
    const tensors to = find_tensors(e);
    const uint32_t lane = threadIdx.x % WARP, group_size = e.shape.num_heads / e.shape.num_kv_heads;
    for (uint32_t head = threadIdx.x / WARP; head < e.shape.num_heads; head += WARPS) {
        const float *q_qh = e.query + ((uint64_t)job.query * e.shape.num_heads + head) * HEAD_DIM;
        float q[HEAD_DIM / WARP], mine = -INFINITY;
        for (int j = 0; j < HEAD_DIM / WARP; j++)
            q[j] = q_qh[lane + j * WARP];
        for (uint32_t i = 0; i < job.num_tokens; i++) {
            const job_token token = job_find(e, job, i);
            if (!token.is_seen)
                continue;
            const T *k_bt = (const T *)e.key + job_slot(e, token.slot, head / group_size) * HEAD_DIM;
            const float score = row_score<HEAD_DIM, T>(q, k_bt, e.scale);
            mine = lane == i ? score : mine;
        }
        if (lane < job.num_tokens)
            to.scores[first_of_job(e, job, head) + lane] = mine;
    }
}

/* ---- launch 2: softmax ---- */

typedef float warp_parts[WARPS];

/* The largest x of all threads, or the sum, in every thread. */
template <bool IS_MAX> static __device__ float block_reduce(float x, warp_parts part)
{
    x = IS_MAX ? warp_max(x) : warp_sum(x);
    __syncthreads(); /* all threads have read the previous result */
    if (threadIdx.x % WARP == 0)
        part[threadIdx.x / WARP] = x;
    __syncthreads();
    x = part[0];
    for (uint32_t w = 1; w < WARPS; w++)
        x = IS_MAX ? (part[w] > x ? part[w] : x) : x + part[w];
    return x;
}

/* visit(index) for every token of a query, in the row of this head: thread t has the tokens t, t + 256, ... of each of
 * its partial states. */
template <typename VISIT>
static __device__ void visit_tokens(const eviction_arguments &e, uint32_t query, uint32_t head, uint32_t thread,
                                    uint32_t num_threads, VISIT visit)
{
    for (uint32_t i = e.plan.merge_first[query]; i < e.plan.merge_first[query + 1]; i++) {
        const uint32_t partial = e.plan.merge_partials[i], first_row = e.lists.first_rows[partial];
        const uint64_t first = first_of_row(e, first_row, e.lists.first_rows[partial + 1] - first_row, head);
        const uint32_t num_tokens = e.plan.items[e.partial_item[partial]].num_tokens;
        for (uint32_t t = thread; t < num_tokens; t += num_threads)
            visit(first + t);
    }
}

/* Thread block n has head n % num_heads of query n / num_heads. */
static __global__ void softmax(eviction_arguments e)
{
    SHARED_VARIABLE(part, warp_parts);
    const tensors at = find_tensors(e);
    const uint32_t query = blockIdx.x / e.shape.num_heads, head = blockIdx.x % e.shape.num_heads;
    float m = -INFINITY, l = 0;
    visit_tokens(e, query, head, threadIdx.x, THREADS, [&](uint64_t i) { m = at.scores[i] > m ? at.scores[i] : m; });
    m = block_reduce<true>(m, part);
    visit_tokens(e, query, head, threadIdx.x, THREADS,
                 [&](uint64_t i) { l += at.scores[i] == -INFINITY ? 0 : expf(at.scores[i] - m); });
    l = block_reduce<false>(l, part);
    const float lse = m + logf(l);
    visit_tokens(e, query, head, threadIdx.x, THREADS,
                 [&](uint64_t i) { at.weights[i] = at.scores[i] == -INFINITY ? 0 : expf(at.scores[i] - m) / l; });
    if (threadIdx.x == 0)
        e.lse[blockIdx.x] = lse;
}

/* ---- launch 3: contributions ---- */

/* A thread has four elements of one token's value, for all heads of the group. A token that is not seen contributes 0,
 * whatever its V. */
template <int HEAD_DIM, typename T> static __global__ void weigh_values(eviction_arguments e)
{
    enum { QUARTERS = HEAD_DIM / 4 };
    const score_job job = e.lists.jobs[blockIdx.x];
    const tensors at = find_tensors(e);
    const uint32_t group_size = e.shape.num_heads / e.shape.num_kv_heads;
    for (uint32_t i = threadIdx.x; i < e.shape.num_kv_heads * job.num_tokens * QUARTERS; i += THREADS) {
        const uint32_t quarter = i % QUARTERS, t = i / QUARTERS % job.num_tokens;
        const uint32_t kv_head = i / QUARTERS / job.num_tokens;
        const job_token token = job_find(e, job, t);
        const uint64_t from = job_slot(e, token.slot, kv_head) * QUARTERS + quarter;
        float4 v = make_float4(0, 0, 0, 0);
        if (token.is_seen) {
            const uint2 pairs = ((const uint2 *)e.value)[from];
            const T *x = (const T *)&pairs;
            v = make_float4(to_float(x[0]), to_float(x[1]), to_float(x[2]), to_float(x[3]));
        }
        for (uint32_t head = kv_head * group_size; head < (kv_head + 1) * group_size; head++) {
            const uint64_t to = first_of_job(e, job, head) + t;
            const float a = token.is_seen ? at.weights[to] : 0;
            at.contributions[to * QUARTERS + quarter] = make_float4(a * v.x, a * v.y, a * v.z, a * v.w);
        }
    }
}

/* ---- launch 4: output ---- */

static __device__ float4 add(float4 x, float4 y) { return make_float4(x.x + y.x, x.y + y.y, x.z + y.z, x.w + y.w); }

typedef float4 thread_parts[THREADS];

/* Thread block n as in softmax. A thread has four elements of out, and every (256 / (head_dim / 4))th token. */
template <int HEAD_DIM> static __global__ void sum_output(eviction_arguments e)
{
    enum { QUARTERS = HEAD_DIM / 4, PARTS = THREADS / QUARTERS };
    SHARED_VARIABLE(part, thread_parts);
    const tensors at = find_tensors(e);
    const uint32_t query = blockIdx.x / e.shape.num_heads, head = blockIdx.x % e.shape.num_heads;
    const uint32_t quarter = threadIdx.x % QUARTERS;
    float4 sum = make_float4(0, 0, 0, 0);
    visit_tokens(e, query, head, threadIdx.x / QUARTERS, PARTS,
                 [&](uint64_t i) { sum = add(sum, at.contributions[i * QUARTERS + quarter]); });
    part[threadIdx.x] = sum;
    __syncthreads();
    if (threadIdx.x >= QUARTERS)
        return;
    for (uint32_t p = 1; p < PARTS; p++)
        sum = add(sum, part[p * QUARTERS + quarter]);
    ((float4 *)e.out)[(uint64_t)blockIdx.x * QUARTERS + quarter] = sum;
}

/* ---- launch 5: importance ---- */

typedef float token_parts[WARPS][SCORE_TOKENS];

template <int HEAD_DIM> static __global__ void sum_importance(eviction_arguments e)
{
    SHARED_VARIABLE(part, token_parts);
    const score_job job = e.lists.jobs[blockIdx.x];
    const float *contributions = (const float *)find_tensors(e).contributions;
    const uint32_t warp = threadIdx.x / WARP, lane = threadIdx.x % WARP;
    const job_target target = job_find_target(e, job);
    float mine = 0;
    for (uint32_t i = 0; i < job.num_tokens; i++) {
        float sum = 0;
        for (uint32_t head = warp; head < e.shape.num_heads; head += WARPS) {
            const float *c_ht = contributions + (first_of_job(e, job, head) + i) * HEAD_DIM;
            for (uint32_t d = lane; d < HEAD_DIM; d += WARP)
                sum += fabsf(c_ht[d]);
        }
        sum = warp_sum(sum);
        mine = lane == i ? sum : mine;
    }
    part[warp][lane] = mine;
    __syncthreads();
    if (warp > 0)
        return;
    float importance = 0;
    for (uint32_t w = 0; w < WARPS; w++)
        importance += part[w][lane];
    job_finish(e, job, target, importance / ((float)e.shape.num_heads * HEAD_DIM));
}

template <int HEAD_DIM, typename T> static cudaError_t launch(const eviction_arguments &e, cudaStream_t stream)
{
    const uint32_t num_jobs = e.lists.num_jobs, num_rows = e.plan.num_queries * e.shape.num_heads;
    cudaError_t error = launch_kernel(num_jobs, THREADS, 0, stream, score_keys<HEAD_DIM, T>, e);
    if (error == cudaSuccess)
        error = launch_kernel(num_rows, THREADS, 0, stream, softmax, e);
    if (error == cudaSuccess)
        error = launch_kernel(num_jobs, THREADS, 0, stream, weigh_values<HEAD_DIM, T>, e);
    if (error == cudaSuccess)
        error = launch_kernel(num_rows, THREADS, 0, stream, sum_output<HEAD_DIM>, e);
    if (error == cudaSuccess)
        error = launch_clear_victims(e, stream);
    if (error == cudaSuccess)
        error = launch_kernel(num_jobs, THREADS, 0, stream, sum_importance<HEAD_DIM>, e);
    return error;
}

cudaError_t evict_0_materialised(const eviction_arguments *e, cudaStream_t stream)
{
    return DISPATCH_HALF(launch, *e, stream);
}
