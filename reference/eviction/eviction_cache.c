/* A branch under a budget: its slots, the list of its tokens, and one step. */
#include "eviction_cache.h"

#include <assert.h>
#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "eviction_view_internal.h"

enum { BLOCK_TOKENS = 16 };
static const uint64_t no_slot = UINT64_MAX;

typedef enum slot_state { SLOT_FREE = 0, SLOT_KEPT, SLOT_DOOMED } slot_state; /* doomed: a deferred victim */

typedef struct ranked {
    float score;
    uint32_t position;
} ranked;

/* All that grows with the number of tokens. */
typedef struct storage {
    uint64_t num_slots;
    float *key, *value;  /* as in tree_shape; NaN in free slots, so that reading a dropped token shows */
    float *norm;
    uint8_t *state;      /* [slots] slot_state: the free list */
    uint64_t *slots;     /* [num_tokens] and so on: the kept tokens, by position */
    uint32_t *positions;
    double *history, *next_history;
    double *weights, *importance, *score, *scratch; /* of a step */
    ranked *ranking;
    uint32_t *victims;
} storage;

struct eviction_cache {
    eviction_config config;
    tree_shape shape;
    storage s;
    token_list tokens;
    uint32_t next_position;
    float *queries;       /* [window][num_heads][head_dim] the past ones, then room for the current one */
    uint32_t num_queries; /* past ones, at most window - 1 */
    double *out;          /* [num_heads][head_dim] */
};

/* ---- storage ---- */

static void storage_destroy(storage *s)
{
    void *arrays[] = {s->key,          s->value,   s->norm,       s->state, s->slots,   s->positions, s->history,
                      s->next_history, s->weights, s->importance, s->score, s->scratch, s->ranking,   s->victims};
    for (size_t i = 0; i < sizeof arrays / sizeof arrays[0]; i++)
        free(arrays[i]);
}

static uint32_t num_blocks_of(uint64_t num_slots) { return (uint32_t)((num_slots + BLOCK_TOKENS - 1) / BLOCK_TOKENS); }

static bool storage_create(storage *s, const tree_shape *shape, uint64_t num_slots)
{
    tree_shape larger = *shape;
    larger.num_blocks = num_blocks_of(num_slots);
    if (num_slots > UINT32_MAX || tree_shape_check(&larger) != TREE_OK)
        return false;
    size_t slots = (size_t)larger.num_blocks * BLOCK_TOKENS, heads = slots * shape->num_kv_heads;
    *s = (storage){.num_slots = num_slots};
    s->key = malloc(heads * shape->head_dim * sizeof *s->key);
    s->value = malloc(heads * shape->head_dim * sizeof *s->value);
    s->norm = malloc(heads * sizeof *s->norm);
    s->state = calloc(slots, sizeof *s->state);
    s->slots = malloc(slots * sizeof *s->slots);
    s->positions = malloc(slots * sizeof *s->positions);
    s->history = malloc(slots * sizeof *s->history);
    s->next_history = malloc(slots * sizeof *s->next_history);
    s->weights = malloc(slots * shape->num_heads * sizeof *s->weights);
    s->importance = malloc(slots * sizeof *s->importance);
    s->score = malloc(slots * sizeof *s->score);
    s->scratch = malloc(2 * slots * sizeof *s->scratch);
    s->ranking = malloc(slots * sizeof *s->ranking);
    s->victims = malloc(slots * sizeof *s->victims);
    if (!s->key || !s->value || !s->norm || !s->state || !s->slots || !s->positions || !s->history || !s->next_history
        || !s->weights || !s->importance || !s->score || !s->scratch || !s->ranking || !s->victims) {
        storage_destroy(s);
        return false;
    }
    for (size_t i = 0; i < heads * shape->head_dim; i++)
        s->key[i] = s->value[i] = NAN;
    for (size_t i = 0; i < heads; i++)
        s->norm[i] = NAN;
    return true;
}

/* The tokens of one storage in another that is at least as large, at the same slots. */
static void storage_copy(storage *to, const storage *from, const tree_shape *shape, uint32_t num_tokens)
{
    size_t slots = (size_t)num_blocks_of(from->num_slots) * BLOCK_TOKENS, heads = slots * shape->num_kv_heads;
    memcpy(to->key, from->key, heads * shape->head_dim * sizeof *to->key);
    memcpy(to->value, from->value, heads * shape->head_dim * sizeof *to->value);
    memcpy(to->norm, from->norm, heads * sizeof *to->norm);
    memcpy(to->state, from->state, slots * sizeof *to->state);
    memcpy(to->slots, from->slots, num_tokens * sizeof *to->slots);
    memcpy(to->positions, from->positions, num_tokens * sizeof *to->positions);
    memcpy(to->history, from->history, num_tokens * sizeof *to->history);
}

