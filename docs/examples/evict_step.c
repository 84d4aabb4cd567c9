/* Decoding under a budget: three branches behind one prompt; each keeps BUDGET tokens, however long it decodes.
 *
 *   build   cc evict_step.c $(pkg-config --cflags --libs treeattn) -lm
 *
 * Scope private: a branch forgets tokens of its own, and none of the prompt, which the others read as well. Both layers
 * keep the same tokens, so a victim has the smallest sum of importances. In every fourth step the last branch waits: it
 * gets no token, the slot of its last victim stays empty, and the plan's masks hide that slot. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <treeattn.h>

enum { NUM_LAYERS = 2, NUM_BRANCHES = 3, PROMPT = 40, BUDGET = 63, RECENT = 8, NUM_STEPS = 200, BLOCK_TOKENS = 16 };
/* A branch takes a new block only if its own blocks have no hole. BUDGET + 1 tokens fill TABLE_BLOCKS: no block is taken
 * for one token. */
enum { SHARED_BLOCKS = PROMPT / BLOCK_TOKENS, TABLE_BLOCKS = BUDGET / BLOCK_TOKENS + 1 };
enum { NUM_SLOTS = TABLE_BLOCKS * BLOCK_TOKENS, NUM_BLOCKS = 3 * TABLE_BLOCKS - 2 * SHARED_BLOCKS };
enum { NUM_HEADS = 4, NUM_KV_HEADS = 2, HEAD_DIM = 64 };
static const tree_shape shape = {NUM_BRANCHES, NUM_HEADS, NUM_KV_HEADS, HEAD_DIM, NUM_BLOCKS, BLOCK_TOKENS, TREE_FP32};
static const tree_plan_config config = {.strategy = TREE_COST, .target = TREE_TARGET_CPU, .group_size = 2};

static float key[NUM_LAYERS][NUM_BLOCKS][NUM_KV_HEADS][BLOCK_TOKENS][HEAD_DIM];
static float value[NUM_LAYERS][NUM_BLOCKS][NUM_KV_HEADS][BLOCK_TOKENS][HEAD_DIM];
static float norm[NUM_LAYERS][NUM_BLOCKS][NUM_KV_HEADS][BLOCK_TOKENS]; /* of each value, written when it is */
static float query[NUM_BRANCHES][NUM_HEADS][HEAD_DIM], out[NUM_BRANCHES][NUM_HEADS][HEAD_DIM];
static float importance[NUM_BRANCHES][NUM_SLOTS], sum[NUM_BRANCHES][NUM_SLOTS]; /* by slot of the branch's table */

static void need(int status, const char *what)
{
    if (status == 0) return;
    fprintf(stderr, "%s: status %d\n", what, status);
    exit(1);
}

enum kind { KEY, VALUE, QUERY };

/* Numbers from -1 to 1 that depend on the arguments alone; the prompt belongs to branch 0. */
static void fill(float *vector, enum kind kind, int layer, int branch, uint32_t position, int head)
{
    uint32_t owner = position < PROMPT ? 0 : (uint32_t)branch;
    uint32_t x = (((position * 4 + owner) * 4 + (uint32_t)layer) * 4 + (uint32_t)head) * 4 + (uint32_t)kind + 1;
    for (int d = 0; d < HEAD_DIM; d++) {
        x = x * 1664525 + 1013904223;
        vector[d] = (float)((x ^ x >> 15) * 2654435761u >> 8) / (1 << 23) - 1;
    }
}

static void write_token(const kv_table *table, uint32_t slot, int branch, uint32_t position)
{
    uint32_t block = table->blocks[slot / BLOCK_TOKENS], s = slot % BLOCK_TOKENS;
    for (int layer = 0; layer < NUM_LAYERS; layer++)
        for (int g = 0; g < NUM_KV_HEADS; g++) {
            fill(key[layer][block][g][s], KEY, layer, branch, position, g);
            fill(value[layer][block][g][s], VALUE, layer, branch, position, g);
            norm[layer][block][g][s] = value_norm(value[layer][block][g][s], HEAD_DIM);
        }
}

