/* Claim: traffic counts the bytes that its formulas say, and reproduces DeFT's published sums to the last byte. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "plan_trees.h"
#include "test.h"
#include "traffic.h"

/* Llama3-8B as DeFT counts it: 32 heads of K and V, 32 layers. */
static tree_shape deft_shape(const kv_tree *tree)
{
    return (tree_shape){tree->num_queries, 32, 32, 128, 1u << 20, tree->block_tokens, TREE_FP16};
}

static tree_traffic count(const kv_tree *tree, tree_plan_config config, const tree_shape *shape,
                          traffic_variant variant)
{
    tree_traffic traffic;
    tree_plan *plan = plan_tree_plan(tree, config);
    check(tree_traffic_count(&traffic, plan, shape, variant) == TREE_OK, "counts");
    tree_plan_destroy(plan);
    return traffic;
}

/* ---- DeFT's sums ---- */

/* KV IO over a whole run, 32 layers: exact bytes, and the terabytes that are printed. */
typedef struct run_sums {
    uint64_t flatten, node, radix;
} run_sums;

static void add_step(run_sums *sums, const char *levels, uint64_t times)
{
    kv_tree *tree = plan_tree_levels(levels, 1, 0);
    tree_shape shape = deft_shape(tree);
    const uint64_t layers = 32 * times;
    tree_traffic radix = count(tree, (tree_plan_config){.strategy = TREE_RADIX}, &shape, TRAFFIC_DEFT_COUNTED);
    sums->flatten += layers * count(tree, (tree_plan_config){.strategy = TREE_FLATTEN}, &shape,
                                    TRAFFIC_DEFT_COUNTED).plan_bytes;
    sums->node += layers * count(tree, (tree_plan_config){.strategy = TREE_NODE}, &shape,
                                 TRAFFIC_DEFT_COUNTED).plan_bytes;
    sums->radix += layers * radix.plan_bytes;
    check(radix.plan_bytes == radix.logical_bytes, "radix loads every path");
    plan_tree_destroy(tree);
}

static void check_terabytes(const char *what, uint64_t bytes, double terabytes, double last_digit)
{
    check(fabs((double)bytes * 1e-12 - terabytes) <= 0.5 * last_digit, "%s: %.5f TB, expected %.5g", what,
          (double)bytes * 1e-12, terabytes);
}

typedef struct few_shot_case {
    const char *name;
    uint32_t num_branches;
    uint64_t sum_unique, sum_path;
    double flatten, radix; /* TB */
} few_shot_case;

static const few_shot_case few_shots[] = {
    {"b20", 20, 3192000, 33516000, 1.6735, 17.572},
    {"b30", 30, 3990000, 50274000, 2.0919, 26.358},
    {"b50", 50, 5586000, 83790000, 2.9287, 43.930},
};

/* 4000 tokens of prompt, b branches, 399 steps; U and S of each step by the plan. Only steps 1 and 399 and the mean
 * step 200 are planned: bytes grow in even steps, and so the sum is 399 times the mean. */
static void run_few_shot(const void *argument)
{
    const few_shot_case *c = argument;
    run_sums first = {0, 0, 0}, mean = {0, 0, 0}, last = {0, 0, 0};
    char levels[64];
    const uint32_t steps[3] = {1, 200, 399};
    run_sums *sums[3] = {&first, &mean, &last};
    for (int i = 0; i < 3; i++) {
        snprintf(levels, sizeof levels, "1,%" PRIu32 "/4000,%" PRIu32, c->num_branches, steps[i]);
        add_step(sums[i], levels, 399);
    }
    check(first.flatten + last.flatten == 2 * mean.flatten && first.radix + last.radix == 2 * mean.radix, "even steps");
    check(mean.flatten == c->sum_unique * 32 * 16384, "flatten: %" PRIu64, mean.flatten);
    check(mean.radix == c->sum_path * 32 * 16384, "radix: %" PRIu64, mean.radix);
    check_terabytes("flatten", mean.flatten, c->flatten, 1e-4);
    check_terabytes("radix", mean.radix, c->radix, 1e-3);
    double reduction = 1 - (double)mean.flatten / (double)mean.radix;
    test_note("flatten %.4f TB, radix %.4f TB, %.2f %% less", (double)mean.flatten * 1e-12,
              (double)mean.radix * 1e-12, 100 * reduction);
    check(reduction >= 0.90 && reduction <= 0.94, "reduction %.4f", reduction);
}

