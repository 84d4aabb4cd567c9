/* random: the baseline that a policy must beat.
 *   idea   each position has a fixed random score, so the kept tokens are a uniform sample of all tokens so far
 *   price  none: no query, key or value is read */
#include "eviction_view_internal.h"

/* splitmix64's finish */
static uint64_t mix(uint64_t z)
{
    z = (z ^ z >> 30) * UINT64_C(0xBF58476D1CE4E5B9);
    z = (z ^ z >> 27) * UINT64_C(0x94D049BB133111EB);
    return z ^ z >> 31;
}

static void score(double *score, const double *history, const eviction_view *view)
{
    (void)history;
    for (uint32_t t = 0; t < view->tokens->num_tokens; t++) {
        uint64_t z = mix(view->seed + mix(view->tokens->positions[t] + UINT64_C(0x9E3779B97F4A7C15)));
        score[t] = (double)(z >> 40); /* 24 bits: exact in a float */
    }
}

const eviction_policy policy_random = {
    .name = "random",
    .variant = "a hash of seed and position",
    .source = "baseline",
    .window = 1,
    .interval = 1,
    .candidates = eviction_all,
    .score = score,
};