static void set_storage(eviction_cache *cache, const storage *s)
{
    cache->s = *s;
    cache->shape.num_blocks = num_blocks_of(s->num_slots);
    cache->tokens.slots = cache->s.slots;
    cache->tokens.positions = cache->s.positions;
}

/* Room for num_slots; fewer are never returned. */
static bool grow(eviction_cache *cache, uint64_t num_slots)
{
    storage s;
    if (num_slots <= cache->s.num_slots)
        return true;
    if (!storage_create(&s, &cache->shape, num_slots))
        return false;
    storage_copy(&s, &cache->s, &cache->shape, cache->tokens.num_tokens);
    storage_destroy(&cache->s);
    set_storage(cache, &s);
    return true;
}

static void set_slot(eviction_cache *cache, uint64_t slot, slot_state state)
{
    cache->s.state[slot] = (uint8_t)state;
    for (uint32_t g = 0; state == SLOT_FREE && g < cache->shape.num_kv_heads; g++) {
        uint64_t offset = token_offset(&cache->shape, slot, g);
        for (uint32_t d = 0; d < cache->shape.head_dim; d++)
            cache->s.key[offset + d] = cache->s.value[offset + d] = NAN;
        cache->s.norm[offset / cache->shape.head_dim] = NAN;
    }
}

static uint64_t lowest_slot(const eviction_cache *cache, slot_state state)
{
    for (uint64_t slot = 0; slot < cache->s.num_slots; slot++)
        if (cache->s.state[slot] == state)
            return slot;
    return no_slot;
}

/* The budget and the tokens that wait for an eviction. */
static uint64_t most_slots(const eviction_config *config)
{
    return config->policy->interval ? (uint64_t)config->budget + config->policy->interval : UINT64_MAX;
}

/* The place of the next token: a free slot, else a deferred victim's, else a new one. */
static uint64_t find_slot(eviction_cache *cache)
{
    uint64_t slot = lowest_slot(cache, SLOT_FREE);
    if (slot == no_slot)
        slot = lowest_slot(cache, SLOT_DOOMED);
    if (slot != no_slot)
        return slot;
    uint64_t num_slots = cache->s.num_slots, larger = 2 * num_slots, most = most_slots(&cache->config);
    if (larger > most)
        larger = most > num_slots ? most : num_slots + 1; /* more: a prompt's policy has kept more than the budget */
    return grow(cache, larger) ? num_slots : no_slot;
}

/* At the end of the list. */
static void append(eviction_cache *cache, uint64_t slot, const float *key, const float *value, uint32_t position,
                   double history)
{
    uint32_t head_dim = cache->shape.head_dim, t = cache->tokens.num_tokens++;
    for (uint32_t g = 0; g < cache->shape.num_kv_heads; g++) {
        uint64_t offset = token_offset(&cache->shape, slot, g);
        memcpy(cache->s.key + offset, key + (uint64_t)g * head_dim, head_dim * sizeof *key);
        memcpy(cache->s.value + offset, value + (uint64_t)g * head_dim, head_dim * sizeof *value);
        cache->s.norm[offset / head_dim] = value_norm(value + (uint64_t)g * head_dim, head_dim);
    }
    set_slot(cache, slot, SLOT_KEPT);
    cache->s.slots[t] = slot;
    cache->s.positions[t] = position;
    cache->s.history[t] = history;
}

/* ---- choosing ---- */

static eviction_range candidates_of(const eviction_config *config, const eviction_policy *policy,
                                    const eviction_view *view)
{
    eviction_range of_policy = policy->candidates(view);
    eviction_range of_config = eviction_between(view, config->num_sinks, config->num_recent);
    return (eviction_range){of_policy.first > of_config.first ? of_policy.first : of_config.first,
                            of_policy.end < of_config.end ? of_policy.end : of_config.end};
}

static int compare_ranked(const void *left, const void *right)
{
    const ranked *a = left, *b = right;
    if (a->score != b->score)
        return a->score < b->score ? -1 : 1;
    return a->position < b->position ? -1 : a->position > b->position;
}

static int compare_positions(const void *left, const void *right)
{
    uint32_t a = *(const uint32_t *)left, b = *(const uint32_t *)right;
    return a < b ? -1 : a > b;
}

