/* forgetting: see forgetting.h. */
#include "forgetting.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#ifdef _OPENMP
#include <omp.h>
#endif

enum { MAX_OBSERVERS = 8 };

/* A branch beside its tokens. A list has positions in ascending order: one for all layers, or one for each. */
typedef struct branch_record {
    kv_branch branch; /* 0: none */
    forgetting_rule rule;
    uint32_t *num_kept;      /* [layers] */
    uint32_t *kept;          /* [layers][context] */
    double *history;         /* [observers][layers][context]; under a rule the first of them alone */
    float *queries;          /* [layers][2 * window][query_floats], of which ... */
    uint32_t first_query, num_queries; /* ... these are the last ones */
    uint64_t *slots;         /* [context] place in the pool of each position that is kept */
    double *total;           /* [context] scores summed over layers, by index in the list */
    bool is_full;            /* in this step tokens must go */
} branch_record;

/* For one thread. */
typedef struct attend_room {
    uint64_t *slots;       /* [context] of a list */
    double *weights;       /* [heads][context] */
    double *out;           /* [heads][head_dim] */
    double *score;         /* [context] */
    double *history;       /* [context] */
    double *scratch;       /* [2][context] */
    float *exps;           /* [heads][context] */
} attend_room;

struct forgetting {
    transformer *t;
    kv_pool *pool;
    forgetting_rule rule;
    const eviction_policy *observers[MAX_OBSERVERS];
    uint32_t num_observers, window;
    uint32_t layers, heads, kv_heads, head_dim, context, block_tokens;
    uint32_t max_branches; /* of a step */
    int num_threads;
    branch_record *records; /* [max_pool_branches] by the index in the handle */
    uint32_t max_records;
    attend_room *rooms;     /* [max_branches] */
};

static branch_record *record_of(const forgetting *f, kv_branch branch)
{
    return &f->records[(uint32_t)branch];
}

/* ---- records ---- */

static void clear(branch_record *r)
{
    free(r->num_kept);
    free(r->kept);
    free(r->history);
    free(r->queries);
    free(r->slots);
    free(r->total);
    *r = (branch_record){0};
}

static bool make(const forgetting *f, branch_record *r, kv_branch branch, const forgetting_rule *rule)
{
    uint32_t observers = rule->policy ? 1 : f->num_observers, window = rule->policy ? rule->policy->window : f->window;
    size_t floats = (size_t)f->heads * f->head_dim;
    clear(r);
    r->branch = branch;
    r->rule = *rule;
    r->num_kept = calloc(f->layers, sizeof *r->num_kept);
    r->kept = calloc((size_t)f->layers * f->context, sizeof *r->kept);
    r->history = calloc((size_t)observers * f->layers * f->context + 1, sizeof *r->history);
    r->queries = calloc(f->layers * 2 * window * floats, sizeof *r->queries);
    r->slots = calloc(f->context, sizeof *r->slots);
    r->total = calloc(f->context, sizeof *r->total);
    if (r->num_kept && r->kept && r->history && r->queries && r->slots && r->total)
        return true;
    clear(r);
    return false;
}

static uint32_t num_lists(const forgetting *f, const branch_record *r)
{
    return r->rule.by_layer ? f->layers : 1;
}

static uint32_t observer_of(const forgetting *f, const eviction_policy *policy)
{
    uint32_t i = 0;
    while (i < f->num_observers && f->observers[i] != policy)
        i++;
    return i;
}

