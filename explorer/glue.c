/* The explorer's scenario, played by the real allocator, planner, reference attention and eviction. The page and the
 * tests call one function, explorer_call; it leaves its answer as numbers: explorer.h says which. */
#include "explorer.h"

#include <math.h>
#include <string.h>

#include "attention.h"
#include "eviction_forest.h"
#include "eviction_policy.h"
#include "kv_branch.h"
#include "kv_pool_internal.h" /* the order of the free list */
#include "kv_tree.h"
#include "plan_queue.h"
#include "softmax_state.h"
#include "traffic.h"
#include "tree_attention.h"

enum { HEAD_DIM = 4, MAX_NUMBERS = 1 << 19 };
static const float scale = 0.5f; /* 1 / sqrt(HEAD_DIM) */

typedef struct operation {
    uint32_t kind, branch, value;
} operation;

typedef struct named_branch {
    kv_branch handle;
    bool live;
} named_branch;

static struct scenario {
    uint32_t block_tokens, num_blocks, seed;
    operation operations[EXPLORER_MAX_OPERATIONS];
    uint32_t num_operations, num_branches, next_token;
    named_branch branches[EXPLORER_MAX_BRANCHES]; /* in the order of their creation; a pruned one keeps its number */
    kv_pool *pool;
    kv_append append; /* of the last operation, if it was one */
} s;

static float key[EXPLORER_MAX_SLOTS][HEAD_DIM], value[EXPLORER_MAX_SLOTS][HEAD_DIM];
static uint32_t token_in[EXPLORER_MAX_SLOTS];

static double numbers[MAX_NUMBERS];
static int32_t num_numbers;

static void put(double number)
{
    if (num_numbers < MAX_NUMBERS)
        numbers[num_numbers] = number;
    num_numbers++;
}

static int32_t answer(void) { return num_numbers <= MAX_NUMBERS ? num_numbers : EXPLORER_TOO_LARGE; }

const double *explorer_numbers(void) { return numbers; }

/* ---- keys, values and queries ---- */

/* Number `index` of a stream of multiples of 1/4 in -2 .. 2, as in tools/tool_tree.c. */
static float quarter(uint64_t index)
{
    uint64_t z = s.seed + (index + 1) * 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return (float)((int)((z ^ z >> 31) % 17) - 8) / 4;
}

static void write_key_value(float *k, float *v, uint32_t token)
{
    for (uint32_t d = 0; d < HEAD_DIM; d++) {
        k[d] = s.seed ? quarter((uint64_t)token * 8 + d) : d == token % HEAD_DIM;
        v[d] = s.seed ? quarter((uint64_t)token * 8 + 4 + d) : d == 0 ? (float)token : token % d == 0;
    }
}

/* The query of a branch, `step` decoding steps after the scenario. */
static void write_query(float *query, uint32_t branch, uint32_t step)
{
    static const float rule[HEAD_DIM] = {2, 0, 4, -2};
    for (uint32_t d = 0; d < HEAD_DIM; d++)
        query[d] = s.seed ? quarter((UINT64_C(1) << 32) + branch * 64 + step * 4 + d) : rule[(d + branch + step) % 4];
}

/* ---- the scenario ---- */

static int32_t begin(uint32_t block_tokens, uint32_t num_blocks, uint32_t seed)
{
    if (block_tokens == 0 || num_blocks == 0 || num_blocks > EXPLORER_MAX_SLOTS / block_tokens)
        return EXPLORER_TOO_LARGE;
    if (s.pool)
        kv_pool_destroy(s.pool, true, NULL);
    memset(&s, 0, sizeof s);
    s.block_tokens = block_tokens;
    s.num_blocks = num_blocks;
    s.seed = seed;
    kv_pool_config config = {.num_blocks = num_blocks, .block_tokens = block_tokens};
    kv_status status = kv_pool_create(&s.pool, &config);
    if (status == KV_OK)
        status = kv_branch_create(s.pool, &s.branches[0].handle);
    if (status != KV_OK)
        return status;
    s.branches[0].live = true;
    s.num_branches = 1;
    return 0;
}

