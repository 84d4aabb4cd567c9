/* How exact the fast path is: each instruction set of this machine against the reference, K and V in each type.
 *
 *   build   cc precision.c $(pkg-config --cflags --libs treeattn) -lm
 *
 * Both get the same numbers, rounded to the storage type before, so the difference is the arithmetic's alone. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <treeattn.h>

enum { NUM_TABLES = 8, SHARED_BLOCKS = 64, OWN_BLOCKS = 4, NUM_BLOCKS = SHARED_BLOCKS + NUM_TABLES * OWN_BLOCKS };
enum { NUM_HEADS = 8, NUM_KV_HEADS = 2, HEAD_DIM = 128, KV_ELEMENTS = NUM_BLOCKS * NUM_KV_HEADS * 16 * HEAD_DIM };
enum { Q_ELEMENTS = NUM_TABLES * NUM_HEADS * HEAD_DIM };

static float key[KV_ELEMENTS], value[KV_ELEMENTS], query[Q_ELEMENTS], expected[Q_ELEMENTS], out[Q_ELEMENTS];
static uint16_t key_16[KV_ELEMENTS], value_16[KV_ELEMENTS];

/* About normal, mean 0, deviation 1. */
static float normal(void)
{
    float sum = 0;
    for (int i = 0; i < 12; i++) sum += (float)rand() / (float)RAND_MAX;
    return sum - 6;
}

static float rounded(float x, tree_storage storage)
{
    return storage == TREE_FP32   ? x
           : storage == TREE_FP16 ? fp16_to_float(fp16_from_float(x))
                                  : bf16_to_float(bf16_from_float(x));
}

int main(void)
{
    static uint32_t blocks[NUM_TABLES][SHARED_BLOCKS + OWN_BLOCKS];
    kv_table tables[NUM_TABLES];
    for (uint32_t t = 0; t < NUM_TABLES; t++) {
        for (uint32_t i = 0; i < SHARED_BLOCKS + OWN_BLOCKS; i++)
            blocks[t][i] = i < SHARED_BLOCKS ? i : i + t * OWN_BLOCKS;
        tables[t] = (kv_table){blocks[t], SHARED_BLOCKS + OWN_BLOCKS, 16 * (SHARED_BLOCKS + OWN_BLOCKS), 0};
    }
    kv_tree *tree;
    tree_plan *plan;
    tree_plan_config config = {.strategy = TREE_COST, .target = TREE_TARGET_CPU};
    if (kv_tree_build(&tree, tables, NUM_TABLES, 16, NUM_BLOCKS)) return 1;
    if (tree_plan_build(&plan, tree, &config)) return 1;

    printf("largest error of out, 8 branches of 1088 tokens, K, V and queries normal with deviation 1\n");
    for (int storage = TREE_FP32; storage <= TREE_BF16; storage++) {
        tree_shape shape = {NUM_TABLES, NUM_HEADS, NUM_KV_HEADS, HEAD_DIM, NUM_BLOCKS, 16, TREE_FP32};
        srand(1);
        for (size_t i = 0; i < KV_ELEMENTS; i++) {
            key[i] = rounded(normal(), storage), value[i] = rounded(normal(), storage);
            key_16[i] = storage == TREE_FP16 ? fp16_from_float(key[i]) : bf16_from_float(key[i]);
            value_16[i] = storage == TREE_FP16 ? fp16_from_float(value[i]) : bf16_from_float(value[i]);
        }
        for (size_t i = 0; i < Q_ELEMENTS; i++) query[i] = rounded(normal(), storage);
        if (tree_attention_ref(expected, NULL, query, key, value, plan, &shape, 0.088f)) return 1;
        shape.storage = storage;
        size_t bytes = tree_attention_cpu_workspace_bytes(plan, &shape, 1);
        void *workspace = aligned_alloc(64, (bytes + 63) / 64 * 64);
        for (int isa = TREE_ISA_PORTABLE; isa < TREE_NUM_ISAS; isa++) {
            if (!tree_isa_available(isa)) continue;
            const void *k = storage == TREE_FP32 ? (const void *)key : key_16;
            const void *v = storage == TREE_FP32 ? (const void *)value : value_16;
            if (tree_attention_cpu(out, NULL, query, k, v, plan, &shape, 0.088f, workspace, bytes, 1, isa)) return 1;
            double largest = 0;
            for (size_t i = 0; i < Q_ELEMENTS; i++) largest = fmax(largest, fabs((double)out[i] - expected[i]));
            printf("%s %-12s %.1e\n", (const char *[]){"fp32", "fp16", "bf16"}[storage], tree_isa_name[isa], largest);
        }
        free(workspace);
    }
    tree_plan_destroy(plan);
    kv_tree_destroy(tree);
    return 0;
}
