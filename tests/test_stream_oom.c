/* Claim: if any allocation fails, creating a stream returns TREE_NOMEM, writes no result and leaks nothing. */
#include <stdlib.h>

#include "failing_malloc.h"
#include "stream.h"
#include "test.h"

static int64_t allocations_left = INT64_MAX;
static bool once; /* only one allocation fails, or all from there on */

static bool allocation_fails(void)
{
    allocations_left--;
    return once ? allocations_left == -1 : allocations_left < 0;
}

static void run(const void *argument)
{
    once = *(const bool *)argument;
    int64_t failures = 0;
    for (tree_status status = TREE_NOMEM; status != TREE_OK; failures++) {
        stream *s = NULL;
        check(failures < 100, "still %d with %d allocations", status, (int)failures);
        allocations_left = failures;
        status = stream_create(&s, &stream_presets[0].config);
        allocations_left = INT64_MAX;
        check(status == TREE_NOMEM || status == TREE_OK, "status %d with %d allocations", status, (int)failures);
        check((status == TREE_OK) == (s != NULL), "a stream only with TREE_OK");
        stream_destroy(s);
    }
    check(failures == 5, "%d allocations, not 4", (int)failures - 1);
}

int main(int argc, char **argv)
{
    static const bool one = true, from_one_on = false;
    test_begin(argc, argv, "whichever allocation fails, creating a stream reports it and leaks nothing");
    test_add(run, &one, "create_one");
    test_add(run, &from_one_on, "create_from_one_on");
    return test_end();
}
