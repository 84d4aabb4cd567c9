/* Claim: on the GPU, scores follow the reference wherever float holds them: finite scores of any size, a scale of 0,
 * keys that are infinite, scores that are NaN; and long sums of one sign do not drift. Limits do not grow with the
 * score here: a row of one token has that token's value, whatever it scores. */
#include <math.h>
#include <stdio.h>

#include "gpu_support.h"
#include "test.h"

#ifdef TREEATTN_EMULATE
enum { LONG_SUM = 1024, ROWS = 24 };
#else
enum { LONG_SUM = 131072, ROWS = 2000 };
#endif

static const tree_storage storages[] = {TREE_FP32, TREE_FP16, TREE_BF16};

static void begin(attention_case *c, gpu_case *gpu, tree_storage storage, const char *tree, uint32_t block_tokens,
                  attention_size size)
{
    need_gpu();
#ifdef TREEATTN_EMULATE
    emulate_seed(test_seed());
#endif
    attention_case_build(c, storage_backend(storage), tree, block_tokens, size);
    attention_fill_unseen(c, KV_NONE, NAN);
    gpu_case_create(gpu, c);
}

static void end(attention_case *c, gpu_case *gpu)
{
    gpu_case_destroy(gpu);
    attention_case_free(c);
}

typedef void check_run(const gpu_case *gpu, const tree_gpu_step *step, const void *argument);

/* Every step that takes the storage of the case, on a plan of each of the strategies. */
static void for_each_run(gpu_case *gpu, uint32_t strategies, uint32_t piece_tokens, check_run *look,
                         const void *argument)
{
    gpu_case_upload(gpu);
    for (uint32_t strategy = 0; strategy < TREE_NUM_STRATEGIES; strategy++) {
        if (!(strategies >> strategy & 1)) continue;
        tree_plan *plan = attention_plan(gpu->c, (tree_strategy)strategy, piece_tokens, 0);
        gpu_case_plan(gpu, plan);
        for (uint32_t s = 0; s < tree_gpu_num_steps; s++) {
            if (!runs_step(&tree_gpu_steps[s], gpu->c->shape.storage)) continue;
            gpu_case_run(gpu, &tree_gpu_steps[s]);
            look(gpu, &tree_gpu_steps[s], argument);
        }
        tree_plan_destroy(plan);
    }
}

/* Sets each element of an array of rows. */
static void fill_rows(float *array, uint64_t count, float value)
{
    for (uint64_t i = 0; i < count; i++) array[i] = value;
}

/* ---- large finite scores ---- */

/* out is `want` but for the rounding of stored partial states, lse the score of a row of one token. */
static void check_one_token(const gpu_case *gpu, const tree_gpu_step *step, const void *argument)
{
    const attention_case *c = gpu->c;
    const double u = 2 * storage_roundoff(c->shape.storage);
    for (uint64_t row = 0; row < c->num_lse; row++) {
        const uint64_t query = row / c->shape.num_heads, d = c->shape.head_dim;
        const uint32_t kv_head = (uint32_t)(row % c->shape.num_heads) * c->shape.num_kv_heads / c->shape.num_heads;
        const uint64_t slot = c->paths.slots[c->paths.first[query]];
        const float *key = attention_key(c, slot, kv_head), *value = attention_value(c, slot, kv_head);
        double score = 0, sum = 0;
        for (uint64_t i = 0; i < d; i++) {
            score += (double)c->scale * c->query[row * d + i] * key[i];
            sum += fabs((double)c->scale * c->query[row * d + i] * key[i]);
        }
        (void)argument;
        check(fabs(gpu->h_lse[row] - score) <= 4 * sqrt((double)d) * 0x1p-22 * sum,
              "%s row %u: lse %.9g, the score is %.9g", step->name, (unsigned)row, gpu->h_lse[row], score);
        for (uint64_t i = 0; i < d; i++)
            check(fabs(gpu->h_out[row * d + i] - value[i]) <= u * fabs(value[i]),
                  "%s row %u element %u: %.9g, the value is %.9g, the score %.9g", step->name, (unsigned)row,
                  (unsigned)i, gpu->h_out[row * d + i], value[i], score);
    }
}

