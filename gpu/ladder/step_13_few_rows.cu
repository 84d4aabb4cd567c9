/* Step 13: few rows. The last rung, on sm_90.
 *   idea    where a KV head has few rows, warps share nothing, and a tile in shared memory only costs time: each lane
 *           copies the fragments of K and V that it will multiply (slice.cuh), some slices ahead. The thread blocks of
 *           a KV head are a cluster: each stores its partial states into the shared memory of the others, not through
 *           L2, and waits for nothing but its inbox. And if the caller has said which K and V are new, the old ones are
 *           loaded before the previous launch has ended
 *   wins    nothing here: 18.6 to 18.6 us on 64 branches with 64 tokens each behind 2048 (figures/ladder.csv), which
 *           have too many rows, so step 12's kernel runs. 8.9 to 6.0 us on a single branch; one of 528 tokens takes 4.4
 *           instead of 7.7 (docs/gpu.md)
 *   price   no queue: the plan becomes one list of tokens, dealt out in slices of 16, and each 16 rows load all tokens
 *           that one of them sees. It pays for short lists alone (few_rows_limit); all other plans run step 12
 *   leaves  long lists: 2.2 TB/s, whatever the number of warps and stages; what bounds it is not known
 *   loop    slices instead of tiles; the next ones are copied while the present ones are computed
 *   threads blockIdx.x: rank of the thread block in its cluster, then KV head; blockIdx.y: which 16 rows. In a cluster
 *           of 16, warp w of rank r has slice 16 * w + r and every 96th after it */
#include "few_rows.h"
#include "merge_cluster.cuh"

enum {
    FEW_THREADS = FEW_WARPS * WARP,
    FEW_PER_SM = 2 /* thread blocks: this launch, and the next one, which begins early */
};

/* Slices of a warp that are copied ahead: 96 KB for all warps. */
template <int HEAD_DIM> struct few_stages {
    enum { COUNT = 256 / HEAD_DIM };
};

template <int HEAD_DIM, int HALVES> struct few_shared {
    slice_stage<HEAD_DIM> stages[FEW_WARPS][few_stages<HEAD_DIM>::COUNT]; /* of each warp; then its state */
    slice_queries<HEAD_DIM> queries;
    cluster_states<HEAD_DIM, HALVES, FEW_WARPS> states;
};

/* 16 tokens of a warp. */
struct few_slice {
    uint32_t slot, queries; /* of token lane % 16; behind the end of the list, no query sees it */
    bool is_over;           /* the list has ended */
    bool is_seen;           /* some row of the cluster sees some token */
};

/* What a thread block needs to know of its rows and tokens. */
struct few_place {
    cluster_rows rows;
    uint32_t first, stride; /* first token of the warp's first slice; from there to that of its next */
    uint32_t queries;       /* of the rows: bits of few_token.queries */
    uint32_t bit[2];        /* of the query of row lane / 4 + 8 * h */
    const char *key, *value; /* of slot 0 of the KV head */
};

template <int HEAD_DIM>
static __device__ __forceinline__ few_place few_find(const attention_arguments &a, uint32_t log_size)
{
    few_place at;
    const uint32_t group_size = a.shape.num_heads / a.shape.num_kv_heads, num_rows = a.plan.num_queries * group_size;
    const uint32_t first = blockIdx.y * FEW_TILE_ROWS, rest = num_rows - first, rank = cluster_rank();
    at.rows = {blockIdx.x >> log_size, group_size, first, rest < FEW_TILE_ROWS ? rest : (uint32_t)FEW_TILE_ROWS};
    at.first = ((threadIdx.x / WARP << log_size) + rank) * SLICE_TOKENS;
    at.stride = (FEW_WARPS * SLICE_TOKENS) << log_size;
    const uint32_t last_query = at.rows.query(at.rows.count - 1), first_query = at.rows.query(0);
    at.queries = (0xffffffffu >> (FEW_QUERIES - 1 - last_query)) & (0xffffffffu << first_query);
    for (int h = 0; h < 2; h++) {
        const uint32_t row = threadIdx.x % WARP / 4 + 8 * h;
        at.bit[h] = row < at.rows.count ? 1u << at.rows.query(row) : 0;
    }
    const uint64_t head = (uint64_t)at.rows.kv_head * a.shape.block_tokens * (HEAD_DIM * 2);
    at.key = (const char *)a.key + head;
    at.value = (const char *)a.value + head;
    return at;
}