static void carry_out(kv_copy c)
{
    for (int layer = 0; layer < NUM_LAYERS; layer++)
        for (int g = 0; g < NUM_KV_HEADS; g++) {
            memcpy(key[layer][c.to_block][g], key[layer][c.from_block][g], c.num_tokens * sizeof key[0][0][0][0]);
            memcpy(value[layer][c.to_block][g], value[layer][c.from_block][g], c.num_tokens * sizeof value[0][0][0][0]);
            memcpy(norm[layer][c.to_block][g], norm[layer][c.from_block][g], c.num_tokens * sizeof norm[0][0][0][0]);
        }
}

static uint32_t position_of(const kv_pool *pool, const kv_table *table, uint32_t slot)
{
    return kv_pool_positions(pool)[table->blocks[slot / BLOCK_TOKENS] * BLOCK_TOKENS + slot % BLOCK_TOKENS];
}

/* Largest difference between `out` and attention over the tokens that each branch keeps, made anew. */
static double largest_difference(const kv_pool *pool, int layer, const kv_table *tables, const kv_keep *keeps)
{
    double largest = 0, expected[HEAD_DIM];
    for (int q = 0; q < NUM_BRANCHES; q++)
        for (int h = 0; h < NUM_HEADS; h++) {
            float k[NUM_SLOTS][HEAD_DIM], v[NUM_SLOTS][HEAD_DIM];
            uint32_t count = 0;
            for (uint32_t slot = 0; slot < tables[q].length; slot++) {
                if (!kv_keep_slot(&keeps[q], BLOCK_TOKENS, slot)) continue;
                fill(k[count], KEY, layer, q, position_of(pool, &tables[q], slot), h / (NUM_HEADS / NUM_KV_HEADS));
                fill(v[count++], VALUE, layer, q, position_of(pool, &tables[q], slot), h / (NUM_HEADS / NUM_KV_HEADS));
            }
            attention_ref(expected, NULL, query[q][h], k[0], v[0], count, HEAD_DIM, 0.5f);
            for (int d = 0; d < HEAD_DIM; d++) largest = fmax(largest, fabs(out[q][h][d] - expected[d]));
        }
    return largest;
}

/* The least important token of the branch's own, the last RECENT ones aside; EVICTION_NONE within the budget. */
static uint64_t victim_of(const kv_pool *pool, const float *scores, const kv_table *table, const kv_keep *keep)
{
    uint32_t positions[NUM_SLOTS] = {0};
    for (uint32_t slot = 0; slot < table->length; slot++) positions[slot] = position_of(pool, table, slot);
    eviction_range candidates = {keep->first_private, keep->next_position - RECENT};
    if (keep->num_kept <= BUDGET) candidates.end = 0; /* no candidates; a NaN is still reported */
    return eviction_victim_of_slots(scores, positions, NUM_SLOTS, candidates);
}

