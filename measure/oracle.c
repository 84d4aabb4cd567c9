/* The truth, its limits, and the comparison with them. */
#include "oracle.h"

#include <assert.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "attention.h"
#include "half.h"

static void *create_array(uint64_t count, size_t bytes)
{
    void *array = calloc(count + 1, bytes);
    if (array == NULL) {
        fprintf(stderr, "out of memory: %llu x %zu bytes for the oracle\n", (unsigned long long)count, bytes);
        exit(1);
    }
    return array;
}

/* The tokens that a query sees besides the table's past: a draft token and its ancestors, root first. */
static uint64_t append_draft(uint64_t *slots, const kv_draft *draft, uint32_t token, const kv_table *table,
                             uint32_t block_tokens)
{
    uint64_t depth = 0;
    for (uint32_t i = token; i != KV_NONE; i = draft->parent[i])
        depth++;
    uint64_t place = depth;
    for (uint32_t i = token; i != KV_NONE; i = draft->parent[i]) {
        uint32_t position = table->length - draft->num_tokens + i;
        slots[--place] = (uint64_t)table->blocks[position / block_tokens] * block_tokens + position % block_tokens;
    }
    return depth;
}

token_paths token_paths_create(const kv_table *tables, const kv_draft *drafts, uint32_t num_tables,
                               uint32_t block_tokens)
{
    token_paths paths = {0};
    uint64_t max_slots = 0;
    for (uint32_t i = 0; i < num_tables; i++) {
        uint32_t num_queries = drafts && drafts[i].num_tokens ? drafts[i].num_tokens : 1;
        paths.num_queries += num_queries;
        max_slots += (uint64_t)num_queries * tables[i].length;
    }
    paths.first = create_array(paths.num_queries + (uint64_t)1, sizeof *paths.first);
    paths.slots = create_array(max_slots, sizeof *paths.slots);
    uint32_t query = 0;
    uint64_t used = 0;
    for (uint32_t i = 0; i < num_tables; i++) {
        const kv_table *table = &tables[i];
        uint32_t num_drafts = drafts ? drafts[i].num_tokens : 0;
        for (uint32_t token = 0; token < (num_drafts ? num_drafts : 1); token++) {
            for (uint32_t t = 0; t < table->length - num_drafts; t++)
                paths.slots[used++] = (uint64_t)table->blocks[t / block_tokens] * block_tokens + t % block_tokens;
            if (num_drafts)
                used += append_draft(paths.slots + used, &drafts[i], token, table, block_tokens);
            paths.first[++query] = used;
        }
    }
    return paths;
}

void token_paths_destroy(token_paths *paths)
{
    free(paths->first);
    free(paths->slots);
    memset(paths, 0, sizeof *paths);
}

/* K and V of the tokens that one query sees, one KV head, one after another. */
typedef struct token_copies {
    float *key, *value;
} token_copies;

static void gather(token_copies *copies, const float *key, const float *value, const uint64_t *slots,
                   uint64_t num_tokens, uint32_t kv_head, const tree_shape *shape)
{
    uint32_t d = shape->head_dim;
    for (uint64_t t = 0; t < num_tokens; t++) {
        uint64_t block = slots[t] / shape->block_tokens, slot = slots[t] % shape->block_tokens;
        uint64_t from = ((block * shape->num_kv_heads + kv_head) * shape->block_tokens + slot) * d;
        memcpy(copies->key + t * d, key + from, d * sizeof *key);
        memcpy(copies->value + t * d, value + from, d * sizeof *value);
    }
}

