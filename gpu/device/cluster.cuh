/* Thread blocks of a cluster, which run at the same time and store into each other's shared memory (sm_90): step 13.
 *
 *   open_inbox, arrive      by one thread, with the bytes that all blocks together will store here; by all threads
 *   wait_for_cluster        all blocks have opened their inboxes; until then nothing may be stored
 *   store_to                each store adds its bytes to the inbox that it names
 *   wait_for_inbox          all bytes have arrived, and are visible
 *
 * So no block waits for another one to finish, only for what it needs of it; and a block may end while its stores are
 * under way. */
#ifndef CLUSTER_CUH
#define CLUSTER_CUH

#include "early_launch.cuh"

#ifndef TREEATTN_EMULATE /* emulate.h has the same functions */

/* In shared memory, once for each block. */
struct cluster_inbox {
    uint64_t barrier;
};

#if __CUDA_ARCH__ >= 900
#define CLUSTER_ASM(...) asm volatile(__VA_ARGS__)
#else
#define CLUSTER_ASM(...) __trap() /* steps.cu keeps such GPUs away */
#endif

/* As launch_early, not cooperative; `size` neighbouring blocks are a cluster. More than 8 may be too many for a GPU. */
template <typename... Parameters, typename... Arguments>
static cudaError_t launch_cluster(unsigned size, dim3 grid, dim3 threads, size_t shared_bytes, cudaStream_t stream,
                                  void (*kernel)(Parameters...), Arguments... arguments)
{
    cudaLaunchAttribute attributes[2] = {};
    attributes[0].id = cudaLaunchAttributeClusterDimension;
    attributes[0].val.clusterDim.x = size;
    attributes[0].val.clusterDim.y = attributes[0].val.clusterDim.z = 1;
    attributes[1].id = cudaLaunchAttributeProgrammaticStreamSerialization;
    attributes[1].val.programmaticStreamSerializationAllowed = 1;
    cudaError_t error =
        cudaFuncSetAttribute((const void *)kernel, cudaFuncAttributeNonPortableClusterSizeAllowed, 1);
    if (error != cudaSuccess)
        return error;
    return launch_kernel_with(attributes, 2, grid, threads, shared_bytes, stream, kernel, arguments...);
}

/* The block's number in its cluster. */
static __device__ __forceinline__ uint32_t cluster_rank()
{
    uint32_t rank = 0;
    CLUSTER_ASM("mov.u32 %0, %%cluster_ctarank;" : "=r"(rank));
    return rank;
}

static __device__ __forceinline__ void open_inbox(cluster_inbox &inbox, uint32_t bytes)
{
    const uint32_t at = (uint32_t)__cvta_generic_to_shared(&inbox);
    CLUSTER_ASM("mbarrier.init.shared::cta.b64 [%0], 1;"
                "fence.mbarrier_init.release.cluster;"
                "mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(at), "r"(bytes)
                : "memory");
}

/* Relaxed: a barrier that also releases memory would wait for all loads and stores of the thread. */
static __device__ __forceinline__ void arrive_at_cluster()
{
    CLUSTER_ASM("barrier.cluster.arrive.relaxed.aligned;" ::: "memory");
}

static __device__ __forceinline__ void wait_for_cluster()
{
    CLUSTER_ASM("barrier.cluster.wait.acquire.aligned;" ::: "memory");
}

static __device__ __forceinline__ void wait_for_inbox(cluster_inbox &inbox)
{
    const uint32_t at = (uint32_t)__cvta_generic_to_shared(&inbox);
    uint32_t full = 0;
    while (!full)
        CLUSTER_ASM("{.reg .pred full; mbarrier.try_wait.parity.acquire.cluster.shared::cta.b64 full, [%1], 0;"
                    "selp.u32 %0, 1, 0, full;}" : "=r"(full) : "r"(at) : "memory");
}

/* The address in block `rank` of the variable that is `mine` here. */
static __device__ __forceinline__ uint32_t address_in(uint32_t rank, const void *mine)
{
    uint32_t there = 0;
    CLUSTER_ASM("mapa.shared::cluster.u32 %0, %1, %2;" : "=r"(there)
                : "r"((uint32_t)__cvta_generic_to_shared(mine)), "r"(rank));
    return there;
}

static __device__ __forceinline__ void store_to(uint32_t rank, cluster_inbox &inbox, float4 *to, float4 x)
{
    CLUSTER_ASM("st.async.weak.shared::cluster.mbarrier::complete_tx::bytes.v4.f32 [%0], {%2,%3,%4,%5}, [%1];" ::"r"(
                    address_in(rank, to)), "r"(address_in(rank, &inbox)), "f"(x.x), "f"(x.y), "f"(x.z), "f"(x.w)
                : "memory");
}

static __device__ __forceinline__ void store_to(uint32_t rank, cluster_inbox &inbox, float2 *to, float2 x)
{
    CLUSTER_ASM("st.async.weak.shared::cluster.mbarrier::complete_tx::bytes.v2.f32 [%0], {%2,%3}, [%1];" ::"r"(
                    address_in(rank, to)), "r"(address_in(rank, &inbox)), "f"(x.x), "f"(x.y)
                : "memory");
}

#endif
#endif
