/* How a worker begins and ends a task: which rows each warp has, their queries, and what becomes of their states.
 * Explained by step 6.
 *
 * The rows of a task (queries x query heads) decide how its warps share a tile of 64 tokens (head_dim 128),
 * warps_m x warps_n = 4:
 *
 *     rows <= 16   1 x 4   every warp has the same 16 rows and a slice of 16 tokens
 *     rows <= 32   2 x 2   warp w has rows 16 * (w % 2) .. and a slice of 32 tokens
 *     rows <= 64   4 x 1   every warp has its own 16 rows and all 64 tokens
 *
 * A step with OWN_ROWS has 4 x 1 always. */
#ifndef WORKER_TASK_CUH
#define WORKER_TASK_CUH

#include "merge_ahead.cuh"
#include "worker_copy.cuh"

/* ---- a task's rows ---- */

static __device__ __forceinline__ uint32_t tile_rows(const queue_tile &tile) { return tile.num_queries * tile.num_heads; }

/* The query of a row, as a row of the task. */
static __device__ __forceinline__ uint32_t tile_query_row(const queue_tile &tile, uint32_t row)
{
    return row * tile.reciprocal >> 15;
}

template <bool OWN_ROWS> static __device__ __forceinline__ uint32_t worker_warps_m(const queue_tile &tile)
{
    uint32_t rows = tile_rows(tile);
    return OWN_ROWS || rows > 32 ? 4 : rows > 16 ? 2 : 1;
}

/* The tile's row that is this lane's first (h = 0) or second (h = 1). */
static __device__ __forceinline__ uint32_t worker_row(uint32_t warps_m, uint32_t h)
{
    return threadIdx.x / TILE_WARP % warps_m * SLICE_ROWS + threadIdx.x % TILE_WARP / 4 + 8 * h;
}

/* Asks for this lane's queries of a task. */
template <int HEAD_DIM, bool OWN_ROWS>
static __device__ __forceinline__ void worker_load_queries(const attention_arguments &a, const queue_tile &tile,
                                                           const queue_query *rows, tile_floats<HEAD_DIM> &x)
{
    uint32_t num_rows = tile_rows(tile), warps_m = worker_warps_m<OWN_ROWS>(tile);
    const float *from[2] = {NULL, NULL};
#pragma unroll
    for (int h = 0; h < 2; h++) {
        uint32_t row = worker_row(warps_m, h), query_row = tile_query_row(tile, row);
        if (row < num_rows) {
            uint64_t head = tile.head + row - query_row * tile.num_heads;
            from[h] = a.query + ((uint64_t)rows[query_row].query * a.shape.num_heads + head) * HEAD_DIM;
        }
    }
    tile_load<HEAD_DIM>(x, from[0], from[1]);
}

/* What this warp does of each tile of a task. */
struct worker_part {
    uint32_t warps_n, slice; /* warps that share the tokens; tokens of a slice */
    uint32_t warp, slices;   /* its number of warps_n; slices of a tile */
    uint32_t row[2];         /* query rows of the lane's rows; where those are none, the last one */
    uint64_t rows;           /* bit r: some of its rows are of query row r */
};

template <int HEAD_DIM, bool OWN_ROWS>
static __device__ __forceinline__ worker_part worker_find_part(const queue_tile &tile)
{
    enum { TOKENS = worker_tile<HEAD_DIM>::TOKENS, LEAST = SLICE_TOKENS, MOST = worker_tile<HEAD_DIM>::MAX_SLICE };
    worker_part part;
    uint32_t warps_m = worker_warps_m<OWN_ROWS>(tile), shift = warps_m == 4 ? 0 : 3 - warps_m;
    uint32_t share = TOKENS >> shift, first_row = threadIdx.x / TILE_WARP % warps_m * SLICE_ROWS;
    part.warps_n = 1 << shift;
    part.slice = share < LEAST ? (uint32_t)LEAST : share < MOST ? share : (uint32_t)MOST;
    part.slices = TOKENS / LEAST >> (part.slice == LEAST ? 0 : part.slice == 2 * LEAST ? 1 : 2);
    part.warp = threadIdx.x / TILE_WARP >> (2 - shift);
    for (int h = 0; h < 2; h++) {
        uint32_t row = tile_query_row(tile, worker_row(warps_m, h));
        part.row[h] = row < tile.num_queries ? row : tile.num_queries - 1u;
    }
    uint32_t first = tile_query_row(tile, first_row), last = tile_query_row(tile, first_row + SLICE_ROWS - 1);
    part.rows = first < 64 ? UINT64_MAX << first : 0;
    part.rows &= last < 63 ? ((uint64_t)2 << last) - 1 : UINT64_MAX;
    return part;
}

