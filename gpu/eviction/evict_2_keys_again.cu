/* Rung 2: the second kernel reads K alone.
 *   idea    the norm of a value does not depend on the query: kv_norms_gpu computes it once, when the token is written.
 *           4 bytes per token and KV head take the place of 2 x head_dim
 *   wins    120 to 90.8 us on 16 branches with 3200 tokens each: the second read of V
 *           (figures/eviction_fused_cost.csv)
 *   price   K is read twice: half of K and V again. Norms must be written, copied and moved with their tokens
 *   leaves  the scores are those that attention had in its registers: rung 3
 *   threads second_pass.cuh */
#include "second_pass.cuh"

template <int HEAD_DIM, typename T> static cudaError_t launch(const eviction_arguments &e, cudaStream_t stream)
{
    return launch_second_pass<HEAD_DIM, T, false>(e, stream);
}

cudaError_t evict_2_keys_again(const eviction_arguments *e, cudaStream_t stream)
{
    return DISPATCH_HALF(launch, *e, stream);
}
