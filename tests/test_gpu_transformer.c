/* Claim: a decode step of the model on the GPU gives the logits of the same step on the CPU, for every branch of a
 * search that forks, prunes and cuts branches short, under every kind of plan; and the largest of them is its next
 * token. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "gpu_support.h"
#include "half.h"
#include "test.h"
#include "transformer.h"
#include "transformer_gpu.h"

#ifdef TREEATTN_EMULATE
enum { NUM_STEPS = 26 };
#else
enum { NUM_STEPS = 60 };
#endif
enum { PLACES = 5, MOST_VOCABULARY = 40, CHANGE_EVERY = 5 };

typedef struct transformer_case {
    tree_strategy strategy;
    tree_storage storage;
    uint32_t block_tokens;
    model_shape shape;
} transformer_case;

/* A number that fp16 and bf16 hold exactly, from -size to size: so both sides have the same matrices. */
static float exact_random(float size) { return ((float)test_below(129) - 64) / 64 * size; }

static float *random_matrix(uint64_t count, uint32_t columns)
{
    const int power = (int)ceil(log2(sqrt(columns / 3.0))); /* results of variance near 1 */
    float *matrix = malloc(count * sizeof *matrix);
    check(matrix, "memory");
    for (uint64_t i = 0; i < count; i++)
        matrix[i] = exact_random(ldexpf(1, -power));
    return matrix;
}

static float *random_norm(uint32_t width)
{
    float *norm = malloc(width * sizeof *norm);
    check(norm, "memory");
    for (uint32_t i = 0; i < width; i++)
        norm[i] = 1 + exact_random(0.25f);
    return norm;
}

static model_weights random_weights(const model_shape *m)
{
    model_weights w = {.shape = *m};
    const uint32_t q = m->heads * m->head_dim, kv = m->kv_heads * m->head_dim;
    w.embedding = random_matrix((uint64_t)m->vocabulary * m->width, m->width);
    w.head = malloc((uint64_t)m->vocabulary * m->width * sizeof *w.head);
    w.layer = calloc(m->layers, sizeof *w.layer);
    check(w.head && w.layer, "memory");
    for (uint32_t v = 0; v < m->vocabulary; v++)
        for (uint32_t i = 0; i < m->width; i++)
            w.head[i * m->vocabulary + v] = w.embedding[v * m->width + i];
    for (uint32_t l = 0; l < m->layers; l++)
        w.layer[l] = (model_layer){random_norm(m->width), random_matrix(m->width * q, m->width),
                                   random_matrix(m->width * kv, m->width), random_matrix(m->width * kv, m->width),
                                   random_matrix(m->width * q, q), random_norm(m->width),
                                   random_matrix(m->width * m->hidden, m->width),
                                   random_matrix(m->width * m->hidden, m->width),
                                   random_matrix(m->width * m->hidden, m->hidden)};
    w.final_norm = random_norm(m->width);
    return w;
}

static void free_weights(model_weights *w)
{
    for (uint32_t l = 0; l < w->shape.layers; l++) {
        float *const arrays[] = {w->layer[l].attention_norm, w->layer[l].wq, w->layer[l].wk, w->layer[l].wv,
                                 w->layer[l].wo, w->layer[l].mlp_norm, w->layer[l].w_gate, w->layer[l].w_up,
                                 w->layer[l].w_down};
        for (size_t i = 0; i < sizeof arrays / sizeof arrays[0]; i++)
            free(arrays[i]);
    }
    free(w->embedding);
    free(w->head);
    free(w->layer);
    free(w->final_norm);
}

/* The same search on both sides: the pools give the same blocks to the same calls. */
typedef struct search {
    model_weights weights;
    kv_pool *pool[2]; /* CPU, GPU */
    kv_branch branches[2][PLACES];
    uint32_t count;
    transformer *cpu;
    weights_gpu *on_gpu;
    transformer_gpu *gpu;
} search;

static void begin(search *s, const transformer_case *of)
{
    char message[300] = "";
    const kv_pool_config pool = {.num_blocks = 40 + 640 / of->block_tokens, .block_tokens = of->block_tokens,
                                 .order = KV_ORDER_SHUFFLE};
    const transformer_config cpu = {.max_branches = PLACES, .plan.strategy = TREE_FLASH, .reference = true,
                                    .num_threads = 1};
    const transformer_gpu_config gpu = {.max_branches = PLACES, .plan = {.strategy = of->strategy, .num_workers = 8}};
    *s = (search){.weights = random_weights(&of->shape), .count = 1};
    for (int side = 0; side < 2; side++)
        check(kv_pool_create(&s->pool[side], &pool) == KV_OK
                  && kv_branch_create(s->pool[side], &s->branches[side][0]) == KV_OK, "a pool");
    check(transformer_create(&s->cpu, &s->weights, s->pool[0], &cpu) == MODEL_OK, "a transformer");
    check(weights_gpu_create(&s->on_gpu, &s->weights, of->storage, message, sizeof message) == MODEL_OK, "%s", message);
    check(transformer_gpu_create(&s->gpu, s->on_gpu, s->pool[1], &gpu, message, sizeof message) == MODEL_OK, "%s",
          message);
}