/* The first token of its first slice of a tile; those of the others are warps_n slices further on. */
static __device__ __forceinline__ uint32_t worker_first_token(const worker_part &part, const queue_tile &tile)
{
    return ((part.warp - tile.number * part.slices) & (part.warps_n - 1)) * part.slice;
}

/* ---- from the states of the warps to partial states ---- */

/* Where the sum of a row goes, and by what it is multiplied: a partial state; or out, where this is the query's only
 * state. One of the row's threads writes the rest of the state, or lse. */
struct worker_target {
    uint32_t place; /* row of out or of o */
    bool is_result;
    float reciprocal;
};

static __device__ __forceinline__ worker_target worker_find_target(const attention_arguments &a, const queue_tile &tile,
                                                                   const queue_query *rows, uint32_t row, float m,
                                                                   float l, bool writes_rest)
{
    uint32_t query_row = tile_query_row(tile, row), head = tile.head + row - query_row * tile.num_heads;
    queue_query at = rows[query_row];
    bool is_result = at.state == QUEUE_ONLY_STATE;
    uint32_t place = (is_result ? at.query : at.state) * a.shape.num_heads + head; /* below 2^31: steps.cu */
    m *= LN_2;
    if (writes_rest && !is_result) {
        __stcg(&a.m[place], m);
        __stcg(&a.l[place], l);
    } else if (writes_rest && a.lse)
        a.lse[place] = m + logf(l);
    return {place, is_result, l == 0 ? 0 : reciprocal_approx(l)};
}

/* Every warp has rows of its own: straight from the registers, those that belong to the queries [first, end). */
template <int HEAD_DIM, typename T>
static __device__ __forceinline__ void worker_store_own(const attention_arguments &a, const queue_tile &tile,
                                                        const queue_query *rows, const tile_state<HEAD_DIM> &state,
                                                        uint32_t first, uint32_t end)
{
    uint32_t pair = threadIdx.x % 4 * 2;
#pragma unroll
    for (int h = 0; h < 2; h++) {
        uint32_t row = worker_row(WORKER_WARPS, h);
        if (row < first * tile.num_heads || row >= end * tile.num_heads)
            continue;
        worker_target to = worker_find_target(a, tile, rows, row, state.m[h], state.l[h], pair == 0);
        float *result = a.out + (uint64_t)to.place * HEAD_DIM + pair;
        T *partial = (T *)a.o + (uint64_t)to.place * HEAD_DIM + merge_turned(pair);
        if (to.is_result) {
#pragma unroll
            for (int j = 0; j < HEAD_DIM / 8; j++)
                __stcg((float2 *)(result + 8 * j),
                       make_float2(state.o[j][2 * h] * to.reciprocal, state.o[j][2 * h + 1] * to.reciprocal));
        } else {
#pragma unroll
            for (int j = 0; j < HEAD_DIM / 8; j += 4) {
                uint32_t x[4];
#pragma unroll
                for (int i = 0; i < 4; i++)
                    x[i] = pack_pair<T>(state.o[j + i][2 * h] * to.reciprocal, state.o[j + i][2 * h + 1] * to.reciprocal);
                __stcg((uint4 *)(partial + 8 * j), make_uint4(x[0], x[1], x[2], x[3]));
            }
        }
    }
}

/* Where warps leave COLUMNS columns of o of 8 rows; columns are turned by 8 for each row, so that the lanes of a warp
 * write to different banks. */