typedef struct speculative_case {
    const char *name;
    uint32_t num_drafts;
    uint64_t sum_unique, sum_path;
    double flatten, radix, node; /* TB */
    double reduction;
} speculative_case;

static const speculative_case speculatives[] = {
    {"t32", 32, 5633786, 178786208, 2.9537, 93.735, 2.9537, 0.9685},
    {"t64", 64, 5682010, 357572416, 2.9790, 187.47, 5.9075, 0.9841},
    {"t128", 128, 5778458, 715144832, 3.0296, 374.94, 11.815, 0.9919},
    {"t256", 256, 5971354, 1430289664, 3.1307, 749.88, 23.630, 0.9958},
};

/* 1507 steps over a past whose lengths add up to 5585562, t leaves of one token: the sums are linear in the past, so
 * steps of the two lengths around the mean give them. */
static void run_speculative(const void *argument)
{
    const speculative_case *c = argument;
    const uint64_t num_steps = 1507, sum_past = 5585562, shorter = sum_past / num_steps;
    const uint64_t num_longer = sum_past - shorter * num_steps;
    run_sums sums = {0, 0, 0};
    char levels[64];
    for (uint64_t longer = 0; longer < 2; longer++) {
        snprintf(levels, sizeof levels, "1,%" PRIu32 "/%" PRIu64 ",1", c->num_drafts, shorter + longer);
        add_step(&sums, levels, longer ? num_longer : num_steps - num_longer);
    }
    check(sums.flatten == c->sum_unique * 32 * 16384, "flatten: %" PRIu64, sums.flatten);
    check(sums.radix == c->sum_path * 32 * 16384, "radix: %" PRIu64, sums.radix);
    check_terabytes("flatten", sums.flatten, c->flatten, 1e-4);
    check_terabytes("node", sums.node, c->node, c->num_drafts > 64 ? 1e-3 : 1e-4);
    check_terabytes("radix", sums.radix, c->radix, c->num_drafts > 32 ? 1e-2 : 1e-3);
    double reduction = 1 - (double)sums.flatten / (double)sums.radix;
    check(fabs(reduction - c->reduction) <= 0.5e-4, "reduction %.5f, expected %.4f", reduction, c->reduction);
    test_note("flatten %.4f TB, node %.4f TB, radix %.4f TB, %.2f %% less", (double)sums.flatten * 1e-12,
              (double)sums.node * 1e-12, (double)sums.radix * 1e-12, 100 * reduction);
}

/* A step of the document task, whose long leaves share little. */
static void run_counted_once(const void *argument)
{
    (void)argument;
    kv_tree *wide = plan_tree_levels("1,9/1073,600", 1, 0);
    tree_shape shape = deft_shape(wide);
    tree_traffic traffic = count(wide, (tree_plan_config){.strategy = TREE_FLATTEN}, &shape, TRAFFIC_DEFT_COUNTED);
    check(traffic.plan_bytes == 6473u * 16384 && traffic.logical_bytes == UINT64_C(15057) * 16384, "U and S");
    check(traffic.plan_bytes == traffic.unique_bytes, "flatten counts each token once");
    plan_tree_destroy(wide);
}

/* ---- formulas, one plan worked out by hand ---- */

/* Tree "1,2/10,3", block 16, 8/2 heads of 4 floats. K and V of a token: packed 2*2*4*4 = 64 bytes, a head each 256.
 * A row: 128 bytes. A partial state: 8*(4+1)*4 = 160 bytes. U 16, S 26. */
typedef struct formula_case {
    const char *name;
    tree_plan_config config;
    traffic_variant variant;
    tree_traffic expected; /* logical, unique, plan, query, out, mask, partial */
} formula_case;