static void end(search *s)
{
    transformer_destroy(s->cpu);
    transformer_gpu_destroy(s->gpu);
    weights_gpu_destroy(s->on_gpu);
    for (int side = 0; side < 2; side++)
        check(kv_pool_destroy(s->pool[side], true, NULL) == KV_OK, "a pool");
    free_weights(&s->weights);
}

enum { FORK, PRUNE, CUT, REPLACE, NUM_CHANGES };

/* A fork, a prune, a shorter branch, or a fork in the place of another branch: then each table may be as long as it
 * would have been. */
static void change(search *s)
{
    const uint32_t kind = s->count < 3 ? FORK : s->count == PLACES ? 1 + test_below(NUM_CHANGES - 1) : test_below(NUM_CHANGES);
    const uint32_t from = test_below(s->count), other = (from + 1) % s->count;
    for (int side = 0; side < 2; side++) {
        kv_branch *mine = s->branches[side];
        kv_table table;
        check(kv_branch_table(s->pool[side], mine[from], &table) == KV_OK, "a table");
        if (kind == PRUNE || kind == REPLACE)
            check(kv_branch_prune(s->pool[side], mine[other]) == KV_OK, "a prune");
        if (kind == PRUNE)
            mine[other] = mine[s->count - 1];
        if (kind == FORK || kind == REPLACE)
            check(kv_branch_fork(s->pool[side], mine[from], &mine[kind == FORK ? s->count : other]) == KV_OK, "a fork");
        if (kind == CUT)
            check(kv_branch_truncate(s->pool[side], mine[from], table.length - table.length / 3) == KV_OK, "a cut");
    }
    s->count += kind == FORK;
    s->count -= kind == PRUNE;
}

/* What 16 bits may change. A layer rounds four vectors that products read, K, V, and the weights of attention: each by
 * at most u of a number near 1, and by half of that in the mean. Independent roundings add up as their squares do: about
 * 2 u in a layer, sqrt(num_layers) times as much in all of them; the largest of thousands of logits is some four times
 * that. */
static double limit_of(const transformer_case *of)
{
    const double u = of->storage == TREE_FP16 ? ldexp(1, -11) : ldexp(1, -8);
    return 8 * u * sqrt(of->shape.layers);
}

static void run_search(const void *argument)
{
    const transformer_case *of = argument;
    const uint32_t vocabulary = of->shape.vocabulary;
    float expected[PLACES * MOST_VOCABULARY], got[PLACES * MOST_VOCABULARY];
    double worst = 0, largest = 0;
    search s;
    need_gpu();
    begin(&s, of);
    for (int step = 0; step < NUM_STEPS; step++) {
        uint32_t tokens[PLACES], next[PLACES];
        if (step % CHANGE_EVERY == CHANGE_EVERY - 1)
            change(&s);
        for (uint32_t i = 0; i < s.count; i++)
            tokens[i] = test_below(vocabulary);
        check(transformer_step(s.cpu, s.branches[0], tokens, s.count, expected) == MODEL_OK, "a step on the CPU");
        model_status status = transformer_gpu_step(s.gpu, s.branches[1], tokens, s.count, got, next);
        check(status == MODEL_OK, "%s: %s", model_status_string(status), transformer_gpu_message(s.gpu));
        for (uint32_t i = 0; i < s.count; i++) {
            uint32_t most = 0;
            for (uint32_t v = 0; v < vocabulary; v++) {
                const double error = fabs((double)got[i * vocabulary + v] - expected[i * vocabulary + v]);
                check(error <= limit_of(of), "step %d branch %u token %u: %g instead of %g, limit %g", step, i, v,
                      (double)got[i * vocabulary + v], (double)expected[i * vocabulary + v], limit_of(of));
                worst = fmax(worst, error);
                largest = fmax(largest, fabs((double)expected[i * vocabulary + v]));
                if (got[i * vocabulary + v] > got[i * vocabulary + most])
                    most = v;
            }
            check(next[i] == most, "step %d branch %u: token %u is next, %u has the largest logit", step, i, next[i],
                  most);
        }
    }
    check(largest > 0.5, "logits of some size, not %g", largest);
    test_note("worst error %.2g, limit %.2g, largest logit %.2g", worst, limit_of(of), largest);
    end(&s);
}

