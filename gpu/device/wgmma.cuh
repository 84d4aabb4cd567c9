/* wgmma: a warpgroup (4 warps, 128 threads) multiplies 64 rows, which are in its registers, by a matrix that the tensor
 * cores read from shared memory themselves. Needs sm_90a.
 *
 *   begin, products, commit, wait    in this order, by all four warps. From begin to wait the operands in registers
 *                                    belong to the products: nothing may read or write them
 *
 * Warp w has rows 16 * w .. + 15 of the left matrix and of the sum, each lane its fragments of them (mma.cuh). Matrices
 * in shared memory are panels (swizzle.cuh), each of which begins at a multiple of 1024 bytes. Data that cp.async or
 * a store wrote there must be made visible: warpgroup_fence by the threads that wrote it, then a barrier. */
#ifndef WGMMA_CUH
#define WGMMA_CUH

#include "async_copy.cuh"
#include "storage.cuh"

#ifndef TREEATTN_EMULATE /* emulate.h has the same functions */

#ifdef __CUDA_ARCH_FEAT_SM90_ALL
#define WARPGROUP_ASM(...) asm volatile(__VA_ARGS__)
#else
#define WARPGROUP_ASM(...) __trap() /* gpu_has_warpgroups (steps.cu) keeps such GPUs away */
#endif

/* The descriptor of a matrix in shared memory: its address, the bytes from one panel to the next (0 if it lies in one)
 * and from eight rows to the next eight, and the swizzle; see "matrix descriptor" in the PTX manual. */
static __device__ __forceinline__ uint64_t warpgroup_matrix(shared_at at, uint32_t panels)
{
    const uint64_t eight_rows = 1024, swizzle_128 = (uint64_t)1 << 62;
    return (at & 0x3ffff) >> 4 | (uint64_t)(panels >> 4) << 16 | eight_rows >> 4 << 32 | swizzle_128;
}

/* x must be the same in all lanes. The compiler knows this of a shuffle's result alone: without it, the address of each
 * product would have to move from the lanes' registers to those of the warp. */
static __device__ __forceinline__ shared_at warp_address(shared_at x) { return __shfl_sync(ALL_LANES, x, 0); }

static __device__ __forceinline__ void warpgroup_begin() { WARPGROUP_ASM("wgmma.fence.sync.aligned;" ::: "memory"); }

static __device__ __forceinline__ void warpgroup_commit()
{
    WARPGROUP_ASM("wgmma.commit_group.sync.aligned;" ::: "memory");
}

/* Waits until all committed products are done. */
static __device__ __forceinline__ void warpgroup_wait()
{
    WARPGROUP_ASM("wgmma.wait_group.sync.aligned 0;" ::: "memory");
}

static __device__ __forceinline__ void warpgroup_fence()
{
    WARPGROUP_ASM("fence.proxy.async.shared::cta;" ::: "memory");
}

/* d (+)= 64 rows x 16 elements of q, times TOKENS tokens x 16 elements of k: d has TOKENS / 2 registers. !adds: d is
 * overwritten. */
template <typename T, int TOKENS>
static __device__ void warpgroup_scores(float d[TOKENS / 2], const uint32_t q[4], shared_at k, bool adds);

/* d += 64 rows x 16 weights, times 16 tokens x COLUMNS elements of v, 64 in each panel. d has COLUMNS / 2 registers;
 * panels: bytes from one panel to the next. */
template <typename T, int COLUMNS>
static __device__ void warpgroup_values(float d[COLUMNS / 2], const uint32_t weights[4], shared_at v, uint32_t panels);

/* Operands 0 .. N - 1 are d, N .. N + 3 the left matrix, N + 4 the descriptor, N + 5 adds. */
#define REGISTERS_16 "%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15"
#define REGISTERS_32 REGISTERS_16 ",%16,%17,%18,%19,%20,%21,%22,%23,%24,%25,%26,%27,%28,%29,%30,%31"
#define REGISTERS_64 \
    REGISTERS_32 ",%32,%33,%34,%35,%36,%37,%38,%39,%40,%41,%42,%43,%44,%45,%46,%47" \
                 ",%48,%49,%50,%51,%52,%53,%54,%55,%56,%57,%58,%59,%60,%61,%62,%63"
