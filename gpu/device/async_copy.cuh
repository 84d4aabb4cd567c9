/* Asynchronous copies from global to shared memory (cp.async). Explained by step 5. */
#ifndef ASYNC_COPY_CUH
#define ASYNC_COPY_CUH

#include "device.cuh"

#ifndef TREEATTN_EMULATE /* emulate.h has the same functions */

/* An address in shared memory, as the instructions take it: half as long as a pointer. */
typedef uint32_t shared_at;

static __device__ __forceinline__ shared_at shared_address(const void *shared)
{
    return (shared_at)__cvta_generic_to_shared(shared);
}

/* Starts a copy of 16 bytes that bypasses registers and L1. If not valid, it writes zeros and reads nothing. The bytes
 * are visible to this thread after cp_async_wait, to its thread block after the next barrier. */
static __device__ __forceinline__ void cp_async_16(void *shared, const void *global, bool valid)
{
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(shared_address(shared)), "l"(global),
                 "r"(valid ? 16 : 0)
                 : "memory");
}

/* As cp_async_16, for 4, 8 or 16 bytes, aligned to their size; 4 and 8 go through L1. */
template <int BYTES> static __device__ __forceinline__ void cp_async(void *shared, const void *global)
{
    if (BYTES == 16)
        cp_async_16(shared, global, true);
    else
        asm volatile("cp.async.ca.shared.global [%0], [%1], %2;" ::"r"(shared_address(shared)), "l"(global), "n"(BYTES)
                     : "memory");
}

/* Commits a group: all copies that this thread has started since the previous commit. */
static __device__ __forceinline__ void cp_async_commit() { asm volatile("cp.async.commit_group;" ::: "memory"); }

/* Waits until all groups but the N most recent have landed. */
template <int N> static __device__ __forceinline__ void cp_async_wait()
{
    asm volatile("cp.async.wait_group %0;" ::"n"(N) : "memory");
}

/* base + index * bytes in one instruction. bytes must not be a compile-time constant: the compiler would split the
 * multiplication into several instructions. */
static __device__ __forceinline__ const char *address_at(const char *base, uint32_t index, uint32_t bytes)
{
    const char *address;
    asm("mad.wide.u32 %0, %1, %2, %3;" : "=l"(address) : "r"(index), "r"(bytes), "l"(base));
    return address;
}

#endif
#endif
