/* Claim: the reference agrees with results computed by hand. Plans are written down item by item, and keys score ln 1,
 * ln 2, ln 3 ..., so that the weights are whole numbers. */
#include <math.h>
#include <string.h>

#include "attention.h"
#include "test.h"
#include "tree_attention.h"

enum { BLOCK_TOKENS = 2, NUM_BLOCKS = 4, NUM_SLOTS = BLOCK_TOKENS * NUM_BLOCKS };

/* head_dim 2, one KV head, query (1, 0): the score of a slot is key[0] = ln(weight of the slot), out[1] is 1.
 * Slots in storage order; weight 0 marks a slot that no query may read. */
typedef struct pencil {
    float query[2 * 2 * 2], key[NUM_SLOTS][2], value[NUM_SLOTS][2];
} pencil;

static pencil write_slots(const float weight[NUM_SLOTS], const float value[NUM_SLOTS])
{
    pencil p = {.query = {1, 0, 1, 0, 1, 0, 1, 0}};
    for (int i = 0; i < NUM_SLOTS; i++) {
        p.key[i][0] = weight[i] > 0 ? logf(weight[i]) : NAN;
        p.value[i][0] = weight[i] > 0 ? value[i] : NAN;
        p.key[i][1] = weight[i] > 0 ? 0 : NAN;
        p.value[i][1] = weight[i] > 0 ? 1 : NAN;
    }
    return p;
}

static const tree_shape shape = {2, 1, 1, 2, NUM_BLOCKS, BLOCK_TOKENS, TREE_FP32};

static void check_out(const pencil *p, const tree_plan *plan, const float out_wanted[2], const float sum_wanted[2])
{
    float out[4] = {NAN, NAN, NAN, NAN}, lse[2] = {NAN, NAN};
    tree_status status = tree_attention_ref(out, lse, p->query, p->key[0], p->value[0], plan, &shape, 1);
    check(status == TREE_OK, "%s", tree_status_string(status));
    for (int q = 0; q < 2; q++) {
        float one = sum_wanted[q] > 0 ? 1 : 0;
        check(fabsf(out[2 * q] - out_wanted[q]) <= 4e-7f * fabsf(out_wanted[q]), "query %d: out %.9g for %.9g", q,
              out[2 * q], out_wanted[q]);
        check(out[2 * q + 1] == one, "query %d: out[1] %.9g, the weights add up to 1", q, out[2 * q + 1]);
        check(sum_wanted[q] > 0 ? fabsf(lse[q] - logf(sum_wanted[q])) <= 4e-7f : lse[q] == -INFINITY,
              "query %d: lse %.9g, sum of weights %.9g", q, lse[q], sum_wanted[q]);
    }
}

/* Root: block 2, both slots; query 0 goes on in block 0, slot 0; query 1 in block 3, both slots. */
static const float tree_weight[NUM_SLOTS] = {3, 0, 0, 0, 1, 2, 5, 2};
static const float tree_value[NUM_SLOTS] = {6, 0, 0, 0, 60, 30, 24, 15};
/* query 0: (1*60 + 2*30 + 3*6) / 6 = 23      query 1: (1*60 + 2*30 + 5*24 + 2*15) / 10 = 27 */
static const float tree_out[2] = {23, 27}, tree_sum[2] = {6, 10};

static uint32_t tree_blocks[] = {2, 0, 3};
static uint32_t both_rows[] = {0, 1};

static void run_one_item_per_query(const void *unused)
{
    (void)unused;
    uint32_t blocks[] = {2, 0, 2, 3}, merge_first[] = {0, 1, 2}, merges[] = {0, 1};
    tree_range ranges[] = {{0, 0, 3, TREE_NO_MASK}, {2, 0, 4, TREE_NO_MASK}};
    tree_item items[] = {{0, 1, 0, 1, 3, 0}, {1, 1, 1, 1, 4, 1}};
    tree_plan plan = {.block_tokens = BLOCK_TOKENS, .num_queries = 2, .num_items = 2, .num_ranges = 2, .num_blocks = 4,
                      .num_partials = 2, .max_block = 3, .items = items, .ranges = ranges, .blocks = blocks,
                      .rows = both_rows, .merge_first = merge_first, .merge_partials = merges};
    pencil p = write_slots(tree_weight, tree_value);
    check_out(&p, &plan, tree_out, tree_sum);
}

