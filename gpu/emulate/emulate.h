/* emulate: the source of the kernels, compiled for the host: no GPU and no CUDA, but sanitizers and gdb.
 *
 *   how     a fiber for each CUDA thread. A lane runs until an operation needs its whole warp, a warp until a barrier
 *           needs its thread block; the order of lanes and warps is drawn from emulate_seed. Thread blocks run one
 *           after the other, those of a cluster or a cooperative launch interleaved
 *   finds   barriers and warp operations at which some thread never arrives; waits that never end; results that depend
 *           on the order of warps (one warp runs from barrier to barrier while the others stand still); asynchronous
 *           copies that are started too early or not waited for (each lands at once, or only when it is waited for);
 *           reads of shared memory that no thread has written (NaN when a block starts); with sanitizers, every access
 *           out of bounds or misaligned
 *   price   a thousand times slower than a GPU
 *   limits  one thread runs at a time, so a race within one statement goes unnoticed, and so do caches and missing
 *           fences. The results have other bits than those of a GPU
 *   gdb     break step_3_shared_tile.cu:74 if threadIdx.x == 37 && blockIdx.x == 2
 *
 * A kernel that breaks a rule ends its launch with cudaErrorLaunchFailure; cudaGetErrorString then names the thread,
 * the rule and the line. */
#ifndef EMULATE_H
#define EMULATE_H

#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <functional>

#include <cuda_runtime_api.h>

#include "half.h"

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline
#define __noinline__
#define __launch_bounds__(...)
#define __grid_constant__
#define __align__(bytes) alignas(bytes)

enum { EMULATE_WARP = 32 };

/* ---- types ---- */

struct uint3 {
    uint32_t x, y, z;
};
struct dim3 {
    uint32_t x, y, z;
    dim3(uint32_t size_x = 1, uint32_t size_y = 1, uint32_t size_z = 1) : x(size_x), y(size_y), z(size_z) {}
};
struct alignas(8) float2 {
    float x, y;
};
struct alignas(16) float4 {
    float x, y, z, w;
};
struct alignas(8) uint2 {
    uint32_t x, y;
};
struct alignas(16) uint4 {
    uint32_t x, y, z, w;
};
static inline float2 make_float2(float x, float y) { return {x, y}; }
static inline float4 make_float4(float x, float y, float z, float w) { return {x, y, z, w}; }
static inline uint4 make_uint4(uint32_t x, uint32_t y, uint32_t z, uint32_t w) { return {x, y, z, w}; }

struct __half {
    uint16_t bits;
};
struct __nv_bfloat16 {
    uint16_t bits;
};
struct alignas(4) __half2 {
    __half x, y;
};
struct alignas(4) __nv_bfloat162 {
    __nv_bfloat16 x, y;
};
static inline float __half2float(__half x) { return fp16_to_float(x.bits); }
static inline float __bfloat162float(__nv_bfloat16 x) { return bf16_to_float(x.bits); }
static inline __half __float2half_rn(float x) { return {fp16_from_float(x)}; }
static inline __nv_bfloat16 __float2bfloat16_rn(float x) { return {bf16_from_float(x)}; }
static inline __half2 __floats2half2_rn(float x, float y) { return {{fp16_from_float(x)}, {fp16_from_float(y)}}; }
static inline __nv_bfloat162 __floats2bfloat162_rn(float x, float y)
{
    return {{bf16_from_float(x)}, {bf16_from_float(y)}};
}

/* ---- the running thread ---- */

extern uint3 threadIdx, blockIdx;
extern dim3 blockDim, gridDim;

/* ---- launches and shared memory ---- */

/* together: blocks that run at the same time: 1, those of a cluster, or EMULATE_ALL, a cooperative launch. */
struct emulate_kind {
    uint32_t together;
    bool is_early; /* waits for the previous launch itself */
};
#define EMULATE_ALL UINT32_MAX

/* Runs body(context) as each thread of each block. */
cudaError_t emulate_launch(emulate_kind kind, dim3 grid, dim3 threads, size_t shared_bytes, void (*body)(void *),
                           void *context);

/* Of the running thread's block: the dynamic memory; the nth variable, where this is the thread's nth call. */
void *emulate_dynamic_shared(void);
void *emulate_shared_variable(size_t bytes);

