/* Unfused attention: each step processes all tokens and writes an array for the next step.
 *
 * Numerics notes. The arrays are float, the sums between them double. The last step skips the tokens that the mask
 * hides; a matrix product would not, and 0 * NaN of another branch's value would reach the result. */
#include "standard_attention.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "exact_math_internal.h"

static tree_status check_tree(const kv_tree *tree, const tree_shape *shape)
{
    assert(tree && "attention needs a tree");
    tree_status status = tree_shape_check(shape);
    if (status != TREE_OK)
        return status;
    if (tree->num_queries != shape->num_queries || tree->block_tokens != shape->block_tokens)
        return TREE_BAD_SHAPE;
    if (shape->storage != TREE_FP32)
        return TREE_UNSUPPORTED;
    for (uint32_t n = 0; n < tree->num_nodes; n++) {
        const kv_node *node = &tree->nodes[n];
        uint64_t num_slots = (uint64_t)node->first_slot + node->num_tokens;
        for (uint64_t i = 0; i * tree->block_tokens < num_slots; i++) {
            if (tree->blocks[node->first_block + i] >= shape->num_blocks)
                return TREE_BAD_PLAN;
        }
    }
    return TREE_OK;
}

/* An array of floats that is counted in arrays->bytes; NULL without memory. */
static float *create_array(standard_arrays *arrays, uint64_t rows, uint64_t columns)
{
    arrays->bytes += rows * columns * sizeof(float);
    return calloc(rows * columns + 1, sizeof(float)); /* + 1: a tree without tokens is not an error */
}

/* num_scores: per head */
static tree_status create_arrays(standard_arrays *arrays, uint64_t num_tokens, uint64_t num_first, uint64_t num_scores,
                                 bool masked, const tree_shape *shape)
{
    uint64_t kv_elements = (uint64_t)shape->num_kv_heads * shape->head_dim;
    uint64_t head_elements = (uint64_t)shape->num_heads * shape->head_dim;
    memset(arrays, 0, sizeof *arrays);
    arrays->num_tokens = num_tokens;
    arrays->first_token = calloc(num_first + 1, sizeof *arrays->first_token);
    arrays->key = create_array(arrays, num_tokens, kv_elements);
    arrays->value = create_array(arrays, num_tokens, kv_elements);
    arrays->head_key = create_array(arrays, num_tokens, head_elements);
    arrays->head_value = create_array(arrays, num_tokens, head_elements);
    arrays->scores = create_array(arrays, num_scores, shape->num_heads);
    arrays->weights = create_array(arrays, num_scores, shape->num_heads);
    if (masked) {
        arrays->mask = create_array(arrays, num_scores, 1);
        arrays->masked = create_array(arrays, num_scores, shape->num_heads);
    }
    bool complete = arrays->first_token && arrays->key && arrays->value && arrays->head_key && arrays->head_value
                    && arrays->scores && arrays->weights && (!masked || (arrays->mask && arrays->masked));
    if (!complete)
        standard_arrays_free(arrays);
    return complete ? TREE_OK : TREE_NOMEM;
}

void standard_arrays_free(standard_arrays *arrays)
{
    free(arrays->first_token);
    free(arrays->key);
    free(arrays->value);
    free(arrays->head_key);
    free(arrays->head_value);
    free(arrays->scores);
    free(arrays->mask);
    free(arrays->masked);
    free(arrays->weights);
    memset(arrays, 0, sizeof *arrays);
}

/* Copies K and V of a node's tokens, for every KV head, to the tokens from first_token on. */
static void gather_node(standard_arrays *arrays, uint64_t first_token, const kv_node *node, const kv_tree *tree,
                        const float *key, const float *value, const tree_shape *shape)
{
    for (uint32_t i = 0; i < node->num_tokens; i++) {
        uint64_t slot = (uint64_t)node->first_slot + i;
        uint32_t block = tree->blocks[node->first_block + slot / shape->block_tokens];
        for (uint32_t kv_head = 0; kv_head < shape->num_kv_heads; kv_head++) {
            uint64_t from = tree_kv_offset(shape, block, kv_head, slot % shape->block_tokens);
            uint64_t to = ((first_token + i) * shape->num_kv_heads + kv_head) * shape->head_dim;
            memcpy(arrays->key + to, key + from, shape->head_dim * sizeof *key);
            memcpy(arrays->value + to, value + from, shape->head_dim * sizeof *value);
        }
    }
}

