/* The project's plans, with every range split by the student's function. */
#include "exercise.h"

#include <stdlib.h>
#include <string.h>

#include "forest.h"
#include "tree_attention.h"

static tree_range left, right;

static void split(tree_range range, uint32_t at, uint32_t num_rows, uint32_t block_tokens)
{
    memset(&left, 0xee, sizeof left);
    memset(&right, 0xee, sizeof right);
    exercise_split(&left, &right, &range, at, num_rows, block_tokens);
}

static void expect_part(const char *name, const tree_range *part, tree_range expected)
{
    expect(part->first_block == expected.first_block && part->first_slot == expected.first_slot &&
               part->num_tokens == expected.num_tokens,
           "%s: expected %u tokens from block %u, slot %u, got %u tokens from block %u, slot %u", name,
           expected.num_tokens, expected.first_block, expected.first_slot, part->num_tokens, part->first_block,
           part->first_slot);
}

static void expect_mask(const char *name, uint32_t expected, uint32_t got)
{
    expect(expected == got, "mask of %s: expected %u, got %u", name, expected, got);
}

/* The plan with each range split at a random place. The arrays are the caller's, to free. */
static tree_plan split_plan(const tree_plan *plan)
{
    tree_plan cut = *plan;
    cut.ranges = malloc((2 * (size_t)plan->num_ranges + 1) * sizeof *cut.ranges);
    cut.items = malloc(((size_t)plan->num_items + 1) * sizeof *cut.items);
    must(cut.ranges && cut.items, "out of memory");
    cut.num_ranges = 0;
    for (uint32_t i = 0; i < plan->num_items; i++) {
        tree_item item = plan->items[i];
        item.first_range = cut.num_ranges;
        for (uint32_t r = 0; r < plan->items[i].num_ranges; r++) {
            const tree_range *range = &plan->ranges[plan->items[i].first_range + r];
            cut.ranges[cut.num_ranges++] = *range;
            if (range->num_tokens < 2) continue;
            split(*range, 1 + draw(range->num_tokens - 1), item.num_rows, plan->block_tokens);
            cut.ranges[cut.num_ranges - 1] = left;
            cut.ranges[cut.num_ranges++] = right;
        }
        item.num_ranges = cut.num_ranges - item.first_range;
        cut.items[i] = item;
    }
    return cut;
}

static bool attend(const forest *f, tree_strategy strategy)
{
    tree_plan *plan;
    float expected[FOREST_MAX_BRANCHES * 4], out[FOREST_MAX_BRANCHES * 4];
    char message[200];
    const tree_plan_config config = {.strategy = strategy, .piece_tokens = 6};
    must(tree_plan_build(&plan, f->tree, &config) == TREE_OK, "no plan");
    tree_plan cut = split_plan(plan);
    bool good = expect(tree_plan_check(&cut, f->tree, message, sizeof message) == TREE_OK, "strategy %s: %s",
                       tree_strategy_name[strategy], message);
    if (good) { /* a plan that is not sound may name any block */
        tree_attention_ref(expected, NULL, f->query, f->key, f->value, plan, &f->shape, f->scale);
        tree_attention_ref(out, NULL, f->query, f->key, f->value, &cut, &f->shape, f->scale);
        for (uint32_t i = 0; i < f->num_branches * 4; i++)
            good &= expect_number("out: query * 4 + element", i, (double)expected[i], (double)out[i], 0);
    }
    free(cut.ranges);
    free(cut.items);
    tree_plan_destroy(plan);
    return good;
}

int main(void)
{
    property("tiny tree: node 1 split before its token 3");
    split((tree_range){1, 0, 5, TREE_NO_MASK}, 3, 1, 4);
    expect_part("left", &left, (tree_range){1, 0, 3, 0});
    expect_part("right", &right, (tree_range){1, 3, 2, 0});

    property("the parts have all the tokens, at every place of a split");
    for (uint32_t at = 1; at < 5; at++) {
        split((tree_range){1, 0, 5, TREE_NO_MASK}, at, 1, 4);
        expect(left.num_tokens == at && right.num_tokens == 5 - at,
               "split before token %u: expected %u + %u, got %u + %u", at, at, 5 - at, left.num_tokens,
               right.num_tokens);
    }

    property("right begins in the block that holds its first token");
    for (uint32_t at = 1; at < 12; at++) {
        split((tree_range){3, 0, 12, TREE_NO_MASK}, at, 1, 4);
        expect_number("block of right, split before token", at, 3 + at / 4, right.first_block, 0);
    }

    property("a slot is less than block_tokens");
    for (uint32_t at = 1; at < 12; at++) {
        split((tree_range){3, 0, 12, TREE_NO_MASK}, at, 1, 4);
        expect_number("slot of right, split before token", at, at % 4, right.first_slot, 0);
    }

    property("a range that begins inside a block");
    for (uint32_t at = 1; at < 7; at++) {
        split((tree_range){5, 3, 7, TREE_NO_MASK}, at, 1, 4);
        expect_part("left", &left, (tree_range){5, 3, at, 0});
        expect_part("right", &right, (tree_range){5 + (3 + at) / 4, (3 + at) % 4, 7 - at, 0});
    }

    property("without a mask, the parts have none");
    split((tree_range){5, 3, 7, TREE_NO_MASK}, 2, 9, 4);
    expect_mask("left", TREE_NO_MASK, left.mask);
    expect_mask("right", TREE_NO_MASK, right.mask);

    property("a mask of one word per token moves on by a word per token");
    split((tree_range){5, 3, 7, 100}, 2, 64, 4);
    expect_mask("left", 100, left.mask);
    expect_mask("right", 102, right.mask);

    property("70 rows have a mask of two words per token");
    split((tree_range){5, 3, 7, 100}, 3, 70, 4);
    expect_mask("right", 106, right.mask);

    property("attention over the split plans of all strategies is the same, bit for bit");
    bool good = true;
    for (int i = 0; i < 8 && good; i++) {
        forest f;
        if (i == 0)
            forest_tiny(&f);
        else
            forest_random(&f, 4, 1, 1, 4);
        for (int s = 0; s < TREE_NUM_STRATEGIES && good; s++) good = attend(&f, (tree_strategy)s);
        forest_destroy(&f);
    }
    return finish();
}
