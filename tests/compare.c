/* The truth, its limits, and the comparison with them. */
#include "compare.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "attention.h"
#include "half.h"
#include "test.h"

enum { GUARD_FLOATS = 64 };
static const uint32_t guard_bits = 0x7fc0dead;   /* a NaN of its own in the zones */
static const uint32_t prefill_bits = 0x7fc0beef; /* and another in data */

static void *create_array(uint64_t count, size_t bytes)
{
    void *array = calloc(count + 1, bytes);
    check(array, "%llu elements of memory", (unsigned long long)count);
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
static void measure(attention_truth *truth, uint64_t row, const float *query, const token_copies *copies,
                    uint64_t num_tokens, float scale)
{
    uint32_t dim = truth->head_dim;
    double *magnitude = truth->magnitude + row * dim, *square = truth->square + row * dim;
    for (uint64_t t = 0; t < num_tokens; t++) {
        const float *key = copies->key + t * dim, *value = copies->value + t * dim;
        double dot = 0, sum = 0, squares = 0, values = 0;
        for (uint32_t d = 0; d < dim; d++) {
            double product = (double)query[d] * key[d];
            dot += product;
            sum += fabs(product);
            squares += product * product;
            values += value[d];
        }
        if (!isfinite(dot)) /* a key that counts as no token, or makes lse NaN */
            continue;
        double weight = exp(scale * dot - truth->lse[row]);
        truth->score[row] = fmax(truth->score[row], fabs(scale) * sum);
        truth->common[row] += weight * weight * values * values / dim / dim;
        truth->typical_score[row] += weight * fabs(scale) * sqrt(squares + dot * dot);
        for (uint32_t d = 0; d < dim && weight != 0; d++) {
            magnitude[d] += weight * fabs(value[d]);
            square[d] += weight * value[d] * weight * value[d];
        }
    }
}

static bool repeats_query(const float *query, const tree_shape *shape, uint64_t row)
{
    uint32_t group_size = shape->num_heads / shape->num_kv_heads, dim = shape->head_dim;
    uint64_t before = row % group_size ? row - 1 : row - 1 - (shape->num_heads - group_size);
    if (row % group_size == 0 && row < shape->num_heads)
        return false;
    return memcmp(query + row * dim, query + before * dim, dim * sizeof *query) == 0;
}

attention_truth attention_truth_create(const float *query, const float *key, const float *value,
                                       const token_paths *paths, const tree_shape *shape, float scale)
{
    uint32_t dim = shape->head_dim, group_size = shape->num_heads / shape->num_kv_heads;
    uint64_t rows = (uint64_t)shape->num_queries * shape->num_heads, longest = 0;
    attention_truth truth = {shape->num_queries, shape->num_heads, shape->num_kv_heads, dim,
                             create_array(rows * dim, sizeof(double)), create_array(rows * dim, sizeof(double)),
                             create_array(rows * dim, sizeof(double)), create_array(rows, sizeof(double)),
                             create_array(rows, sizeof(double)), create_array(rows, sizeof(double)),
                             create_array(rows, sizeof(double)), create_array(rows, sizeof(bool))};
    check(paths->num_queries == shape->num_queries, "paths of %u queries", shape->num_queries);
    for (uint32_t q = 0; q < paths->num_queries; q++)
        longest = paths->first[q + 1] - paths->first[q] > longest ? paths->first[q + 1] - paths->first[q] : longest;
    token_copies copies = {create_array(longest * dim, sizeof(float)), create_array(longest * dim, sizeof(float))};
    for (uint64_t row = 0; row < rows; row++) {
        uint64_t q = row / shape->num_heads, num_tokens = paths->first[q + 1] - paths->first[q];
        uint32_t head = (uint32_t)(row % shape->num_heads);
        if (head % group_size == 0)
            gather(&copies, key, value, paths->slots + paths->first[q], num_tokens, head / group_size, shape);
        attention_ref(truth.out + row * dim, &truth.lse[row], query + row * dim, copies.key, copies.value, num_tokens,
                      dim, scale);
        measure(&truth, row, query + row * dim, &copies, num_tokens, scale);
        truth.repeats[row] = repeats_query(query, shape, row);
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
    if (!(ratio <= result->worst))
        result->worst = isnan(ratio) ? INFINITY : ratio;
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

/* N of compare.h */
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

/* ---- all of them ---- */

static double check_elements(const float *out, const float *lse, const attention_truth *truth, const roundoffs *u,
                             const char *what)
{
    comparison in_out = compare_out(out, truth, u), in_lse = {0};
    uint64_t bad = in_out.first_bad, row = bad / truth->head_dim;
    check(in_out.num_bad == 0, "%s: out of query %u head %u element %u: %.9g for %.9g, error %.3g, limit %.3g, %u bad",
          what, (unsigned)(row / truth->num_heads), (unsigned)(row % truth->num_heads),
          (unsigned)(bad % truth->head_dim), out[bad], truth->out[bad], in_out.error, in_out.limit,
          (unsigned)in_out.num_bad);
    if (lse)
        in_lse = compare_lse(lse, truth, u);
    bad = in_lse.first_bad;
    check(in_lse.num_bad == 0, "%s: lse of query %u head %u: %.9g for %.9g, error %.3g, limit %.3g, %u bad", what,
          (unsigned)(bad / truth->num_heads), (unsigned)(bad % truth->num_heads), lse[bad], truth->lse[bad],
          in_lse.error, in_lse.limit, (unsigned)in_lse.num_bad);
    return fmax(in_out.worst, in_lse.worst);
}

static double check_means(const mean_comparison *mean, const char *of, const char *what)
{
    const row_group *bad = &mean->first_bad;
    check(mean->num_bad == 0, "%s: mean %s of queries %u + %u, heads %u + %u: error %.3g, limit %.3g, %u bad means",
          what, of, bad->first_query, bad->num_queries, bad->first_head, bad->num_heads, mean->error, mean->limit,
          (unsigned)mean->num_bad);
    return mean->worst;
}

double check_attention(const float *out, const float *lse, const attention_truth *truth, const roundoffs *u,
                       const char *what)
{
    double worst = check_elements(out, lse, truth, u, what);
    mean_comparison in_out = compare_mean_out(out, truth, u), in_lse = {0};
    if (lse)
        in_lse = compare_mean_lse(lse, truth, u);
    worst = fmax(worst, check_means(&in_out, "out", what));
    return fmax(worst, check_means(&in_lse, "lse", what));
}

void tally_attention(tally *total, const float *out, const float *lse, const attention_truth *truth,
                     const roundoffs *u)
{
    comparison in_out = compare_out(out, truth, u), in_lse = compare_lse(lse, truth, u);
    mean_comparison mean_out = compare_mean_out(out, truth, u), mean_lse = compare_mean_lse(lse, truth, u);
    total->num_runs++;
    total->num_bad += in_out.num_bad + in_lse.num_bad + mean_out.num_bad + mean_lse.num_bad > 0;
    total->out = fmax(total->out, in_out.worst);
    total->lse = fmax(total->lse, in_lse.worst);
    total->mean_out = fmax(total->mean_out, mean_out.worst);
    total->mean_lse = fmax(total->mean_lse, mean_lse.worst);
}

void check_same_bits(const float *a, const float *b, uint64_t count, const char *what)
{
    for (uint64_t i = 0; i < count; i++)
        check(half_bits(a[i]) == half_bits(b[i]), "%s: element %llu: %.9g and %.9g", what, (unsigned long long)i, a[i],
              b[i]);
}

guarded guarded_create(uint64_t count)
{
    guarded array = {NULL, count, create_array(count + 2 * GUARD_FLOATS, sizeof(float))};
    array.data = array.storage + GUARD_FLOATS;
    for (uint64_t i = 0; i < count + 2 * GUARD_FLOATS; i++) {
        bool zone = i < GUARD_FLOATS || i >= count + GUARD_FLOATS;
        memcpy(&array.storage[i], zone ? &guard_bits : &prefill_bits, sizeof guard_bits);
    }
    return array;
}

static bool all_bits(const float *data, uint64_t count, uint32_t bits)
{
    for (uint64_t i = 0; i < count; i++) {
        if (half_bits(data[i]) != bits)
            return false;
    }
    return true;
}

void guarded_check(const guarded *array, const char *what)
{
    check(all_bits(array->storage, GUARD_FLOATS, guard_bits), "%s: nothing is written before the array", what);
    check(all_bits(array->data + array->count, GUARD_FLOATS, guard_bits), "%s: nothing is written behind the array",
          what);
}

bool guarded_untouched(const guarded *array)
{
    return all_bits(array->data, array->count, prefill_bits);
}

void guarded_destroy(guarded *array)
{
    free(array->storage);
    memset(array, 0, sizeof *array);
}