static const formula_case formulas[] = {
    {"packed_flash", {.strategy = TREE_FLASH}, TRAFFIC_PACKED, {1664, 1024, 26 * 64, 256, 256, 0, 0}},
    /* pieces 6|4+2|1, twice: six partials, all merged */
    {"packed_flash_decoding", {.strategy = TREE_FLASH_DECODING, .piece_tokens = 6}, TRAFFIC_PACKED,
     {1664, 1024, 26 * 64, 6 * 128, 256, 0, 2 * 6 * 160}},
    {"packed_radix", {.strategy = TREE_RADIX}, TRAFFIC_PACKED, {1664, 1024, 26 * 64, 512, 256, 0, 2 * 4 * 160}},
    /* six masked tokens of one word, read by two KV heads */
    {"packed_tree_mask", {.strategy = TREE_TREE_MASK}, TRAFFIC_PACKED, {1664, 1024, 1024, 256, 256, 6 * 8 * 2, 0}},
    {"packed_node", {.strategy = TREE_NODE}, TRAFFIC_PACKED, {1664, 1024, 1024, 4 * 128, 256, 0, 2 * 4 * 160}},
    {"packed_node_chunk", {.strategy = TREE_NODE_CHUNK, .piece_tokens = 5}, TRAFFIC_PACKED,
     {1664, 1024, 1024, 6 * 128, 256, 0, 2 * 6 * 160}},
    /* 2[10] | 2[2* of q0] ... : 8 | 2+3+3 */
    {"packed_flatten", {.strategy = TREE_FLATTEN, .piece_tokens = 8}, TRAFFIC_PACKED,
     {1664, 1024, 1024, 4 * 128, 256, 6 * 8 * 2, 2 * 4 * 160}},
    {"packed_cost", {.strategy = TREE_COST}, TRAFFIC_PACKED, {1664, 1024, 1024, 256, 256, 6 * 8 * 2, 0}},
    {"counted_flash", {.strategy = TREE_FLASH}, TRAFFIC_DEFT_COUNTED, {6656, 4096, 6656, 256, 256, 0, 0}},
    {"counted_radix", {.strategy = TREE_RADIX}, TRAFFIC_DEFT_COUNTED, {6656, 4096, 6656, 256, 256, 0, 0}},
    {"counted_tree_mask", {.strategy = TREE_TREE_MASK}, TRAFFIC_DEFT_COUNTED,
     {6656, 4096, 2 * 4096, 256, 256, 16 * 8, 0}},
    {"counted_node", {.strategy = TREE_NODE, .max_rows = 1}, TRAFFIC_DEFT_COUNTED,
     {6656, 4096, 26 * 256, 256, 256, 0, 0}},
    {"counted_flatten", {.strategy = TREE_FLATTEN, .max_rows = 1}, TRAFFIC_DEFT_COUNTED,
     {6656, 4096, 4096, 256, 256, 16 * 8, 0}},
    {"counted_cost", {.strategy = TREE_COST}, TRAFFIC_DEFT_COUNTED, {6656, 4096, 4096, 256, 256, 0, 0}},
    {"issued_flash", {.strategy = TREE_FLASH}, TRAFFIC_DEFT_ISSUED, {6656, 4096, 6656, 256, 256, 0, 0}},
    {"issued_flash_decoding", {.strategy = TREE_FLASH_DECODING, .piece_tokens = 6}, TRAFFIC_DEFT_ISSUED,
     {6656, 4096, 6656, 6 * 128, 256, 0, 2 * 6 * 160}},
    {"issued_radix", {.strategy = TREE_RADIX}, TRAFFIC_DEFT_ISSUED,
     {6656, 4096, 6656, 4 * 128, 256, 8 * 8 * 26, 4 * 8 * 26}},
    {"issued_tree_mask", {.strategy = TREE_TREE_MASK}, TRAFFIC_DEFT_ISSUED,
     {6656, 4096, 2 * 4096, 256, 256, 8 * 8 * 2 * 6, 0}},
    {"issued_node", {.strategy = TREE_NODE}, TRAFFIC_DEFT_ISSUED,
     {6656, 4096, 4096, 4 * 128, 256, 8 * 8 * 16, 3 * 4 * 160}},
    {"issued_node_chunk", {.strategy = TREE_NODE_CHUNK, .piece_tokens = 5}, TRAFFIC_DEFT_ISSUED,
     {6656, 4096, 4096, 6 * 128, 256, 8 * 8 * 16, 3 * 6 * 160}},
    {"issued_flatten", {.strategy = TREE_FLATTEN, .piece_tokens = 8}, TRAFFIC_DEFT_ISSUED,
     {6656, 4096, 4096, 4 * 128, 256, 16 * 8 * 8 * 2, 3 * 4 * 160}},
    {"issued_cost", {.strategy = TREE_COST}, TRAFFIC_DEFT_ISSUED,
     {6656, 4096, 4096, 256, 256, 8 * 8 * 6, 2 * 2 * 160}},
};

