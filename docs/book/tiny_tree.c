/* tiny_tree: the tree of this book, from its first block to the output of its two branches.
 *
 *   build   cc tiny_tree.c $(pkg-config --cflags --libs treeattn) -lm
 *   tree    6 tokens that both branches share, then 3 of branch 0 and 4 of branch 1: tokens 0 to 12
 *   shape   block_tokens 4, one head, head_dim 4, scale 1/2
 *   check   each branch is computed a second time from its own tokens alone; exit status 1 if the outputs differ */
#include <stdio.h>
#include <string.h>
#include <treeattn.h>

enum { BLOCK_TOKENS = 4, NUM_BLOCKS = 6, NUM_BRANCHES = 2, HEAD_DIM = 4, MAX_TOKENS = 16 };
static const tree_shape shape = {NUM_BRANCHES, 1, 1, HEAD_DIM, NUM_BLOCKS, BLOCK_TOKENS, TREE_FP32};

/* Numbers for hand calculation. The key of token t is 1 at place t % 4, so its score is one element of the query, times
 * 1/2. Element 0 of a value is the token's number t: out[0] is the weighted mean of the numbers. Element d is 1 if d
 * divides t: out[1] is the sum of all weights, which is 1. */
static const float query[NUM_BRANCHES][HEAD_DIM] = {{2, 0, 4, -2}, {0, 4, -2, 2}};
static const float scale = 0.5f;

static void token_key_value(float *key, float *value, int t)
{
    for (int d = 0; d < HEAD_DIM; d++) {
        key[d] = d == t % HEAD_DIM;
        value[d] = d == 0 ? (float)t : t % d == 0;
    }
}

static float key[NUM_BLOCKS][BLOCK_TOKENS][HEAD_DIM], value[NUM_BLOCKS][BLOCK_TOKENS][HEAD_DIM]; /* one KV head */
static int history[NUM_BRANCHES][MAX_TOKENS]; /* the tokens of each branch, for the check alone */
static int next_token;

static void print_pool(const kv_pool *pool, const kv_branch *branches, int num_branches)
{
    for (int i = 0; i < num_branches; i++) {
        kv_table table;
        if (kv_branch_table(pool, branches[i], &table)) continue; /* it was pruned */
        printf("    branch %d: len=%u blocks=[", i, table.length);
        for (uint32_t b = 0; b < table.num_blocks; b++) printf("%s%u", b > 0 ? " " : "", table.blocks[b]);
        puts("]");
    }
    printf("    references of blocks 0 to %d:", NUM_BLOCKS - 1);
    for (uint32_t block = 0; block < NUM_BLOCKS; block++) printf(" %u", kv_pool_references(pool, block));
    puts("");
}

/* Appends tokens to branch i: first the copy that the pool's answer names, then the new keys and values. */
static int append(kv_pool *pool, kv_branch branch, int i, uint32_t num_tokens)
{
    kv_append answer;
    kv_table table;
    if (kv_branch_append(pool, branch, num_tokens, &answer)) return 1;
    const kv_copy copy = answer.copy;
    for (uint32_t slot = 0; slot < copy.num_tokens; slot++) {
        memcpy(key[copy.to_block][slot], key[copy.from_block][slot], sizeof key[0][0]);
        memcpy(value[copy.to_block][slot], value[copy.from_block][slot], sizeof value[0][0]);
    }
    if (copy.num_tokens > 0)
        printf("    copy %u tokens of block %u to block %u\n", copy.num_tokens, copy.from_block, copy.to_block);
    if (kv_branch_table(pool, branch, &table)) return 1;
    for (uint32_t at = table.length - num_tokens; at < table.length; at++) {
        uint32_t block = table.blocks[at / BLOCK_TOKENS], slot = at % BLOCK_TOKENS;
        history[i][at] = next_token++;
        token_key_value(key[block][slot], value[block][slot], history[i][at]);
    }
    return 0;
}

static void print_state(const char *name, double m, double l, const double *o)
{
    printf("    %-10s m %5.2f  l %7.4f  o", name, m, l);
    for (int d = 0; d < HEAD_DIM; d++) printf(" %8.4f", o[d]);
    puts("");
}

