/* Importance by gathering. */
#include "importance_model.h"

#include <math.h>
#include <stdlib.h>

#include "test.h"

static void *create_array(uint64_t count, size_t bytes)
{
    void *array = calloc(count + 1, bytes);
    check(array, "%llu elements", (unsigned long long)count);
    return array;
}

float *importance_norms(const attention_case *c)
{
    uint64_t num_norms = c->num_kv / c->shape.head_dim;
    float *norm = create_array(num_norms, sizeof *norm);
    for (uint64_t i = 0; i < num_norms; i++)
        norm[i] = value_norm(c->value + i * c->shape.head_dim, c->shape.head_dim);
    return norm;
}

/* The largest scale * sum of |q_d k_td| over all heads and tokens of a query. */
static double largest_score(const attention_case *c, uint32_t query, const token_list *tokens)
{
    const tree_shape *shape = &c->shape;
    double largest = 0;
    for (uint32_t head = 0; head < shape->num_heads; head++) {
        const float *q_qh = attention_query(c, query, head);
        for (uint32_t t = 0; t < tokens->num_tokens; t++) {
            const float *k_t =
                attention_key(c, tokens->slots[t], head / (shape->num_heads / shape->num_kv_heads));
            double score = 0;
            for (uint32_t d = 0; d < shape->head_dim; d++)
                score += fabs((double)q_qh[d] * k_t[d]);
            largest = fmax(largest, score * fabs((double)c->scale));
        }
    }
    return largest;
}

static void score_query(importance_truth *truth, const attention_case *c, const keep_set *keeps, const float *norm,
                        uint32_t query)
{
    tree_shape shape = c->shape;
    uint64_t first = c->paths.first[query], length = c->paths.first[query + 1] - first;
    double *importance_q = truth->importance + query * truth->num_slots;
    uint64_t *slots = create_array(length, sizeof *slots);
    uint32_t *positions = create_array(length, sizeof *positions);
    token_list tokens = {0, slots, positions};
    for (uint32_t s = 0; s < length; s++) {
        if (keeps && !kv_keep_slot(&keeps->keeps[query], shape.block_tokens, s))
            continue;
        slots[tokens.num_tokens] = c->paths.slots[first + s];
        positions[tokens.num_tokens++] = s;
    }
    double *weights = create_array((uint64_t)shape.num_heads * tokens.num_tokens, sizeof *weights);
    double *importance = create_array(tokens.num_tokens, sizeof *importance);
    shape.storage = TREE_FP32;
    attention_weights(weights, NULL, NULL, attention_query(c, query, 0), c->key, c->value, &tokens, &shape, c->scale);
    importance_ref(importance, weights, norm, &tokens, &shape);
    for (uint64_t s = 0; s < truth->num_slots; s++)
        importance_q[s] = -1;
    for (uint32_t t = 0; t < tokens.num_tokens; t++)
        importance_q[positions[t]] = importance[t];
    truth->score[query] = largest_score(c, query, &tokens);
    free(slots);
    free(positions);
    free(weights);
    free(importance);
}

importance_truth importance_truth_create(const attention_case *c, const keep_set *keeps, const float *norm,
                                         uint64_t num_slots)
{
    uint32_t num_queries = c->shape.num_queries;
    check(!c->drafts, "a path over draft tokens is no table");
    importance_truth truth = {num_queries, num_slots, create_array(num_queries * num_slots, sizeof(double)),
                              create_array(num_queries, sizeof(double)), c->shape.head_dim};
    for (uint32_t query = 0; query < num_queries; query++)
        score_query(&truth, c, keeps, norm, query);
    return truth;
}

void importance_truth_destroy(importance_truth *truth)
{
    free(truth->importance);
    free(truth->score);
}

/* Positions [first, end) of one query. */
static void check_victim(const float *importance, const double *truth, uint64_t num_slots, eviction_range candidates,
                         const char *what)
{
    uint32_t *positions = create_array(num_slots, sizeof *positions);
    double least = INFINITY;
    for (uint32_t s = 0; s < num_slots; s++) {
        positions[s] = s;
        if (truth[s] >= 0 && truth[s] < least && candidates.first <= s && s < candidates.end)
            least = truth[s];
    }
    uint64_t key = eviction_victim_of_slots(importance, positions, num_slots, candidates);
    free(positions);
    if (least == INFINITY) {
        check(key == EVICTION_NONE, "%s: no candidate, so no victim", what);
        return;
    }
    uint32_t victim = eviction_key_position(key);
    check(key != EVICTION_NONE && key != EVICTION_NOT_FINITE && victim < num_slots, "%s: a victim", what);
    check(candidates.first <= victim && victim < candidates.end, "%s: victim %u is a candidate", what, victim);
    check(truth[victim] >= 0 && truth[victim] <= least * (1 + 1e-4) + 1e-12,
          "%s: victim %u has importance %.9g, the least is %.9g", what, victim, truth[victim], least);
}

double check_importance(const float *importance, const importance_truth *truth, double u, const char *what)
{
    double worst = 0;
    for (uint32_t q = 0; q < truth->num_queries; q++) {
        const double *truth_q = truth->importance + q * truth->num_slots;
        const float *importance_q = importance + q * truth->num_slots;
        double largest = 0, error = 0;
        double limit = 4 * sqrt(truth->head_dim) * u * truth->score[q] + 32 * u + 0x1p-23;
        for (uint64_t s = 0; s < truth->num_slots; s++) {
            double difference = fabs(importance_q[s] - truth_q[s]);
            if (truth_q[s] == -1) {
                check(importance_q[s] == -1, "%s: query %u does not see slot %u: %.9g", what, q, (uint32_t)s,
                      importance_q[s]);
                continue;
            }
            check(difference <= truth_q[s] * limit + 0x1p-120,
                  "%s: query %u slot %u: importance %.9g, expected %.9g, limit %.2g of it", what, q, (uint32_t)s,
                  importance_q[s], truth_q[s], limit);
            error = fmax(error, difference);
            largest = fmax(largest, truth_q[s]);
        }
        worst = fmax(worst, largest > 0 ? error / largest : 0);
        uint32_t num_slots = (uint32_t)truth->num_slots;
        check_victim(importance_q, truth_q, num_slots, (eviction_range){0, num_slots}, what);
        check_victim(importance_q, truth_q, num_slots, (eviction_range){4, num_slots - num_slots / 4}, what);
    }
    return worst;
}