/* First the copy that the pool returned, then the new tokens. */
static kv_status append(kv_branch branch, uint32_t num_tokens)
{
    kv_status status = kv_branch_append(s.pool, branch, num_tokens, &s.append);
    if (status != KV_OK)
        return status;
    kv_copy copy = s.append.copy;
    for (uint32_t slot = 0; slot < copy.num_tokens; slot++) {
        uint32_t from = copy.from_block * s.block_tokens + slot, to = copy.to_block * s.block_tokens + slot;
        memcpy(key[to], key[from], sizeof key[0]);
        memcpy(value[to], value[from], sizeof value[0]);
        token_in[to] = token_in[from];
    }
    kv_table table;
    kv_branch_table(s.pool, branch, &table);
    for (uint32_t at = table.length - num_tokens; at < table.length; at++) {
        uint32_t slot = table.blocks[at / s.block_tokens] * s.block_tokens + at % s.block_tokens;
        write_key_value(key[slot], value[slot], s.next_token);
        token_in[slot] = s.next_token++;
    }
    return KV_OK;
}

static int32_t play(uint32_t kind, uint32_t branch, uint32_t amount)
{
    if (s.pool == NULL || branch >= s.num_branches || !s.branches[branch].live)
        return KV_STALE;
    if (s.num_operations == EXPLORER_MAX_OPERATIONS)
        return EXPLORER_TOO_LARGE;
    kv_branch handle = s.branches[branch].handle;
    s.append = (kv_append){0};
    kv_status status;
    switch (kind) {
    case EXPLORER_APPEND: status = amount == 0 ? KV_RANGE : append(handle, amount); break;
    case EXPLORER_FORK:
        if (s.num_branches == EXPLORER_MAX_BRANCHES)
            return EXPLORER_TOO_LARGE;
        status = kv_branch_fork(s.pool, handle, &s.branches[s.num_branches].handle);
        if (status == KV_OK)
            s.branches[s.num_branches++].live = true;
        break;
    case EXPLORER_TRUNCATE: status = kv_branch_truncate(s.pool, handle, amount); break;
    case EXPLORER_PRUNE:
        status = kv_branch_prune(s.pool, handle);
        s.branches[branch].live = status != KV_OK;
        break;
    default: return KV_INVAL;
    }
    if (status == KV_OK)
        s.operations[s.num_operations++] = (operation){kind, branch, amount};
    return status;
}

/* ---- the pool, its branches and its tree ---- */

static int32_t look_at_pool(void)
{
    kv_pool_stats stats;
    kv_pool_get_stats(s.pool, &stats);
    put(stats.num_blocks);
    put(stats.block_tokens);
    put(stats.used_blocks);
    put(stats.shared_blocks);
    put(stats.high_water_blocks);
    put((double)stats.logical_tokens);
    put((double)stats.table_blocks);
    put((double)stats.physical_tokens);
    put((double)stats.copies);
    put((double)stats.copied_tokens);
    put(s.append.copy.from_block);
    put(s.append.copy.to_block);
    put(s.append.copy.num_tokens);
    put(s.append.num_new_blocks);
    const uint32_t *released;
    uint32_t num_released;
    kv_pool_released(s.pool, &released, &num_released);
    put(num_released);
    for (uint32_t i = 0; i < num_released; i++)
        put(released[i]);
    for (uint32_t block = 0; block < s.num_blocks; block++)
        put(kv_pool_references(s.pool, block));
    for (uint32_t i = s.pool->num_free; i-- > 0;) /* a LIFO list: the next block is at its end */
        put(s.pool->free_list[(s.pool->free_head + i) % s.num_blocks]);
    return answer();
}

static int32_t look_at_branches(void)
{
    put(s.num_branches);
    for (uint32_t b = 0; b < s.num_branches; b++) {
        kv_table table = {0};
        if (s.branches[b].live)
            kv_branch_table(s.pool, s.branches[b].handle, &table);
        put(s.branches[b].live);
        put(table.length);
        put(table.num_blocks);
        for (uint32_t i = 0; i < table.num_blocks; i++)
            put(table.blocks[i]);
        for (uint32_t t = 0; t < table.length; t++)
            put(token_in[table.blocks[t / s.block_tokens] * s.block_tokens + t % s.block_tokens]);
    }
    return answer();
}