/* Queries and keys of random elements times a power of 2 of their own, so that scores go up to 1e12 and beyond. */
static void run_one_token(const void *argument)
{
    const tree_storage storage = *(const tree_storage *)argument;
    const uint32_t most = storage == TREE_FP16 ? 13 : 22; /* fp16 ends at 65504 */
    attention_case c;
    gpu_case gpu;
    char tree[40];
    snprintf(tree, sizeof tree, "%d/1", ROWS);
    begin(&c, &gpu, storage, tree, 1, (attention_size){1, 2, 64});
    c.scale = storage == TREE_FP16 ? 64 : 0.125f;
    for (uint64_t i = 0; i < c.num_out; i += c.shape.head_dim) {
        const float factor = (float)(1u << test_below(most + 1));
        for (uint32_t d = 0; d < c.shape.head_dim; d++) c.query[i + d] *= factor;
    }
    for (uint64_t i = 0; i < c.num_kv; i += c.shape.head_dim) {
        const float factor = (float)(1u << test_below(most + 1));
        for (uint32_t d = 0; d < c.shape.head_dim; d++) c.key[i + d] *= factor;
    }
    for_each_run(&gpu, 1 << TREE_FLASH | 1 << TREE_TREE_MASK, 0, check_one_token, NULL);
    end(&c, &gpu);
}

/* q = k = 133120, 64 of them: the score is 1.4e11, and the product with log2(e) is rounded by thousands. */
static void run_one_score(const void *argument)
{
    const float scale = *(const float *)argument;
    attention_case c;
    gpu_case gpu;
    begin(&c, &gpu, TREE_BF16, "one_token", 1, (attention_size){1, 1, 64});
    fill_rows(c.query, c.num_out, 133120);
    fill_rows(c.key, c.num_kv, 133120);
    c.scale = scale;
    for_each_run(&gpu, 1 << TREE_FLASH, 0, check_one_token, NULL);
    end(&c, &gpu);
}

static void check_mean(const gpu_case *gpu, const tree_gpu_step *step, const void *argument)
{
    const float want = *(const float *)argument;
    for (uint64_t i = 0; i < gpu->c->num_out; i++)
        check(fabs(gpu->h_out[i] - want) <= (2 * storage_roundoff(gpu->c->shape.storage) + 16 * 0x1p-24) * fabs(want),
              "%s element %u: %.9g for %.9g", step->name, (unsigned)i, gpu->h_out[i], want);
}

/* Every other token scores the same 1.4e11, in pieces of a few tokens whose states must meet; the others score less
 * by a last place, which is all the difference that there is. */
static void run_equal_scores(const void *argument)
{
    const tree_storage storage = *(const tree_storage *)argument;
    const float large = storage == TREE_FP16 ? 32768 : 133120, mean = 3;
    attention_case c;
    gpu_case gpu;
    begin(&c, &gpu, storage, "1,2/30,9", 4, (attention_size){1, 3, 64});
    fill_rows(c.query, c.num_out, large);
    for (uint32_t q = 0; q < c.shape.num_queries; q++) {
        for (uint64_t i = c.paths.first[q]; i < c.paths.first[q + 1]; i++) {
            const bool largest = (i - c.paths.first[q]) % 2 == 0;
            fill_rows(attention_key(&c, c.paths.slots[i], 0), 64, largest ? large : large * 0.984375f);
            fill_rows(attention_value(&c, c.paths.slots[i], 0), 64, largest ? mean : 1000);
        }
    }
    c.scale = 1;
    for_each_run(&gpu, ALL_STRATEGIES, 7, check_mean, &mean);
    end(&c, &gpu);
}

/* ---- a scale of 0 ---- */

/* Score every token 0, so that out is the mean of the values that the query sees; NaN where a key that it sees is
 * infinite: 0 * infinity. */