/* `to` takes over what `from` knows; both may be the same policy's, or `from` has no rule. */
static void inherit(const forgetting *f, branch_record *to, const branch_record *from)
{
    size_t floats = (size_t)f->heads * f->head_dim, per_history = (size_t)f->layers * f->context;
    uint32_t from_window = from->rule.policy ? from->rule.policy->window : f->window,
             to_window = to->rule.policy ? to->rule.policy->window : f->window;
    for (uint32_t l = 0; l < num_lists(f, to); l++) {
        uint32_t l_from = num_lists(f, from) > 1 ? l : 0;
        to->num_kept[l] = from->num_kept[l_from];
        memcpy(to->kept + (size_t)l * f->context, from->kept + (size_t)l_from * f->context,
               from->num_kept[l_from] * sizeof *to->kept);
    }
    if (!to->rule.policy || from->rule.policy) {
        memcpy(to->history, from->history,
               (to->rule.policy ? 1 : f->num_observers) * per_history * sizeof *to->history);
    } else if (observer_of(f, to->rule.policy) < f->num_observers) {
        memcpy(to->history, from->history + observer_of(f, to->rule.policy) * per_history,
               per_history * sizeof *to->history);
    }
    to->first_query = 0;
    to->num_queries = from->num_queries < to_window ? from->num_queries : to_window;
    uint32_t skipped = from->first_query + from->num_queries - to->num_queries;
    for (uint32_t l = 0; l < f->layers; l++)
        memcpy(to->queries + l * 2 * to_window * floats, from->queries + (l * 2 * from_window + skipped) * floats,
               to->num_queries * floats * sizeof *to->queries);
}

model_status forgetting_fork(forgetting *f, kv_branch branch, kv_branch *child)
{
    kv_status status = kv_branch_fork(f->pool, branch, child);
    if (status != KV_OK)
        return status == KV_NOBRANCH ? MODEL_NOBRANCH : status == KV_STALE ? MODEL_STALE
             : status == KV_NOMEM    ? MODEL_NOMEM    : MODEL_NOBLOCKS;
    const branch_record *from = record_of(f, branch);
    branch_record *to = record_of(f, *child);
    if (from->branch != branch) /* no step yet: nothing to inherit */
        return MODEL_OK;
    if (!make(f, to, *child, &from->rule)) {
        kv_branch_prune(f->pool, *child);
        return MODEL_NOMEM;
    }
    inherit(f, to, from);
    return MODEL_OK;
}

model_status forgetting_set_rule(forgetting *f, kv_branch branch, const forgetting_rule *rule)
{
    branch_record *r = record_of(f, branch), changed = {0};
    if (r->branch != branch || r->rule.policy || !rule->policy || rule->budget == 0)
        return MODEL_INVAL;
    if (!make(f, &changed, branch, rule))
        return MODEL_NOMEM;
    inherit(f, &changed, r);
    clear(r);
    *r = changed;
    return MODEL_OK;
}

/* ---- attention of one layer ---- */

/* Where each kept position lies. */
static void place(const forgetting *f, branch_record *r, const transformer_attention *a, uint32_t index)
{
    const kv_table *table = &a->tables[index];
    const uint32_t *positions = kv_pool_positions(f->pool);
    for (uint32_t s = 0; s < table->length; s++) {
        if (!kv_keep_slot(&a->keeps[index], f->block_tokens, s))
            continue;
        uint64_t slot = (uint64_t)table->blocks[s / f->block_tokens] * f->block_tokens + s % f->block_tokens;
        r->slots[positions[slot]] = slot;
    }
}

static void add_query(const forgetting *f, branch_record *r, uint32_t layer, const float *query)
{
    uint32_t window = r->rule.policy ? r->rule.policy->window : f->window;
    size_t floats = (size_t)f->heads * f->head_dim;
    if (layer == 0) { /* the indices are those of all layers */
        if (r->num_queries == window)
            r->first_query++;
        else
            r->num_queries++;
        if (r->first_query + r->num_queries > 2 * window) {
            for (uint32_t l = 0; l < f->layers; l++) {
                float *queries = r->queries + l * 2 * window * floats;
                memmove(queries, queries + r->first_query * floats, (r->num_queries - 1) * floats * sizeof *queries);
            }
            r->first_query = 0;
        }
    }
    memcpy(r->queries + (layer * 2 * window + r->first_query + r->num_queries - 1) * floats, query,
           floats * sizeof *query);
}

/* The widest vectors of the machine. Sums depend on their width, so a text may differ between machines where two
 * characters are nearly equally probable. */