#define REGISTERS_128 \
    REGISTERS_64 ",%64,%65,%66,%67,%68,%69,%70,%71,%72,%73,%74,%75,%76,%77,%78,%79" \
                 ",%80,%81,%82,%83,%84,%85,%86,%87,%88,%89,%90,%91,%92,%93,%94,%95" \
                 ",%96,%97,%98,%99,%100,%101,%102,%103,%104,%105,%106,%107,%108,%109,%110,%111" \
                 ",%112,%113,%114,%115,%116,%117,%118,%119,%120,%121,%122,%123,%124,%125,%126,%127"
#define LEFT_16 "{%16,%17,%18,%19}, %20"
#define LEFT_32 "{%32,%33,%34,%35}, %36"
#define LEFT_64 "{%64,%65,%66,%67}, %68"
#define LEFT_128 "{%128,%129,%130,%131}, %132"
#define ADDS_16 "%21"
#define ADDS_32 "%37"

#define SUMS_4(d, i) "+f"(d[i]), "+f"(d[i + 1]), "+f"(d[i + 2]), "+f"(d[i + 3])
#define SUMS_16(d, i) SUMS_4(d, i), SUMS_4(d, i + 4), SUMS_4(d, i + 8), SUMS_4(d, i + 12)
#define SUMS_32(d, i) SUMS_16(d, i), SUMS_16(d, i + 16)
#define SUMS_64(d, i) SUMS_32(d, i), SUMS_32(d, i + 32)
#define SUMS_128(d, i) SUMS_64(d, i), SUMS_64(d, i + 64)

#define WARPGROUP_SCORES(T, TYPE, TOKENS, NUM) \
    template <> \
    __device__ __forceinline__ void warpgroup_scores<T, TOKENS>(float d[NUM], const uint32_t q[4], shared_at k, \
                                                                bool adds) \
    { \
        WARPGROUP_ASM("{.reg .pred adds; setp.ne.b32 adds, " ADDS_##NUM ", 0;" \
                      "wgmma.mma_async.sync.aligned.m64n" #TOKENS "k16.f32." TYPE "." TYPE " {" REGISTERS_##NUM "}," \
                      LEFT_##NUM ", adds, 1, 1, 0;}" \
                      : SUMS_##NUM(d, 0) \
                      : "r"(q[0]), "r"(q[1]), "r"(q[2]), "r"(q[3]), "l"(warpgroup_matrix(k, 0)), "r"((int)adds)); \
    }

#define WARPGROUP_VALUES(T, TYPE, COLUMNS, NUM) \
    template <> \
    __device__ __forceinline__ void warpgroup_values<T, COLUMNS>(float d[NUM], const uint32_t weights[4], shared_at v, \
                                                                 uint32_t panels) \
    { \
        WARPGROUP_ASM("wgmma.mma_async.sync.aligned.m64n" #COLUMNS "k16.f32." TYPE "." TYPE " {" REGISTERS_##NUM "}," \
                      LEFT_##NUM ", 1, 1, 1, 1;" \
                      : SUMS_##NUM(d, 0) \
                      : "r"(weights[0]), "r"(weights[1]), "r"(weights[2]), "r"(weights[3]), \
                        "l"(warpgroup_matrix(v, panels))); \
    }

#define WARPGROUP_PRODUCTS(T, TYPE) \
    WARPGROUP_SCORES(T, TYPE, 32, 16) \
    WARPGROUP_SCORES(T, TYPE, 64, 32) \
    WARPGROUP_VALUES(T, TYPE, 64, 32) \
    WARPGROUP_VALUES(T, TYPE, 128, 64) \
    WARPGROUP_VALUES(T, TYPE, 256, 128)

WARPGROUP_PRODUCTS(__half, "f16")
WARPGROUP_PRODUCTS(__nv_bfloat16, "bf16")

#endif
#endif
