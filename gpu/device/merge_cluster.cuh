/* merge partial states inside a cluster. First read by step 13.
 *   in a block   each warp leaves its state in shared memory; then the threads add up those of all warps
 *   send         straight on, four elements at a time: block r of the cluster gets head_dim / size elements of o of
 *                each row, and every m and l. Neighbouring threads store to neighbouring addresses: what counts is the
 *                number of packets between multiprocessors
 *   receive      four lanes share four elements of a row: each adds up those of every fourth block, then they exchange
 *                sums. The order is always the same */
#ifndef MERGE_CLUSTER_CUH
#define MERGE_CLUSTER_CUH

#include "cluster.cuh"
#include "slice.cuh"

enum { MAX_CLUSTER = 16 };

/* The rows of a cluster: queries x heads of one KV head, query by query. */
struct cluster_rows {
    uint32_t kv_head, group_size, first, count; /* of all rows of the KV head */

    __device__ __forceinline__ uint32_t query(uint32_t row) const { return (first + row) / group_size; }

    /* Index in out and lse. */
    __device__ __forceinline__ uint64_t index(const attention_arguments &a, uint32_t row) const
    {
        const uint32_t head = kv_head * group_size + (first + row) % group_size;
        return (uint64_t)query(row) * a.shape.num_heads + head;
    }
};

/* Of what blocks exchange, rounded up to powers of two, as logarithms. */
struct cluster_layout {
    uint32_t size, rows, pieces; /* blocks; rows; float4 of a row that a block gets */
};

template <int HEAD_DIM>
static __device__ __forceinline__ cluster_layout find_layout(uint32_t num_rows, uint32_t log_size)
{
    const uint32_t log_dims = HEAD_DIM == 64 ? 6 : HEAD_DIM == 128 ? 7 : 8;
    return {log_size, num_rows <= 1 ? 0u : 32u - __clz(num_rows - 1), log_dims - 2 - log_size};
}

template <int HEAD_DIM, int HALVES, int WARPS> struct cluster_states {
    float2 warp_ml[WARPS][8 * HALVES]; /* m x log2(e) and l */
    float4 o[8 * HALVES * HEAD_DIM / 4]; /* [block][row][piece] */
    float2 ml[MAX_CLUSTER][8 * HALVES];
    cluster_inbox inbox;
};

/* By one thread, before arrive_at_cluster. */
template <int HEAD_DIM, int HALVES, int WARPS>
static __device__ __forceinline__ void merge_expect(cluster_states<HEAD_DIM, HALVES, WARPS> &states, uint32_t num_rows,
                                                    uint32_t log_size)
{
    const uint32_t row_bytes = (HEAD_DIM >> log_size) * sizeof(float) + sizeof(float2);
    open_inbox(states.inbox, num_rows * row_bytes << log_size);
}

/* o: memory of this warp, [rows][HEAD_DIM / 4]. */
template <int HEAD_DIM, int HALVES, int WARPS>
static __device__ __forceinline__ void merge_leave(cluster_states<HEAD_DIM, HALVES, WARPS> &states, float4 *o,
                                                   const slice_state<HEAD_DIM, HALVES> &state, uint32_t num_rows)
{
    const uint32_t lane = threadIdx.x % WARP;
#pragma unroll
    for (int h = 0; h < HALVES; h++) {
        float l = state.l[h];
        l += __shfl_xor_sync(ALL_LANES, l, 1);
        l += __shfl_xor_sync(ALL_LANES, l, 2);
        if (lane % 4 == 0)
            states.warp_ml[threadIdx.x / WARP][lane / 4 + 8 * h] = make_float2(state.m[h], l);
#pragma unroll
        for (int e = 0; e < 2; e++) {
            const uint32_t row = lane % 4 * 2 + e + 8 * h;
#pragma unroll
            for (int i = 0; i < HEAD_DIM / 16; i += 2) {
                const uint32_t piece = (lane / 4 + i / 4 * 8) * 2 + i % 4 / 2;
                if (row < num_rows)
                    o[row * (HEAD_DIM / 4) + piece] = make_float4(state.o[h][i][e], state.o[h][i][2 + e],
                                                                  state.o[h][i + 1][e], state.o[h][i + 1][2 + e]);
            }
        }
    }
}

/* Adds up states, weighed for a common maximum m; what cannot be seen has m = -infinity and o = 0. */
template <int COUNT>
static __device__ __forceinline__ void merge_weigh(float &l, float4 &o, const float2 ml[COUNT],
                                                   const float4 part[COUNT], float m)
{
    const float base = m == -INFINITY ? 0 : m;
#pragma unroll
    for (int i = 0; i < COUNT; i++) {
        const float weight = exp2_approx(ml[i].x - base);
        l += weight * ml[i].y;
        o = make_float4(o.x + weight * part[i].x, o.y + weight * part[i].y, o.z + weight * part[i].z,
                        o.w + weight * part[i].w);
    }
}

