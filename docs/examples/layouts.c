/* The same K and V in the layouts of other engines, read in place: no byte of K or V is moved.
 *
 *   build   cc layouts.c $(pkg-config --cflags --libs treeattn)
 *
 *   own       key, value [page][kv_head][slot][head_dim]     the library's; FlashInfer: HND, a pair of tensors
 *   HND       pages [page][2][kv_head][slot][head_dim]       FlashInfer: HND, one tensor
 *   NHD       key, value [page][slot][kv_head][head_dim]     vLLM with FlashAttention; FlashInfer: NHD, a pair
 *   NHD pages pages [page][2][slot][kv_head][head_dim]       FlashInfer: NHD, one tensor
 *
 * HND: seen as a pool of half pages, the K of page p is half page 2 p, its V lies one half page further: the tables
 * name 2 p, and `value` begins one half page after `key`. NHD: seen as a pool of blocks of one token (block_tokens 1),
 * slot s of page p is block p * page_tokens + s: the tables name every token. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <treeattn.h>

enum { NUM_PAGES = 6, PAGE_TOKENS = 16, NUM_TABLES = 2, NUM_HEADS = 8, NUM_KV_HEADS = 2, HEAD_DIM = 64 };
enum { HALF_PAGE = NUM_KV_HEADS * PAGE_TOKENS * HEAD_DIM, TOKEN = NUM_KV_HEADS * HEAD_DIM };

static const uint32_t page_tables[NUM_TABLES][4] = {{0, 3, 1}, {0, 3, 5, 2}};
static const uint32_t lengths[NUM_TABLES] = {39, 60};
static float query[NUM_TABLES][NUM_HEADS][HEAD_DIM];

/* K (kind 0) or V (kind 1) of a token. */
static float element(uint32_t kind, uint32_t page, uint32_t slot, uint32_t kv_head, uint32_t d)
{
    uint32_t x = (((kind * NUM_PAGES + page) * PAGE_TOKENS + slot) * NUM_KV_HEADS + kv_head) * HEAD_DIM + d + 1;
    x *= 2654435761u;
    return (float)(x >> 8) / (1 << 23) - 1;
}

/* tables name every token if block_tokens is 1, otherwise every page; the id of (page, slot) is
 * page * page_stride + slot. */
static int attend(float *out, const float *key, const float *value, uint32_t block_tokens, uint32_t page_stride,
                  uint32_t num_blocks)
{
    uint32_t blocks[NUM_TABLES][4 * PAGE_TOKENS];
    kv_table tables[NUM_TABLES];
    for (uint32_t t = 0; t < NUM_TABLES; t++) {
        uint32_t count = (lengths[t] + block_tokens - 1) / block_tokens;
        for (uint32_t i = 0; i < count; i++) {
            uint32_t token = i * block_tokens;
            blocks[t][i] = page_tables[t][token / PAGE_TOKENS] * page_stride + token % PAGE_TOKENS;
        }
        tables[t] = (kv_table){blocks[t], count, lengths[t], 0}; /* version 0: not known */
    }
    tree_shape shape = {NUM_TABLES, NUM_HEADS, NUM_KV_HEADS, HEAD_DIM, num_blocks, block_tokens, TREE_FP32};
    tree_plan_config config = {.strategy = TREE_NODE_CHUNK};
    kv_tree *tree;
    tree_plan *plan;
    if (kv_tree_build(&tree, tables, NUM_TABLES, block_tokens, num_blocks)) return 1;
    if (tree_plan_build(&plan, tree, &config)) return 1;
    tree_status status = tree_attention_ref(out, NULL, query[0][0], key, value, plan, &shape, 0.125f);
    tree_plan_destroy(plan);
    kv_tree_destroy(tree);
    return status != TREE_OK;
}

int main(void)
{
    static float own[2][NUM_PAGES * HALF_PAGE], hnd[NUM_PAGES][2][HALF_PAGE];
    static float nhd[2][NUM_PAGES * HALF_PAGE], nhd_pages[NUM_PAGES][2][HALF_PAGE];
    static float out[4][NUM_TABLES * NUM_HEADS * HEAD_DIM];
    for (uint32_t kind = 0; kind < 2; kind++)
        for (uint32_t i = 0; i < NUM_PAGES * HALF_PAGE; i++) {
            uint32_t page = i / HALF_PAGE, rest = i % HALF_PAGE, d = i % HEAD_DIM;
            own[kind][i] = hnd[page][kind][rest] =
                element(kind, page, rest / HEAD_DIM % PAGE_TOKENS, rest / HEAD_DIM / PAGE_TOKENS, d);
            nhd[kind][i] = nhd_pages[page][kind][rest] =
                element(kind, page, rest / HEAD_DIM / NUM_KV_HEADS, rest / HEAD_DIM % NUM_KV_HEADS, d);
        }
    for (uint32_t i = 0; i < NUM_TABLES * NUM_HEADS * HEAD_DIM; i++)
        query[i / HEAD_DIM / NUM_HEADS][i / HEAD_DIM % NUM_HEADS][i % HEAD_DIM] = element(0, 1, 2, 3, i);

    /* The last block of `value` ends with the last page: the pool has one half page, or PAGE_TOKENS tokens, less. */
    const float *half_pages = hnd[0][0], *tokens = nhd_pages[0][0];
    if (attend(out[0], own[0], own[1], PAGE_TOKENS, 1, NUM_PAGES)) return 1;
    if (attend(out[1], half_pages, half_pages + HALF_PAGE, PAGE_TOKENS, 2, 2 * NUM_PAGES - 1)) return 1;
    if (attend(out[2], nhd[0], nhd[1], 1, PAGE_TOKENS, NUM_PAGES * PAGE_TOKENS)) return 1;
    if (attend(out[3], tokens, tokens + HALF_PAGE, 1, 2 * PAGE_TOKENS, (2 * NUM_PAGES - 1) * PAGE_TOKENS)) return 1;

    const char *const names[4] = {"own", "HND pages", "NHD", "NHD pages"};
    int wrong = 0;
    for (int i = 0; i < 4; i++) {
        bool same = !memcmp(out[i], out[0], sizeof out[0]);
        printf("%-10s %s\n", names[i], same ? "the same bits" : "WRONG");
        wrong |= !same;
    }
    return wrong;
}