#if defined __x86_64__ && defined __has_attribute
#if __has_attribute(target_clones)
#define WIDE __attribute__((target_clones("default", "avx2", "avx512f")))
#endif
#endif
#ifndef WIDE
#define WIDE
#endif

/* out [heads][head_dim] and weights [heads][num_tokens] of one query over a list. */
WIDE static void attend_list(float *out, double *weights, float *exps, const transformer_attention *a,
                             const float *query, const token_list *tokens)
{
    const tree_shape *s = a->shape;
    uint32_t n = tokens->num_tokens, head_dim = s->head_dim, group = s->num_heads / s->num_kv_heads;
    memset(out, 0, (size_t)s->num_heads * head_dim * sizeof *out);
    for (uint32_t h = 0; h < s->num_heads; h++) {
        const float *q = query + (size_t)h * head_dim;
        float *o = out + (size_t)h * head_dim, *x = exps + (size_t)h * n, most = -INFINITY;
        double sum = 0;
        for (uint32_t t = 0; t < n; t++) {
            const float *k = a->key + tree_kv_offset(s, (uint32_t)(tokens->slots[t] / s->block_tokens), h / group,
                                                     (uint32_t)(tokens->slots[t] % s->block_tokens));
            float dot = 0;
#pragma omp simd reduction(+ : dot)
            for (uint32_t d = 0; d < head_dim; d++)
                dot += q[d] * k[d];
            x[t] = dot * a->scale;
            most = x[t] > most ? x[t] : most;
        }
        for (uint32_t t = 0; t < n; t++)
            sum += x[t] = expf(x[t] - most);
        for (uint32_t t = 0; t < n; t++) {
            const float *v = a->value + tree_kv_offset(s, (uint32_t)(tokens->slots[t] / s->block_tokens), h / group,
                                                       (uint32_t)(tokens->slots[t] % s->block_tokens));
            float w = (float)(x[t] / sum);
            weights[(size_t)h * n + t] = x[t] / sum;
#pragma omp simd
            for (uint32_t d = 0; d < head_dim; d++)
                o[d] += w * v[d];
        }
    }
}

/* Drops the lowest scores of a list until `budget` are left: those of positions that the policy allows, the oldest of
 * equals first. victims [num_kept], NULL: not wanted. Returns their number. */
static uint32_t drop_lowest(uint32_t *positions, uint32_t *num_kept, double *score, uint32_t budget,
                            eviction_range candidates, uint32_t *victims)
{
    uint32_t num_victims = 0;
    while (*num_kept > budget) {
        uint32_t lowest = UINT32_MAX;
        for (uint32_t t = 0; t < *num_kept; t++)
            if (positions[t] >= candidates.first && positions[t] < candidates.end &&
                (lowest == UINT32_MAX || (float)score[t] < (float)score[lowest]))
                lowest = t;
        if (lowest == UINT32_MAX)
            break;
        if (victims)
            victims[num_victims] = positions[lowest];
        num_victims++;
        memmove(positions + lowest, positions + lowest + 1, (*num_kept - lowest - 1) * sizeof *positions);
        memmove(score + lowest, score + lowest + 1, (*num_kept - lowest - 1) * sizeof *score);
        --*num_kept;
    }
    return num_victims;
}

static void observe(const forgetting *f, branch_record *r, uint32_t layer, uint32_t observer,
                    const eviction_policy *policy, double *history, const eviction_view *view)
{
    double *all = r->history + ((size_t)observer * f->layers + layer) * f->context;
    for (uint32_t t = 0; t < view->tokens->num_tokens; t++)
        history[t] = all[view->tokens->positions[t]];
    if (!policy->observe)
        return;
    policy->observe(history, view);
    for (uint32_t t = 0; t < view->tokens->num_tokens; t++)
        all[view->tokens->positions[t]] = history[t];
}