static void check_traffic(const tree_traffic *got, const tree_traffic *expected)
{
    check(got->logical_bytes == expected->logical_bytes, "logical %" PRIu64, got->logical_bytes);
    check(got->unique_bytes == expected->unique_bytes, "unique %" PRIu64, got->unique_bytes);
    check(got->plan_bytes == expected->plan_bytes, "plan %" PRIu64, got->plan_bytes);
    check(got->query_bytes == expected->query_bytes, "query %" PRIu64, got->query_bytes);
    check(got->out_bytes == expected->out_bytes, "out %" PRIu64, got->out_bytes);
    check(got->mask_bytes == expected->mask_bytes, "mask %" PRIu64, got->mask_bytes);
    check(got->partial_bytes == expected->partial_bytes, "partial %" PRIu64, got->partial_bytes);
}

static void run_formula(const void *argument)
{
    const formula_case *c = argument;
    kv_tree *tree = plan_tree_levels("1,2/10,3", 16, 0);
    const tree_shape shape = {2, 8, 2, 4, 100, 16, TREE_FP32};
    tree_traffic traffic = count(tree, c->config, &shape, c->variant);
    check_traffic(&traffic, &c->expected);
    plan_tree_destroy(tree);
}

/* A query with one partial writes none, its neighbour with two writes both. */
static void run_single_partial(const void *argument)
{
    (void)argument;
    const uint32_t parent[] = {KV_NONE, 0}, num_tokens[] = {10, 3}, ending[] = {1, 1};
    kv_tree *tree = plan_tree_create(&(plan_tree_nodes){2, parent, num_tokens, ending, 1}, 16, 0);
    const tree_shape shape = {3, 8, 2, 4, 100, 16, TREE_BF16};
    tree_traffic traffic = count(tree, (tree_plan_config){.strategy = TREE_NODE}, &shape, TRAFFIC_PACKED);
    check_traffic(&traffic, &(tree_traffic){23 * 32, 13 * 32, 13 * 32, 3 * 64, 3 * 64, 0, 2 * 2 * 160});
    plan_tree_destroy(tree);
}

/* 70 rows: two words per masked token; what masks could grow by is not counted. */
static void run_wide_masks(const void *argument)
{
    (void)argument;
    kv_tree *tree = plan_tree_levels("1,70/9,2", 4, 500);
    const tree_shape shape = {70, 8, 2, 4, 20000, 4, TREE_BF16};
    tree_traffic traffic = count(tree, (tree_plan_config){.strategy = TREE_TREE_MASK}, &shape, TRAFFIC_PACKED);
    check(traffic.mask_bytes == 2 * 140 * 8 * 2, "%" PRIu64, traffic.mask_bytes);
    traffic = count(tree, (tree_plan_config){.strategy = TREE_TREE_MASK}, &shape, TRAFFIC_DEFT_COUNTED);
    check(traffic.mask_bytes == 2 * 149 * 8, "%" PRIu64, traffic.mask_bytes);
    traffic = count(tree, (tree_plan_config){.strategy = TREE_COST, .max_rows = 70, .piece_tokens = 200}, &shape,
                    TRAFFIC_PACKED);
    check(traffic.mask_bytes > 0 && traffic.mask_bytes <= 2 * 149 * 8 * 2, "%" PRIu64, traffic.mask_bytes);
    plan_tree_destroy(tree);
}