/* Repeats each KV head for the heads of its group. */
static void expand_heads(standard_arrays *arrays, const tree_shape *shape)
{
    uint32_t group_size = shape->num_heads / shape->num_kv_heads;
    for (uint64_t t = 0; t < arrays->num_tokens; t++) {
        for (uint32_t head = 0; head < shape->num_heads; head++) {
            uint64_t from = (t * shape->num_kv_heads + head / group_size) * shape->head_dim;
            uint64_t to = (t * shape->num_heads + head) * shape->head_dim;
            memcpy(arrays->head_key + to, arrays->key + from, shape->head_dim * sizeof(float));
            memcpy(arrays->head_value + to, arrays->value + from, shape->head_dim * sizeof(float));
        }
    }
}

static float score_token(const standard_arrays *arrays, const float *q_qh, uint64_t token, uint32_t head,
                         const tree_shape *shape, float scale)
{
    const float *k_th = arrays->head_key + (token * shape->num_heads + head) * shape->head_dim;
    double dot = 0;
    for (uint32_t d = 0; d < shape->head_dim; d++)
        dot += (double)q_qh[d] * k_th[d];
    return (float)(scale * dot);
}

/* weights = softmax(scores); all 0 where every score is -infinity. Returns the lse. */
static double softmax_row(float *weights, const float *scores, uint64_t num_tokens)
{
    double max_score = -INFINITY, sum = 0;
    for (uint64_t t = 0; t < num_tokens; t++)
        max_score = scores[t] > max_score ? scores[t] : max_score;
    for (uint64_t t = 0; t < num_tokens; t++)
        sum += scores[t] == -INFINITY ? 0 : exp(scores[t] - max_score);
    for (uint64_t t = 0; t < num_tokens; t++)
        weights[t] = scores[t] == -INFINITY ? 0 : (float)(exp(scores[t] - max_score) / sum);
    return max_score + log(sum);
}

/* out of one query and head: the sum of weights * value over num_tokens tokens, those scored -infinity left out. */
static void weigh_values(float *out_qh, const float *weights, const float *scores, const standard_arrays *arrays,
                         uint64_t first_token, uint64_t num_tokens, uint32_t head, const tree_shape *shape)
{
    for (uint32_t d = 0; d < shape->head_dim; d++) {
        double sum = 0;
        for (uint64_t t = 0; t < num_tokens; t++) {
            uint64_t v_th = ((first_token + t) * shape->num_heads + head) * shape->head_dim;
            if (scores[t] != -INFINITY)
                sum += (double)weights[t] * arrays->head_value[v_th + d];
        }
        out_qh[d] = (float)sum;
    }
}

/* Every query's path, copied as if nothing were shared. */
static void gather_paths(standard_arrays *arrays, const float *key, const float *value, const kv_tree *tree,
                         const tree_shape *shape)
{
    for (uint32_t q = 0; q < tree->num_queries; q++) {
        uint32_t last = tree->query_node[q];
        uint64_t length = last == KV_NONE ? 0 : (uint64_t)tree->nodes[last].first_token + tree->nodes[last].num_tokens;
        arrays->first_token[q + 1] = arrays->first_token[q] + length;
        for (uint32_t n = last; n != KV_NONE; n = tree->nodes[n].parent)
            gather_node(arrays, arrays->first_token[q] + tree->nodes[n].first_token, &tree->nodes[n], tree, key, value,
                        shape);
    }
}

/* scores, softmax, PV of one head over the copies. */
static void attend_copies(float *out, float *lse, const float *query, standard_arrays *arrays, uint32_t head,
                          const tree_shape *shape, float scale)
{
    float *scores_h = arrays->scores + head * arrays->num_tokens;
    float *weights_h = arrays->weights + head * arrays->num_tokens;
    for (uint32_t q = 0; q < shape->num_queries; q++) {
        uint64_t first = arrays->first_token[q], num_tokens = arrays->first_token[q + 1] - first;
        uint64_t qh = (uint64_t)q * shape->num_heads + head;
        for (uint64_t t = first; t < first + num_tokens; t++)
            scores_h[t] = score_token(arrays, query + qh * shape->head_dim, t, head, shape, scale);
        double lse_qh = softmax_row(weights_h + first, scores_h + first, num_tokens);
        if (lse)
            lse[qh] = (float)lse_qh;
        weigh_values(out + qh * shape->head_dim, weights_h + first, scores_h + first, arrays, first, num_tokens, head,
                     shape);
    }
}