/* A, Q, B, C and D of one row, of which lse is known. */
static void measure(attention_truth *truth, uint64_t row, const float *query, const float *keys, const float *values,
                    uint64_t num_tokens, float scale)
{
    uint32_t dim = truth->head_dim;
    double *magnitude = truth->magnitude + row * dim, *square = truth->square + row * dim;
    for (uint64_t t = 0; t < num_tokens; t++) {
        const float *key = keys + t * dim, *value = values + t * dim;
        double dot = 0, sum = 0, squares = 0, value_sum = 0;
        for (uint32_t d = 0; d < dim; d++) {
            double product = (double)query[d] * key[d];
            dot += product;
            sum += fabs(product);
            squares += product * product;
            value_sum += value[d];
        }
        if (!isfinite(dot)) /* a key that counts as no token, or makes lse NaN */
            continue;
        double weight = exp(scale * dot - truth->lse[row]);
        truth->score[row] = fmax(truth->score[row], fabs(scale) * sum);
        truth->common[row] += weight * weight * value_sum * value_sum / dim / dim;
        truth->typical_score[row] += weight * fabs(scale) * sqrt(squares + dot * dot);
        for (uint32_t d = 0; d < dim && weight != 0; d++) {
            magnitude[d] += weight * fabs(value[d]);
            square[d] += weight * value[d] * weight * value[d];
        }
    }
}

static bool repeats_query(const float *query, const attention_truth *truth, uint64_t row)
{
    uint32_t group_size = truth->num_heads / truth->num_kv_heads, dim = truth->head_dim;
    uint64_t before = row % group_size ? row - 1 : row - 1 - (truth->num_heads - group_size);
    if (row % group_size == 0 && row < truth->num_heads)
        return false;
    return memcmp(query + row * dim, query + before * dim, dim * sizeof *query) == 0;
}

attention_truth attention_truth_begin(const float *query, uint32_t num_queries, uint32_t num_heads,
                                      uint32_t num_kv_heads, uint32_t head_dim)
{
    uint64_t rows = (uint64_t)num_queries * num_heads;
    attention_truth truth = {num_queries,
                             num_heads,
                             num_kv_heads,
                             head_dim,
                             create_array(rows * head_dim, sizeof(double)),
                             create_array(rows * head_dim, sizeof(double)),
                             create_array(rows * head_dim, sizeof(double)),
                             create_array(rows, sizeof(double)),
                             create_array(rows, sizeof(double)),
                             create_array(rows, sizeof(double)),
                             create_array(rows, sizeof(double)),
                             create_array(rows, sizeof(bool))};
    for (uint64_t row = 0; row < rows; row++)
        truth.repeats[row] = repeats_query(query, &truth, row);
    return truth;
}

void attention_truth_row(attention_truth *truth, uint64_t row, const float *query, const float *key,
                         const float *value, uint64_t num_tokens, float scale)
{
    uint32_t dim = truth->head_dim;
    attention_ref(truth->out + row * dim, &truth->lse[row], query, key, value, num_tokens, dim, scale);
    measure(truth, row, query, key, value, num_tokens, scale);
}

attention_truth attention_truth_create(const float *query, const float *key, const float *value,
                                       const token_paths *paths, const tree_shape *shape, float scale)
{
    uint32_t dim = shape->head_dim, group_size = shape->num_heads / shape->num_kv_heads;
    uint64_t rows = (uint64_t)shape->num_queries * shape->num_heads, longest = 0;
    assert(paths->num_queries == shape->num_queries && "a path for each query");
    for (uint32_t q = 0; q < paths->num_queries; q++)
        longest = paths->first[q + 1] - paths->first[q] > longest ? paths->first[q + 1] - paths->first[q] : longest;
    attention_truth truth =
        attention_truth_begin(query, shape->num_queries, shape->num_heads, shape->num_kv_heads, dim);
    token_copies copies = {create_array(longest * dim, sizeof(float)), create_array(longest * dim, sizeof(float))};
    for (uint64_t row = 0; row < rows; row++) {
        uint64_t q = row / shape->num_heads, num_tokens = paths->first[q + 1] - paths->first[q];
        uint32_t head = (uint32_t)(row % shape->num_heads);
        if (head % group_size == 0)
            gather(&copies, key, value, paths->slots + paths->first[q], num_tokens, head / group_size, shape);
        attention_truth_row(&truth, row, query + row * dim, copies.key, copies.value, num_tokens, scale);
    }
    free(copies.key);
    free(copies.value);
    return truth;
}