/* victims [count], written, ascending: the lowest scores among the candidates. false: a score is not finite. */
static bool choose(uint32_t *victims, uint32_t count, const eviction_cache *cache, const eviction_policy *policy,
                   const double *history, const eviction_view *view)
{
    const storage *s = &cache->s;
    eviction_range candidates = candidates_of(&cache->config, policy, view);
    uint32_t num_candidates = 0;
    policy->score(s->score, history, view);
    for (uint32_t t = 0; t < cache->tokens.num_tokens; t++) {
        ranked r = {(float)s->score[t], s->positions[t]};
        if (!isfinite(r.score))
            return false;
        if (candidates.first <= r.position && r.position < candidates.end)
            s->ranking[num_candidates++] = r;
    }
    assert(count <= num_candidates && "a policy excludes at most `budget` positions");
    qsort(s->ranking, num_candidates, sizeof *s->ranking, compare_ranked);
    for (uint32_t i = 0; i < count; i++)
        victims[i] = s->ranking[i].position;
    qsort(victims, count, sizeof *victims, compare_positions);
    return true;
}

/* Takes the victims [count], ascending, off the list. */
static void evict(eviction_cache *cache, const uint32_t *victims, uint32_t count)
{
    slot_state state = cache->config.form == EVICTION_DEFERRED ? SLOT_DOOMED : SLOT_FREE;
    storage *s = &cache->s;
    uint32_t kept = 0, next = 0;
    for (uint32_t t = 0; t < cache->tokens.num_tokens; t++) {
        if (next < count && s->positions[t] == victims[next]) {
            set_slot(cache, s->slots[t], state);
            next++;
            continue;
        }
        s->slots[kept] = s->slots[t];
        s->positions[kept] = s->positions[t];
        s->history[kept++] = s->history[t];
    }
    cache->tokens.num_tokens = kept;
}

void eviction_cache_view(const eviction_cache *cache, eviction_view *view)
{
    *view = (eviction_view){
        .tokens = &cache->tokens,
        .shape = &cache->shape,
        .key = cache->s.key,
        .value = cache->s.value,
        .norm = cache->s.norm,
        .queries = cache->queries,
        .num_queries = cache->num_queries,
        .budget = cache->config.budget,
        .scale = cache->config.scale,
        .seed = cache->config.seed,
    };
}

/* ---- one token ---- */

static bool all_finite(const float *array, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (!isfinite(array[i]))
            return false;
    return true;
}

/* Attention of the last token's query over the list, and the view of it. false: an importance is not finite. */
static bool attend(eviction_cache *cache, eviction_view *view, const float *query)
{
    storage *s = &cache->s;
    eviction_cache_view(cache, view);
    attention_weights(s->weights, cache->out, NULL, query, s->key, s->value, &cache->tokens, &cache->shape,
                      cache->config.scale);
    view->weights = s->weights;
    view->out = cache->out;
    view->scratch = s->scratch;
    importance_ref(s->importance, s->weights, s->norm, &cache->tokens, &cache->shape);
    return eviction_victim(s->importance, &cache->tokens, (eviction_range){0, 0}) != EVICTION_NOT_FINITE;
}

tree_status eviction_cache_step(eviction_cache *cache, float *out, const float *query, const float *key,
                                const float *value, eviction_step *step)
{
    const eviction_policy *policy = cache->config.policy;
    size_t query_floats = (size_t)cache->shape.num_heads * cache->shape.head_dim;
    size_t key_floats = (size_t)cache->shape.num_kv_heads * cache->shape.head_dim;
    if (cache->next_position == UINT32_MAX)
        return TREE_OVERFLOW;
    uint64_t slot = find_slot(cache);
    if (slot == no_slot)
        return TREE_NOMEM;
    storage *s = &cache->s;

    /* write */
    append(cache, slot, key, value, cache->next_position, 0);
    memcpy(cache->queries + cache->num_queries * query_floats, query, query_floats * sizeof *query);

    /* attend */
    eviction_view view;
    bool finite = attend(cache, &view, query) && all_finite(query, query_floats) && all_finite(key, key_floats);
    for (size_t i = 0; i < query_floats; i++)
        out[i] = (float)cache->out[i];

    /* score and choose */
    view.num_queries = cache->num_queries + 1;
    uint32_t num_tokens = cache->tokens.num_tokens, num_victims = 0;
    if (policy->interval && num_tokens >= (uint64_t)cache->config.budget + policy->interval)
        num_victims = num_tokens - cache->config.budget;
    memcpy(s->next_history, s->history, num_tokens * sizeof *s->history);
    if (finite && policy->observe)
        policy->observe(s->next_history, &view);
    if (!finite || (num_victims && !choose(s->victims, num_victims, cache, policy, s->next_history, &view))) {
        cache->tokens.num_tokens--;
        set_slot(cache, slot, SLOT_FREE);
        return TREE_NOT_FINITE;
    }

    /* nothing fails from here on */
    memcpy(s->history, s->next_history, num_tokens * sizeof *s->history);
    evict(cache, s->victims, num_victims);
    cache->next_position++;
    if (++cache->num_queries == policy->window) {
        cache->num_queries--;
        memmove(cache->queries, cache->queries + query_floats, cache->num_queries * query_floats * sizeof *query);
    }
    if (step)
        *step = (eviction_step){num_tokens, num_victims, s->victims};
    return TREE_OK;
}

