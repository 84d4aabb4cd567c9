/* The strategy `cost`, between tree_plan.c, which calls it, and tree_plan_items.c, which it calls. */
#ifndef TREE_PLAN_COST_INTERNAL_H
#define TREE_PLAN_COST_INTERNAL_H

#include "tree_plan_items_internal.h"

typedef struct plan_cost plan_cost;

/* Fills in the prices, or checks those of the caller: TREE_INVAL. */
tree_status plan_cost_prices(tree_plan_config *config);

/* Decides which nodes form units, and fills in max_rows and piece_tokens of the config, which has its prices
 * and outlives *cost. TREE_NOMEM; *cost is untouched then. O(nodes). */
tree_status plan_cost_create(plan_cost **cost, const kv_tree *tree, tree_plan_config *config);

/* Adds the items of all units. */
void plan_cost_add(plan_items *items, plan_cost *cost);

void plan_cost_destroy(plan_cost *cost);

#endif