/* Hands the arrays to the caller, or frees them. */
static void finish(standard_arrays *given, standard_arrays *arrays)
{
    if (given)
        *given = *arrays;
    else
        standard_arrays_free(arrays);
}

tree_status standard_attention_ref(float *out, float *lse, const float *query, const float *key, const float *value,
                                   const kv_tree *tree, const tree_shape *shape, float scale, standard_arrays *given)
{
    standard_arrays arrays;
    tree_status status = check_tree(tree, shape);
    if (status == TREE_OK)
        status = create_arrays(&arrays, tree->path_tokens, tree->num_queries, tree->path_tokens, false, shape);
    if (status != TREE_OK)
        return status;
    gather_paths(&arrays, key, value, tree, shape);
    expand_heads(&arrays, shape);
    for (uint32_t head = 0; head < shape->num_heads; head++)
        attend_copies(out, lse, query, &arrays, head, shape, scale);
    finish(given, &arrays);
    return TREE_OK;
}

/* Every node once, in the tree's order. */
static void gather_nodes(standard_arrays *arrays, const float *key, const float *value, const kv_tree *tree,
                         const tree_shape *shape)
{
    for (uint32_t n = 0; n < tree->num_nodes; n++) {
        arrays->first_token[n + 1] = arrays->first_token[n] + tree->nodes[n].num_tokens;
        gather_node(arrays, arrays->first_token[n], &tree->nodes[n], tree, key, value, shape);
    }
}

static void build_mask(standard_arrays *arrays, const kv_tree *tree)
{
    uint64_t num_tokens = arrays->num_tokens;
    for (uint64_t i = 0; i < tree->num_queries * num_tokens; i++)
        arrays->mask[i] = -INFINITY;
    for (uint32_t q = 0; q < tree->num_queries; q++) {
        for (uint32_t n = tree->query_node[q]; n != KV_NONE; n = tree->nodes[n].parent) {
            for (uint64_t t = arrays->first_token[n]; t < arrays->first_token[n + 1]; t++)
                arrays->mask[q * num_tokens + t] = 0;
        }
    }
}

/* scores, masked, softmax, PV of one head over the whole tree. */
static void attend_masked(float *out, float *lse, const float *query, standard_arrays *arrays, uint32_t head,
                          const tree_shape *shape, float scale)
{
    uint64_t num_tokens = arrays->num_tokens;
    for (uint32_t q = 0; q < shape->num_queries; q++) {
        uint64_t qh = (uint64_t)q * shape->num_heads + head;
        uint64_t row = ((uint64_t)head * shape->num_queries + q) * num_tokens;
        float *scores = arrays->scores + row, *masked = arrays->masked + row, *weights = arrays->weights + row;
        const float *mask_q = arrays->mask + q * num_tokens;
        for (uint64_t t = 0; t < num_tokens; t++)
            scores[t] = score_token(arrays, query + qh * shape->head_dim, t, head, shape, scale);
        for (uint64_t t = 0; t < num_tokens; t++)
            masked[t] = mask_q[t] == 0 ? scores[t] : -INFINITY; /* NaN + -infinity would be NaN */
        double lse_qh = softmax_row(weights, masked, num_tokens);
        if (lse)
            lse[qh] = (float)lse_qh;
        weigh_values(out + qh * shape->head_dim, weights, masked, arrays, 0, num_tokens, head, shape);
    }
}

tree_status dense_mask_attention_ref(float *out, float *lse, const float *query, const float *key, const float *value,
                                     const kv_tree *tree, const tree_shape *shape, float scale, standard_arrays *given)
{
    standard_arrays arrays;
    uint64_t num_scores = tree->num_queries * tree->unique_tokens;
    tree_status status = check_tree(tree, shape);
    if (status == TREE_OK)
        status = create_arrays(&arrays, tree->unique_tokens, tree->num_nodes, num_scores, true, shape);
    if (status != TREE_OK)
        return status;
    gather_nodes(&arrays, key, value, tree, shape);
    expand_heads(&arrays, shape);
    build_mask(&arrays, tree);
    for (uint32_t head = 0; head < shape->num_heads; head++)
        attend_masked(out, lse, query, &arrays, head, shape, scale);
    finish(given, &arrays);
    return TREE_OK;
}