/* The entries of the warp's slice n. */
static __device__ __forceinline__ few_token few_request(const attention_arguments &a, const few_place &at, uint32_t n)
{
    const uint32_t token = at.first + n * at.stride + threadIdx.x % SLICE_TOKENS;
    uint2 entry = {FEW_END, 0};
    if (token < a.few.capacity)
        entry = __ldg((const uint2 *)&a.few.tokens[token]);
    return {entry.x, entry.y};
}

static __device__ __forceinline__ few_slice few_receive(const few_place &at, few_token entry)
{
    const uint32_t first_slot = __shfl_sync(ALL_LANES, entry.slot, 0);
    few_slice slice;
    slice.slot = entry.slot == FEW_END ? first_slot : entry.slot;
    slice.queries = entry.queries & at.queries;
    slice.is_over = first_slot == FEW_END;
    slice.is_seen = __any_sync(ALL_LANES, slice.queries != 0);
    return slice;
}

/* The first slot (few_token.slot) of the block that holds new slot number `lane`: blocks are new as a whole. */
static __device__ __forceinline__ uint32_t few_request_new(const attention_arguments &a)
{
    const uint32_t lane = threadIdx.x % WARP;
    if (!a.few.new_slots || lane >= a.few.num_new)
        return 0;
    const uint32_t block_mask = ~(a.shape.block_tokens - 1); /* block_tokens is a power of two */
    return ((uint32_t)a.few.new_slots[lane] & block_mask) * a.shape.num_kv_heads;
}

/* Whether some token of the slice will be loaded that may still be written by work ahead in the stream. */
static __device__ __forceinline__ bool few_is_new(const attention_arguments &a, const few_slice &slice,
                                                   uint32_t new_first)
{
    bool is_new = !a.few.new_slots;
    for (uint32_t i = 0; i < a.few.num_new; i++)
        is_new |= slice.slot - __shfl_sync(ALL_LANES, new_first, i) < a.shape.block_tokens;
    return __any_sync(ALL_LANES, is_new) && slice.is_seen;
}

/* Each commits a group of copies, also where there is none. */
template <int HEAD_DIM>
static __device__ __forceinline__ void few_copy_keys(slice_stage<HEAD_DIM> &stage, const few_place &at,
                                                     const few_slice &slice)
{
    if (slice.is_seen)
        slice_request_keys<HEAD_DIM>(stage, at.key, slice.slot);
    cp_async_commit();
}

template <int HEAD_DIM>
static __device__ __forceinline__ void few_copy_values(slice_stage<HEAD_DIM> &stage, const few_place &at,
                                                       const few_slice &slice)
{
    if (slice.is_seen)
        slice_request_values<HEAD_DIM>(stage, at.value, slice.slot);
    cp_async_commit();
}

/* The rows of the cluster, rounded to T; zeros where no row is. */
template <int HEAD_DIM, typename T, int HALVES>
static __device__ __forceinline__ void few_load_queries(const attention_arguments &a, const cluster_rows &rows,
                                                        slice_queries<HEAD_DIM> &queries)
{
    enum { PIECES = HEAD_DIM / 8, COUNT = 8 * HALVES * PIECES };
#pragma unroll
    for (uint32_t first = 0; first < COUNT; first += FEW_THREADS) {
        const uint32_t i = first + threadIdx.x, row = i / PIECES;
        float4 x = make_float4(0, 0, 0, 0), y = x;
        if (row < rows.count) {
            const float *from = a.query + rows.index(a, row) * HEAD_DIM + i % PIECES * 8;
            x = *(const float4 *)from;
            y = *(const float4 *)(from + 4);
        }
        if (i < COUNT)
            queries.x[row][i % PIECES] = slice_round<T>(x, y, a.scale);
    }
    __syncthreads();
}

