/* tiny_kernel: the tree of this book on a rung of the GPU ladder, for a debugger: make tour N=5 and N=6.
 *
 *   usage   tiny_kernel RUNG STRATEGY     0 flash, 4 tree_mask, ...
 *   build   as docs/examples/gpu_step.c; without a GPU the kernels are emulated (gpu/emulate)
 *   tree    as tiny_tree.c, but head_dim is 64, the smallest of the kernels: keys and queries go on with zeros, so all
 *           scores are those of the book; element d of a value is still 1 if d divides the token's number
 *   check   out and lse of tree_attention_ref; exit status 1 if they differ, 2 for a wrong usage, 77 without a GPU */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <tree_attention_gpu.h>
#include <treeattn.h>

enum { BLOCK_TOKENS = 4, NUM_BLOCKS = 6, NUM_BRANCHES = 2, HEAD_DIM = 64, SLOTS = NUM_BLOCKS * BLOCK_TOKENS };
static tree_shape shape = {NUM_BRANCHES, 1, 1, HEAD_DIM, NUM_BLOCKS, BLOCK_TOKENS, TREE_FP32};
static const float scale = 0.5f;

/* What tiny_tree.c leaves: tables, and the token in each slot of blocks 0 to 4. In block 2, 4 and 5 are copies. */
static const uint32_t blocks[NUM_BRANCHES][3] = {{0, 2, 3}, {0, 1, 4}};
static const kv_table tables[NUM_BRANCHES] = {{blocks[0], 3, 9, 0}, {blocks[1], 3, 10, 0}};
static const int token_of[SLOTS] = {0, 1, 2, 3, 4, 5, 9, 10, 4, 5, 6, 7, 8, -1, -1, -1, 11, 12, -1, -1, -1, -1, -1, -1};

static float query[NUM_BRANCHES][HEAD_DIM] = {{2, 0, 4, -2}, {0, 4, -2, 2}};
static float key[SLOTS][HEAD_DIM], value[SLOTS][HEAD_DIM];
static uint16_t half_key[SLOTS][HEAD_DIM], half_value[SLOTS][HEAD_DIM]; /* the same in fp16: all of them are exact */

static void need(int status, const char *what)
{
    if (status == 0) return;
    fprintf(stderr, "tiny_kernel: %s: status %d\n", what, status);
    exit(1);
}

static void fill(void)
{
    for (int slot = 0; slot < SLOTS; slot++) {
        const int t = token_of[slot];
        for (int d = 0; d < HEAD_DIM && t >= 0; d++) {
            key[slot][d] = d == t % 4;
            value[slot][d] = d == 0 ? (float)t : t % d == 0;
            half_key[slot][d] = fp16_from_float(key[slot][d]);
            half_value[slot][d] = fp16_from_float(value[slot][d]);
        }
    }
}

static void *device(const void *array, size_t bytes)
{
    void *memory;
    need(cudaMalloc(&memory, bytes), "cudaMalloc");
    if (array) need(cudaMemcpy(memory, array, bytes, cudaMemcpyHostToDevice), "cudaMemcpy");
    return memory;
}

static void attend(float *out, float *lse, const tree_plan *plan, const tree_gpu_step *rung)
{
    const bool is_float = shape.storage == TREE_FP32;
    const size_t bytes = tree_attention_gpu_workspace_bytes(plan, &shape), out_bytes = sizeof query;
    void *workspace = device(NULL, bytes), *d_query = device(query, sizeof query);
    void *d_key = is_float ? device(key, sizeof key) : device(half_key, sizeof half_key);
    void *d_value = is_float ? device(value, sizeof value) : device(half_value, sizeof half_value);
    float *d_out = device(NULL, out_bytes), *d_lse = device(NULL, NUM_BRANCHES * sizeof *lse);
    tree_plan_gpu *gpu_plan;
    need(tree_plan_gpu_create(&gpu_plan, plan, &shape, NULL, NULL), "the plan");
    need(tree_attention_gpu(d_out, d_lse, d_query, d_key, d_value, gpu_plan, &shape, scale, workspace, bytes, NULL,
                            rung, NULL), rung->name);
    need(cudaMemcpy(out, d_out, out_bytes, cudaMemcpyDeviceToHost), "out");
    need(cudaMemcpy(lse, d_lse, NUM_BRANCHES * sizeof *lse, cudaMemcpyDeviceToHost), "lse");
    tree_plan_gpu_destroy(gpu_plan);
    cudaFree(workspace), cudaFree(d_query), cudaFree(d_key), cudaFree(d_value), cudaFree(d_out), cudaFree(d_lse);
}

int main(int argc, char **argv)
{
    tree_plan_config config = {.group_size = 1};
    char *end = NULL;
    const unsigned long number = argc == 3 ? strtoul(argv[1], &end, 10) : 0;
    if (argc != 3 || end == argv[1] || *end != '\0' || number >= tree_gpu_num_steps
        || !tree_strategy_from_name(argv[2], &config.strategy)) {
        fprintf(stderr, "usage: tiny_kernel RUNG STRATEGY, as in tiny_kernel 0 flash\n");
        return 2;
    }
    if (tree_gpu_device_check(NULL) != TREE_OK) return fprintf(stderr, "tiny_kernel: no GPU\n"), 77;
    const tree_gpu_step *rung = &tree_gpu_steps[number];
    if (!tree_gpu_step_takes(rung, TREE_FP32)) shape.storage = TREE_FP16;

    kv_tree *tree;
    tree_plan *plan;
    float out[NUM_BRANCHES][HEAD_DIM], lse[NUM_BRANCHES], right_out[NUM_BRANCHES][HEAD_DIM], right_lse[NUM_BRANCHES];
    fill();
    need(kv_tree_build(&tree, tables, NUM_BRANCHES, BLOCK_TOKENS, NUM_BLOCKS), "the tree");
    need(tree_plan_build(&plan, tree, &config), "the plan");
    attend(out[0], lse, plan, rung);

    tree_shape reference = shape;
    reference.storage = TREE_FP32;
    need(tree_attention_ref(right_out[0], right_lse, query[0], key[0], value[0], plan, &reference, scale), "reference");
    bool wrong = false;
    for (int q = 0; q < NUM_BRANCHES; q++) {
        printf("out of branch %d: %.4f %.4f %.4f %.4f ...   lse %.4f\n", q, (double)out[q][0], (double)out[q][1],
               (double)out[q][2], (double)out[q][3], (double)lse[q]);
        for (int d = 0; d < HEAD_DIM; d++) wrong |= !(fabsf(out[q][d] - right_out[q][d]) < 5e-3f);
        wrong |= !(fabsf(lse[q] - right_lse[q]) < 1e-3f);
    }
    printf("%s, plan %s: %s\n", rung->name, argv[2], wrong ? "WRONG" : "as tree_attention_ref");
    tree_plan_destroy(plan);
    kv_tree_destroy(tree);
    return wrong;
}