void attention_truth_destroy(attention_truth *truth)
{
    free(truth->out);
    free(truth->magnitude);
    free(truth->square);
    free(truth->lse);
    free(truth->score);
    free(truth->typical_score);
    free(truth->common);
    free(truth->repeats);
    memset(truth, 0, sizeof *truth);
}

double storage_roundoff(tree_storage storage)
{
    return storage == TREE_FP32 ? 0x1p-24 : storage == TREE_FP16 ? 0x1p-11 : 0x1p-8;
}

float storage_round(float value, tree_storage storage)
{
    if (storage == TREE_FP16)
        return fp16_to_float(fp16_from_float(value));
    return storage == TREE_BF16 ? bf16_to_float(bf16_from_float(value)) : value;
}

roundoffs cpu_roundoffs(tree_storage storage, tree_isa isa)
{
    bool rounds_weights = storage == TREE_BF16 && isa >= TREE_ISA_AVX512_BF16;
    return (roundoffs){0x1p-24, rounds_weights ? 0x1p-8 : 0x1p-24, 0x1p-24, 0};
}

double out_limit(const attention_truth *truth, uint64_t index, const roundoffs *u)
{
    double score = truth->score[index / truth->head_dim];
    return u->out * fabs(truth->out[index])
           + (u->weight + u->state + 2 * sqrt(truth->head_dim) * u->sum * score + 16 * u->sum)
                 * truth->magnitude[index];
}

double lse_limit(const attention_truth *truth, uint64_t index, const roundoffs *u)
{
    double lse = fabs(truth->lse[index]);
    return 0x1p-24 * lse + 4 * sqrt(truth->head_dim) * u->sum * truth->score[index] + 8 * u->sum * (1 + lse);
}

static void compare_one(comparison *result, uint64_t index, double got, double want, double limit)
{
    bool is_equal = got == want || (isnan(got) && isnan(want)); /* equal infinities differ by NaN */
    double error = is_equal ? 0 : fabs(got - want);
    double ratio = error == 0 ? 0 : error / limit;
    if (!(error <= limit && limit < INFINITY) && error != 0) {
        if (result->num_bad++ == 0) {
            result->first_bad = index;
            result->error = error;
            result->limit = limit;
        }
    }
    if (isnan(ratio))
        ratio = INFINITY;
    if (ratio > result->worst) {
        result->worst = ratio;
        result->worst_index = index;
    }
}

comparison compare_out(const float *out, const attention_truth *truth, const roundoffs *u)
{
    comparison result = {0};
    uint64_t count = (uint64_t)truth->num_queries * truth->num_heads * truth->head_dim;
    for (uint64_t i = 0; i < count; i++)
        compare_one(&result, i, out[i], truth->out[i], out_limit(truth, i, u));
    return result;
}

comparison compare_lse(const float *lse, const attention_truth *truth, const roundoffs *u)
{
    comparison result = {0};
    uint64_t count = (uint64_t)truth->num_queries * truth->num_heads;
    for (uint64_t i = 0; i < count; i++)
        compare_one(&result, i, lse[i], truth->lse[i], lse_limit(truth, i, u));
    return result;
}

/* ---- means over rows ---- */

/* The next row of the group whose lse is finite; the first one after UINT64_MAX, UINT64_MAX after the last. */
static uint64_t next_row(const attention_truth *truth, const row_group *group, uint64_t row)
{
    uint64_t end = (uint64_t)group->num_queries * group->num_heads, at = 0;
    if (row != UINT64_MAX)
        at = (row / truth->num_heads - group->first_query) * group->num_heads + row % truth->num_heads
             - group->first_head + 1;
    for (; at < end; at++) {
        row = (group->first_query + at / group->num_heads) * truth->num_heads + group->first_head
              + at % group->num_heads;
        if (isfinite(truth->lse[row]))
            return row;
    }
    return UINT64_MAX;
}

/* Rows that count, and those of them whose errors are independent. */
static uint64_t count_rows(const attention_truth *truth, const row_group *group, double *independent)
{
    uint64_t num_rows = 0, num_repeats = 0;
    for (uint64_t row = next_row(truth, group, UINT64_MAX); row != UINT64_MAX; row = next_row(truth, group, row)) {
        num_repeats += num_rows > 0 && truth->repeats[row];
        num_rows++;
    }
    *independent = (double)(num_rows - num_repeats);
    return num_rows;
}

