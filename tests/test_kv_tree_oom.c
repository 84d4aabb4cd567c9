/* Claim: whichever allocation fails, building and checking a tree return KV_NOMEM and write nothing. */
#include <stdlib.h>

#include "failing_malloc.h"
#include "hand_trees.h"
#include "test.h"

static int64_t allocations_left = INT64_MAX;
static bool once; /* only one allocation fails, or all from there on */

static bool allocation_fails(void)
{
    allocations_left--;
    return once ? allocations_left == -1 : allocations_left < 0;
}

typedef enum call { BUILD, BUILD_DRAFTS, CHECK, CHECK_DRAFTS, NUM_CALLS } call;
static const char *const call_name[NUM_CALLS] = {"build", "build_drafts", "check", "check_drafts"};

static kv_status make_call(call what, kv_tree **tree, const hand_forest *f)
{
    char message[200];
    if (what == BUILD) return kv_tree_build(tree, f->tables, f->num_tables, f->block_tokens, f->num_blocks);
    if (what == CHECK) return kv_tree_check(*tree, f->tables, f->num_tables, message, sizeof message);
    if (what == CHECK_DRAFTS)
        return kv_tree_check_drafts(*tree, f->tables, f->drafts, f->num_tables, message, sizeof message);
    return kv_tree_build_drafts(tree, f->tables, f->drafts, f->num_tables, f->block_tokens, f->num_blocks);
}

typedef struct failure {
    call what;
    bool once;
} failure;

static void run(const void *argument)
{
    const failure *asked = argument;
    const call what = asked->what;
    hand_forest f = hand_random(4, 20, 30);
    bool drafts = what == BUILD_DRAFTS || what == CHECK_DRAFTS, builds = what == BUILD || what == BUILD_DRAFTS;
    if (drafts) hand_random_drafts(&f, 9);
    kv_tree *const whole = hand_build(&f, drafts), *tree = whole;
    int64_t failures = 0;
    once = asked->once;
    for (kv_status status = KV_NOMEM; status != KV_OK; failures++) {
        check(failures < 20, "still %d with %d allocations", status, (int)failures);
        allocations_left = failures;
        status = make_call(what, &tree, &f);
        allocations_left = INT64_MAX;
        check(status == KV_NOMEM || status == KV_OK, "status %d with %d allocations", status, (int)failures);
        check(status == KV_OK || tree == whole, "the result was written");
    }
    check(failures > 1, "nothing was allocated");
    if (builds) {
        hand_expect_tree(&f, tree, drafts);
        kv_tree_destroy(tree);
    }
    test_note("allocations=%d", (int)failures - 1);
    kv_tree_destroy(whole);
    hand_free(&f);
}

int main(int argc, char **argv)
{
    test_begin(argc, argv, "whichever allocation fails, building and checking a tree return KV_NOMEM");
    for (call what = BUILD; what < NUM_CALLS; what++)
        for (int i = 0; i < 2; i++)
            test_add(run, &(failure){what, i == 0}, "%s_%s", call_name[what], i == 0 ? "one" : "from_one_on");
    return test_end();
}