/* The living branches, as queries. */
typedef struct queries {
    kv_tree *tree;
    uint32_t count, branch[EXPLORER_MAX_BRANCHES];
} queries;

static int32_t open_queries(queries *q)
{
    kv_table tables[EXPLORER_MAX_BRANCHES];
    q->count = 0;
    for (uint32_t b = 0; b < s.num_branches; b++)
        if (s.branches[b].live) {
            kv_branch_table(s.pool, s.branches[b].handle, &tables[q->count]);
            q->branch[q->count++] = b;
        }
    return kv_tree_build(&q->tree, tables, q->count, s.block_tokens, s.num_blocks);
}

static int32_t look_at_tree(void)
{
    queries q;
    int32_t status = open_queries(&q);
    if (status)
        return status;
    put((double)q.tree->unique_tokens);
    put((double)q.tree->path_tokens);
    put(q.tree->num_nodes);
    for (uint32_t n = 0; n < q.tree->num_nodes; n++) {
        const kv_node *node = &q.tree->nodes[n];
        put(node->parent == KV_NONE ? -1 : (double)node->parent);
        put(node->first_token);
        put(node->num_tokens);
        put(node->num_rows);
        for (uint32_t row = 0; row < node->num_rows; row++)
            put(q.branch[q.tree->rows[node->first_row + row]]);
        for (uint32_t t = 0; t < node->num_tokens; t++) {
            uint32_t at = node->first_slot + t;
            uint32_t block = q.tree->blocks[node->first_block + at / s.block_tokens];
            put(block * s.block_tokens + at % s.block_tokens);
        }
    }
    kv_tree_destroy(q.tree);
    return answer();
}

/* ---- plans ---- */

static tree_shape shape_of(uint32_t model, uint32_t num_queries)
{
    tree_shape tiny = {num_queries, 1, 1, HEAD_DIM, s.num_blocks, s.block_tokens, TREE_FP32};
    tree_shape large = {num_queries, 32, 8, 128, s.num_blocks, s.block_tokens, TREE_FP16};
    return model == EXPLORER_TINY ? tiny : large;
}

static tree_plan_config config_of(uint32_t strategy, uint32_t piece_tokens, const tree_shape *shape)
{
    return (tree_plan_config){.strategy = (tree_strategy)strategy,
                              .piece_tokens = piece_tokens,
                              .group_size = shape->num_heads / shape->num_kv_heads};
}

static void put_traffic(const tree_traffic *t)
{
    put((double)t->logical_bytes);
    put((double)t->unique_bytes);
    put((double)t->plan_bytes);
    put((double)t->query_bytes);
    put((double)t->out_bytes);
    put((double)t->mask_bytes);
    put((double)t->partial_bytes);
}

static int32_t count_bytes(uint32_t model, uint32_t piece_tokens)
{
    queries q;
    int32_t status = open_queries(&q);
    if (status)
        return status;
    tree_shape shape = shape_of(model, q.count);
    tree_traffic traffic = {0};
    for (uint32_t strategy = 0; strategy < TREE_NUM_STRATEGIES && !status; strategy++) {
        tree_plan_config config = config_of(strategy, piece_tokens, &shape);
        tree_plan *plan = NULL;
        uint64_t bytes = 0;
        status = tree_plan_build(&plan, q.tree, &config);
        if (!status)
            status = tree_plan_bytes(&bytes, q.tree, &config);
        if (!status)
            status = tree_traffic_count(&traffic, plan, &shape, TRAFFIC_PACKED);
        if (!status) {
            put(plan->num_items);
            put((double)plan->loaded_tokens);
            put(plan->num_partials);
            put((double)plan->masked_pairs);
            put((double)(bytes - sizeof *plan)); /* the pointers in it differ in size */
            put_traffic(&traffic);
        }
        tree_plan_destroy(plan);
    }
    if (!status)
        status = tree_traffic_standard(&traffic, q.tree, &shape);
    put_traffic(&traffic);
    if (!status)
        status = tree_traffic_dense_mask(&traffic, q.tree, &shape);
    put_traffic(&traffic);
    kv_tree_destroy(q.tree);
    return status ? status : answer();
}

