/* The rows of a task: which of them each warp has, how their queries are loaded, how a tile is absorbed into their
 * states, and how the states are written. First read by step 6. */
#ifndef WORKER_TASK_CUH
#define WORKER_TASK_CUH

#include "worker_copy.cuh"

/* ---- the rows of a task: row = query of the task * num_heads + head ---- */

static __device__ __forceinline__ uint32_t tile_rows(const queue_tile &tile)
{
    return tile.num_queries * tile.num_heads;
}

static __device__ __forceinline__ uint32_t tile_query_of_row(const queue_tile &tile, uint32_t row)
{
    return row * tile.reciprocal >> 15;
}

/* The number of rows of a task decides how the four warps share a tile, here of 64 tokens (head_dim 128):
 * warps_m x warps_n = 4
 *
 *     rows <= 16   1 x 4   every warp has the same 16 rows, and 16 of the tokens
 *     rows <= 32   2 x 2   warp w has rows 16 * (w % 2) .. + 15, and 32 of the tokens
 *     rows <= 64   4 x 1   every warp has its own 16 rows, and all 64 tokens */
struct split_rows_then_tokens {
    static __device__ __forceinline__ uint32_t warps_m(const queue_tile &tile)
    {
        const uint32_t rows = tile_rows(tile);
        return rows > 32 ? 4 : rows > 16 ? 2 : 1;
    }
};

/* The task's row that is this lane's first (h = 0) or second (h = 1). */
static __device__ __forceinline__ uint32_t lane_row(uint32_t warps_m, uint32_t h)
{
    return threadIdx.x / WARP % warps_m * WARP_ROWS + threadIdx.x % WARP / 4 + 8 * h;
}

/* Starts to load this lane's part of the queries. queries: those of the task. */
template <int HEAD_DIM>
static __device__ __forceinline__ void load_queries(const attention_arguments &a, const queue_tile &tile,
                                                    const queue_query *queries, uint32_t warps_m,
                                                    tile_floats<HEAD_DIM> &x)
{
    const uint32_t num_rows = tile_rows(tile);
    const float *from[2] = {NULL, NULL};
#pragma unroll
    for (int h = 0; h < 2; h++) {
        const uint32_t row = lane_row(warps_m, h), i = tile_query_of_row(tile, row);
        if (row < num_rows) {
            const uint64_t head = tile.head + row - i * tile.num_heads;
            from[h] = a.query + ((uint64_t)queries[i].query * a.shape.num_heads + head) * HEAD_DIM;
        }
    }
    tile_load<HEAD_DIM>(x, from[0], from[1]);
}

/* This warp's share of each tile of a task: every warps_n-th slice. */
struct tile_share {
    uint32_t warps_n, slice_tokens;
    uint32_t warp_n, num_slices; /* warp_n < warps_n; num_slices of slice_tokens tokens in a full tile */
    uint32_t query[2];           /* of each of the lane's rows, but at most the task's last query */
};

template <int HEAD_DIM>
static __device__ __forceinline__ tile_share find_share(const queue_tile &tile, uint32_t warps_m)
{
    enum { TOKENS = worker_tile<HEAD_DIM>::TOKENS, LEAST = SLICE_TOKENS, MOST = worker_tile<HEAD_DIM>::MAX_SLICE };
    tile_share share;
    const uint32_t shift = warps_m == 4 ? 0 : 3 - warps_m, tokens = TOKENS >> shift;
    share.warps_n = 1 << shift;
    share.slice_tokens = tokens < LEAST ? (uint32_t)LEAST : tokens < MOST ? tokens : (uint32_t)MOST;
    share.num_slices = TOKENS / LEAST >> (share.slice_tokens == LEAST ? 0 : share.slice_tokens == 2 * LEAST ? 1 : 2);
    share.warp_n = threadIdx.x / WARP >> (2 - shift);
    for (int h = 0; h < 2; h++) {
        const uint32_t i = tile_query_of_row(tile, lane_row(warps_m, h));
        share.query[h] = i < tile.num_queries ? i : tile.num_queries - 1u;
    }
    return share;
}

/* The first token of this warp's first slice. The slices of a task, counted through all of its tiles, go to the warps
 * in turn. */
static __device__ __forceinline__ uint32_t first_token(const tile_share &share, const queue_tile &tile)
{
    return ((share.warp_n - tile.number * share.num_slices) & (share.warps_n - 1)) * share.slice_tokens;
}

/* ---- a tile ---- */

/* Absorbs a slice of num_tokens <= TOKENS tokens, computed as 16, 32 or 64: the fewest that hold them. masks: of its
 * tokens, if the tile is masked. */