/* ---- formulas, on random plans, token by token ---- */

/* The letters of traffic.h. */
typedef struct letters {
    uint64_t H, G, D, e, nq, S, U, L, P, R, R2, M, rows_M, V, items, piece;
} letters;

static letters letters_of(const tree_plan *plan, const tree_shape *shape)
{
    letters l = {.H = shape->num_heads, .G = shape->num_kv_heads, .D = shape->head_dim,
                 .e = shape->storage == TREE_FP32 ? 4 : 2, .nq = plan->num_queries, .S = plan->path_tokens,
                 .U = plan->unique_tokens, .items = plan->num_items, .piece = plan->config.piece_tokens};
    for (uint32_t i = 0; i < plan->num_items; i++) {
        const tree_item *item = &plan->items[i];
        uint64_t words = 0, tokens = 0, masked = 0;
        for (uint32_t row = 0; row < item->num_rows; row += 64)
            words++;
        for (uint32_t r = item->first_range; r < item->first_range + item->num_ranges; r++)
            for (uint32_t t = 0; t < plan->ranges[r].num_tokens; t++, tokens++)
                masked += plan->ranges[r].mask != TREE_NO_MASK;
        l.L += tokens;
        l.P += item->num_rows * tokens;
        l.R += item->num_rows;
        l.M += masked * words;
        l.rows_M += masked * words * item->num_rows;
        l.V += masked ? tokens * words : 0;
    }
    for (uint32_t q = 0; q < plan->num_queries; q++)
        l.R2 += plan->merge_first[q + 1] - plan->merge_first[q] < 2 ? 0
                    : plan->merge_first[q + 1] - plan->merge_first[q];
    return l;
}

/* The table of traffic.h, row by row. */
static tree_traffic from_table(const letters *l, tree_strategy strategy, traffic_variant variant)
{
    bool packed = variant == TRAFFIC_PACKED, counted = variant == TRAFFIC_DEFT_COUNTED;
    bool issued = variant == TRAFFIC_DEFT_ISSUED;
    uint64_t token = 2 * (packed ? l->G : l->H) * l->D * l->e, row = l->H * l->D * l->e, state = l->H * (l->D + 1);
    tree_traffic t = {.logical_bytes = l->S * token, .unique_bytes = l->U * token, .plan_bytes = l->L * token,
                      .query_bytes = (counted ? l->nq : l->R) * row, .out_bytes = l->nq * row,
                      .mask_bytes = packed ? 8 * l->M * l->G : 0, .partial_bytes = packed ? 8 * state * l->R2 : 0};
    if (strategy == TREE_TREE_MASK && !packed) {
        t.plan_bytes = l->P * token;
        t.mask_bytes = counted ? 8 * l->V : 8 * l->rows_M * l->H;
    }
    if (strategy == TREE_FLATTEN && counted) {
        t.plan_bytes = l->U * token;
        t.mask_bytes = 8 * l->U;
    }
    if (strategy == TREE_FLATTEN && issued)
        t.mask_bytes = 16 * l->H * l->piece * l->items;
    if (strategy == TREE_COST && issued)
        t.mask_bytes = 8 * l->M * l->H;
    if ((strategy == TREE_NODE || strategy == TREE_NODE_CHUNK || strategy == TREE_RADIX) && issued)
        t.mask_bytes = 8 * l->H * l->L;
    if ((strategy == TREE_FLASH_DECODING || strategy == TREE_COST) && issued)
        t.partial_bytes = 8 * state * l->R;
    if (strategy == TREE_RADIX && issued)
        t.partial_bytes = 4 * l->H * l->L;
    if ((strategy == TREE_NODE || strategy == TREE_NODE_CHUNK || strategy == TREE_FLATTEN) && issued)
        t.partial_bytes = 12 * state * l->R;
    return t;
}