/* score the keys, absorb into the running maximum and sum: a slice whose K and V have arrived. */
template <int HEAD_DIM, typename T, int HALVES>
static __device__ __forceinline__ void few_absorb(slice_state<HEAD_DIM, HALVES> &state,
                                                  const slice_queries<HEAD_DIM> &queries,
                                                  const slice_stage<HEAD_DIM> &stage, const few_slice &slice,
                                                  const few_place &at, float scale)
{
    float score[SLICE_TOKENS / 8][4];
    uint32_t weights[1][4];
    slice_scores<HEAD_DIM, T, HALVES>(score, queries, stage);
    tile_softmax<HEAD_DIM, T, SLICE_TOKENS>(state, weights, score, slice_visible(slice.queries, at.bit, at.queries),
                                            scale);
    slice_add_values<HEAD_DIM, T, HALVES>(state, weights[0], stage);
}

/* For a warp whose o holds a NaN: a value that one row sees may have spoilt others (worker_redo.cuh). Computes each
 * query alone, with zeros in place of the values that it does not see. */
template <int HEAD_DIM, typename T, int HALVES>
static __device__ __noinline__ void few_redo(const attention_arguments &a, const few_place &at,
                                             const slice_queries<HEAD_DIM> &queries, slice_stage<HEAD_DIM> &stage,
                                             slice_state<HEAD_DIM, HALVES> &state)
{
    for (uint32_t query = 0; query < FEW_QUERIES; query++) {
        if (!(at.queries >> query & 1))
            continue;
        slice_state<HEAD_DIM, HALVES> alone;
        slice_clear<HEAD_DIM, HALVES>(alone);
        few_slice slice = few_receive(at, few_request(a, at, 0));
        for (uint32_t n = 1; !slice.is_over; n++) {
            slice_request_keys<HEAD_DIM>(stage, at.key, slice.slot);
            slice_request_values<HEAD_DIM>(stage, at.value, slice.slot,
                                           __ballot_sync(ALL_LANES, slice.queries >> query & 1));
            cp_async_commit();
            cp_async_wait<0>();
            few_absorb<HEAD_DIM, T, HALVES>(alone, queries, stage, slice, at, a.scale);
            slice = few_receive(at, few_request(a, at, n));
        }
#pragma unroll
        for (int h = 0; h < HALVES; h++) {
            const uint32_t row = threadIdx.x % 4 * 2 + 8 * h;
            if (at.bit[h] == 1u << query) {
                state.m[h] = alone.m[h];
                state.l[h] = alone.l[h];
            }
#pragma unroll
            for (int i = 0; i < HEAD_DIM / 4; i++) {
                if (row + i % 2 < at.rows.count && at.rows.query(row + i % 2) == query)
                    state.o[h][i / 4][i % 4] = alone.o[h][i / 4][i % 4];
            }
        }
    }
}

