/* Asynchronous copies from global to shared memory: from step 5. */
#ifndef ASYNC_COPY_CUH
#define ASYNC_COPY_CUH

#include "device.cuh"

#ifndef TREEATTN_EMULATE /* emulate.h has the same functions */

/* Where something is in shared memory: half as long as a pointer, and what the instructions below take. */
typedef uint32_t shared_at;

static __device__ __forceinline__ shared_at shared_address(const void *shared)
{
    return (shared_at)__cvta_generic_to_shared(shared);
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

/* Closes a group of copies. */
static __device__ __forceinline__ void cp_async_commit() { asm volatile("cp.async.commit_group;" ::: "memory"); }

/* Waits until all but the last N groups have arrived. */
template <int N> static __device__ __forceinline__ void cp_async_wait()
{
    asm volatile("cp.async.wait_group %0;" ::"n"(N) : "memory");
}

/* base + index * bytes, in one instruction, if bytes is no constant: else the compiler shifts, multiplies and adds. */
static __device__ __forceinline__ const char *address_at(const char *base, uint32_t index, uint32_t bytes)
{
    const char *address;
    asm("mad.wide.u32 %0, %1, %2, %3;" : "=l"(address) : "r"(index), "r"(bytes), "l"(base));
    return address;
}

#endif
#endif