static void check_scale_0(const gpu_case *gpu, const tree_gpu_step *step, const void *argument)
{
    const attention_case *c = gpu->c;
    const uint64_t d = c->shape.head_dim, infinite = *(const uint64_t *)argument;
    for (uint64_t i = 0; i < c->num_out; i++) {
        const uint32_t query = (uint32_t)(i / d / c->shape.num_heads);
        const uint64_t first = c->paths.first[query], num_tokens = c->paths.first[query + 1] - first;
        double mean = 0, size = 0;
        for (uint64_t t = 0; t < num_tokens; t++) {
            const double value = attention_value(c, c->paths.slots[first + t], 0)[i % d];
            mean += value / (double)num_tokens;
            size += fabs(value) / (double)num_tokens;
        }
        if (query_sees(c, query, infinite)) {
            check(isnan(gpu->h_out[i]), "%s query %u: %.9g for NaN", step->name, query, gpu->h_out[i]);
            check(isnan(gpu->h_lse[i / d]), "%s query %u: lse %.9g for NaN", step->name, query, gpu->h_lse[i / d]);
        } else {
            check(fabs(gpu->h_out[i] - mean) <= (2 * storage_roundoff(c->shape.storage) + 16 * 0x1p-24) * size,
                  "%s query %u: %.9g for %.9g", step->name, query, gpu->h_out[i], mean);
            check(fabs(gpu->h_lse[i / d] - log((double)num_tokens)) <= 1e-5, "%s query %u: lse %.9g for log %u",
                  step->name, query, gpu->h_lse[i / d], (unsigned)num_tokens);
        }
    }
}

/* One leaf's last key is infinite, hidden from the other queries by masks; all others score 1e38 and -1e38 in turn
 * before the scale (fp16: as far as it goes). */
static void run_scale_0(const void *argument)
{
    const tree_storage storage = *(const tree_storage *)argument;
    attention_case c;
    gpu_case gpu;
    begin(&c, &gpu, storage, "1,3/9,5", 4, (attention_size){1, 2, 64});
    c.scale = 0;
    for (int sign = -1; sign <= 1; sign++) {
        uint64_t infinite = c.paths.slots[c.paths.first[1] - 1];
        for (uint64_t i = 0; i < c.num_out; i++) c.query[i] = i % 64 ? 0 : storage == TREE_FP16 ? 65504 : 0x1p63f;
        for (uint64_t i = 0; i < c.paths.first[c.shape.num_queries]; i++) {
            float *key = attention_key(&c, c.paths.slots[i], 0);
            key[0] = (c.paths.slots[i] % 2 ? 1 : -1) * (storage == TREE_FP16 ? 65504 : 0x1p63f);
        }
        if (sign)
            attention_key(&c, infinite, 0)[0] = (float)sign * INFINITY;
        else
            infinite = UINT64_MAX; /* none */
        for_each_run(&gpu, ALL_STRATEGIES, 0, check_scale_0, &infinite);
    }
    end(&c, &gpu);
}

/* ---- NaN ---- */

/* The queries that see the slots are NaN, the others have the truth. */
typedef struct nan_slots {
    const uint64_t *slots;
    uint32_t num_slots;
    const attention_truth *truth; /* without the NaN */
    bool in_lse;                  /* a score is NaN, not a value */
} nan_slots;

static void check_nan_rows(const gpu_case *gpu, const tree_gpu_step *step, const void *argument)
{
    const nan_slots *nan = argument;
    const attention_case *c = gpu->c;
    const roundoffs u = gpu_roundoffs(step, c->shape.storage);
    for (uint64_t i = 0; i < c->num_out; i++) {
        const uint64_t row = i / c->shape.head_dim, query = row / c->shape.num_heads;
        bool sees = false;
        for (uint32_t n = 0; n < nan->num_slots; n++) sees |= query_sees(c, (uint32_t)query, nan->slots[n]);
        const double error = fabs(gpu->h_out[i] - nan->truth->out[i]), limit = out_limit(nan->truth, i, &u);
        check(sees ? isnan(gpu->h_out[i]) : error <= limit, "%s query %u: %.9g for %.9g, sees a NaN: %d", step->name,
              (unsigned)query, gpu->h_out[i], nan->truth->out[i], sees);
        check(!(sees && nan->in_lse) || isnan(gpu->h_lse[row]), "%s query %u: lse %.9g for NaN", step->name,
              (unsigned)query, gpu->h_lse[row]);
    }
}

