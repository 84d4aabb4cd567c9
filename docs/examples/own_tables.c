/* An engine with an allocator of its own: the tree is found in its block tables, and kept from step to step.
 *
 *   build   cc own_tables.c $(pkg-config --cflags --libs treeattn) -lm
 *
 * Four sequences, block_tokens 4. Sequence 3 shares nothing with the others, so the nodes form a forest. Sequence 2
 * ends inside block 5, which sequences 0 and 1 continue: its query stands at an inner node. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <treeattn.h>

enum { NUM_BLOCKS = 12, BLOCK_TOKENS = 4, NUM_TABLES = 4, NUM_HEADS = 4, NUM_KV_HEADS = 2, HEAD_DIM = 64 };
static const tree_shape shape = {NUM_TABLES, NUM_HEADS, NUM_KV_HEADS, HEAD_DIM, NUM_BLOCKS, BLOCK_TOKENS, TREE_FP32};

static float key[NUM_BLOCKS][NUM_KV_HEADS][BLOCK_TOKENS][HEAD_DIM];
static float value[NUM_BLOCKS][NUM_KV_HEADS][BLOCK_TOKENS][HEAD_DIM];
static float query[NUM_TABLES][NUM_HEADS][HEAD_DIM], out[NUM_TABLES][NUM_HEADS][HEAD_DIM];

static void fill(float *array, size_t count)
{
    for (size_t i = 0; i < count; i++) array[i] = (float)rand() / (float)RAND_MAX - 0.5f;
}

/* Largest difference between `out` and each sequence alone, its keys copied to one piece. */
static double largest_difference(const kv_table *tables)
{
    double largest = 0, alone[HEAD_DIM];
    for (uint32_t q = 0; q < NUM_TABLES; q++)
        for (uint32_t h = 0; h < NUM_HEADS; h++) {
            float k[NUM_BLOCKS * BLOCK_TOKENS][HEAD_DIM], v[NUM_BLOCKS * BLOCK_TOKENS][HEAD_DIM];
            for (uint32_t t = 0; t < tables[q].length; t++)
                for (uint32_t d = 0; d < HEAD_DIM; d++) {
                    uint32_t block = tables[q].blocks[t / BLOCK_TOKENS], kv_head = h / (NUM_HEADS / NUM_KV_HEADS);
                    k[t][d] = key[block][kv_head][t % BLOCK_TOKENS][d];
                    v[t][d] = value[block][kv_head][t % BLOCK_TOKENS][d];
                }
            attention_ref(alone, NULL, query[q][h], k[0], v[0], tables[q].length, HEAD_DIM, 0.125f);
            for (uint32_t d = 0; d < HEAD_DIM; d++) largest = fmax(largest, fabs(out[q][h][d] - alone[d]));
        }
    return largest;
}

static int attend(const tree_plan *plan, const kv_table *tables)
{
    size_t bytes = tree_attention_cpu_workspace_bytes(plan, &shape, 1);
    void *workspace = aligned_alloc(64, (bytes + 63) / 64 * 64);
    tree_status status = tree_attention_cpu(out[0][0], NULL, query[0][0], key, value, plan, &shape, 0.125f, workspace,
                                            bytes, 1, TREE_ISA_AUTO);
    free(workspace);
    if (status != TREE_OK) return fprintf(stderr, "%s\n", tree_status_string(status)), 1;
    double difference = largest_difference(tables);
    printf("  attention of %u tokens along the paths, %u loaded: %s\n", (unsigned)plan->path_tokens,
           (unsigned)plan->loaded_tokens, difference < 1e-6 ? "as each sequence alone" : "WRONG");
    return !(difference < 1e-6);
}

int main(void)
{
    uint32_t blocks[NUM_TABLES][4] = {{5, 9, 2}, {5, 9, 7, 4}, {5}, {1, 3}}; /* the engine's; room for growth */
    kv_table tables[NUM_TABLES] = {
        {blocks[0], 3, 11, 1}, /* blocks, num_blocks, length, version: any number but 0 that the engine gives */
        {blocks[1], 4, 14, 2},
        {blocks[2], 1, 3, 3},
        {blocks[3], 2, 6, 4},
    };
    tree_plan_config config = {
        .strategy = TREE_COST, .target = TREE_TARGET_CPU, .group_size = NUM_HEADS / NUM_KV_HEADS};
    kv_tree *tree;
    tree_plan *plan;
    fill(key[0][0][0], sizeof key / sizeof(float));
    fill(value[0][0][0], sizeof value / sizeof(float));
    fill(query[0][0], sizeof query / sizeof(float));

    if (kv_tree_build(&tree, tables, NUM_TABLES, BLOCK_TOKENS, NUM_BLOCKS)) return 1;
    if (tree_plan_build(&plan, tree, &config)) return 1;
    for (uint32_t i = 0; i < tree->num_nodes; i++) {
        const kv_node *n = &tree->nodes[i];
        printf("node %u: tokens %u..%u, %s, sequences", i, n->first_token, n->first_token + n->num_tokens - 1,
               n->parent == KV_NONE ? "a root" : "below another");
        for (uint32_t row = 0; row < n->num_rows; row++) printf(" %u", tree->rows[n->first_row + row]);
        puts("");
    }
    int wrong = attend(plan, tables);

    puts("each sequence but 2 gets a token, in blocks of its own:");
    tables[0].length++, tables[1].length++, tables[3].length++;
    bool grown = kv_tree_grow(tree, tables, NUM_TABLES), plan_grown = grown && tree_plan_grow(plan, tree);
    printf("  tree %s, plan %s\n", grown ? "grown in place" : "to be built again",
           plan_grown ? "grown in place" : "to be built again");
    if (!plan_grown) return 1; /* here it does; in general: build again what did not grow */
    wrong |= attend(plan, tables);

    puts("sequence 2 gets a token. Block 5 is shared: the engine copies it to block 8 and gives a new version:");
    for (uint32_t h = 0; h < NUM_KV_HEADS; h++)
        for (uint32_t slot = 0; slot < 3; slot++)
            for (uint32_t d = 0; d < HEAD_DIM; d++) {
                key[8][h][slot][d] = key[5][h][slot][d];
                value[8][h][slot][d] = value[5][h][slot][d];
            }
    blocks[2][0] = 8;
    tables[2].length++;
    tables[2].version = 5;
    grown = kv_tree_grow(tree, tables, NUM_TABLES);
    printf("  tree %s\n", grown ? "grown in place" : "to be built again");
    if (grown) return 1;
    tree_plan_destroy(plan);
    kv_tree_destroy(tree);
    if (kv_tree_build(&tree, tables, NUM_TABLES, BLOCK_TOKENS, NUM_BLOCKS)) return 1;
    if (tree_plan_build(&plan, tree, &config)) return 1;
    wrong |= attend(plan, tables);
    tree_plan_destroy(plan);
    kv_tree_destroy(tree);

    puts("a table in which block 9 stands behind another block than in sequence 0 is refused:");
    char message[160];
    blocks[3][1] = 9;
    if (kv_tree_build(&tree, tables, NUM_TABLES, BLOCK_TOKENS, NUM_BLOCKS) != KV_INVAL) return 1;
    kv_tree_explain(tables, NULL, NUM_TABLES, BLOCK_TOKENS, NUM_BLOCKS, message, sizeof message);
    printf("  %s\n", message);
    return wrong;
}