static void put_items(const tree_plan *plan, const queries *q)
{
    put(plan->num_items);
    for (uint32_t i = 0; i < plan->num_items; i++) {
        const tree_item *item = &plan->items[i];
        put(item->num_rows);
        put(item->num_tokens);
        put(item->num_ranges);
        for (uint32_t row = 0; row < item->num_rows; row++)
            put(q->branch[plan->rows[item->first_row + row]]);
        for (uint32_t r = 0; r < item->num_ranges; r++) {
            const tree_range *range = &plan->ranges[item->first_range + r];
            put(range->num_tokens);
            put(range->mask != TREE_NO_MASK);
            for (uint32_t t = 0; t < range->num_tokens; t++) {
                uint32_t at = range->first_slot + t;
                uint32_t block = plan->blocks[range->first_block + at / s.block_tokens];
                put(block * s.block_tokens + at % s.block_tokens);
            }
        }
    }
}

/* The cost of a tile as plan_queue.h states it, that of starting its task apart. */
static void put_tiles(const plan_queue *queue, const tree_plan *plan, const tree_shape *shape)
{
    put(queue->num_workers);
    for (uint32_t w = 0; w < queue->num_workers; w++) {
        put(queue->worker_first[w + 1] - queue->worker_first[w]);
        for (uint32_t i = queue->worker_first[w]; i < queue->worker_first[w + 1]; i++) {
            const queue_tile *tile = &queue->tiles[i];
            uint32_t item = 0, rows = ((uint32_t)tile->num_queries * tile->num_heads + 15) / 16 * 16;
            while (tile->first_partial >= plan->items[item].first_partial + plan->items[item].num_rows)
                item++;
            double kv = 2.0 * shape->head_dim * (double)tree_storage_bytes(shape->storage);
            put(item);
            put(tile->kv_head);
            put(tile->num_tokens);
            put(tile->is_first ? 49152 : 0);
            put(tile->num_tokens * (kv + 2 * shape->head_dim / 128 * rows));
        }
    }
}

static int32_t look_at_plan(uint32_t strategy, uint32_t piece_tokens, uint32_t model, uint32_t num_workers)
{
    queries q;
    if (strategy >= TREE_NUM_STRATEGIES || num_workers == 0 || num_workers > 1024)
        return TREE_INVAL;
    int32_t status = open_queries(&q);
    if (status)
        return status;
    tree_shape shape = shape_of(model, q.count);
    tree_plan_config config = config_of(strategy, piece_tokens, &shape);
    tree_plan *plan = NULL;
    status = tree_plan_build(&plan, q.tree, &config);
    plan_queue queue = {0};
    if (!status)
        status = plan_queue_build(&queue, plan, &shape, num_workers);
    if (!status) {
        put_items(plan, &q);
        put_tiles(&queue, plan, &shape);
    }
    plan_queue_free(&queue);
    tree_plan_destroy(plan);
    kv_tree_destroy(q.tree);
    return status ? status : answer();
}

/* ---- online softmax ---- */

static bool sees(const tree_plan *plan, const tree_item *item, const tree_range *range, uint32_t row, uint32_t t)
{
    uint64_t words = (item->num_rows + 63) / 64;
    return range->mask == TREE_NO_MASK || (plan->masks[range->mask + t * words + row / 64] >> row % 64 & 1);
}

static void put_state(const softmax_state *state)
{
    put(state->m);
    put(state->l);
    for (uint32_t d = 0; d < HEAD_DIM; d++)
        put(state->o[d]);
}

/* Absorbs the tokens of an item into an empty state, one by one, as reference/tree_attention.c does. */
static void absorb_item(softmax_state *state, const tree_plan *plan, uint32_t i, uint32_t row, const float *query)
{
    const tree_item *item = &plan->items[i];
    softmax_state_empty(state, HEAD_DIM);
    for (uint32_t r = item->first_range; r < item->first_range + item->num_ranges; r++)
        for (uint32_t t = 0; t < plan->ranges[r].num_tokens; t++) {
            if (!sees(plan, item, &plan->ranges[r], row, t))
                continue;
            uint32_t at = plan->ranges[r].first_slot + t;
            uint32_t block = plan->blocks[plan->ranges[r].first_block + at / s.block_tokens];
            uint32_t slot = block * s.block_tokens + at % s.block_tokens;
            double score = 0;
            for (uint32_t d = 0; d < HEAD_DIM; d++)
                score += (double)query[d] * key[slot][d];
            score *= scale;
            double m = state->m;
            softmax_state_absorb(state, score, value[slot], HEAD_DIM);
            put(EXPLORER_ABSORB);
            put(i);
            put(token_in[slot]);
            put(score);
            put(exp(m - state->m));
            put(exp(score - state->m));
            put_state(state);
        }
}