static void run_table(const void *argument)
{
    tree_strategy strategy = *(const tree_strategy *)argument;
    for (int i = 0; i < 40; i++) {
        kv_tree *tree = plan_tree_random(1 + test_below(i % 4 ? 60 : 250), 1 + test_below(60), 16, 0);
        tree_plan *plan = plan_tree_plan(tree, (tree_plan_config){.strategy = strategy,
                                                                  .piece_tokens = test_below(2) * 30,
                                                                  .max_rows = test_below(2) * 90});
        uint32_t num_kv_heads = 1 + test_below(8);
        tree_shape shape = {plan->num_queries, num_kv_heads * (1 + test_below(5)), num_kv_heads, 64u << test_below(3),
                            plan->max_block + 1, 16, i % 3 ? TREE_BF16 : TREE_FP32};
        letters l = letters_of(plan, &shape);
        for (int v = 0; v < TRAFFIC_NUM_VARIANTS; v++) {
            tree_traffic traffic, expected = from_table(&l, strategy, (traffic_variant)v);
            check(tree_traffic_count(&traffic, plan, &shape, (traffic_variant)v) == TREE_OK, "counts");
            check_traffic(&traffic, &expected);
        }
        tree_plan_destroy(plan);
        plan_tree_destroy(tree);
    }
}

/* ---- what materialises ---- */

static void run_standard(const void *argument)
{
    (void)argument;
    kv_tree *tree = plan_tree_levels("1,2/10,3", 16, 0);
    const tree_shape shape = {2, 8, 2, 4, 100, 16, TREE_FP32};
    tree_traffic traffic;
    check(tree_traffic_standard(&traffic, tree, &shape) == TREE_OK, "counts");
    /* for each of 26 tokens: copy 64, expanded 256, scores and weights 2*8*4, all written and read */
    check_traffic(&traffic, &(tree_traffic){1664, 1024, 1664, 256, 256, 0, 2 * 26 * (64 + 256 + 64)});
    plan_tree_destroy(tree);
}

static void run_dense_mask(const void *argument)
{
    (void)argument;
    kv_tree *tree = plan_tree_levels("1,64/1000,1", 16, 0);
    const tree_shape shape = {64, 32, 8, 128, 1u << 20, 16, TREE_FP16};
    tree_traffic traffic;
    check(tree_traffic_dense_mask(&traffic, tree, &shape) == TREE_OK, "counts");
    const uint64_t nq = 64, unique = 1064, path = 64064, heads = 32;
    check_traffic(&traffic, &(tree_traffic){2 * path * heads * 128 * 2, 2 * unique * heads * 128 * 2,
                                            2 * unique * heads * 128 * 2, nq * heads * 128 * 2, nq * heads * 128 * 2,
                                            2 * nq * unique, 20 * nq * unique * heads});
    check(traffic.partial_bytes > traffic.plan_bytes, "beyond 26 queries the intermediates outweigh K and V");
    plan_tree_destroy(tree);
}

static void run_dense_mask_turn(const void *argument)
{
    (void)argument;
    for (uint32_t nq = 25; nq <= 26; nq++) {
        char levels[32];
        snprintf(levels, sizeof levels, "1,%" PRIu32 "/5000,1", nq);
        kv_tree *tree = plan_tree_levels(levels, 16, 0);
        const tree_shape shape = {nq, 32, 32, 128, 1u << 20, 16, TREE_FP16};
        tree_traffic traffic;
        check(tree_traffic_dense_mask(&traffic, tree, &shape) == TREE_OK, "counts");
        check((traffic.partial_bytes > traffic.plan_bytes) == (nq == 26), "at %" PRIu32 " queries", nq);
        plan_tree_destroy(tree);
    }
}

/* ---- errors ---- */