template <int HEAD_DIM, typename T, int TOKENS>
static __device__ __forceinline__ void absorb_slice(tile_state<HEAD_DIM> &state, const uint32_t q[HEAD_DIM / 16][4],
                                                    const tile_share &share, const char *keys, const char *values,
                                                    bool is_masked, const uint64_t *masks, uint32_t num_tokens,
                                                    float scale)
{
    if (TOKENS > SLICE_TOKENS && num_tokens <= TOKENS / 2) {
        absorb_slice<HEAD_DIM, T, (TOKENS > SLICE_TOKENS ? TOKENS / 2 : TOKENS)>(state, q, share, keys, values,
                                                                                 is_masked, masks, num_tokens, scale);
        return;
    }
    const uint32_t visible = is_masked ? tile_visible<TOKENS>(masks, (int)num_tokens, share.query)
                                       : tile_first_tokens<TOKENS>((int)num_tokens);
    tile_absorb<HEAD_DIM, T, TOKENS>(state, q, keys, values, visible, scale);
}

/* Absorbs this warp's slices of a tile. kv: K and V of the tile. masks: of its tokens, if it is masked. */
template <int HEAD_DIM, typename T>
static __device__ __forceinline__ void absorb_tile(tile_state<HEAD_DIM> &state, const uint32_t q[HEAD_DIM / 16][4],
                                                   const tile_share &share, const queue_tile &tile,
                                                   const char kv[2][TILE_BYTES], const uint64_t *masks, float scale)
{
    const uint32_t stride = share.warps_n * share.slice_tokens;
    for (uint32_t first = first_token(share, tile); first < tile.num_tokens; first += stride) {
        const uint32_t offset = first * PANEL_ROW, left = tile.num_tokens - first;
        absorb_slice<HEAD_DIM, T, worker_tile<HEAD_DIM>::MAX_SLICE>(
            state, q, share, kv[0] + offset, kv[1] + offset, tile.first_mask != QUEUE_NO_MASK, masks + first,
            left < share.slice_tokens ? left : share.slice_tokens, scale);
    }
}

/* ---- from the states of the warps to partial states ---- */

/* Where a row's o is written, and the factor that scales it. The target is the row's partial state or, if the query has
 * no other state, out. */
struct row_target {
    uint32_t index; /* of the row in out or in o */
    bool is_result;
    float factor;
};

/* Eviction has arguments, and a function of this name, of its own (worker_scores.cuh). */
static __device__ __forceinline__ void keep_state(const attention_arguments &, uint32_t, uint32_t, float, float) {}

/* writes_rest: this thread also writes m and l of the partial state, or lse; one thread of each row does. */
template <typename ARGUMENTS>
static __device__ __forceinline__ row_target find_target(const ARGUMENTS &a, const queue_tile &tile,
                                                         const queue_query *queries, uint32_t row, float m, float l,
                                                         bool writes_rest)
{
    const uint32_t i = tile_query_of_row(tile, row), head = tile.head + row - i * tile.num_heads;
    const queue_query query = queries[i];
    const bool is_result = query.state == QUEUE_ONLY_STATE;
    /* below 2^31: check_arguments */
    const uint32_t index = (is_result ? query.query : query.state) * a.shape.num_heads + head;
    if (writes_rest)
        keep_state(a, tile.first_partial + i, head, m, l);
    m *= LN_2;
    if (writes_rest && !is_result) {
        __stcg(&a.m[index], m);
        __stcg(&a.l[index], l);
    } else if (writes_rest && a.lse) {
        a.lse[index] = m + logf(l);
    }
    return {index, is_result, l == 0 ? 0 : reciprocal_approx(l)};
}

/* A row of partial o in memory: element i at place i. */
struct plain_order {
    /* Writes a lane's elements of a row: o[j][first] and o[j][first + 1] for each j. */
    template <int HEAD_DIM, typename T>
    static __device__ __forceinline__ void write_fragment(T *row, const float o[HEAD_DIM / 8][4], int first,
                                                          float factor)
    {
#pragma unroll
        for (int j = 0; j < HEAD_DIM / 8; j++)
            __stcg((uint32_t *)(row + 8 * j + threadIdx.x % 4 * 2),
                   pack_pair<T>(o[j][first] * factor, o[j][first + 1] * factor));
    }

    /* Writes four neighbouring elements. */
    template <typename T> static __device__ __forceinline__ void write_four(T *row, uint32_t element, float4 x)
    {
        __stcg((uint32_t *)(row + element), pack_pair<T>(x.x, x.y));
        __stcg((uint32_t *)(row + element + 2), pack_pair<T>(x.z, x.w));
    }
};

/* If every warp has its own rows: writes those of queries [first, end) of the task, straight from registers. */
template <int HEAD_DIM, typename T, typename ORDER, typename ARGUMENTS>
static __device__ __forceinline__ void store_own_rows(const ARGUMENTS &a, const queue_tile &tile,
                                                      const queue_query *queries, const tile_state<HEAD_DIM> &state,
                                                      uint32_t first, uint32_t end)
{
    const uint32_t pair = threadIdx.x % 4 * 2;
#pragma unroll
    for (int h = 0; h < 2; h++) {
        const uint32_t row = lane_row(WORKER_WARPS, h);
        if (row < first * tile.num_heads || row >= end * tile.num_heads)
            continue;
        const row_target to = find_target(a, tile, queries, row, state.m[h], state.l[h], pair == 0);
        if (to.is_result) {
            float *result = a.out + (uint64_t)to.index * HEAD_DIM + pair;
#pragma unroll
            for (int j = 0; j < HEAD_DIM / 8; j++)
                __stcg((float2 *)(result + 8 * j),
                       make_float2(state.o[j][2 * h] * to.factor, state.o[j][2 * h + 1] * to.factor));
        } else {
            ORDER::template write_fragment<HEAD_DIM>((T *)a.o + (uint64_t)to.index * HEAD_DIM, state.o, 2 * h,
                                                     to.factor);
        }
    }
}