template <int COLUMNS>
static __device__ __forceinline__ float *worker_column(char *buffer, uint32_t warp, uint32_t row, uint32_t column)
{
    return (float *)buffer + (warp * 8 + row) * COLUMNS + (column ^ row % 4 * 8);
}

/* Warps w, w + warps_m, ... have states of the same rows: they meet in `buffer`, 8 rows of each warp at a time. */
template <int HEAD_DIM, typename T>
static __device__ __forceinline__ void worker_store_shared(const attention_arguments &a, worker_shared &shared,
                                                           const queue_tile &tile, const queue_query *rows,
                                                           const tile_state<HEAD_DIM> &state, char *buffer,
                                                           uint32_t first, uint32_t end)
{
    enum { COLUMNS = HEAD_DIM < 128 ? HEAD_DIM : 128, QUADS = COLUMNS / 4, AT_ONCE = WORKER_THREADS / QUADS };
    uint32_t warp = threadIdx.x / TILE_WARP, lane = threadIdx.x % TILE_WARP, warps_m = worker_warps_m<false>(tile);
    uint32_t column = threadIdx.x % QUADS * 4, num_rows = tile_rows(tile);
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
            *(float2 *)worker_column<COLUMNS>(buffer, warp, lane / 4, 8 * j + lane % 4 * 2) = make_float2(o[0], o[1]);
        }
        __syncthreads();
        for (uint32_t i = threadIdx.x / QUADS; i < 8 * warps_m; i += AT_ONCE) {
            uint32_t row = i / 8 * SLICE_ROWS + 8 * h + i % 8;
            if (row < first * tile.num_heads || row >= end * tile.num_heads)
                continue;
            float m = -INFINITY, l = 0;
            float4 sum = make_float4(0, 0, 0, 0);
            for (uint32_t w = i / 8; w < WORKER_WARPS; w += warps_m)
                m = fmaxf(m, shared.m[w][i % 8]);
            for (uint32_t w = i / 8; w < WORKER_WARPS; w += warps_m) {
                float weight = m == -INFINITY ? 0 : exp2_approx(shared.m[w][i % 8] - m);
                float4 o = *(const float4 *)worker_column<COLUMNS>(buffer, w, i % 8, column);
                l += weight * shared.l[w][i % 8];
                sum.x += weight * o.x;
                sum.y += weight * o.y;
                sum.z += weight * o.z;
                sum.w += weight * o.w;
            }
            worker_target to = worker_find_target(a, tile, rows, row, m, l, first_column + column == 0);
            const uint32_t element = first_column + column;
            sum = make_float4(sum.x * to.reciprocal, sum.y * to.reciprocal, sum.z * to.reciprocal, sum.w * to.reciprocal);
            if (to.is_result) {
                __stcg((float4 *)(a.out + (uint64_t)to.place * HEAD_DIM + element), sum);
            } else {
                T *partial = (T *)a.o + (uint64_t)to.place * HEAD_DIM;
                __stcg((uint32_t *)(partial + merge_turned(element)), pack_pair<T>(sum.x, sum.y));
                __stcg((uint32_t *)(partial + merge_turned(element + 2)), pack_pair<T>(sum.z, sum.w));
            }
        }
    }
}

/* Writes the rows of the queries [first, end) of the task. buffer: 16 KB that nobody else uses until the next
 * barrier. */
template <int HEAD_DIM, typename T, bool OWN_ROWS>
static __device__ __forceinline__ void worker_store(const attention_arguments &a, worker_shared &shared,
                                                    const queue_tile &tile, const queue_query *rows,
                                                    tile_state<HEAD_DIM> &state, char *buffer, uint32_t first,
                                                    uint32_t end)
{
    tile_sum_rows<HEAD_DIM>(state);
    if (worker_warps_m<OWN_ROWS>(tile) == WORKER_WARPS)
        worker_store_own<HEAD_DIM, T>(a, tile, rows, state, first, end);
    else
        worker_store_shared<HEAD_DIM, T>(a, shared, tile, rows, state, buffer, first, end);
}

#endif
