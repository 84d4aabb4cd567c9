/* Feeds damaged text to every reader of text: fuzz_readers [ROUNDS [SEED]], ten million by default. Best in a build
 * with sanitizers (make fuzz).
 * A dump that is accepted must be a state that a pool can be in: kv_pool_check holds, its dump is the text again, and
 * every branch can be pruned until all blocks are free. A trace that is accepted must add up. A refusal names a line
 * and leaves the result untouched. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kv_evict.h"
#include "test.h"
#include "trace.h"

enum { MAX_TEXT = 4096, CALLS_PER_DUMP = 12 };

typedef struct damaged_text {
    char bytes[MAX_TEXT];
    size_t length;
} damaged_text;

static uint64_t num_accepted, num_refused;

static const char *const trace_text[] = {
    "ttr 1 reason demo\ntree 3 0 4 5\nnode 0 -1 8 -7 0\nnode 1 0 2 1 2\nnode 2 0 3 1 3\nnode 3 1 3 3 5\nend 16 2 24\n",
    "ttr 1 draft demo\ndraft 0 4 4 2\ndnode 0 -1 0\ndnode 1 0 0\ndnode 2 0 1\ndnode 3 1 0\nend 2 8\n",
    "ttr 1 accept demo\nrec first 100 1 4 4\nacc 1 2 3 4\nend 10\n",
};
enum { NUM_TRACES = sizeof trace_text / sizeof trace_text[0] };

/* Moves bytes[from ..] to bytes[to ..]; false if there is no room. */
static bool move_tail(damaged_text *text, size_t from, size_t to)
{
    if (text->length + to - from > MAX_TEXT) return false;
    memmove(text->bytes + to, text->bytes + from, text->length - from);
    text->length = text->length + to - from;
    return true;
}

static void damage(damaged_text *text)
{
    static const char alphabet[] = "0123456789 -\r\nxend\xff\xef\xbb\xbf\0";
    static const char *const number[] = {"0", "-1", "4294967295", "4294967296", "18446744073709551616", "1073741824"};
    if (text->length == 0) return;
    size_t at = test_below((uint32_t)text->length), count = 1 + test_below(20);
    if (count > text->length - at) count = text->length - at;
    const char *inserted = number[test_below(6)];
    switch (test_below(6)) {
    case 0: text->bytes[at] = alphabet[test_below(sizeof alphabet)]; break;
    case 1: text->bytes[at] ^= (char)(1 << test_below(8)); break;
    case 2: move_tail(text, at + count, at); break;
    case 3: text->length = at; break;
    case 4: /* a run of bytes twice */
        if (move_tail(text, at, at + count)) memmove(text->bytes + at, text->bytes + at + count, count);
        break;
    default: /* a number on its edge in the place of one digit */
        if (text->bytes[at] >= '0' && text->bytes[at] <= '9' && move_tail(text, at + 1, at + strlen(inserted)))
            memcpy(text->bytes + at, inserted, strlen(inserted));
    }
}

/* The dump of a small pool after a few random calls. */
static void random_dump(damaged_text *text)
{
    kv_pool_config config = {.num_blocks = 1 + test_below(12), .block_tokens = 1u << test_below(4), .max_branches = 4,
                             .order = (kv_order)test_below(3), .seed = test_random(),
                             .evicts = test_below(2)};
    kv_pool *pool;
    kv_branch branches[4] = {0};
    kv_append append;
    uint64_t epoch;
    check(kv_pool_create(&pool, &config) == KV_OK, "a small pool");
    for (int i = 0; i < CALLS_PER_DUMP; i++) { /* most are refused now and then, which is welcome */
        kv_branch *branch = &branches[test_below(4)];
        uint32_t slot = test_below(10);
        switch (test_below(config.evicts ? 10 : 7)) {
        case 0: kv_branch_create(pool, branch); break;
        case 1: kv_branch_fork(pool, *branch, &branches[test_below(4)]); break;
        case 2: kv_branch_reserve(pool, *branch, test_below(10)); break;
        case 3: kv_branch_truncate(pool, *branch, test_below(10)); break;
        case 4: kv_pool_epoch_begin(pool, &epoch); break;
        case 5: kv_branch_prune(pool, *branch); break;
        case 7:
        case 8: kv_branch_evict(pool, *branch, KV_SCOPE_MASK, &slot, 1); break;
        case 9: kv_branch_append(pool, *branch, 1, &append); break;
        default: kv_branch_append(pool, *branch, test_below(20), &append);
        }
    }
    text->length = kv_pool_dump(pool, text->bytes, MAX_TEXT) - 1;
    check(text->length < MAX_TEXT, "the dump of a small pool is small");
    kv_pool_destroy(pool, true, NULL);
}