static void run_one_item_per_node(const void *unused)
{
    (void)unused;
    uint32_t merge_first[] = {0, 2, 4}, merges[] = {0, 2, 1, 3};
    tree_range ranges[] = {{0, 0, 2, TREE_NO_MASK}, {1, 0, 1, TREE_NO_MASK}, {2, 0, 2, TREE_NO_MASK}};
    tree_item items[] = {{0, 2, 0, 1, 2, 0}, {0, 1, 1, 1, 1, 2}, {1, 1, 2, 1, 2, 3}};
    tree_plan plan = {.block_tokens = BLOCK_TOKENS, .num_queries = 2, .num_items = 3, .num_ranges = 3, .num_blocks = 3,
                      .num_partials = 4, .max_block = 3, .items = items, .ranges = ranges, .blocks = tree_blocks,
                      .rows = both_rows, .merge_first = merge_first, .merge_partials = merges};
    pencil p = write_slots(tree_weight, tree_value);
    check_out(&p, &plan, tree_out, tree_sum);
}

static void run_one_masked_item(const void *unused)
{
    (void)unused;
    uint32_t merge_first[] = {0, 1, 2}, merges[] = {0, 1};
    uint64_t masks[] = {1, 2, 2};
    tree_range ranges[] = {{0, 0, 2, TREE_NO_MASK}, {1, 0, 1, 0}, {2, 0, 2, 1}};
    tree_item items[] = {{0, 2, 0, 3, 5, 0}};
    tree_plan plan = {.block_tokens = BLOCK_TOKENS, .num_queries = 2, .num_items = 1, .num_ranges = 3, .num_blocks = 3,
                      .num_partials = 2, .num_mask_words = 3, .max_block = 3, .items = items, .ranges = ranges,
                      .blocks = tree_blocks, .rows = both_rows, .masks = masks, .merge_first = merge_first,
                      .merge_partials = merges};
    pencil p = write_slots(tree_weight, tree_value);
    check_out(&p, &plan, tree_out, tree_sum);
}

/* A range that begins inside a block and ends inside another, cut in two pieces; query 1 sees nothing. */
static void run_range_inside_blocks(const void *unused)
{
    (void)unused;
    const float weight[NUM_SLOTS] = {4, 2, 0, 3, 1, 0, 0, 0}, value[NUM_SLOTS] = {10, 20, 0, 40, 100, 0, 0, 0};
    uint32_t blocks[] = {1, 0, 2}, rows[] = {1, 0}, merge_first[] = {0, 2, 2}, merges[] = {0, 1};
    tree_range ranges[] = {{0, 1, 1, TREE_NO_MASK}, {1, 0, 3, TREE_NO_MASK}};
    tree_item items[] = {{1, 1, 0, 1, 1, 0}, {1, 1, 1, 1, 3, 1}};
    tree_plan plan = {.block_tokens = BLOCK_TOKENS, .num_queries = 2, .num_items = 2, .num_ranges = 2, .num_blocks = 3,
                      .num_partials = 2, .max_block = 2, .items = items, .ranges = ranges, .blocks = blocks,
                      .rows = rows, .merge_first = merge_first, .merge_partials = merges};
    pencil p = write_slots(weight, value);
    const float out[2] = {30, 0}, sum[2] = {10, 0}; /* (3*40 + 4*10 + 2*20 + 1*100) / 10 */
    check_out(&p, &plan, out, sum);
}

/* 70 rows: bit 5 of the second mask word is row 69. Row 69 alone sees slot 1, all see slot 0. */
static void run_second_mask_word(const void *unused)
{
    (void)unused;
    enum { ROWS = 70 };
    float query[ROWS], key[2] = {0, logf(3)}, value[2] = {8, 16}, out[ROWS], lse[ROWS];
    uint32_t blocks[] = {0}, rows[ROWS], merge_first[ROWS + 1], merges[ROWS];
    uint64_t masks[] = {UINT64_MAX, UINT64_MAX, 0, 1u << 5};
    for (uint32_t q = 0; q < ROWS; q++) {
        query[q] = 1;
        rows[q] = merges[q] = merge_first[q] = q;
    }
    merge_first[ROWS] = ROWS;
    tree_range ranges[] = {{0, 0, 2, 0}};
    tree_item items[] = {{0, ROWS, 0, 1, 2, 0}};
    tree_plan plan = {.block_tokens = 2, .num_queries = ROWS, .num_items = 1, .num_ranges = 1, .num_blocks = 1,
                      .num_partials = ROWS, .num_mask_words = 4, .items = items, .ranges = ranges, .blocks = blocks,
                      .rows = rows, .masks = masks, .merge_first = merge_first, .merge_partials = merges};
    tree_shape wide = {ROWS, 1, 1, 1, 1, 2, TREE_FP32};
    tree_status status = tree_attention_ref(out, lse, query, key, value, &plan, &wide, 1);
    check(status == TREE_OK, "%s", tree_status_string(status));
    for (int q = 0; q < ROWS; q++) {
        check(fabsf(out[q] - (q == 69 ? 14 : 8)) <= 1e-6f, "row %d: out %g", q, out[q]);
        check(fabsf(lse[q] - (q == 69 ? logf(4) : 0)) <= 1e-6f, "row %d: lse %g", q, lse[q]);
    }
}

