/* Claim: on the GPU no token of a path is lost, none is seen twice, and none of another path is seen. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "gpu_support.h"
#include "test.h"

/* The key at one slot scores 100, all others a few: a query that sees it returns its value row. */
static uint32_t check_needle(gpu_case *gpu, attention_case *c, const tree_gpu_step *step, uint64_t slot)
{
    uint32_t found = 0, dim = c->shape.head_dim, group_size = c->shape.num_heads / c->shape.num_kv_heads;
    gpu_case_run(gpu, step);
    for (uint32_t q = 0; q < c->shape.num_queries; q++) {
        bool sees = query_sees(c, q, slot);
        found += sees;
        for (uint32_t h = 0; h < c->shape.num_heads && sees; h++) {
            const float *got = gpu->h_out + ((uint64_t)q * c->shape.num_heads + h) * dim;
            const float *value = attention_value(c, slot, h / group_size);
            for (uint32_t d = 0; d < dim; d++)
                check(fabsf(got[d] - value[d]) <= 1e-3f * (1 + fabsf(value[d])), "%s: query %u, slot %llu", step->name,
                      q, (unsigned long long)slot);
        }
        for (uint32_t h = 0; h < c->shape.num_heads; h++) {
            float lse = gpu->h_lse[(uint64_t)q * c->shape.num_heads + h];
            check(sees ? fabsf(lse - 100) < 0.5f : lse < 50, "%s: lse %g", step->name, (double)lse);
        }
    }
    return found;
}

static void run_needle(const void *argument)
{
    tree_strategy strategy = *(const tree_strategy *)argument;
    attention_case c;
    gpu_case gpu;
    uint32_t found[16] = {0};
    need_gpu();
    attention_case_build(&c, storage_backend(TREE_FP16), "comb:4", 16, (attention_size){2, 2, 64});
    attention_share_queries(&c);
    attention_fill_unseen(&c, KV_NONE, NAN);
    tree_plan *plan = attention_plan(&c, strategy, 24, 0);
    float *key = malloc(c.num_kv * sizeof *key);
    check(key && tree_gpu_num_steps <= 16, "memory");
    memcpy(key, c.key, c.num_kv * sizeof *key);
    gpu_case_create(&gpu, &c);
    gpu_case_plan(&gpu, plan);
    for (uint64_t slot = 0; slot < (uint64_t)c.shape.num_blocks * c.shape.block_tokens; slot++) {
        bool seen = false;
        for (uint32_t q = 0; q < c.shape.num_queries && !seen; q++)
            seen = query_sees(&c, q, slot);
        if (!seen)
            continue;
        attention_lift_key(&c, slot, 100);
        gpu_case_upload(&gpu);
        for (uint32_t s = 0; s < tree_gpu_num_steps; s++)
            found[s] +=
                takes_storage(&tree_gpu_steps[s], TREE_FP16) ? check_needle(&gpu, &c, &tree_gpu_steps[s], slot) : 0;
        memcpy(c.key, key, c.num_kv * sizeof *key);
    }
    for (uint32_t s = 0; s < tree_gpu_num_steps; s++)
        check(!takes_storage(&tree_gpu_steps[s], TREE_FP16) || found[s] == c.tree->path_tokens,
              "each position of each path was once the needle");
    gpu_case_destroy(&gpu);
    tree_plan_destroy(plan);
    free(key);
    attention_case_free(&c);
}

/* q = 0: all scores are 0, and exp(lse) counts the tokens. */
static void run_count(const void *argument)
{
    const char *spec = argument;
    attention_case c;
    gpu_case gpu;
    need_gpu();
    attention_case_build_small(&c, storage_backend(TREE_BF16), spec, 4, (attention_size){2, 3, 64}, 4000000);
    memset(c.query, 0, c.num_out * sizeof *c.query);
    gpu_case_create(&gpu, &c);
    for (uint32_t strategy = 0; strategy < TREE_NUM_STRATEGIES; strategy++) {
        tree_plan *plan = attention_plan(&c, (tree_strategy)strategy, 0, 0);
        gpu_case_plan(&gpu, plan);
        for (uint32_t s = 0; s < tree_gpu_num_steps; s++) {
            if (!takes_storage(&tree_gpu_steps[s], TREE_BF16))
                continue;
            gpu_case_run(&gpu, &tree_gpu_steps[s]);
            for (uint64_t i = 0; i < c.num_lse; i++) {
                uint64_t q = i / c.shape.num_heads, length = c.paths.first[q + 1] - c.paths.first[q];
                double count = exp((double)gpu.h_lse[i]);
                check(fabs(count - (double)length) <= 1e-5 * (double)length, "%s %s: %g tokens of %llu",
                      tree_gpu_steps[s].name, tree_strategy_name[strategy], count, (unsigned long long)length);
            }
        }
        tree_plan_destroy(plan);
    }
    gpu_case_destroy(&gpu);
    attention_case_free(&c);
}

int main(int argc, char **argv)
{
    static const tree_strategy strategies[] = {TREE_RADIX, TREE_NODE_CHUNK, TREE_TREE_MASK, TREE_FLATTEN, TREE_COST};
    test_begin(argc, argv, "on the GPU no token of a path is lost or seen twice");
    for (size_t i = 0; i < sizeof strategies / sizeof *strategies; i++)
        test_add(run_needle, &strategies[i], "needle_at_every_position_%s", tree_strategy_name[strategies[i]]);
    for (uint32_t t = 0; t < num_tree_case_names; t++)
        test_add(run_count, tree_case_names[t], "lse_counts_the_tokens_of_%s", tree_case_names[t]);
    return test_end();
}
