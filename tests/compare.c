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

/* A and B of one query and head, of which lse is known. */
static void measure(double *magnitude, double *largest, double lse, const float *query, const token_copies *copies,
                    uint64_t num_tokens, uint32_t head_dim, float scale)
{
    for (uint64_t t = 0; t < num_tokens; t++) {
        const float *key = copies->key + t * head_dim, *value = copies->value + t * head_dim;
        double dot = 0, sum = 0;
        for (uint32_t d = 0; d < head_dim; d++) {
            double product = (double)query[d] * key[d];
            dot += product;
            sum += fabs(product);
        }
        if (!isfinite(dot)) /* a key that counts as no token, or makes lse NaN */
            continue;
        double weight = exp(scale * dot - lse);
        *largest = fmax(*largest, fabs(scale) * sum);
        for (uint32_t d = 0; d < head_dim && weight != 0; d++)
            magnitude[d] += weight * fabs(value[d]);
    }
}

attention_truth attention_truth_create(const float *query, const float *key, const float *value,
                                       const token_paths *paths, const tree_shape *shape, float scale)
{
    uint32_t dim = shape->head_dim, group_size = shape->num_heads / shape->num_kv_heads;
    uint64_t rows = (uint64_t)shape->num_queries * shape->num_heads, longest = 0;
    attention_truth truth = {shape->num_queries, shape->num_heads, dim,
                             create_array(rows * dim, sizeof(double)), create_array(rows * dim, sizeof(double)),
                             create_array(rows, sizeof(double)), create_array(rows, sizeof(double))};
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
        measure(truth.magnitude + row * dim, &truth.score[row], truth.lse[row], query + row * dim, &copies, num_tokens,
                dim, scale);
    }
    free(copies.key);
    free(copies.value);
    return truth;
}

void attention_truth_destroy(attention_truth *truth)
{
    free(truth->out);
    free(truth->magnitude);
    free(truth->lse);
    free(truth->score);
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
    double error = got == want ? 0 : fabs(got - want); /* equal infinities differ by NaN */
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

double check_attention(const float *out, const float *lse, const attention_truth *truth, const roundoffs *u,
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