/* o [WARPS]: what the warps have left, `warp_bytes` apart. */
template <int HEAD_DIM, int HALVES, int WARPS>
static __device__ __forceinline__ void merge_send(cluster_states<HEAD_DIM, HALVES, WARPS> &states, const char *o,
                                                  uint32_t warp_bytes, uint32_t num_rows, uint32_t log_size)
{
    const cluster_layout n = find_layout<HEAD_DIM>(num_rows, log_size);
    const uint32_t count = 1u << (n.size + n.rows + n.pieces), rank = cluster_rank();
    for (uint32_t i = threadIdx.x; i < count; i += WARPS * WARP) {
        const uint32_t to = i >> (n.rows + n.pieces), row = i >> n.pieces & ((1u << n.rows) - 1);
        const uint32_t in_piece = i & ((1u << n.pieces) - 1), piece = (to << n.pieces) + in_piece;
        if (row >= num_rows)
            continue;
        float2 ml[WARPS];
        float4 part[WARPS];
        float m = -INFINITY, l = 0;
        float4 sum = make_float4(0, 0, 0, 0);
#pragma unroll
        for (int w = 0; w < WARPS; w++) {
            ml[w] = states.warp_ml[w][row];
            part[w] = *(const float4 *)(o + w * warp_bytes + (row * (HEAD_DIM / 4) + piece) * sizeof(float4));
            m = fmaxf(m, ml[w].x);
        }
        merge_weigh<WARPS>(l, sum, ml, part, m);
        const uint32_t within = (row << n.pieces) + in_piece;
        store_to(to, states.inbox, &states.o[(rank << (n.rows + n.pieces)) + within], sum);
        if (in_piece == 0)
            store_to(to, states.inbox, &states.ml[rank][row], make_float2(m, l));
    }
}

/* normalize */
static __device__ __forceinline__ void merge_write(const attention_arguments &a, uint64_t index, uint32_t element,
                                                   float m, float l, float4 o)
{
    const float inverse = l == 0 ? 0 : 1 / l;
    *(float4 *)(a.out + index * a.shape.head_dim + element) =
        make_float4(o.x * inverse, o.y * inverse, o.z * inverse, o.w * inverse);
    if (a.lse && element == 0)
        a.lse[index] = m * LN_2 + logf(l);
}

template <int HEAD_DIM, int HALVES, int WARPS>
static __device__ __forceinline__ void merge_received(const attention_arguments &a,
                                                      cluster_states<HEAD_DIM, HALVES, WARPS> &states,
                                                      const cluster_rows &rows, uint32_t log_size)
{
    enum { SHARE = 4, STATES = MAX_CLUSTER / SHARE };
    const cluster_layout n = find_layout<HEAD_DIM>(rows.count, log_size);
    const uint32_t lane = threadIdx.x % SHARE, num_pieces = rows.count << n.pieces;
    wait_for_inbox(states.inbox);
    /* all lanes of a warp take part in the exchanges: those without a piece take the last one */
    for (uint32_t first = 0; first < num_pieces; first += WARPS * WARP / SHARE) {
        const uint32_t mine = first + threadIdx.x / SHARE, at = mine < num_pieces ? mine : num_pieces - 1;
        const uint32_t row = at >> n.pieces, piece = at & ((1u << n.pieces) - 1);
        float2 ml[STATES];
        float4 part[STATES], o = make_float4(0, 0, 0, 0);
        float m = -INFINITY, l = 0;
#pragma unroll
        for (uint32_t i = 0; i < STATES; i++) {
            const uint32_t block = i * SHARE + lane;
            ml[i] = make_float2(-INFINITY, 0);
            part[i] = o;
            if (block < 1u << n.size) {
                ml[i] = states.ml[block][row];
                part[i] = states.o[(block << (n.rows + n.pieces)) + at];
            }
            m = fmaxf(m, ml[i].x);
        }
#pragma unroll
        for (uint32_t distance = 1; distance < SHARE; distance *= 2)
            m = fmaxf(m, __shfl_xor_sync(ALL_LANES, m, distance));
        merge_weigh<STATES>(l, o, ml, part, m);
#pragma unroll
        for (uint32_t distance = 1; distance < SHARE; distance *= 2) {
            l += __shfl_xor_sync(ALL_LANES, l, distance);
            o.x += __shfl_xor_sync(ALL_LANES, o.x, distance);
            o.y += __shfl_xor_sync(ALL_LANES, o.y, distance);
            o.z += __shfl_xor_sync(ALL_LANES, o.z, distance);
            o.w += __shfl_xor_sync(ALL_LANES, o.w, distance);
        }
        if (lane == 0 && mine < num_pieces)
            merge_write(a, rows.index(a, row), ((cluster_rank() << n.pieces) + piece) * 4, m, l, o);
    }
}

#endif