/* A copy without sharing goes on with the same logits. */
static void run_copy(const void *argument)
{
    float got[2 * MOST_VOCABULARY];
    search s;
    need_gpu();
    begin(&s, argument);
    for (uint32_t token = 0; token < 9; token++)
        check(transformer_gpu_step(s.gpu, s.branches[1], &token, 1, NULL, NULL) == MODEL_OK, "a prompt");
    check(transformer_gpu_copy_branch(s.gpu, s.branches[1][0], &s.branches[1][1]) == MODEL_OK, "a copy");
    for (uint32_t token = 0; token < 3; token++) {
        const uint32_t tokens[] = {token, token};
        check(transformer_gpu_step(s.gpu, s.branches[1], tokens, 2, got, NULL) == MODEL_OK, "a step");
        for (uint32_t v = 0; v < s.weights.shape.vocabulary; v++)
            check(fabs((double)got[v] - got[s.weights.shape.vocabulary + v]) <= limit_of(argument), "token %u", v);
    }
    end(&s);
}

static void run_refusals(const void *argument)
{
    const transformer_case *of = argument;
    const uint32_t bad = of->shape.vocabulary, tokens[PLACES + 1] = {0};
    kv_branch twice[PLACES + 1];
    model_shape wrong = of->shape;
    char message[300];
    weights_gpu *untouched = NULL;
    search s;
    need_gpu();
    begin(&s, of);
    for (int i = 0; i <= PLACES; i++)
        twice[i] = s.branches[1][0];
    check(transformer_gpu_step(s.gpu, twice, &bad, 1, NULL, NULL) == MODEL_INVAL, "no such token");
    check(transformer_gpu_step(s.gpu, twice, tokens, 2, NULL, NULL) == MODEL_INVAL, "a branch twice");
    check(transformer_gpu_step(s.gpu, twice, tokens, PLACES + 1, NULL, NULL) == MODEL_INVAL, "too many branches");
    for (uint32_t i = 0; i < of->shape.context; i++)
        check(transformer_gpu_step(s.gpu, twice, tokens, 1, NULL, NULL) == MODEL_OK, "token %u", i);
    check(transformer_gpu_step(s.gpu, twice, tokens, 1, NULL, NULL) == MODEL_CONTEXT, "beyond the context");
    wrong.head_dim = 32;
    check(weights_gpu_create_random(&untouched, &wrong, TREE_FP16, 1, message, sizeof message) == MODEL_UNSUPPORTED
              && !untouched && strstr(message, "head_dim"), "head_dim 32: %s", message);
    wrong.head_dim = 64, wrong.heads = 3, wrong.kv_heads = 2;
    check(weights_gpu_create_random(&untouched, &wrong, TREE_FP16, 1, NULL, 0) == MODEL_INVAL, "3 heads over 2");
    check(weights_gpu_create_random(&untouched, &of->shape, TREE_FP32, 1, NULL, 0) == MODEL_UNSUPPORTED, "fp32");
    end(&s);
}

int main(int argc, char **argv)
{
#ifdef TREEATTN_EMULATE
    static const transformer_case cases[] = {
        {TREE_COST, TREE_FP16, 8, {13, 2, 264, 2, 1, 64, 40, 30, 10000, 1e-5}},
    };
#else
    static const transformer_case cases[] = {
        {TREE_COST, TREE_FP16, 16, {26, 6, 256, 4, 2, 64, 640, 80, 10000, 1e-5}},
        {TREE_RADIX, TREE_FP16, 4, {26, 2, 128, 4, 2, 64, 200, 80, 10000, 1e-5}},
        {TREE_FLATTEN, TREE_FP16, 1, {26, 2, 128, 4, 2, 64, 200, 80, 10000, 1e-5}},
        {TREE_COST, TREE_BF16, 8, {40, 2, 512, 8, 2, 128, 768, 80, 500000, 1e-5}},
    };
#endif
    test_begin(argc, argv, "a decode step on the GPU gives the logits of the CPU's");
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        test_add(run_search, &cases[i], "search_%s_%s_%u_layers", tree_strategy_name[cases[i].strategy],
                 storage_name[cases[i].storage], cases[i].shape.layers);
    test_add(run_copy, &cases[0], "copy");
    test_add(run_refusals, &cases[0], "refusals");
    return test_end();
}