/* The plan's items, the partial states that they leave, and the output of each branch. */
static int attend(const tree_plan *plan)
{
    softmax_state partials[MAX_TOKENS];
    double o[MAX_TOKENS][HEAD_DIM], alone[HEAD_DIM];
    float out[NUM_BRANCHES][HEAD_DIM], lse[NUM_BRANCHES];
    int wrong = 0;
    for (uint32_t i = 0; i < plan->num_partials; i++) partials[i].o = o[i];
    if (tree_attention_ref_partials(partials, query[0], key[0][0], value[0][0], plan, 0, &shape, scale)) return 1;
    for (uint32_t i = 0; i < plan->num_items; i++) {
        const tree_item *item = &plan->items[i];
        for (uint32_t row = 0; row < item->num_rows; row++) {
            const softmax_state *state = &partials[item->first_partial + row];
            char name[32];
            snprintf(name, sizeof name, "item %u, q%u", i, plan->rows[item->first_row + row]);
            print_state(name, state->m, state->l, state->o);
        }
    }
    if (tree_attention_ref(out[0], lse, query[0], key[0][0], value[0][0], plan, &shape, scale)) return 1;
    for (int q = 0; q < NUM_BRANCHES; q++) {
        float path_key[MAX_TOKENS][HEAD_DIM], path_value[MAX_TOKENS][HEAD_DIM];
        uint32_t length = 0;
        for (; length < MAX_TOKENS && history[q][length] >= 0; length++)
            token_key_value(path_key[length], path_value[length], history[q][length]);
        attention_ref(alone, NULL, query[q], path_key[0], path_value[0], length, HEAD_DIM, scale);
        printf("    out of branch %d:", q);
        for (int d = 0; d < HEAD_DIM; d++) printf(" %.4f", (double)out[q][d]);
        printf("   lse %.4f\n", (double)lse[q]);
        for (int d = 0; d < HEAD_DIM; d++)
            wrong |= !((double)out[q][d] - alone[d] < 1e-6 && alone[d] - (double)out[q][d] < 1e-6);
    }
    puts(wrong ? "    WRONG: a branch alone gets another output" : "    each branch alone gets the same output");
    return wrong;
}

int main(void)
{
    kv_pool *pool;
    kv_pool_config config = {.num_blocks = NUM_BLOCKS, .block_tokens = BLOCK_TOKENS};
    kv_branch branches[NUM_BRANCHES];
    memset(history, -1, sizeof history);

    puts("create branch 0 and append 6 tokens");
    if (kv_pool_create(&pool, &config) || kv_branch_create(pool, &branches[0])) return 1;
    if (append(pool, branches[0], 0, 6)) return 1;
    print_pool(pool, branches, 1);

    puts("fork branch 0: branch 1 lists the same blocks");
    if (kv_branch_fork(pool, branches[0], &branches[1])) return 1;
    memcpy(history[1], history[0], sizeof history[0]);
    print_pool(pool, branches, 2);

    puts("append 3 tokens to branch 0: block 1 is shared, so branch 0 takes a copy of it");
    if (append(pool, branches[0], 0, 3)) return 1;
    print_pool(pool, branches, 2);

    puts("append 4 tokens to branch 1: it alone lists block 1 now, and writes into it");
    if (append(pool, branches[1], 1, 4)) return 1;
    print_pool(pool, branches, 2);

    puts("find the tree in the two tables");
    kv_table tables[NUM_BRANCHES];
    kv_tree *tree;
    if (kv_branch_tables(pool, branches, NUM_BRANCHES, tables)) return 1;
    if (kv_tree_build(&tree, tables, NUM_BRANCHES, BLOCK_TOKENS, NUM_BLOCKS)) return 1;
    for (uint32_t i = 0; i < tree->num_nodes; i++) {
        const kv_node *node = &tree->nodes[i];
        printf("    node %u: %u tokens, seen by", i, node->num_tokens);
        for (uint32_t row = 0; row < node->num_rows; row++) printf(" q%u", tree->rows[node->first_row + row]);
        puts("");
    }
    printf("    %u tokens along the paths, %u stored\n", (unsigned)tree->path_tokens, (unsigned)tree->unique_tokens);

    puts("attend by the plan of strategy node: an item for each node");
    tree_plan *plan;
    tree_plan_config plan_config = {.strategy = TREE_NODE};
    if (tree_plan_build(&plan, tree, &plan_config)) return 1;
    int wrong = attend(plan);
    tree_plan_destroy(plan);
    kv_tree_destroy(tree);

    puts("prune branch 0: blocks that it alone lists are free");
    if (kv_branch_prune(pool, branches[0])) return 1;
    print_pool(pool, branches, 2);
    return kv_branch_prune(pool, branches[1]) || kv_pool_destroy(pool, false, NULL) || wrong;
}