int main(void)
{
    kv_pool *pool;
    kv_pool_config pool_config = {.num_blocks = NUM_BLOCKS, .block_tokens = BLOCK_TOKENS, .evicts = true};
    kv_branch branches[NUM_BRANCHES];
    kv_append appends[NUM_BRANCHES];
    kv_table tables[NUM_BRANCHES];
    kv_keep keeps[NUM_BRANCHES];
    need(kv_pool_create(&pool, &pool_config), "pool");
    need(kv_branch_create(pool, &branches[0]), "branch");
    need(kv_branch_append(pool, branches[0], PROMPT, appends), "prompt");
    need(kv_branch_table(pool, branches[0], tables), "table");
    for (uint32_t slot = 0; slot < PROMPT; slot++) write_token(tables, slot, 0, slot);
    for (int i = 1; i < NUM_BRANCHES; i++) need(kv_branch_fork(pool, branches[0], &branches[i]), "fork");

    kv_tree *tree = NULL;
    tree_plan *plan = NULL;
    kv_pool_stats stats;
    double worst = 0;
    int num_built = 0;
    for (int step = 0; step < NUM_STEPS; step++) {
        /* the new tokens: all copies, then K, V and norms, in a hole or at the end */
        const uint32_t num_tokens[NUM_BRANCHES] = {1, 1, step % 4 != 3};
        need(kv_branch_append_many(pool, branches, num_tokens, NUM_BRANCHES, appends), "append");
        need(kv_branch_tables(pool, branches, NUM_BRANCHES, tables), "tables");
        need(kv_branch_keeps(pool, branches, NUM_BRANCHES, keeps), "keeps");
        for (int i = 0; i < NUM_BRANCHES; i++) carry_out(appends[i].copy);
        for (int i = 0; i < NUM_BRANCHES; i++)
            if (num_tokens[i])
                write_token(&tables[i], appends[i].hole == KV_NO_HOLE ? tables[i].length - 1 : appends[i].hole, i,
                            keeps[i].next_position - 1);

        /* tree and plan: new masks while the tables are the same or grow in place, otherwise built again */
        bool same = plan && kv_tree_grow(tree, tables, NUM_BRANCHES) && tree_plan_grow(plan, tree) &&
                    tree_plan_set_keep(plan, tree, keeps);
        if (!same) {
            tree_plan_destroy(plan), kv_tree_destroy(tree);
            need(kv_tree_build(&tree, tables, NUM_BRANCHES, BLOCK_TOKENS, NUM_BLOCKS), "tree");
            need(tree_plan_build_keep(&plan, tree, &config, keeps, TREE_KEEP_PRIVATE), "plan");
            num_built++;
        }

        /* each layer: attention with importance, which is -1 where the query sees no token */
        size_t bytes = (tree_importance_cpu_workspace_bytes(plan, &shape, 1) + 63) / 64 * 64;
        void *workspace = aligned_alloc(64, bytes);
        for (int layer = 0; layer < NUM_LAYERS; layer++) {
            for (int i = 0; i < NUM_BRANCHES; i++)
                for (int h = 0; h < NUM_HEADS; h++) fill(query[i][h], QUERY, layer, i, PROMPT + (uint32_t)step, h);
            need(tree_importance_cpu(out[0][0], NULL, importance[0], NUM_SLOTS, query[0][0], key[layer], value[layer],
                                     norm[layer][0][0], plan, &shape, 0.5f, workspace, bytes, 1, TREE_ISA_AUTO),
                 "attention");
            for (int i = 0; i < NUM_BRANCHES; i++)
                for (int slot = 0; slot < NUM_SLOTS; slot++)
                    if (layer == 0) sum[i][slot] = importance[i][slot];
                    else if (sum[i][slot] != -1) sum[i][slot] += importance[i][slot];
            worst = fmax(worst, largest_difference(pool, layer, tables, keeps));
        }
        free(workspace);

        /* all victims are chosen before the first eviction, which makes every table and keep of the pool stale */
        uint64_t victims[NUM_BRANCHES];
        for (int i = 0; i < NUM_BRANCHES; i++) victims[i] = victim_of(pool, sum[i], &tables[i], &keeps[i]);
        for (int i = 0; i < NUM_BRANCHES; i++) {
            uint32_t slot;
            if (victims[i] == EVICTION_NONE) continue;
            need(victims[i] == EVICTION_NOT_FINITE, "a NaN in K, V or query");
            need(kv_branch_find(pool, branches[i], eviction_key_position(victims[i]), &slot), "victim");
            need(kv_branch_evict(pool, branches[i], KV_SCOPE_PRIVATE, &slot, 1), "evict");
        }

        need(kv_pool_get_stats(pool, &stats), "stats");
        if (step % 60 != 0) continue;
        printf("step %3d: %u tokens kept, %u blocks in use, plan %s", step, (unsigned)stats.kept_tokens,
               stats.used_blocks, same ? "kept" : "built");
        for (int i = 0; i < NUM_BRANCHES; i++)
            if (victims[i] != EVICTION_NONE) printf(", %d forgets %u", i, eviction_key_position(victims[i]));
        puts("");
    }

    need(kv_branch_keeps(pool, branches, NUM_BRANCHES, keeps), "keeps");
    int all_blocks = SHARED_BLOCKS;
    for (int i = 0; i < NUM_BRANCHES; i++)
        all_blocks += ((int)keeps[i].next_position + BLOCK_TOKENS - 1) / BLOCK_TOKENS - SHARED_BLOCKS;
    printf("%u tokens forgotten, plan built in %d steps of %d; %u blocks were enough, all tokens would take %d\n",
           (unsigned)stats.evicted_tokens, num_built, NUM_STEPS, stats.high_water_blocks, all_blocks);
    printf("every output is %s\n", worst < 1e-6 ? "that of the kept tokens alone" : "WRONG");
    tree_plan_destroy(plan);
    kv_tree_destroy(tree);
    return kv_pool_destroy(pool, true, NULL) || !(worst < 1e-6);
}