/* 4 query heads on 2 KV heads: V of KV head h is h + 1. */
static void run_heads(const void *unused)
{
    (void)unused;
    float query[4] = {1, 2, 3, 4}, key[2] = {0.5f, 0.25f}, value[2] = {1, 2}, out[4], lse[4];
    uint32_t blocks[] = {0}, rows[] = {0}, merge_first[] = {0, 1}, merges[] = {0};
    tree_range ranges[] = {{0, 0, 1, TREE_NO_MASK}};
    tree_item items[] = {{0, 1, 0, 1, 1, 0}};
    tree_plan plan = {.block_tokens = 1, .num_queries = 1, .num_items = 1, .num_ranges = 1, .num_blocks = 1,
                      .num_partials = 1, .items = items, .ranges = ranges, .blocks = blocks, .rows = rows,
                      .merge_first = merge_first, .merge_partials = merges};
    tree_shape four = {1, 4, 2, 1, 1, 1, TREE_FP32};
    tree_status status = tree_attention_ref(out, lse, query, key, value, &plan, &four, 2);
    check(status == TREE_OK, "%s", tree_status_string(status));
    const float lse_wanted[4] = {1, 2, 1.5f, 2}; /* scale 2 times query times key of KV head 0, 0, 1, 1 */
    for (int h = 0; h < 4; h++) {
        check(out[h] == (h < 2 ? 1 : 2), "head %d: out %g", h, out[h]);
        check(lse[h] == lse_wanted[h], "head %d: lse %g for %g", h, lse[h], lse_wanted[h]);
    }
}

static void run_without_lse(const void *unused)
{
    (void)unused;
    uint32_t merge_first[] = {0, 0, 0}, rows[] = {0, 1};
    tree_plan plan = {.block_tokens = BLOCK_TOKENS, .num_queries = 2, .rows = rows, .merge_first = merge_first};
    float out[4] = {NAN, NAN, NAN, NAN}, query[4] = {1, 0, 1, 0};
    tree_status status = tree_attention_ref(out, NULL, query, NULL, NULL, &plan, &shape, 1);
    check(status == TREE_OK, "%s", tree_status_string(status));
    for (int i = 0; i < 4; i++)
        check(out[i] == 0, "out[%d] %g of queries that see nothing", i, out[i]);
}

static void run_contiguous(const void *unused)
{
    (void)unused;
    const float query[2] = {1, 0}, key[][2] = {{logf(1), 7}, {logf(2), -7}, {logf(5), 9}, {-INFINITY, 0}};
    const float value[][2] = {{80, 0}, {40, 8}, {16, 0}, {NAN, NAN}};
    double out[2], lse;
    attention_ref(out, &lse, query, key[0], value[0], 3, 2, 1);
    check(fabs(out[0] - 30) <= 1e-5 && fabs(out[1] - 2) <= 1e-6, "out %g %g", out[0], out[1]);
    check(fabs(lse - log(8)) <= 1e-6, "lse %g", lse);
    attention_ref(out, &lse, query, key[0], value[0], 0, 2, 1);
    check(out[0] == 0 && out[1] == 0 && lse == -INFINITY, "no token: %g %g %g", out[0], out[1], lse);
    attention_ref(out, &lse, query, key[3], value[3], 1, 1, 1);
    check(out[0] == 0 && lse == -INFINITY, "a score of -infinity counts as no token: %g %g", out[0], lse);
    attention_ref(out, NULL, query, key[0], value[0], 1, 2, 1);
    check(out[0] == 80 && out[1] == 0, "one token: its value");
}

int main(int argc, char **argv)
{
    static const struct {
        const char *name;
        void (*run)(const void *);
    } cases[] = {
        {"one_item_per_query", run_one_item_per_query}, {"one_item_per_node", run_one_item_per_node},
        {"one_masked_item", run_one_masked_item},       {"range_inside_blocks", run_range_inside_blocks},
        {"second_mask_word", run_second_mask_word},     {"heads_share_kv_heads", run_heads},
        {"lse_not_wanted", run_without_lse},            {"contiguous_two_passes", run_contiguous},
    };
    test_begin(argc, argv, "the reference agrees with results computed by hand");
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        test_add(cases[i].run, NULL, "%s", cases[i].name);
    return test_end();
}