/* Place in the buffer of one element of a warp's o; each warp has 8 rows x COLUMNS columns there. Swizzled: column c of
 * a row lies at c ^ row % 4 * 8, so that the lanes of a warp write to different banks. */
template <int COLUMNS>
static __device__ __forceinline__ float *meeting_place(char *buffer, uint32_t warp, uint32_t row, uint32_t column)
{
    return (float *)buffer + (warp * 8 + row) * COLUMNS + (column ^ row % 4 * 8);
}

/* If warps w, w + warps_m, ... share rows: merges their states through buffer, 8 rows of each warp at a time, and
 * writes them. */
template <int HEAD_DIM, typename T, typename ORDER, typename ARGUMENTS>
static __device__ __forceinline__ void store_shared_rows(const ARGUMENTS &a, worker_shared &shared,
                                                         const queue_tile &tile, const queue_query *queries,
                                                         const tile_state<HEAD_DIM> &state, uint32_t warps_m,
                                                         char *buffer, uint32_t first, uint32_t end)
{
    enum { COLUMNS = HEAD_DIM < 128 ? HEAD_DIM : 128, QUADS = COLUMNS / 4, AT_ONCE = WORKER_THREADS / QUADS };
    const uint32_t warp = threadIdx.x / WARP, lane = threadIdx.x % WARP;
    const uint32_t column = threadIdx.x % QUADS * 4, num_rows = tile_rows(tile);
#pragma unroll
    for (int pass = 0; pass < 2 * HEAD_DIM / COLUMNS; pass++) {
        const int h = pass % 2, first_column = pass / 2 * COLUMNS;
        if (8u * h >= num_rows)
            continue;
        __syncthreads(); /* the buffer is free */
        if (lane % 4 == 0) {
            shared.m[warp][lane / 4] = state.m[h];
            shared.l[warp][lane / 4] = state.l[h];
        }
#pragma unroll
        for (int j = 0; j < COLUMNS / 8; j++) {
            const float *o = state.o[first_column / 8 + j] + 2 * h;
            *(float2 *)meeting_place<COLUMNS>(buffer, warp, lane / 4, 8 * j + lane % 4 * 2) = make_float2(o[0], o[1]);
        }
        __syncthreads();
        for (uint32_t i = threadIdx.x / QUADS; i < 8 * warps_m; i += AT_ONCE) {
            const uint32_t row = i / 8 * WARP_ROWS + 8 * h + i % 8;
            if (row < first * tile.num_heads || row >= end * tile.num_heads)
                continue;
            float m = -INFINITY, l = 0;
            float4 sum = make_float4(0, 0, 0, 0);
            for (uint32_t w = i / 8; w < WORKER_WARPS; w += warps_m)
                m = fmaxf(m, shared.m[w][i % 8]);
            for (uint32_t w = i / 8; w < WORKER_WARPS; w += warps_m) {
                const float weight = m == -INFINITY ? 0 : exp2_approx(shared.m[w][i % 8] - m);
                const float4 o = *(const float4 *)meeting_place<COLUMNS>(buffer, w, i % 8, column);
                l += weight * shared.l[w][i % 8];
                sum.x += weight * o.x;
                sum.y += weight * o.y;
                sum.z += weight * o.z;
                sum.w += weight * o.w;
            }
            const row_target to = find_target(a, tile, queries, row, m, l, first_column + column == 0);
            sum = make_float4(sum.x * to.factor, sum.y * to.factor, sum.z * to.factor, sum.w * to.factor);
            if (to.is_result)
                __stcg((float4 *)(a.out + (uint64_t)to.index * HEAD_DIM + first_column + column), sum);
            else
                ORDER::write_four((T *)a.o + (uint64_t)to.index * HEAD_DIM, first_column + column, sum);
        }
    }
}

/* Writes the rows of the queries [first, end) of the task. buffer: 16 KB that nothing else uses until the next
 * barrier. */
template <int HEAD_DIM, typename T, typename ORDER, typename ARGUMENTS>
static __device__ __forceinline__ void store_rows(const ARGUMENTS &a, worker_shared &shared,
                                                  const queue_tile &tile, const queue_query *queries,
                                                  tile_state<HEAD_DIM> &state, uint32_t warps_m, char *buffer,
                                                  uint32_t first, uint32_t end)
{
    tile_sum_rows<HEAD_DIM>(state);
    if (warps_m == WORKER_WARPS)
        store_own_rows<HEAD_DIM, T, ORDER>(a, tile, queries, state, first, end);
    else
        store_shared_rows<HEAD_DIM, T, ORDER>(a, shared, tile, queries, state, warps_m, buffer, first, end);
}

#endif