/* ---- a prompt ---- */

/* The view's queries: those of a prompt up to position t, as many as a policy's window holds. */
static void set_queries(eviction_view *view, const float *queries, uint32_t t, uint32_t window)
{
    view->num_queries = t + 1 < window ? t + 1 : window;
    view->queries = queries + (size_t)(t + 1 - view->num_queries) * view->shape->num_heads * view->shape->head_dim;
}

/* Causal attention of the prompt's queries: of all, if a policy observes, else of the last. histories: of policy, of
 * prompt_policy. */
static bool attend_prompt(eviction_cache *all, eviction_view *view, const float *queries, double *histories[2])
{
    const eviction_policy *policies[2] = {all->config.policy, all->config.prompt_policy};
    size_t query_floats = (size_t)all->shape.num_heads * all->shape.head_dim;
    uint32_t num_tokens = all->tokens.num_tokens;
    uint32_t first = policies[0]->observe || policies[1]->observe ? 0 : num_tokens - 1;
    bool finite = true;
    for (uint32_t t = first; finite && t < num_tokens; t++) {
        all->tokens.num_tokens = t + 1;
        finite = attend(all, view, queries + t * query_floats);
        for (int p = 0; finite && p < 2; p++) {
            set_queries(view, queries, t, policies[p]->window);
            if (policies[p]->observe)
                policies[p]->observe(histories[p], view);
        }
    }
    all->tokens.num_tokens = num_tokens; /* and the view is that of prompt_policy, at the last token */
    return finite;
}

/* The tokens of `all` that are no victims, into the empty cache, which has room for them. */
static void move_kept(eviction_cache *cache, eviction_cache *all, const float *queries, const float *keys,
                      const float *values, uint32_t num_victims)
{
    size_t query_floats = (size_t)cache->shape.num_heads * cache->shape.head_dim;
    size_t key_floats = (size_t)cache->shape.num_kv_heads * cache->shape.head_dim;
    uint32_t num_tokens = all->tokens.num_tokens, most_queries = cache->config.policy->window - 1, next = 0;
    uint32_t *victims = all->s.victims;
    for (uint32_t t = 0; t < num_tokens; t++) {
        if (next < num_victims && victims[next] == t)
            next++;
        else
            append(cache, t - next, keys + t * key_floats, values + t * key_floats, t, all->s.history[t]);
    }
    cache->next_position = num_tokens;
    cache->num_queries = num_tokens < most_queries ? num_tokens : most_queries;
    memcpy(cache->queries, queries + (num_tokens - cache->num_queries) * query_floats,
           cache->num_queries * query_floats * sizeof *queries);
    all->s.victims = cache->s.victims; /* the caller reads the list until the next step */
    cache->s.victims = victims;
}

tree_status eviction_cache_prompt(eviction_cache *cache, const float *queries, const float *keys, const float *values,
                                  uint32_t num_tokens, eviction_step *step)
{
    const eviction_config *config = &cache->config;
    size_t key_floats = (size_t)cache->shape.num_kv_heads * cache->shape.head_dim;
    size_t query_floats = (size_t)cache->shape.num_heads * cache->shape.head_dim;
    if (cache->next_position)
        return TREE_INVAL;
    if (!num_tokens) {
        if (step)
            *step = (eviction_step){0};
        return TREE_OK;
    }
    uint32_t num_victims = 0;
    if (config->policy->interval && config->prompt_policy->interval && num_tokens > config->budget)
        num_victims = num_tokens - config->budget;

    /* `all` holds the whole prompt: no fewer slots than the cache, since its list of victims moves there */
    eviction_cache all = *cache;
    storage s;
    if (!grow(cache, num_tokens - num_victims)
        || !storage_create(&s, &cache->shape, (uint64_t)num_tokens + cache->s.num_slots))
        return TREE_NOMEM;
    set_storage(&all, &s);
    for (uint32_t t = 0; t < num_tokens; t++) {
        append(&all, t, keys + t * key_floats, values + t * key_floats, t, 0);
        s.next_history[t] = 0; /* of prompt_policy, if it is another */
    }

    eviction_view view;
    bool finite = all_finite(queries, num_tokens * query_floats) && all_finite(keys, num_tokens * key_floats)
                  && attend_prompt(&all, &view, queries, (double *[2]){s.history, s.next_history});
    if (finite && num_victims)
        finite = choose(s.victims, num_victims, &all, config->prompt_policy, s.next_history, &view);
    if (finite) {
        move_kept(cache, &all, queries, keys, values, num_victims);
        if (step)
            *step = (eviction_step){num_tokens, num_victims, cache->s.victims};
    }
    storage_destroy(&all.s);
    return finite ? TREE_OK : TREE_NOT_FINITE;
}