mean_error mean_error_of_lse(const float *lse, const attention_truth *truth, const row_group *group,
                             const roundoffs *u)
{
    double independent, error = 0, stored = 0, summed = 0;
    double num_rows = (double)count_rows(truth, group, &independent);
    for (uint64_t row = next_row(truth, group, UINT64_MAX); row != UINT64_MAX; row = next_row(truth, group, row)) {
        double size = fabs(truth->lse[row]);
        error += lse[row] - truth->lse[row];
        stored += 0x1p-24 * size;
        summed += sqrt(truth->head_dim) * u->sum * truth->typical_score[row] + 2 * fmin(u->sum, 0x1p-24) * (1 + size);
    }
    if (num_rows == 0)
        return (mean_error){0, 0};
    return (mean_error){error / num_rows, (stored + (1 + 3 / sqrt(independent)) * summed) / num_rows};
}

/* One element of out, summed over the rows of a group; squares: over its elements too. */
typedef struct out_sums {
    double error, bias, out; /* of the element */
    double magnitude_squared, square, common;
} out_sums;

static void add_out(out_sums *sums, float out, const attention_truth *truth, uint64_t row, uint64_t i,
                    const roundoffs *u)
{
    double of_scores = 2 * sqrt(truth->head_dim) * u->sum * truth->typical_score[row];
    sums->error += out - truth->out[i];
    sums->bias += (of_scores + 16 * u->sum) * truth->magnitude[i] + u->out * fabs(truth->out[i]);
    sums->out += truth->out[i];
    sums->magnitude_squared += truth->magnitude[i] * truth->magnitude[i];
    sums->square += truth->square[i];
    sums->common += truth->common[row];
}

/* N of oracle.h */
static double independent_elements(const out_sums *sums)
{
    double most = fmin(sums->square / sums->common, sums->magnitude_squared / sums->square);
    return most >= 1 ? most : 1;
}

mean_error mean_error_of_out(const float *out, const attention_truth *truth, const row_group *group,
                             const roundoffs *u)
{
    uint32_t dim = truth->head_dim;
    double independent, errors = 0, biases = 0, outs = 0; /* sums of squares */
    double num_rows = (double)count_rows(truth, group, &independent);
    out_sums sums = {0};
    if (num_rows == 0)
        return (mean_error){0, 0};
    for (uint32_t d = 0; d < dim; d++) {
        sums.error = sums.bias = sums.out = 0;
        for (uint64_t row = next_row(truth, group, UINT64_MAX); row != UINT64_MAX; row = next_row(truth, group, row))
            add_out(&sums, out[row * dim + d], truth, row, row * dim + d, u);
        errors += sums.error * sums.error;
        biases += sums.bias * sums.bias;
        outs += sums.out * sums.out;
    }
    double of_rows = (u->weight * u->weight + u->state * u->state) / 3 * sums.square / dim / num_rows / independent;
    double of_all = u->state * u->state / 3 * outs / dim / num_rows / num_rows;
    return (mean_error){sqrt(errors / dim) / num_rows,
                        sqrt(biases / dim) / num_rows
                            + (1 + 3 / sqrt(independent * independent_elements(&sums))) * sqrt(of_rows + of_all)};
}

typedef mean_error mean_error_function(const float *result, const attention_truth *truth, const row_group *group,
                                       const roundoffs *u);

static void compare_group(mean_comparison *result, mean_error_function *mean_error_of, const float *got,
                          const attention_truth *truth, row_group group, const roundoffs *u)
{
    mean_error mean = mean_error_of(got, truth, &group, u);
    if (!isfinite(mean.limit)) /* the truth is not, or nearly */
        return;
    if (!(fabs(mean.error) <= mean.limit) && result->num_bad++ == 0) {
        result->first_bad = group;
        result->error = mean.error;
        result->limit = mean.limit;
    }
    double ratio = mean.error == 0 ? 0 : fabs(mean.error) / mean.limit;
    if (!(ratio <= result->worst))
        result->worst = isnan(ratio) ? INFINITY : ratio;
}