/* Values at the ends of three paths are NaN, in a plan whose workers have several masked tasks each: every task that a
 * NaN reaches through a weight of 0 is done again, not only the last one of its worker. */
static void run_spoilt_tasks(const void *argument)
{
    const tree_storage storage = *(const tree_storage *)argument;
    enum { NUM_NAN = 3 };
    uint64_t slots[NUM_NAN];
    attention_case c;
    gpu_case gpu;
    begin(&c, &gpu, storage, "1,6,18/3,2,2", 1, (attention_size){2, 2, 64});
    attention_truth truth = attention_truth_create(c.query, c.key, c.value, &c.paths, &c.shape, c.scale);
    for (uint32_t n = 0; n < NUM_NAN; n++) {
        slots[n] = c.paths.slots[c.paths.first[1 + n * c.shape.num_queries / NUM_NAN] - 1];
        for (uint32_t kv_head = 0; kv_head < c.shape.num_kv_heads; kv_head++)
            fill_rows(attention_value(&c, slots[n], kv_head), c.shape.head_dim, NAN);
    }
    nan_slots nan = {slots, NUM_NAN, &truth, false};
    for_each_run(&gpu, 1 << TREE_FLATTEN, 8, check_nan_rows, &nan);
    attention_truth_destroy(&truth);
    end(&c, &gpu);
}

/* A partial state of one token whose score is NaN has no maximum, and is no empty state for that. */
static void run_only_score_nan(const void *argument)
{
    const tree_storage storage = *(const tree_storage *)argument;
    attention_case c;
    gpu_case gpu;
    begin(&c, &gpu, storage, "1,2/5,1", 1, (attention_size){1, 2, 64});
    attention_truth truth = attention_truth_create(c.query, c.key, c.value, &c.paths, &c.shape, c.scale);
    for (uint64_t token = 0; token < 6; token += 5) { /* the first token of all, and the last one of query 0 */
        const uint64_t slot = c.paths.slots[token];
        const float kept = attention_key(&c, slot, 0)[3];
        nan_slots nan = {&slot, 1, &truth, true};
        attention_key(&c, slot, 0)[3] = NAN;
        for_each_run(&gpu, 1 << TREE_RADIX | 1 << TREE_FLASH_DECODING | 1 << TREE_TREE_MASK, 1, check_nan_rows, &nan);
        attention_key(&c, slot, 0)[3] = kept;
    }
    attention_truth_destroy(&truth);
    end(&c, &gpu);
}

/* ---- long sums ---- */

/* Notes the error of out besides. fp32 keeps its limits over any length. In 16 bits, sums are float's: of as many equal
 * terms as here they lose up to 2^-9. */
static void check_sum(const gpu_case *gpu, const tree_gpu_step *step, const void *argument)
{
    const float want = *(const float *)argument;
    const double lse = log(exp(0.1f) + LONG_SUM - 1);
    double worst = 0;
    for (uint64_t i = 0; i < gpu->c->num_out; i++) worst = fmax(worst, fabs(gpu->h_out[i] - want) / want);
    test_note("%s %.1e", step->name, worst);
    if (gpu->c->shape.storage == TREE_FP32)
        check_mean(gpu, step, argument);
    else
        check(worst <= 2 * storage_roundoff(gpu->c->shape.storage) + 0x1p-9, "%s: out is off by %.2g of itself",
              step->name, worst);
    check(gpu->c->shape.storage != TREE_FP32 || fabs(gpu->h_lse[0] - lse) <= 8 * 0x1p-24 * (1 + lse),
          "%s: lse %.9g for %.9g", step->name, gpu->h_lse[0], lse);
}

/* All values are 0.1, all scores 0 but the first one: it is 0.1, so that the weights of the others, 0.905, are rounded
 * alike. */
