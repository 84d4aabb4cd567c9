/* Claim: the partial states of tree_attention_ref_partials are those that tree_attention_ref merges: merged in the
 * order of the merge lists they give its out and lse bit for bit, and each is the softmax of its item's visible tokens.
 * What tree_attention_ref refuses is refused with the same status, and nothing is written. */
#include <math.h>
#include <stdlib.h>

#include "attention.h"
#include "attention_model.h"
#include "softmax_state.h"
#include "test.h"

static const char *const specs[] = {"one_token", "partial_last_block", "star:5", "comb:5", "binary:3", "ragged",
                                    "empty_branch", "forked_inside_block", "1,3,9/20,7,5"};
enum { NUM_SPECS = sizeof specs / sizeof specs[0], NUM_HEADS = 4, NUM_KV_HEADS = 2, HEAD_DIM = 8 };

/* States of NaN, with a guard behind the last o. */
typedef struct states {
    softmax_state *state;
    double *o;
    uint32_t count;
} states;

static const double GUARD = 12345;

static states states_create(uint32_t count)
{
    states s = {malloc((count + 1) * sizeof *s.state), malloc((count + 1) * HEAD_DIM * sizeof *s.o), count};
    check(s.state && s.o, "memory");
    for (uint32_t i = 0; i <= count; i++) {
        s.state[i] = (softmax_state){NAN, NAN, s.o + i * HEAD_DIM};
        for (uint32_t d = 0; d < HEAD_DIM; d++) s.state[i].o[d] = i < count ? NAN : GUARD;
    }
    return s;
}

static void states_free(states *s)
{
    for (uint32_t d = 0; d < HEAD_DIM; d++) check(s->state[s->count].o[d] == GUARD, "o behind the last state");
    check(isnan(s->state[s->count].m) && isnan(s->state[s->count].l), "one state is left alone");
    free(s->state);
    free(s->o);
}

static bool is_hidden(const tree_plan *plan, const tree_item *item, const tree_range *range, uint32_t row, uint32_t t)
{
    uint32_t words = (item->num_rows + 63) / 64;
    return range->mask != TREE_NO_MASK && !(plan->masks[range->mask + t * words + row / 64] >> row % 64 & 1);
}

/* The definition over the tokens of one item that a row sees. */
static void check_state(const attention_case *c, const tree_plan *plan, const tree_item *item, uint32_t row,
                        uint32_t head, const softmax_state *state)
{
    const tree_shape *shape = &c->shape;
    float *key = malloc((item->num_tokens + 1) * HEAD_DIM * sizeof *key), *at = key;
    float *value = malloc((item->num_tokens + 1) * HEAD_DIM * sizeof *value), *value_at = value;
    for (uint32_t r = 0; r < item->num_ranges; r++) {
        const tree_range *range = &plan->ranges[item->first_range + r];
        for (uint32_t t = 0; t < range->num_tokens; t++) {
            if (is_hidden(plan, item, range, row, t)) continue;
            uint32_t place = range->first_slot + t;
            uint32_t block = plan->blocks[range->first_block + place / shape->block_tokens];
            uint64_t slot = (uint64_t)block * shape->block_tokens + place % shape->block_tokens;
            for (uint32_t d = 0; d < HEAD_DIM; d++) {
                *at++ = attention_key(c, slot, head / (NUM_HEADS / NUM_KV_HEADS))[d];
                *value_at++ = attention_value(c, slot, head / (NUM_HEADS / NUM_KV_HEADS))[d];
            }
        }
    }
    double out[HEAD_DIM], lse;
    uint32_t query = plan->rows[item->first_row + row];
    attention_ref(out, &lse, attention_query(c, query, head), key, value, (size_t)(at - key) / HEAD_DIM, HEAD_DIM,
                  c->scale);
    check(state->l >= 1 && fabs(state->m + log(state->l) - lse) <= 1e-12 * (1 + fabs(lse)), "lse %.17g for %.17g",
          state->m + log(state->l), lse);
    for (uint32_t d = 0; d < HEAD_DIM; d++)
        check(fabs(state->o[d] / state->l - out[d]) <= 1e-12, "o/l %.17g for %.17g", state->o[d] / state->l, out[d]);
    free(key);
    free(value);
}

/* out and lse of one head from the partial states, by the merge lists. */
static void merge_by_hand(const attention_case *c, const tree_plan *plan, uint32_t head, const states *partials,
                          float *out, float *lse)
{
    double o[HEAD_DIM];
    for (uint32_t query = 0; query < plan->num_queries; query++) {
        softmax_state total = {.o = o};
        softmax_state_empty(&total, HEAD_DIM);
        for (uint32_t i = plan->merge_first[query]; i < plan->merge_first[query + 1]; i++)
            softmax_state_merge(&total, &partials->state[plan->merge_partials[i]], HEAD_DIM);
        uint64_t row = (uint64_t)query * c->shape.num_heads + head;
        softmax_state_normalize(out + row * HEAD_DIM, &total, HEAD_DIM);
        lse[row] = (float)softmax_state_lse(&total);
    }
}