#define SHARED_MEMORY(type, name) type *const name = (type *)emulate_dynamic_shared()
#define SHARED_VARIABLE(name, ...) __VA_ARGS__ &name = *(__VA_ARGS__ *)emulate_shared_variable(sizeof(__VA_ARGS__))

/* Runs the launch, or keeps it for the graph that is being captured. */
cudaError_t emulate_enqueue(const std::function<cudaError_t()> &launch);

template <typename... Parameters, typename... Arguments>
static cudaError_t emulate_enqueue_kernel(emulate_kind kind, dim3 grid, dim3 threads, size_t shared_bytes,
                                          void (*kernel)(Parameters...), Arguments... arguments)
{
    auto thread = [=] { kernel(arguments...); };
    return emulate_enqueue([=] {
        return emulate_launch(kind, grid, threads, shared_bytes,
                              [](void *context) { (*(const decltype(thread) *)context)(); }, (void *)&thread);
    });
}

template <typename... Parameters, typename... Arguments>
static cudaError_t launch_early(bool is_cooperative, dim3 grid, dim3 threads, size_t shared_bytes, cudaStream_t stream,
                                void (*kernel)(Parameters...), Arguments... arguments)
{
    (void)stream;
    return emulate_enqueue_kernel({is_cooperative ? EMULATE_ALL : 1, true}, grid, threads, shared_bytes, kernel,
                                  arguments...);
}

bool emulate_takes_cluster(unsigned size);

template <typename... Parameters, typename... Arguments>
static cudaError_t launch_cluster(unsigned size, dim3 grid, dim3 threads, size_t shared_bytes, cudaStream_t stream,
                                  void (*kernel)(Parameters...), Arguments... arguments)
{
    (void)stream;
    if (!emulate_takes_cluster(size))
        return cudaErrorInvalidClusterSize;
    return emulate_enqueue_kernel({size, true}, grid, threads, shared_bytes, kernel, arguments...);
}

template <typename... Parameters, typename... Arguments>
static cudaError_t launch_cooperative(dim3 grid, dim3 threads, size_t shared_bytes, cudaStream_t stream,
                                      void (*kernel)(Parameters...), Arguments... arguments)
{
    (void)stream;
    return emulate_enqueue_kernel({EMULATE_ALL, false}, grid, threads, shared_bytes, kernel, arguments...);
}

template <typename... Parameters, typename... Arguments>
static cudaError_t launch_kernel(dim3 grid, dim3 threads, size_t shared_bytes, cudaStream_t stream,
                                 void (*kernel)(Parameters...), Arguments... arguments)
{
    (void)stream;
    return emulate_enqueue_kernel({1, false}, grid, threads, shared_bytes, kernel, arguments...);
}

/* ---- operations of a warp or a block ---- */

/* Default arguments: file and line of the call in the kernel. */
#define EMULATE_HERE const char *file = __builtin_FILE(), int line = __builtin_LINE()

/* An operation of a warp: each lane passes a pointer to its part. When all lanes of the mask have arrived, `together`
 * runs once, with NULL for lanes that are not in the mask. */
typedef void emulate_together(void *const part[EMULATE_WARP]);
void emulate_warp(emulate_together *together, void *part, uint32_t mask, const char *name, const char *file, int line);

/* Returns the OR of `mine` over all threads of the block. */
uint32_t emulate_block(uint32_t mine, const char *name, const char *file, int line);

uint32_t emulate_lane(void);