static void attend_branch(const forgetting *f, const transformer_attention *a, uint32_t index, float *out)
{
    branch_record *r = record_of(f, a->branches[index]);
    attend_room *room = &f->rooms[index];
    const float *query = a->query + (size_t)index * f->heads * f->head_dim;
    uint32_t list = r->rule.by_layer ? a->layer : 0, *positions = r->kept + (size_t)list * f->context;
    if (a->layer == 0) {
        place(f, r, a, index);
        r->is_full = false;
    }
    if (a->layer == 0 || r->rule.by_layer)
        positions[r->num_kept[list]++] = a->positions[index];
    uint32_t n = r->num_kept[list];
    for (uint32_t t = 0; t < n; t++)
        room->slots[t] = r->slots[positions[t]];
    token_list tokens = {n, room->slots, positions};
    attend_list(out, room->weights, room->exps, a, query, &tokens);
    add_query(f, r, a->layer, query);

    const eviction_policy *policy = r->rule.policy;
    uint32_t window = policy ? policy->window : f->window;
    size_t floats = (size_t)f->heads * f->head_dim;
    for (size_t i = 0; i < floats; i++)
        room->out[i] = out[i];
    eviction_view view = {.tokens = &tokens, .shape = a->shape, .key = a->key, .value = a->value, .norm = a->norm,
                          .weights = room->weights, .out = room->out,
                          .queries = r->queries + (a->layer * 2 * window + r->first_query) * floats,
                          .num_queries = r->num_queries, .budget = r->rule.budget, .scale = a->scale,
                          .seed = r->rule.seed, .scratch = room->scratch};
    for (uint32_t i = 0; !policy && i < f->num_observers; i++)
        observe(f, r, a->layer, i, f->observers[i], room->history, &view);
    if (!policy)
        return;
    observe(f, r, a->layer, 0, policy, room->history, &view);
    if (policy->interval == 0 || n < r->rule.budget + policy->interval)
        return;
    policy->score(room->score, room->history, &view);
    if (r->rule.by_layer) {
        drop_lowest(positions, &r->num_kept[list], room->score, r->rule.budget, policy->candidates(&view), NULL);
        return;
    }
    r->is_full = true;
    for (uint32_t t = 0; t < n; t++)
        r->total[t] = room->score[t] + (a->layer ? r->total[t] : 0);
}

static tree_status attend(void *context, float *out, const transformer_attention *a)
{
    const forgetting *f = context;
#pragma omp parallel for schedule(dynamic, 4) num_threads(f->num_threads)
    for (uint32_t i = 0; i < a->num_branches; i++)
        attend_branch(f, a, i, out + (size_t)i * f->heads * f->head_dim);
    return TREE_OK;
}

/* ---- a step ---- */

static model_status evict(forgetting *f, branch_record *r)
{
    uint32_t victims[1024], slots[1024], last = r->kept[r->num_kept[0] - 1];
    token_list newest = {1, NULL, &last};
    eviction_view view = {.tokens = &newest, .budget = r->rule.budget};
    eviction_range candidates = r->rule.policy->candidates(&view);
    uint32_t count = drop_lowest(r->kept, r->num_kept, r->total, r->rule.budget, candidates, victims);
    for (uint32_t i = 0; i < count; i++) /* found now: what other branches evicted in this step may have moved slots */
        if (kv_branch_find(f->pool, r->branch, victims[i], &slots[i]) != KV_OK)
            return MODEL_INVAL;
    return kv_branch_evict(f->pool, r->branch, KV_SCOPE_MASK, slots, count) == KV_OK ? MODEL_OK : MODEL_INVAL;
}

model_status forgetting_step(forgetting *f, const kv_branch *branches, const uint32_t *tokens, uint32_t count,
                             float *logits)
{
    for (uint32_t i = 0; i < count; i++) {
        kv_keep keep;
        if (kv_branch_keep(f->pool, branches[i], &keep) != KV_OK || (uint32_t)branches[i] >= f->max_records)
            return MODEL_STALE; /* before its record, which may be that of a living branch, is made anew */
        branch_record *r = record_of(f, branches[i]);
        if (r->branch != branches[i] && !make(f, r, branches[i], &f->rule)) /* the caller has created it */
            return MODEL_NOMEM;
    }
    model_status status = transformer_step(f->t, branches, tokens, count, logits);
    for (uint32_t i = 0; i < count && status == MODEL_OK; i++)
        if (record_of(f, branches[i])->is_full)
            status = evict(f, record_of(f, branches[i]));
    return status;
}