static mean_comparison compare_groups(mean_error_function *mean_error_of, const float *got,
                                      const attention_truth *truth, const roundoffs *u)
{
    mean_comparison result = {0};
    uint32_t num_queries = truth->num_queries, num_heads = truth->num_heads;
    uint32_t group_size = num_heads / truth->num_kv_heads;
    for (uint32_t q = 0; q < num_queries; q++) {
        for (uint32_t head = 0; head < num_heads; head++)
            compare_group(&result, mean_error_of, got, truth, (row_group){q, 1, head, 1}, u);
        for (uint32_t head = 0; head < num_heads; head += group_size)
            compare_group(&result, mean_error_of, got, truth, (row_group){q, 1, head, group_size}, u);
    }
    for (uint32_t head = 0; head < num_heads; head += group_size)
        compare_group(&result, mean_error_of, got, truth, (row_group){0, num_queries, head, group_size}, u);
    return result;
}

mean_comparison compare_mean_out(const float *out, const attention_truth *truth, const roundoffs *u)
{
    return compare_groups(mean_error_of_out, out, truth, u);
}

mean_comparison compare_mean_lse(const float *lse, const attention_truth *truth, const roundoffs *u)
{
    return compare_groups(mean_error_of_lse, lse, truth, u);
}

/* ---- all four ---- */

/* "query 3 head 5 element 7": num_elements 1 for lse. */
static void describe_element(verdict *v, const char *of, const comparison *c, const attention_truth *truth,
                             uint32_t num_elements, double got, double want)
{
    uint64_t row = c->first_bad / num_elements;
    snprintf(v->text, sizeof v->text,
             "%s of query %u head %u element %u: %.9g for %.9g, error %.3g, limit %.3g, %llu elements beyond theirs",
             of, (unsigned)(row / truth->num_heads), (unsigned)(row % truth->num_heads),
             (unsigned)(c->first_bad % num_elements), got, want, c->error, c->limit, (unsigned long long)c->num_bad);
}

static void describe_mean(verdict *v, const char *of, const mean_comparison *mean)
{
    const row_group *bad = &mean->first_bad;
    snprintf(v->text, sizeof v->text,
             "mean error of %s of queries %u to %u, heads %u to %u: %.3g, limit %.3g, %llu means beyond theirs", of,
             bad->first_query, bad->first_query + bad->num_queries - 1, bad->first_head,
             bad->first_head + bad->num_heads - 1, mean->error, mean->limit, (unsigned long long)mean->num_bad);
}

verdict attention_verdict(const float *out, const float *lse, const attention_truth *truth, const roundoffs *u)
{
    comparison in_out = compare_out(out, truth, u), in_lse = {0};
    mean_comparison mean_out = compare_mean_out(out, truth, u), mean_lse = {0};
    if (lse != NULL) {
        in_lse = compare_lse(lse, truth, u);
        mean_lse = compare_mean_lse(lse, truth, u);
    }
    verdict v = {.worst = fmax(fmax(in_out.worst, in_lse.worst), fmax(mean_out.worst, mean_lse.worst))};
    if ((uint64_t)truth->num_queries * truth->num_heads > 0) {
        v.error = fabs(out[in_out.worst_index] - truth->out[in_out.worst_index]);
        v.limit = out_limit(truth, in_out.worst_index, u);
    }
    if (in_out.num_bad > 0)
        describe_element(&v, "out", &in_out, truth, truth->head_dim, out[in_out.first_bad],
                         truth->out[in_out.first_bad]);
    else if (in_lse.num_bad > 0)
        describe_element(&v, "lse", &in_lse, truth, 1, lse[in_lse.first_bad], truth->lse[in_lse.first_bad]);
    else if (mean_out.num_bad > 0)
        describe_mean(&v, "out", &mean_out);
    else if (mean_lse.num_bad > 0)
        describe_mean(&v, "lse", &mean_lse);
    return v;
}