template <int HEAD_DIM, typename T, int HALVES>
static __global__ void __launch_bounds__(FEW_THREADS, FEW_PER_SM)
    attend(const __grid_constant__ attention_arguments a, uint32_t log_size)
{
    enum { STAGES = few_stages<HEAD_DIM>::COUNT };
    SHARED_MEMORY(char, memory);
    few_shared<HEAD_DIM, HALVES> &shared = *(few_shared<HEAD_DIM, HALVES> *)memory;
    slice_stage<HEAD_DIM> *stages = shared.stages[threadIdx.x / WARP];
    allow_next_launch();
    const few_place at = few_find<HEAD_DIM>(a, log_size);
    if (threadIdx.x == 0)
        merge_expect<HEAD_DIM, HALVES, FEW_WARPS>(shared.states, at.rows.count, log_size);
    arrive_at_cluster();

    /* find this item's blocks */
    few_token entry[STAGES + 1];
    few_slice slices[STAGES];
#pragma unroll
    for (int n = 0; n <= STAGES; n++)
        entry[n] = few_request(a, at, n);
    const uint32_t new_first = few_request_new(a);
    bool has_waited = false;
#pragma unroll
    for (int n = 0; n < STAGES; n++) {
        slices[n] = few_receive(at, entry[n]);
        if (!has_waited && few_is_new(a, slices[n], new_first)) {
            wait_for_previous_launch();
            has_waited = true;
        }
        few_copy_keys<HEAD_DIM>(stages[n], at, slices[n]);
        few_copy_values<HEAD_DIM>(stages[n], at, slices[n]);
    }
    if (!has_waited)
        wait_for_previous_launch(); /* until here, only the plan and old K and V were read */
    few_load_queries<HEAD_DIM, T, HALVES>(a, at.rows, shared.queries);
    slice_state<HEAD_DIM, HALVES> state;
    slice_clear<HEAD_DIM, HALVES>(state);
    few_token next = entry[STAGES];
    for (uint32_t n = STAGES + 1; !slices[0].is_over;) {
#pragma unroll
        for (int s = 0; s < STAGES; s++, n++) {
            const few_slice slice = slices[s], later = few_receive(at, next);
            float score[SLICE_TOKENS / 8][4];
            uint32_t weights[1][4];
            next = few_request(a, at, n);

            /* score the keys */
            cp_async_wait<2 * STAGES - 1>();
            if (slice.is_seen)
                slice_scores<HEAD_DIM, T, HALVES>(score, shared.queries, stages[s]);
            few_copy_keys<HEAD_DIM>(stages[s], at, later);

            /* absorb into the running maximum and sum */
            if (slice.is_seen)
                tile_softmax<HEAD_DIM, T, SLICE_TOKENS>(state, weights, score,
                                                        slice_visible(slice.queries, at.bit, at.queries), a.scale);
            cp_async_wait<2 * STAGES - 1>();
            if (slice.is_seen)
                slice_add_values<HEAD_DIM, T, HALVES>(state, weights[0], stages[s]);
            few_copy_values<HEAD_DIM>(stages[s], at, later);
            slices[s] = later;
        }
    }
    if (__any_sync(ALL_LANES, slice_has_nan<HEAD_DIM, HALVES>(state))) {
        slice_state<HEAD_DIM, HALVES> again = state; /* the call needs it in memory */
        few_redo<HEAD_DIM, T, HALVES>(a, at, shared.queries, stages[0], again);
        state = again;
    }

    /* merge partial states, normalize */
    wait_for_cluster();
    merge_leave<HEAD_DIM, HALVES, FEW_WARPS>(shared.states, (float4 *)stages, state, at.rows.count);
    __syncthreads();
    merge_send<HEAD_DIM, HALVES, FEW_WARPS>(shared.states, (const char *)shared.stages, sizeof shared.stages[0],
                                            at.rows.count, log_size);
    merge_received<HEAD_DIM, HALVES, FEW_WARPS>(a, shared.states, at.rows, log_size);
}

template <int HEAD_DIM, typename T, int HALVES>
static cudaError_t launch_clusters(const attention_arguments &a, cudaStream_t stream)
{
    const uint32_t log_size = few_rows_cluster(a.plan.num_queries, &a.shape, a.queue.num_workers);
    const dim3 grid(a.shape.num_kv_heads << log_size, few_rows_tiles(a.plan.num_queries, &a.shape));
    const cudaError_t error = launch_cluster(1u << log_size, grid, FEW_THREADS, sizeof(few_shared<HEAD_DIM, HALVES>),
                                             stream, attend<HEAD_DIM, T, HALVES>, a, log_size);
    if (error != cudaErrorInvalidClusterSize)
        return error;
    cudaGetLastError(); /* the GPU has no room for such a cluster (a MIG slice): not an error of the caller */
    return step_12_early_launch(&a, stream);
}

template <int HEAD_DIM, typename T> static cudaError_t launch(const attention_arguments &a, cudaStream_t stream)
{
    if (!a.few.tokens)
        return step_12_early_launch(&a, stream);
    if constexpr (HEAD_DIM <= 128) { /* few_rows_fit: with head_dim 256 there are at most 8 rows */
        if (a.plan.num_queries * (a.shape.num_heads / a.shape.num_kv_heads) > FEW_TILE_ROWS / 2)
            return launch_clusters<HEAD_DIM, T, 2>(a, stream);
    }
    return launch_clusters<HEAD_DIM, T, 1>(a, stream);
}

cudaError_t step_13_few_rows(const attention_arguments *a, cudaStream_t stream)
{
    return DISPATCH_HALF(launch, *a, stream);
}