static void run_long_sum(const void *argument)
{
    const tree_storage storage = *(const tree_storage *)argument;
    const float value = storage_round(0.1f, storage);
    attention_case c;
    gpu_case gpu;
    char tree[40];
    snprintf(tree, sizeof tree, "1/%d", LONG_SUM);
    begin(&c, &gpu, storage, tree, 16, (attention_size){1, 1, 64});
    c.scale = 1;
    for (uint64_t i = 0; i < c.num_out; i++) c.query[i] = i == 0;
    for (uint32_t t = 0; t < LONG_SUM; t++) {
        fill_rows(attention_key(&c, c.paths.slots[t], 0), 64, t == 0 ? value : 0);
        fill_rows(attention_value(&c, c.paths.slots[t], 0), 64, value);
    }
    for_each_run(&gpu, 1 << TREE_FLASH, 0, check_sum, &value);
    for_each_run(&gpu, 1 << TREE_FLASH_DECODING, 16, check_sum, &value);
    end(&c, &gpu);
}

static void check_truth(const gpu_case *gpu, const tree_gpu_step *step, const void *argument)
{
    const roundoffs u = gpu_roundoffs(step, gpu->c->shape.storage);
    check_attention(gpu->h_out, gpu->h_lse, argument, &u, step->name);
}

/* Each score is a millionth above the one before: the sums are rescaled at each token, or at each piece. */
static void run_slow_rise(const void *argument)
{
    attention_case c;
    gpu_case gpu;
    char tree[40];
    (void)argument;
    snprintf(tree, sizeof tree, "1/%d", LONG_SUM);
    begin(&c, &gpu, TREE_FP32, tree, 16, (attention_size){1, 1, 64});
    c.scale = 1;
    for (uint64_t i = 0; i < c.num_out; i++) c.query[i] = i % 64 == 0;
    for (uint32_t t = 0; t < LONG_SUM; t++) {
        attention_key(&c, c.paths.slots[t], 0)[0] = (float)t * 1e-6f;
        fill_rows(attention_value(&c, c.paths.slots[t], 0), 64, t < LONG_SUM / 2 ? 1 : 2);
    }
    attention_truth truth = attention_truth_create(c.query, c.key, c.value, &c.paths, &c.shape, c.scale);
    for_each_run(&gpu, 1 << TREE_FLASH, 0, check_truth, &truth);
    for_each_run(&gpu, 1 << TREE_FLASH_DECODING, 16, check_truth, &truth);
    attention_truth_destroy(&truth);
    end(&c, &gpu);
}

int main(int argc, char **argv)
{
    static const float scales[] = {0.125f, -0.125f, 1, -1};
    test_begin(argc, argv, "on the GPU, scores of any size and kind follow the reference");
    for (int i = 0; i < 4; i++)
        test_add(run_one_score, &scales[i], "one_token_scores_%s",
                 i == 0   ? "1e11"
                 : i == 1 ? "minus_1e11"
                 : i == 2 ? "1e12"
                          : "minus_1e12");
    for (int s = 0; s < 3; s++) {
        test_add(run_one_token, &storages[s], "one_token_has_its_value_at_any_score_%s", storage_name[storages[s]]);
        test_add(run_equal_scores, &storages[s], "equal_large_scores_share_%s", storage_name[storages[s]]);
        test_add(run_scale_0, &storages[s], "scale_0_is_the_mean_of_visible_values_%s", storage_name[storages[s]]);
        test_add(run_spoilt_tasks, &storages[s], "nan_reaches_the_queries_that_see_it_%s", storage_name[storages[s]]);
        test_add(run_only_score_nan, &storages[s], "state_of_a_nan_score_counts_%s", storage_name[storages[s]]);
    }
    for (int s = 0; s < 3; s++)
        test_add(run_long_sum, &storages[s], "long_sum_of_one_sign_does_not_drift_%s", storage_name[storages[s]]);
    test_add(run_slow_rise, NULL, "long_sum_of_rising_scores_does_not_drift");
    return test_end();
}