/* ---- life ---- */

/* Whether at least one candidate is left whenever a token must go. */
static bool pins_fit(const eviction_config *config, const eviction_policy *policy)
{
    const uint32_t last = UINT32_MAX - 1;
    const token_list one = {.num_tokens = 1, .positions = &last};
    const eviction_view view = {.tokens = &one, .budget = config->budget};
    eviction_range candidates = candidates_of(config, policy, &view);
    uint64_t num_recent = candidates.end > last ? 0 : (uint64_t)last + 1 - candidates.end;
    return candidates.first + num_recent <= config->budget;
}

void eviction_cache_destroy(eviction_cache *cache)
{
    if (!cache)
        return;
    storage_destroy(&cache->s);
    free(cache->queries);
    free(cache->out);
    free(cache);
}

/* An empty cache of a valid config, or NULL. */
static eviction_cache *create(const eviction_config *config, const tree_shape *shape, uint64_t num_slots)
{
    eviction_cache *cache = calloc(1, sizeof *cache);
    size_t query_floats = (size_t)shape->num_heads * shape->head_dim;
    storage s = {0};
    if (!cache)
        return NULL;
    cache->config = *config;
    cache->shape = *shape;
    cache->queries = malloc(config->policy->window * query_floats * sizeof *cache->queries);
    cache->out = malloc(query_floats * sizeof *cache->out);
    if (!cache->queries || !cache->out || !storage_create(&s, shape, num_slots)) {
        eviction_cache_destroy(cache);
        return NULL;
    }
    set_storage(cache, &s);
    return cache;
}

tree_status eviction_cache_create(eviction_cache **cache, const eviction_config *config)
{
    tree_shape shape = {.num_queries = 1, .num_heads = config->num_heads, .num_kv_heads = config->num_kv_heads,
                        .head_dim = config->head_dim, .num_blocks = 1, .block_tokens = BLOCK_TOKENS};
    if (tree_shape_check(&shape) != TREE_OK)
        return TREE_BAD_SHAPE;
    if (!config->policy || !config->budget)
        return TREE_INVAL;
    eviction_config filled = *config;
    if (!filled.prompt_policy)
        filled.prompt_policy = eviction_policy_from_name("snapkv");
    if (filled.scale == 0)
        filled.scale = 1 / sqrtf((float)filled.head_dim);
    if (!pins_fit(&filled, filled.policy) || !pins_fit(&filled, filled.prompt_policy))
        return TREE_INVAL;
    uint64_t most = most_slots(&filled);
    eviction_cache *created = create(&filled, &shape, most < BLOCK_TOKENS ? most : BLOCK_TOKENS);
    if (!created)
        return TREE_NOMEM;
    *cache = created;
    return TREE_OK;
}

tree_status eviction_cache_fork(eviction_cache **child, eviction_cache *cache)
{
    eviction_cache *copy = create(&cache->config, &cache->shape, cache->s.num_slots);
    if (!copy)
        return TREE_NOMEM;
    for (uint64_t slot; (slot = lowest_slot(cache, SLOT_DOOMED)) != no_slot;)
        set_slot(cache, slot, SLOT_FREE);
    storage_copy(&copy->s, &cache->s, &cache->shape, cache->tokens.num_tokens);
    copy->tokens.num_tokens = cache->tokens.num_tokens;
    copy->next_position = cache->next_position;
    copy->num_queries = cache->num_queries;
    memcpy(copy->queries, cache->queries,
           (size_t)cache->num_queries * cache->shape.num_heads * cache->shape.head_dim * sizeof *copy->queries);
    *child = copy;
    return TREE_OK;
}