static void run_errors(const void *argument)
{
    (void)argument;
    kv_tree *tree = plan_tree_levels("1,2/10,3", 16, 0);
    tree_plan *plan = plan_tree_plan(tree, (tree_plan_config){.strategy = TREE_NODE});
    const tree_shape good = {2, 8, 2, 4, 100, 16, TREE_FP32};
    tree_shape shape = good;
    tree_traffic traffic, before;
    memset(&traffic, 0x5a, sizeof traffic);
    before = traffic;
    shape.num_kv_heads = 3;
    check(tree_traffic_count(&traffic, plan, &shape, TRAFFIC_PACKED) == TREE_BAD_SHAPE, "8 heads over 3");
    check(tree_traffic_standard(&traffic, tree, &shape) == TREE_BAD_SHAPE, "8 heads over 3");
    check(tree_traffic_dense_mask(&traffic, tree, &shape) == TREE_BAD_SHAPE, "8 heads over 3");
    shape = good;
    shape.num_queries = 3;
    check(tree_traffic_count(&traffic, plan, &shape, TRAFFIC_PACKED) == TREE_BAD_SHAPE, "3 queries");
    check(tree_traffic_standard(&traffic, tree, &shape) == TREE_BAD_SHAPE, "3 queries");
    shape = good;
    shape.block_tokens = 8;
    check(tree_traffic_dense_mask(&traffic, tree, &shape) == TREE_BAD_SHAPE, "blocks of 8");
    shape = good;
    shape.num_blocks = plan->max_block;
    check(tree_traffic_count(&traffic, plan, &shape, TRAFFIC_PACKED) == TREE_BAD_PLAN, "a block beyond the pool");
    check(tree_traffic_count(&traffic, plan, &good, TRAFFIC_NUM_VARIANTS) == TREE_INVAL, "no such variant");
    check(!memcmp(&traffic, &before, sizeof traffic), "nothing is written");
    tree_plan_destroy(plan);
    plan_tree_destroy(tree);
}

static void run_empty(const void *argument)
{
    (void)argument;
    kv_tree *tree = plan_tree_create(&(plan_tree_nodes){0, NULL, NULL, NULL, 2}, 16, 0);
    const tree_shape shape = {2, 8, 2, 4, 1, 16, TREE_FP32};
    for (int s = 0; s < TREE_NUM_STRATEGIES; s++) {
        for (int v = 0; v < TRAFFIC_NUM_VARIANTS; v++) {
            bool issued = v != TRAFFIC_DEFT_COUNTED;
            tree_traffic traffic = count(tree, (tree_plan_config){.strategy = (tree_strategy)s}, &shape,
                                         (traffic_variant)v);
            check_traffic(&traffic, &(tree_traffic){0, 0, 0, issued ? 0 : 256, 256, 0, 0});
        }
    }
    plan_tree_destroy(tree);
}

int main(int argc, char **argv)
{
    static tree_strategy strategies[TREE_NUM_STRATEGIES];
    test_begin(argc, argv, "traffic counts the bytes that its formulas say");
    for (int i = 0; i < TREE_NUM_STRATEGIES; i++) {
        strategies[i] = (tree_strategy)i;
        test_add(run_table, &strategies[i], "random_plans_%s", tree_strategy_name[i]);
    }
    for (size_t i = 0; i < sizeof few_shots / sizeof *few_shots; i++)
        test_add(run_few_shot, &few_shots[i], "few_shot_%s", few_shots[i].name);
    for (size_t i = 0; i < sizeof speculatives / sizeof *speculatives; i++)
        test_add(run_speculative, &speculatives[i], "speculative_%s", speculatives[i].name);
    test_add(run_counted_once, NULL, "counted_once");
    for (size_t i = 0; i < sizeof formulas / sizeof *formulas; i++)
        test_add(run_formula, &formulas[i], "%s", formulas[i].name);
    test_add(run_single_partial, NULL, "single_partial");
    test_add(run_wide_masks, NULL, "wide_masks");
    test_add(run_standard, NULL, "standard");
    test_add(run_dense_mask, NULL, "dense_mask");
    test_add(run_dense_mask_turn, NULL, "dense_mask_turn");
    test_add(run_errors, NULL, "errors");
    test_add(run_empty, NULL, "empty");
    return test_end();
}