static int32_t step_through(uint32_t branch, uint32_t strategy, uint32_t piece_tokens)
{
    queries q;
    if (branch >= s.num_branches || !s.branches[branch].live)
        return KV_STALE;
    int32_t status = open_queries(&q);
    if (status)
        return status;
    tree_shape shape = shape_of(EXPLORER_TINY, q.count);
    tree_plan_config config = config_of(strategy, piece_tokens, &shape);
    tree_plan *plan = NULL;
    static float query[EXPLORER_MAX_BRANCHES][HEAD_DIM], out[EXPLORER_MAX_BRANCHES][HEAD_DIM];
    static float lse[EXPLORER_MAX_BRANCHES];
    uint32_t mine = 0;
    for (uint32_t i = 0; i < q.count; i++) {
        write_query(query[i], q.branch[i], 0);
        mine = q.branch[i] == branch ? i : mine;
    }
    status = tree_plan_build(&plan, q.tree, &config);
    if (!status)
        status = tree_attention_ref(out[0], lse, query[0], key[0], value[0], plan, &shape, scale);
    if (!status) {
        double o[HEAD_DIM], total_o[HEAD_DIM];
        float mean[HEAD_DIM];
        softmax_state state = {.o = o}, total = {.o = total_o};
        softmax_state_empty(&total, HEAD_DIM);
        for (uint32_t p = plan->merge_first[mine]; p < plan->merge_first[mine + 1]; p++) {
            uint32_t i = 0, partial = plan->merge_partials[p];
            while (partial >= plan->items[i].first_partial + plan->items[i].num_rows)
                i++;
            absorb_item(&state, plan, i, partial - plan->items[i].first_partial, query[mine]);
            double m = total.m;
            softmax_state_merge(&total, &state, HEAD_DIM);
            put(EXPLORER_MERGE);
            put(i);
            put(-1);
            put(0);
            put(exp(m - total.m));
            put(exp(state.m - total.m));
            put_state(&total);
        }
        softmax_state_normalize(mean, &total, HEAD_DIM);
        put(EXPLORER_NORMALIZE);
        put(memcmp(mean, out[mine], sizeof mean) == 0 && (float)softmax_state_lse(&total) == lse[mine]);
        put(-1);
        put(softmax_state_lse(&total));
        put(1);
        put(0);
        put_state(&total);
        for (uint32_t d = 0; d < HEAD_DIM; d++)
            put((double)out[mine][d]);
    }
    tree_plan_destroy(plan);
    kv_tree_destroy(q.tree);
    return status ? status : answer();
}

/* ---- eviction ---- */

/* The whole path of a branch, evicted tokens included. */
typedef struct path {
    kv_branch handle;
    bool live;
    uint32_t length;
    uint32_t token[EXPLORER_MAX_LENGTH];
    uint16_t gone[EXPLORER_MAX_LENGTH]; /* 0: kept; else 1 + the step that evicted it */
} path;

static path paths[EXPLORER_MAX_BRANCHES];
static float path_key[EXPLORER_MAX_LENGTH][HEAD_DIM], path_value[EXPLORER_MAX_LENGTH][HEAD_DIM];
static float path_norm[EXPLORER_MAX_LENGTH];
static uint64_t path_slot[EXPLORER_MAX_LENGTH];
static uint32_t path_position[EXPLORER_MAX_LENGTH];
static double path_weight[EXPLORER_MAX_LENGTH], path_importance[EXPLORER_MAX_LENGTH];