static void run_strategies(const void *spec)
{
    attention_case c;
    attention_case_build(&c, &attention_ref_backend, spec, 4, (attention_size){NUM_KV_HEADS, NUM_HEADS / NUM_KV_HEADS,
                                                                              HEAD_DIM});
    float *out = malloc(c.num_out * sizeof *out), *lse = malloc(c.num_lse * sizeof *lse);
    uint32_t num_states = 0;
    for (uint32_t strategy = 0; strategy < TREE_NUM_STRATEGIES; strategy++) {
        tree_plan *plan = attention_plan(&c, (tree_strategy)strategy, 3, 0);
        attention_result whole = attention_run(&c, plan);
        for (uint32_t head = 0; head < NUM_HEADS; head++) {
            states partials = states_create(plan->num_partials);
            tree_status status = tree_attention_ref_partials(partials.state, c.query, c.key, c.value, plan, head,
                                                             &c.shape, c.scale);
            check(status == TREE_OK, "%s", tree_status_string(status));
            for (uint32_t i = 0; i < plan->num_items; i++)
                for (uint32_t row = 0; row < plan->items[i].num_rows; row++, num_states++)
                    check_state(&c, plan, &plan->items[i], row, head,
                                &partials.state[plan->items[i].first_partial + row]);
            merge_by_hand(&c, plan, head, &partials, out, lse);
            states_free(&partials);
        }
        check_same_bits(out, whole.out.data, c.num_out, "out merged by hand");
        check_same_bits(lse, whole.lse.data, c.num_lse, "lse merged by hand");
        attention_result_free(&whole);
        tree_plan_destroy(plan);
    }
    test_note("%u partial states", num_states);
    free(out);
    free(lse);
    attention_case_free(&c);
}

static void run_refusals(const void *unused)
{
    (void)unused;
    attention_case c;
    attention_case_build(&c, &attention_ref_backend, "comb:4", 16, (attention_size){NUM_KV_HEADS, 2, HEAD_DIM});
    tree_plan *plan = attention_plan(&c, TREE_FLATTEN, 0, 0);
    tree_shape wrong[5] = {c.shape, c.shape, c.shape, c.shape, c.shape};
    wrong[0].num_kv_heads = 3;
    wrong[1].block_tokens = 32;
    wrong[2].num_queries++;
    wrong[3].num_blocks = plan->max_block;
    wrong[4].storage = TREE_BF16;
    const tree_status statuses[5] = {TREE_BAD_SHAPE, TREE_BAD_SHAPE, TREE_BAD_SHAPE, TREE_BAD_PLAN, TREE_UNSUPPORTED};
    for (int i = 0; i < 5; i++) {
        states partials = states_create(plan->num_partials);
        tree_status status =
            tree_attention_ref_partials(partials.state, c.query, c.key, c.value, plan, 0, &wrong[i], 1);
        check(status == statuses[i], "shape %d: %s", i, tree_status_string(status));
        for (uint32_t s = 0; s < plan->num_partials; s++)
            for (uint32_t d = 0; d < HEAD_DIM; d++)
                check(isnan(partials.state[s].m) && isnan(partials.state[s].l) && isnan(partials.state[s].o[d]),
                      "shape %d: state %u was written", i, s);
        states_free(&partials);
    }
    tree_plan_destroy(plan);
    attention_case_free(&c);
}

/* A row whose item hides every token, as in plans over evicted tokens, leaves the state of no tokens. */
static void run_no_token(const void *unused)
{
    (void)unused;
    float query[2] = {1, 1}, key[1] = {NAN}, value[1] = {NAN};
    uint32_t blocks[] = {0}, rows[] = {0, 1}, merge_first[] = {0, 1, 2}, merges[] = {0, 1};
    uint64_t masks[] = {0};
    tree_range ranges[] = {{0, 0, 1, 0}};
    tree_item items[] = {{0, 2, 0, 1, 1, 0}};
    tree_plan plan = {.block_tokens = 1, .num_queries = 2, .num_items = 1, .num_ranges = 1, .num_blocks = 1,
                      .num_partials = 2, .num_mask_words = 1, .items = items, .ranges = ranges, .blocks = blocks,
                      .rows = rows, .masks = masks, .merge_first = merge_first, .merge_partials = merges};
    const tree_shape shape = {2, 1, 1, 1, 1, 1, TREE_FP32};
    double o[2] = {NAN, NAN};
    softmax_state partials[2] = {{NAN, NAN, &o[0]}, {NAN, NAN, &o[1]}};
    tree_status status = tree_attention_ref_partials(partials, query, key, value, &plan, 0, &shape, 1);
    check(status == TREE_OK, "%s", tree_status_string(status));
    for (int i = 0; i < 2; i++)
        check(partials[i].m == -INFINITY && partials[i].l == 0 && o[i] == 0, "state %d: m %g l %g o %g", i,
              partials[i].m, partials[i].l, o[i]);
}

int main(int argc, char **argv)
{
    test_begin(argc, argv, "partial states merged by hand give the output of the reference");
    for (int i = 0; i < NUM_SPECS; i++) test_add(run_strategies, specs[i], "merged_by_hand_%s", specs[i]);
    test_add(run_no_token, NULL, "no_token");
    test_add(run_refusals, NULL, "refusals");
    return test_end();
}
