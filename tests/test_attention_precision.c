/* Claim: tree_attention_cpu is as precise as its header says. avx512_bf16 and amx round the weights of bf16 storage to
 * bf16; with other storage they give the bits of avx512; and on every other path all arithmetic is float. */
#include <math.h>

#include "attention_model.h"
#include "test.h"

/* Random queries, keys and values of variance 1, some 1000 tokens for each query. Errors are counted from the stored
 * numbers on: rounding the inputs is not part of them. */
static void run_error(const attention_backend *backend, const void *unused)
{
    (void)unused;
    attention_case c;
    attention_case_build(&c, backend, "1,4/1000,24", 16, (attention_size){2, 4, 64});
    attention_truth truth = attention_truth_create(c.query, c.key, c.value, &c.paths, &c.shape, c.scale);
    tree_plan *plan = attention_plan(&c, TREE_COST, 0, 0);
    attention_result result = attention_run(&c, plan);
    double out = 0, lse = 0;
    for (uint64_t i = 0; i < c.num_out; i++)
        out = fmax(out, fabs(result.out.data[i] - truth.out[i]));
    for (uint64_t i = 0; i < c.num_lse; i++)
        lse = fmax(lse, fabs(result.lse.data[i] - truth.lse[i]));
    test_note("largest error of out %.2g, of lse %.2g", out, lse);
    check(lse <= 2e-6, "lse: error %.3g", lse);
    if (backend->isa >= TREE_ISA_AVX512_BF16)
        check(out >= 1e-4 && out <= 2e-3, "out, weights in bf16: error %.3g", out);
    else
        check(out <= 3e-7, "out, all in float: error %.3g", out);
    attention_result_free(&result);
    tree_plan_destroy(plan);
    attention_truth_destroy(&truth);
    attention_case_free(&c);
}

static const attention_backend *avx512_backend(tree_storage storage)
{
    const attention_backend *backend;
    for (uint32_t i = 0; (backend = attention_backend_at(i)) != NULL; i++)
        if (backend->isa == TREE_ISA_AVX512 && backend->storage == storage)
            return backend;
    return NULL;
}

typedef struct other_storage {
    tree_isa isa;
    tree_storage storage;
} other_storage;

static void run_other_storage(const void *argument)
{
    const other_storage *one = argument;
    const attention_backend *avx512 = avx512_backend(one->storage);
    const char *name = tree_isa_name[one->isa];
    if (!avx512 || !tree_isa_available(one->isa))
        test_skip("this machine cannot run %s", name);
    check(tree_isa_for(one->isa, one->storage) == TREE_ISA_AVX512, "%s: %s", name,
          tree_isa_name[tree_isa_for(one->isa, one->storage)]);
    check(tree_isa_for(one->isa, TREE_BF16) == one->isa, "%s with bf16: %s", name,
          tree_isa_name[tree_isa_for(one->isa, TREE_BF16)]);
    attention_backend other = *avx512;
    other.isa = one->isa;
    attention_case c;
    attention_case_build(&c, avx512, "1,3/200,20", 16, (attention_size){2, 2, 64});
    tree_plan *plan = attention_plan(&c, TREE_FLATTEN, 0, 0);
    attention_result wanted = attention_run(&c, plan);
    c.backend = &other;
    attention_result result = attention_run(&c, plan);
    check_same_bits(result.out.data, wanted.out.data, c.num_out, "out");
    check_same_bits(result.lse.data, wanted.lse.data, c.num_lse, "lse");
    attention_result_free(&wanted);
    attention_result_free(&result);
    tree_plan_destroy(plan);
    attention_case_free(&c);
}

int main(int argc, char **argv)
{
    static const other_storage others[] = {{TREE_ISA_AVX512_BF16, TREE_FP32}, {TREE_ISA_AVX512_BF16, TREE_FP16},
                                           {TREE_ISA_AMX, TREE_FP32}, {TREE_ISA_AMX, TREE_FP16}};
    test_begin(argc, argv, "the fast path is as precise as its header says");
    attention_add(run_error, NULL, "error");
    for (int i = 0; i < 4; i++)
        test_add(run_other_storage, &others[i], "%s_runs_%s_as_avx512", tree_isa_name[others[i].isa],
                 others[i].storage == TREE_FP32 ? "fp32" : "fp16");
    return test_end();
}