static void write_path(const path *p)
{
    for (uint32_t t = 0; t < p->length; t++) {
        write_key_value(path_key[t], path_value[t], p->token[t]);
        path_norm[t] = value_norm(path_value[t], HEAD_DIM);
        path_slot[t] = path_position[t] = t;
    }
}

/* The scenario once more, in a forest. */
static kv_status replay(eviction_forest *forest, uint32_t *num_paths)
{
    uint32_t token = 0;
    *num_paths = 1;
    paths[0].length = 0;
    paths[0].live = true;
    kv_status status = eviction_forest_branch(forest, &paths[0].handle);
    for (uint32_t i = 0; i < s.num_operations && status == KV_OK; i++) {
        const operation *op = &s.operations[i];
        path *p = &paths[op->branch];
        if (op->kind == EXPLORER_APPEND) {
            path more = {.length = 0};
            if (op->value > EXPLORER_MAX_LENGTH - p->length)
                return KV_RANGE;
            for (; more.length < op->value; more.length++)
                more.token[more.length] = p->token[p->length++] = token++;
            write_path(&more);
            status = eviction_forest_append(forest, p->handle, op->value, path_key[0], path_value[0]);
        } else if (op->kind == EXPLORER_FORK) {
            path *child = &paths[(*num_paths)++];
            *child = *p;
            status = eviction_forest_fork(forest, p->handle, &child->handle);
        } else if (op->kind == EXPLORER_TRUNCATE) {
            p->length = op->value;
            status = eviction_forest_truncate(forest, p->handle, op->value);
        } else {
            p->live = false;
            status = eviction_forest_prune(forest, p->handle);
        }
    }
    return status;
}

typedef struct evicting {
    uint32_t count, branch[EXPLORER_MAX_BRANCHES];
    kv_branch handle[EXPLORER_MAX_BRANCHES];
    uint32_t num_tokens[EXPLORER_MAX_BRANCHES];
    float query[EXPLORER_MAX_BRANCHES][HEAD_DIM], out[EXPLORER_MAX_BRANCHES][HEAD_DIM];
    float key[EXPLORER_MAX_BRANCHES][HEAD_DIM], value[EXPLORER_MAX_BRANCHES][HEAD_DIM];
    eviction_forest_result results[EXPLORER_MAX_BRANCHES];
} evicting;

/* Step 0 adds no token: the branches attend, then evict down to their budgets. Each later step adds one token each. */
static int32_t evict_step(eviction_forest *forest, evicting *e, uint32_t step, uint32_t *token)
{
    for (uint32_t i = 0; i < e->count; i++) {
        path *p = &paths[e->branch[i]];
        write_query(e->query[i], e->branch[i], step);
        e->num_tokens[i] = step > 0;
        if (step == 0)
            continue;
        if (p->length == EXPLORER_MAX_LENGTH)
            return EXPLORER_TOO_LARGE;
        p->gone[p->length] = 0;
        p->token[p->length++] = *token;
        write_key_value(e->key[i], e->value[i], (*token)++);
    }
    kv_status status = eviction_forest_step(forest, e->handle, e->count, e->num_tokens, e->out[0], e->query[0],
                                            e->key[0], e->value[0], e->results);
    for (uint32_t i = 0; i < e->count && status == KV_OK; i++) {
        if (e->results[i].status != TREE_OK)
            return e->results[i].status;
        for (uint32_t v = 0; v < e->results[i].num_victims; v++)
            paths[e->branch[i]].gone[e->results[i].victims[v]] = (uint16_t)(step + 1);
    }
    return status;
}

/* |kept - full| / |full| for the query of the last step: kept is attention over the tokens that are left, full over the
 * whole path. Then each token with its importance in full. */
