/* merge partial states: a query's states, in the order of its list, become out and lse. Steps 0 to 6 launch it as a
 * second kernel; from step 7 on, the kernel that makes the states calls merge_share itself.
 *   threads one warp for each query and head (or four heads), up to 32 states at once: lane i weighs state i,
 *           exp(m - largest m); then they are added one after the other, lane i having the elements 2 i, 2 i + 1 of
 *           each 64 */
#ifndef MERGE_CUH
#define MERGE_CUH

#include "device.cuh"

#include <math.h>

#include "gpu_internal.h"

enum { MERGE_WARP = 32, MERGE_WARPS = 4, MERGE_FEW = 4 };
#define MERGE_ALL_LANES 0xffffffffu

/* By one warp: HEADS query heads from `head` on; states ids[0 .. count), or without ids first, first + 1, ... Read past
 * L1, which may hold what another launch left there. */
template <int HEAD_DIM, int HEADS>
static __device__ __forceinline__ void merge_heads(const attention_arguments &a, uint32_t query, uint32_t head,
                                                   uint32_t first, uint32_t count, const uint32_t *ids)
{
    enum { PAIRS = HEAD_DIM / MERGE_WARP / 2, STATES = MERGE_WARP / HEADS };
    const uint32_t lane = threadIdx.x % MERGE_WARP, num_heads = a.shape.num_heads;
    float m = -INFINITY, l = 0; /* of head lane % HEADS */
    float2 o[HEADS][PAIRS] = {};
    for (uint32_t done = 0; done < count; done += STATES) {
        /* lane i * HEADS + h weighs state i of head h */
        uint32_t left = count - done < STATES ? count - done : (uint32_t)STATES, my = lane / HEADS;
        uint32_t id = my >= left ? 0 : ids ? ids[done + my] : first + done + my;
        uint64_t place = (uint64_t)id * num_heads + head + lane % HEADS;
        float my_m = my < left ? __ldcg(&a.m[place]) : -INFINITY, my_l = my < left ? __ldcg(&a.l[place]) : 0;
        float new_m = my_m;
        for (int distance = HEADS; distance < MERGE_WARP; distance *= 2)
            new_m = fmaxf(new_m, __shfl_xor_sync(MERGE_ALL_LANES, new_m, distance));
        new_m = fmaxf(new_m, m);
        float base = new_m == -INFINITY ? 0 : new_m, rescale = expf(m - base), weight = expf(my_m - base);
        float sum = my_l * weight;
        for (int distance = HEADS; distance < MERGE_WARP; distance *= 2)
            sum += __shfl_xor_sync(MERGE_ALL_LANES, sum, distance);
        m = new_m;
        l = l * rescale + sum;
#pragma unroll
        for (int h = 0; h < HEADS; h++) {
            float factor = __shfl_sync(MERGE_ALL_LANES, rescale, h);
#pragma unroll
            for (int j = 0; j < PAIRS; j++)
                o[h][j] = make_float2(o[h][j].x * factor, o[h][j].y * factor);
        }
        /* every lane has some elements of all o */
#pragma unroll(8 / HEADS)
        for (uint32_t i = 0; i < left; i++) {
            uint64_t state = (uint64_t)__shfl_sync(MERGE_ALL_LANES, id, i * HEADS) * num_heads + head;
#pragma unroll
            for (int h = 0; h < HEADS; h++) {
                float factor = __shfl_sync(MERGE_ALL_LANES, weight, i * HEADS + h);
#pragma unroll
                for (int j = 0; j < PAIRS; j++) {
                    float2 part = __ldcg((const float2 *)(a.o + (state + h) * HEAD_DIM) + j * MERGE_WARP + lane);
                    o[h][j].x += factor * part.x;
                    o[h][j].y += factor * part.y;
                }
            }
        }
    }

    /* normalize */
    uint64_t qh = (uint64_t)query * num_heads + head;
    float scale = l == 0 ? 0 : 1 / l;
#pragma unroll
    for (int h = 0; h < HEADS; h++) {
        float factor = __shfl_sync(MERGE_ALL_LANES, scale, h);
        for (int j = 0; j < PAIRS; j++)
            *((float2 *)(a.out + (qh + h) * HEAD_DIM) + j * MERGE_WARP + lane) =
                make_float2(o[h][j].x * factor, o[h][j].y * factor);
    }
    if (a.lse && lane < HEADS)
        a.lse[qh + lane] = m + logf(l);
}

/* Warp n of `num_warps` takes its share of the queries and heads. Few states: four heads at once, so that a warp asks
 * for much at a time. QUEUED: states lie where the queue has put them, and queries with
 * one state have their result already. */
template <int HEAD_DIM, bool QUEUED>
static __device__ __forceinline__ void merge_share(const attention_arguments &a, uint32_t n, uint32_t num_warps)
{
    const uint32_t num_queries = a.plan.num_queries, num_heads = a.shape.num_heads;
    for (uint64_t i = n; i < (uint64_t)num_queries * num_heads; i += num_warps) {
        uint32_t query = (uint32_t)(i % num_queries), head = (uint32_t)(i / num_queries);
        uint32_t first = __ldg(&a.plan.merge_first[query]), count = __ldg(&a.plan.merge_first[query + 1]) - first;
        const uint32_t *ids = QUEUED ? NULL : a.plan.merge_partials + first;
        bool by_four = count <= MERGE_FEW && head / 4 * 4 + 4 <= num_heads;
        if (QUEUED && count == 1)
            continue;
        if (!by_four)
            merge_heads<HEAD_DIM, 1>(a, query, head, first, count, ids);
        else if (head % 4 == 0)
            merge_heads<HEAD_DIM, 4>(a, query, head, first, count, ids);
    }
}

template <int HEAD_DIM, bool QUEUED> static __global__ void merge(attention_arguments a)
{
    uint32_t warps = blockDim.x / MERGE_WARP;
    merge_share<HEAD_DIM, QUEUED>(a, blockIdx.x * warps + threadIdx.x / MERGE_WARP, gridDim.x * warps);
}

template <int HEAD_DIM, bool QUEUED = false>
static cudaError_t launch_merge(const attention_arguments &a, cudaStream_t stream)
{
    uint64_t num_warps = (uint64_t)a.plan.num_queries * a.shape.num_heads;
    return launch_kernel((uint32_t)((num_warps + MERGE_WARPS - 1) / MERGE_WARPS), MERGE_WARPS * MERGE_WARP, 0, stream,
                         merge<HEAD_DIM, QUEUED>, a);
}

#endif