/* The exact size on the heap: a sanitizer sees a read beyond it. */
static char *exact_copy(const damaged_text *text)
{
    char *copy = malloc(text->length + !text->length);
    check(copy, "the test itself is out of memory");
    memcpy(copy, text->bytes, text->length);
    return copy;
}

static void read_dump(const damaged_text *text)
{
    char *copy = exact_copy(text), message[160] = "", again[MAX_TEXT];
    kv_pool *pool = NULL;
    kv_text_error error = {.line = 0};
    kv_status status = kv_pool_load(&pool, copy, text->length, &error);
    free(copy);
    if (status != KV_OK) {
        check(status == KV_FORMAT || status == KV_CORRUPT, "refused with status %d", status);
        check(!pool && error.message[0], "refused: no pool, but a message");
        num_refused++;
        return;
    }
    check(kv_pool_check(pool, message, sizeof message) == KV_OK, "accepted: %s:\n%s", message, text->bytes);
    check(kv_pool_dump(pool, again, MAX_TEXT) == text->length + 1, "accepted: its dump is as long");
    check(!memcmp(again, text->bytes, text->length), "accepted: its dump is the text again:\n%s", again);
    check(kv_pool_destroy(pool, true, NULL) == KV_OK, "accepted: it can be destroyed");
    num_accepted++;
}

static void check_trace(const trace *t)
{
    for (uint32_t i = 0; i < t->num_trees; i++) {
        const trace_tree *tree = &t->trees[i];
        uint64_t num_tokens = 0;
        for (uint32_t n = 0; n < tree->num_nodes; n++) {
            num_tokens += tree->nodes[n].num_tokens;
            check(n == 0 ? tree->nodes[n].parent == TRACE_NONE : tree->nodes[n].parent < n, "parents come first");
        }
        check(num_tokens == tree->num_tokens, "the tokens add up");
    }
    for (uint32_t i = 0; i < t->num_accepts; i++) {
        uint64_t num_tokens = 0;
        for (uint32_t s = 0; s < t->accepts[i].num_steps; s++) num_tokens += t->accepts[i].accepted[s];
        check(num_tokens == t->accepts[i].num_tokens, "what was accepted adds up");
    }
}

static void read_trace(const damaged_text *text)
{
    char *copy = exact_copy(text);
    trace *t = NULL;
    trace_error error = {.line = 0};
    kv_status status = trace_read(&t, copy, text->length, "damaged.ttr", &error);
    free(copy);
    if (status == KV_OK) {
        check_trace(t);
        num_accepted++;
    } else {
        check(status == KV_FORMAT && !t && error.line > 0, "refused with status %d, line %u", status, error.line);
        num_refused++;
    }
    trace_destroy(t);
}

static void fuzz_dumps(const void *argument)
{
    static damaged_text good, text;
    num_accepted = num_refused = 0;
    for (uint64_t round = 0; round < *(const uint64_t *)argument; round++) {
        if (round % 16 == 0) {
            random_dump(&good);
            read_dump(&good);
        }
        text = good;
        for (uint32_t n = 1 + test_below(3); n > 0; n--) damage(&text);
        read_dump(&text);
    }
    check(num_accepted > 0 && num_refused > num_accepted / 16, "%" PRIu64 " refused of many damaged", num_refused);
    test_note("%" PRIu64 " accepted, %" PRIu64 " refused", num_accepted, num_refused);
}

static void fuzz_traces(const void *argument)
{
    static damaged_text text;
    num_accepted = num_refused = 0;
    for (uint64_t round = 0; round < *(const uint64_t *)argument; round++) {
        const char *good = trace_text[round % NUM_TRACES];
        text.length = strlen(good);
        memcpy(text.bytes, good, text.length);
        if (round >= NUM_TRACES) /* the first of each kind is read as it is */
            for (uint32_t n = 1 + test_below(3); n > 0; n--) damage(&text);
        read_trace(&text);
        check(round != NUM_TRACES - 1 || num_accepted == NUM_TRACES, "the undamaged ones are read");
    }
    test_note("%" PRIu64 " accepted, %" PRIu64 " refused", num_accepted, num_refused);
}

int main(int argc, char **argv)
{
    uint64_t rounds = argc > 1 ? strtoull(argv[1], NULL, 10) : 10000000;
    char *seeded[] = {argv[0], "--seed", argc > 2 ? argv[2] : "1", NULL};
    if (rounds < NUM_TRACES || argc > 3) {
        fprintf(stderr, "usage: fuzz_readers [ROUNDS [SEED]]\n");
        return 2;
    }
    test_begin(3, seeded, "damaged text is refused with a line, or it is sound");
    test_add(fuzz_dumps, &rounds, "dumps");
    test_add(fuzz_traces, &rounds, "traces");
    return test_end();
}