static void put_path(const evicting *e, uint32_t i)
{
    const path *p = &paths[e->branch[i]];
    token_list all = {p->length, path_slot, path_position};
    tree_shape shape = {1, 1, 1, HEAD_DIM, EXPLORER_MAX_LENGTH / 16, 16, TREE_FP32};
    double full[HEAD_DIM], kept[HEAD_DIM], difference = 0, length = 0;
    write_path(p);
    attention_weights(path_weight, full, NULL, e->query[i], path_key[0], path_value[0], &all, &shape, scale);
    importance_ref(path_importance, path_weight, path_norm, &all, &shape);
    uint32_t num_kept = 0;
    for (uint32_t t = 0; t < p->length; t++)
        if (p->gone[t] == 0) {
            write_key_value(path_key[num_kept], path_value[num_kept], p->token[t]);
            num_kept++;
        }
    attention_ref(kept, NULL, e->query[i], path_key[0], path_value[0], num_kept, HEAD_DIM, scale);
    for (uint32_t d = 0; d < HEAD_DIM; d++) {
        difference += (kept[d] - full[d]) * (kept[d] - full[d]);
        length += full[d] * full[d];
    }
    put(e->branch[i]);
    put(length > 0 ? sqrt(difference / length) : 0);
    put(e->results[i].num_tokens);
    put(p->length);
    for (uint32_t t = 0; t < p->length; t++) {
        put(p->token[t]);
        put(p->gone[t]);
        put(path_importance[t]);
    }
}

static int32_t evict(const eviction_forest_config *config, uint32_t num_steps)
{
    static evicting e;
    eviction_forest *forest;
    eviction_forest_parts parts;
    kv_pool_stats before, after;
    uint32_t num_paths, token = s.next_token;
    int32_t status = eviction_forest_create(&forest, config);
    if (status)
        return status;
    memset(paths, 0, sizeof paths);
    status = replay(forest, &num_paths);
    e.count = 0;
    for (uint32_t b = 0; b < num_paths; b++)
        if (paths[b].live && paths[b].length > 0) {
            e.handle[e.count] = paths[b].handle;
            e.branch[e.count++] = b;
        }
    eviction_forest_get(forest, &parts);
    kv_pool_get_stats(parts.pool, &before);
    for (uint32_t step = 0; step <= num_steps && !status && e.count > 0; step++)
        status = evict_step(forest, &e, step, &token);
    if (!status) {
        eviction_forest_get(forest, &parts);
        kv_pool_get_stats(parts.pool, &after);
        put(before.used_blocks);
        put(after.used_blocks);
        put(after.high_water_blocks);
        put((double)parts.counts.evicted_tokens);
        put((double)parts.counts.voted_tokens);
        put((double)parts.counts.freed_blocks);
        put((double)parts.counts.above_budget);
        put(e.count);
        for (uint32_t i = 0; i < e.count; i++)
            put_path(&e, i);
    }
    eviction_forest_destroy(forest);
    return status ? status : answer();
}

/* ---- the one door ---- */

int32_t explorer_call(uint32_t what, uint32_t a, uint32_t b, uint32_t c, uint32_t d, uint32_t e)
{
    num_numbers = 0;
    if (what != EXPLORER_BEGIN && what != EXPLORER_POLICIES && s.pool == NULL)
        return KV_INVAL;
    switch (what) {
    case EXPLORER_BEGIN: return begin(a, b, c);
    case EXPLORER_PLAY: return play(a, b, c);
    case EXPLORER_POOL: return look_at_pool();
    case EXPLORER_BRANCHES: return look_at_branches();
    case EXPLORER_TREE: return look_at_tree();
    case EXPLORER_BYTES: return count_bytes(a, b);
    case EXPLORER_PLAN: return look_at_plan(a, b, c, d);
    case EXPLORER_SOFTMAX: return step_through(a, b, c);
    case EXPLORER_EVICT: {
        if (a >= num_eviction_policies)
            return KV_INVAL;
        eviction_forest_config config = {
            .pool = {.num_blocks = s.num_blocks + EXPLORER_MAX_BRANCHES, .block_tokens = s.block_tokens,
                     .evicts = true},
            .num_heads = 1, .num_kv_heads = 1, .head_dim = HEAD_DIM, .policy = eviction_policies[a],
            .scope = (kv_scope)b, .budget = c, .compacts = (e & 1) != 0, .scale = scale, .seed = 1};
        return evict(&config, d);
    }
    case EXPLORER_POLICIES:
        for (uint32_t i = 0; i < num_eviction_policies; i++) {
            for (const char *letter = eviction_policies[i]->name; *letter; letter++)
                put(*letter);
            put(0);
        }
        return answer();
    default: return KV_INVAL;
    }
}
