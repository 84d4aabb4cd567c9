/* Instructions that C++ has no words for, one function each: tensor cores, matrix loads, asynchronous copies.
 *
 * mma_16x8x16 multiplies a 16 x 16 matrix A by a 16 x 8 matrix B and adds the product to D. No lane sees a whole
 * matrix. Lane i, with row = i / 4 and pair = 2 * (i % 4), holds two neighbouring elements in each register:
 *
 *      A, 16 rows of M, 16 of K            B, 16 of K, 8 columns of N        D, 16 rows of M, 8 columns of N, float
 *           k: pair     8 + pair                n: row                            n: pair, pair + 1
 *   m: row      a[0]      a[2]         k: pair      b[0]                  m: row      d[0], d[1]
 *      row + 8  a[1]      a[3]            8 + pair  b[1]                     row + 8  d[2], d[3]
 *
 * The D of one product has the place of half an A of the next one: that is why the weights of tokens, a result, can
 * become the left side of weights x values without leaving their lane. */
#ifndef MMA_CUH
#define MMA_CUH

#include "device.cuh"
#include "storage.cuh"

#define LOG2_E 1.44269504088896341f /* for exp2_approx */

#ifndef TREEATTN_EMULATE /* emulate.h has the same functions */

template <typename T> __device__ void mma_16x8x16(float d[4], const uint32_t a[4], const uint32_t b[2]);

template <> __device__ __forceinline__ void mma_16x8x16<__half>(float d[4], const uint32_t a[4], const uint32_t b[2])
{
    asm("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

template <>
__device__ __forceinline__ void mma_16x8x16<__nv_bfloat16>(float d[4], const uint32_t a[4], const uint32_t b[2])
{
    asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

/* Where something is in shared memory: half as long as a pointer, and what the instructions below take. */
typedef uint32_t shared_at;

static __device__ __forceinline__ shared_at shared_address(const void *shared)
{
    return (shared_at)__cvta_generic_to_shared(shared);
}

/* Four 8 x 8 matrices of 2-byte elements from shared memory. Lanes 0-7 say where the rows of the first one are, 8-15
 * those of the second one, and so on: 16 bytes each, aligned. Lane i gets elements pair and pair + 1 of row i / 4 of
 * matrix j in r[j]; transposed: of column i / 4. */
static __device__ __forceinline__ void ldmatrix_x4(uint32_t r[4], shared_at row)
{
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(row));
}

static __device__ __forceinline__ void ldmatrix_x4_trans(uint32_t r[4], shared_at row)
{
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(row));
}

/* Starts a copy of 16 bytes from global to shared memory, past the registers; zeros if not valid, and nothing is read
 * then. It is there for this thread once cp_async_wait says so, for the block after the next barrier. */
static __device__ __forceinline__ void cp_async_16(void *shared, const void *global, bool valid)
{
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(shared_address(shared)), "l"(global),
                 "r"(valid ? 16 : 0)
                 : "memory");
}

/* The same for 4, 8 or 16 bytes, aligned to their size. */
template <int BYTES> static __device__ __forceinline__ void cp_async(void *shared, const void *global)
{
    if (BYTES == 16)
        cp_async_16(shared, global, true);
    else
        asm volatile("cp.async.ca.shared.global [%0], [%1], %2;" ::"r"(shared_address(shared)), "l"(global), "n"(BYTES)
                     : "memory");
}

/* base + index * bytes, in one instruction, if bytes is no constant: else the compiler shifts, multiplies and adds. */
static __device__ __forceinline__ const char *address_at(const char *base, uint32_t index, uint32_t bytes)
{
    const char *address;
    asm("mad.wide.u32 %0, %1, %2, %3;" : "=l"(address) : "r"(index), "r"(bytes), "l"(base));
    return address;
}

/* Closes a group of copies. */
static __device__ __forceinline__ void cp_async_commit() { asm volatile("cp.async.commit_group;" ::: "memory"); }

/* Waits until all but the last N groups have arrived. */
template <int N> static __device__ __forceinline__ void cp_async_wait()
{
    asm volatile("cp.async.wait_group %0;" ::"n"(N) : "memory");
}

/* What others wrote before they changed *counter can be read afterwards. */
static __device__ __forceinline__ uint32_t load_acquire(const uint32_t *counter)
{
    uint32_t value;
    asm volatile("ld.acquire.gpu.global.u32 %0, [%1];" : "=r"(value) : "l"(counter) : "memory");
    return value;
}

/* Counts up to `last`, and from there to 0. What was written before is there for who counts later; what those wrote who
 * counted before can be read afterwards. Returns the count before. */
static __device__ __forceinline__ uint32_t count_arrival(uint32_t *counter, uint32_t last)
{
    uint32_t before;
    asm volatile("atom.acq_rel.gpu.global.inc.u32 %0, [%1], %2;" : "=r"(before) : "l"(counter), "r"(last) : "memory");
    return before;
}

/* Lets the stream's next launch begin where there is room for it, if that is LAUNCH_EARLY. */
static __device__ __forceinline__ void begin_next_launch()
{
#if __CUDA_ARCH__ >= 900
    asm volatile("griddepcontrol.launch_dependents;");
#endif
}

/* In a launch that began early: returns when what was launched before has ended, and can be read. */
static __device__ __forceinline__ void wait_for_last_launch()
{
#if __CUDA_ARCH__ >= 900
    asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}

/* 1 / x to within a unit in the last place. */
static __device__ __forceinline__ float reciprocal_approx(float x)
{
    float y;
    asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
}

/* 2^x to within 2 units in the last place; results below 2^-126 are 0. */
static __device__ __forceinline__ float exp2_approx(float x)
{
    float y;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
}

#endif
#endif