/* ---- all of it ---- */

void forgetting_destroy(forgetting *f)
{
    if (!f)
        return;
    transformer_destroy(f->t);
    for (uint32_t i = 0; f->records && i < f->max_records; i++)
        clear(&f->records[i]);
    for (uint32_t i = 0; f->rooms && i < f->max_branches; i++) {
        attend_room *room = &f->rooms[i];
        free(room->slots);
        free(room->weights);
        free(room->out);
        free(room->score);
        free(room->history);
        free(room->scratch);
        free(room->exps);
    }
    free(f->records);
    free(f->rooms);
    free(f);
}

static bool make_rooms(forgetting *f)
{
    f->rooms = calloc(f->max_branches, sizeof *f->rooms);
    for (uint32_t i = 0; f->rooms && i < f->max_branches; i++) {
        attend_room *room = &f->rooms[i];
        room->slots = calloc(f->context, sizeof *room->slots);
        room->weights = calloc((size_t)f->heads * f->context, sizeof *room->weights);
        room->out = calloc((size_t)f->heads * f->head_dim, sizeof *room->out);
        room->score = calloc(f->context, sizeof *room->score);
        room->history = calloc(f->context, sizeof *room->history);
        room->scratch = calloc(2 * (size_t)f->context, sizeof *room->scratch);
        room->exps = calloc((size_t)f->heads * f->context, sizeof *room->exps);
        if (!room->slots || !room->weights || !room->out || !room->score || !room->history || !room->scratch ||
            !room->exps)
            return false;
    }
    return f->rooms != NULL;
}

model_status forgetting_create(forgetting **result, const model_weights *weights, kv_pool *pool,
                               uint32_t max_pool_branches, const transformer_config *config,
                               const forgetting_rule *rule)
{
    forgetting *f = calloc(1, sizeof *f);
    kv_pool_stats stats;
    if (!f)
        return MODEL_NOMEM;
    const model_shape *s = &weights->shape;
    transformer_config own = *config;
    if (kv_pool_positions(pool) == NULL || s->context > 1024 || (rule && rule->policy && rule->budget == 0)) {
        free(f);
        return MODEL_INVAL;
    }
    kv_pool_get_stats(pool, &stats);
    f->pool = pool;
    f->rule = rule ? *rule : (forgetting_rule){0};
    f->layers = s->layers, f->heads = s->heads, f->kv_heads = s->kv_heads, f->head_dim = s->head_dim;
    f->context = s->context;
    f->block_tokens = stats.block_tokens;
    f->max_branches = config->max_branches ? config->max_branches : 64;
    f->max_records = max_pool_branches;
#ifdef _OPENMP
    f->num_threads = config->num_threads ? (int)config->num_threads : omp_get_max_threads();
#endif
    f->window = 1;
    for (uint32_t i = 0; i < num_eviction_policies; i++) {
        const eviction_policy *policy = eviction_policies[i];
        f->window = policy->window > f->window ? policy->window : f->window;
        if (policy->observe && f->num_observers < MAX_OBSERVERS)
            f->observers[f->num_observers++] = policy;
    }
    f->records = calloc(max_pool_branches, sizeof *f->records);
    own.attend = attend;
    own.context = f;
    own.keeps_norms = true;
    model_status status = f->records && make_rooms(f) ? MODEL_OK : MODEL_NOMEM;
    if (status == MODEL_OK)
        status = transformer_create(&f->t, weights, pool, &own);
    if (status != MODEL_OK) {
        forgetting_destroy(f);
        return status;
    }
    *result = f;
    return MODEL_OK;
}