/* Ends the launch; from a kernel or from `together`. */
[[noreturn]] void emulate_fail(const char *file, int line, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

static inline void __syncthreads(EMULATE_HERE) { emulate_block(0, "__syncthreads", file, line); }
static inline int __syncthreads_or(int mine, EMULATE_HERE)
{
    return emulate_block(mine != 0, "__syncthreads_or", file, line) != 0;
}
static inline void __syncwarp(uint32_t mask = 0xffffffff, EMULATE_HERE)
{
    emulate_warp([](void *const *) {}, NULL, mask, "__syncwarp", file, line);
}

template <typename T>
static inline T emulate_shuffle(uint32_t mask, T value, uint32_t from, const char *name, const char *file, int line)
{
    struct exchange {
        T mine, got;
        uint32_t from;
        const char *file;
        int line;
    } part = {value, value, from % EMULATE_WARP, file, line};
    emulate_warp(
        [](void *const *parts) {
            for (int i = 0; i < EMULATE_WARP; i++) {
                exchange *to = (exchange *)parts[i];
                if (!to)
                    continue;
                if (!parts[to->from])
                    emulate_fail(to->file, to->line, "lane %d reads lane %u, which is not in the mask", i, to->from);
                to->got = ((exchange *)parts[to->from])->mine;
            }
        },
        &part, mask, name, file, line);
    return part.got;
}
template <typename T> static inline T __shfl_sync(uint32_t mask, T value, uint32_t from, EMULATE_HERE)
{
    return emulate_shuffle(mask, value, from, "__shfl_sync", file, line);
}
template <typename T> static inline T __shfl_xor_sync(uint32_t mask, T value, uint32_t distance, EMULATE_HERE)
{
    return emulate_shuffle(mask, value, emulate_lane() ^ distance, "__shfl_xor_sync", file, line);
}

uint32_t emulate_ballot(uint32_t mask, bool mine, const char *name, const char *file, int line);
static inline uint32_t __ballot_sync(uint32_t mask, int mine, EMULATE_HERE)
{
    return emulate_ballot(mask, mine != 0, "__ballot_sync", file, line);
}
static inline int __any_sync(uint32_t mask, int mine, EMULATE_HERE)
{
    return emulate_ballot(mask, mine != 0, "__any_sync", file, line) != 0;
}
static inline int __all_sync(uint32_t mask, int mine, EMULATE_HERE)
{
    return emulate_ballot(mask, mine != 0, "__all_sync", file, line) == mask;
}

/* ---- memory and arithmetic: one thread runs at a time, nothing is cached ---- */

static inline void __threadfence() {}
static inline uint32_t atomicAdd(uint32_t *counter, uint32_t value) { return (*counter += value) - value; }
static inline unsigned long long atomicMin(unsigned long long *least, unsigned long long value)
{
    unsigned long long before = *least;
    *least = value < before ? value : before;
    return before;
}
static inline uint32_t atomicInc(uint32_t *counter, uint32_t last)
{
    uint32_t before = *counter;
    *counter = before >= last ? 0 : before + 1;
    return before;
}
template <typename T> static inline T __ldg(const T *from) { return *from; }
template <typename T> static inline T __ldcg(const T *from) { return *from; }
template <typename T> static inline void __stcg(T *to, T value) { *to = value; }
static inline void prefetch_l2(const void *) {}
static inline void store_l2(float *to, float x, float y, uint64_t) { *(float2 *)to = {x, y}; }
static inline void discard_l2(float *line)
{
    for (int i = 0; i < 32; i++)
        line[i] = NAN;
}
static inline uint32_t __byte_perm(uint32_t x, uint32_t y, uint32_t selectors)
{
    const uint64_t bytes = (uint64_t)y << 32 | x;
    uint32_t result = 0;
    for (uint32_t i = 0; i < 4; i++)
        result |= (uint32_t)(bytes >> 8 * (selectors >> 4 * i & 7) & 0xff) << 8 * i;
    return result;
}
static inline int __clz(uint32_t x) { return x ? __builtin_clz(x) : 32; }
static inline int __popc(uint32_t x) { return __builtin_popcount(x); }
static inline int __ffsll(long long x) { return __builtin_ffsll(x); }
static inline float __fmul_rn(float x, float y) { return x * y; }
static inline uint32_t __float2uint_rn(float x) { return (uint32_t)lrintf(x); }
static inline uint32_t __float_as_uint(float x) { return half_bits(x); }
static inline float __uint_as_float(uint32_t bits) { return half_from_bits(bits); }

/* ---- in place of mma.cuh, grid.cuh, early_launch.cuh, async_copy.cuh and swizzle.cuh ---- */

/* 2^x; results below 2^-126 are 0. */
static inline float exp2_approx(float x)
{
    float y = exp2f(x);
    return y < 0x1p-126f ? 0 : y;
}

static inline float reciprocal_approx(float x) { return 1 / x; }

static inline uint32_t count_arrival(uint32_t *counter, uint32_t last) { return atomicInc(counter, last); }

/* Lets other threads run first, so that a loop around this call ends. */
uint32_t load_acquire(const uint32_t *counter, EMULATE_HERE);

/* Emulated launches do not overlap, but for what emulate_previous says. */
static inline void allow_next_launch() {}
void wait_for_previous_launch(EMULATE_HERE);

typedef uintptr_t shared_at;
static inline shared_at shared_address(const void *shared) { return (shared_at)shared; }
void ldmatrix_x4(uint32_t r[4], shared_at row, EMULATE_HERE);
void ldmatrix_x4_trans(uint32_t r[4], shared_at row, EMULATE_HERE);

/* The copy lands at once, or only when the kernel waits for it. */
void emulate_copy(void *shared, const void *global, size_t bytes, bool valid, const char *name, const char *file,
                  int line);
static inline void cp_async_16(void *shared, const void *global, bool valid, EMULATE_HERE)
{
    emulate_copy(shared, global, 16, valid, "cp_async_16", file, line);
}
template <int BYTES> static inline void cp_async(void *shared, const void *global, EMULATE_HERE)
{
    emulate_copy(shared, global, BYTES, true, "cp_async", file, line);
}
static inline const char *address_at(const char *base, uint32_t index, uint32_t bytes)
{
    return base + (uint64_t)index * bytes;
}
void cp_async_commit();
void emulate_wait(uint32_t groups_left);
template <int N> static inline void cp_async_wait() { emulate_wait(N); }

static inline float emulate_float(__half x) { return __half2float(x); }
static inline float emulate_float(__nv_bfloat16 x) { return __bfloat162float(x); }

struct emulate_mma_part {
    float *d;
    const uint32_t *a, *b;
};

/* Each element is rounded once; a GPU rounds differently. */
void emulate_mma(void *const part[EMULATE_WARP], float (*element)(uint32_t pair, int which));

template <typename T> static inline float emulate_element(uint32_t pair, int which)
{
    return emulate_float(T{(uint16_t)(which ? pair >> 16 : pair)});
}

template <typename T> static inline void mma_16x8x16(float d[4], const uint32_t a[4], const uint32_t b[2], EMULATE_HERE)
{
    emulate_mma_part part = {d, a, b};
    emulate_warp([](void *const *parts) { emulate_mma(parts, emulate_element<T>); }, &part, 0xffffffff, "mma_16x8x16",
                 file, line);
}

/* ---- in place of cluster.cuh: a store arrives at once, or only when its receiver waits ---- */

struct cluster_inbox {
    uint64_t missing; /* of the bytes that were announced */
};
uint32_t cluster_rank();
void arrive_at_cluster(EMULATE_HERE);
void wait_for_cluster(EMULATE_HERE);
void open_inbox(cluster_inbox &inbox, uint32_t bytes, EMULATE_HERE);
void wait_for_inbox(cluster_inbox &inbox, EMULATE_HERE);
void emulate_store_to(uint32_t rank, cluster_inbox &inbox, void *to, const void *from, size_t bytes, const char *file,
                      int line);
template <typename T> static inline void store_to(uint32_t rank, cluster_inbox &inbox, T *to, T x, EMULATE_HERE)
{
    emulate_store_to(rank, inbox, to, &x, sizeof x, file, line);
}

/* ---- in place of wgmma.cuh: each product is computed at once, the rows of each warp separately ---- */

static inline void warpgroup_begin() {}
static inline void warpgroup_commit() {}
static inline void warpgroup_wait() {}
static inline void warpgroup_fence() {}
static inline shared_at warp_address(shared_at x) { return x; }

/* A warp's 16 rows of d (+)= left x right, 16 x columns. Each column of right is a row of a panel; is_transposed: each
 * row of right is, in panels of 64 columns. */
struct emulate_warpgroup_part {
    float *d;
    const uint32_t *left;
    shared_at right;
    bool adds, is_transposed;
    uint32_t columns, panels;
    float (*element)(uint32_t pair, int which);
};
void emulate_warpgroup(emulate_warpgroup_part part, const char *name, const char *file, int line);

template <typename T, int TOKENS>
static inline void warpgroup_scores(float d[TOKENS / 2], const uint32_t q[4], shared_at k, bool adds, EMULATE_HERE)
{
    emulate_warpgroup({d, q, k, adds, false, TOKENS, 0, emulate_element<T>}, "warpgroup_scores", file, line);
}
template <typename T, int COLUMNS>
static inline void warpgroup_values(float d[COLUMNS / 2], const uint32_t weights[4], shared_at v, uint32_t panels,
                                    EMULATE_HERE)
{
    emulate_warpgroup({d, weights, v, true, true, COLUMNS, panels, emulate_element<T>}, "warpgroup_values", file, line);
}

#endif
