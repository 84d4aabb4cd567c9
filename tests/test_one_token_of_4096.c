/* Claim: on random data, the comparison that all attention tests use notices one token of 4096 that was lost, counted
 * twice, exchanged, or given another's value: in each of 40 trials, with each storage type, on every implementation;
 * and accepts the correct result. */
#include "mistake_model.h"
#include "test.h"

static void run_mistakes(const attention_backend *backend, const void *unused)
{
    (void)unused;
    attention_case c;
    attention_case_build(&c, backend, "1,2/4088,8", 16, (attention_size){1, 8, 128});
    tree_plan *plan = attention_plan(&c, TREE_NODE, 0, 0);
    attention_truth truth = attention_truth_create(c.query, c.key, c.value, &c.paths, &c.shape, c.scale);
    attention_result result = attention_run(&c, plan);
    mistake_check_all(&c, &truth, result.out.data, result.lse.data, &backend->u, "node");
    attention_result_free(&result);
    attention_truth_destroy(&truth);
    tree_plan_destroy(plan);
    attention_case_free(&c);
}

int main(int argc, char **argv)
{
    test_begin(argc, argv, "one wrong token of 4096 is noticed on random data");
    attention_add(run_mistakes, NULL, "wrong_token_is_noticed_in_40_of_40_trials");
    return test_end();
}
