/* eviction_forest: see eviction_forest.h. */
#include "eviction_forest.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "exact_math_internal.h"

/* The state of a branch beside its tokens. */
typedef struct branch_record {
    double *history; /* [capacity] of the policy, by position */
    uint32_t capacity;
    uint32_t num_queries;
    float *queries;          /* [window][num_heads][head_dim] the last ones, in their order */
    uint32_t *query_lengths; /* [window] next position of the branch after each */
} branch_record;

struct eviction_forest {
    eviction_forest_config config;
    kv_pool *pool;
    tree_shape shape;
    float scale;
    float *key, *value, *norm;
    uint32_t max_branches;
    branch_record **records; /* [max_branches] by the index in the handle */
    uint32_t *last_victims;  /* of the last step */
    uint64_t *seen_in_step;  /* [num_blocks * block_tokens] the last step whose attention saw the slot */
    eviction_forest_counts counts;
};

/* ---- forest ---- */

/* Positions that neither the policy nor the configuration protects. */
static eviction_range candidates_of(const eviction_forest_config *config, const eviction_view *view)
{
    eviction_range of_policy = config->policy->candidates(view);
    eviction_range of_config = eviction_between(view, config->num_sinks, config->num_recent);
    return (eviction_range){of_policy.first > of_config.first ? of_policy.first : of_config.first,
                            of_policy.end < of_config.end ? of_policy.end : of_config.end};
}

/* No more tokens are protected than the budget holds. */
static bool pins_fit(const eviction_forest_config *config)
{
    const uint32_t last = UINT32_MAX - 1;
    const token_list one = {.num_tokens = 1, .positions = &last};
    const eviction_view view = {.tokens = &one, .budget = config->budget};
    eviction_range candidates = candidates_of(config, &view);
    uint64_t num_recent = candidates.end > last ? 0 : (uint64_t)last + 1 - candidates.end;
    return candidates.first + num_recent <= config->budget;
}

static bool config_fits(const eviction_forest_config *config, const tree_shape *shape)
{
    return config->policy != NULL && (unsigned)config->scope < KV_NUM_SCOPES && config->budget > 0 &&
           pins_fit(config) && tree_shape_check(shape) == TREE_OK;
}

static bool allocate(eviction_forest *f)
{
    size_t num_slots = (size_t)f->shape.num_blocks * f->shape.block_tokens,
           num_norms = num_slots * f->shape.num_kv_heads;
    f->key = calloc(num_norms * f->shape.head_dim, sizeof *f->key);
    f->value = calloc(num_norms * f->shape.head_dim, sizeof *f->value);
    f->norm = calloc(num_norms, sizeof *f->norm);
    f->seen_in_step = calloc(num_slots, sizeof *f->seen_in_step);
    f->records = calloc(f->max_branches, sizeof *f->records);
    return f->key && f->value && f->norm && f->seen_in_step && f->records;
}

kv_status eviction_forest_create(eviction_forest **result, const eviction_forest_config *config)
{
    eviction_forest *f = calloc(1, sizeof *f);
    if (f == NULL) return KV_NOMEM;
    f->config = *config;
    f->config.pool.evicts = true;
    f->max_branches = config->pool.max_branches > 0 ? config->pool.max_branches : 1024; /* as kv_pool_create */
    f->scale = config->scale != 0 ? config->scale : 1 / sqrtf((float)config->head_dim);
    kv_status status = kv_pool_create(&f->pool, &f->config.pool);
    if (status == KV_OK) {
        kv_pool_stats stats;
        kv_pool_get_stats(f->pool, &stats);
        f->shape = (tree_shape){.num_heads = config->num_heads,
                                .num_kv_heads = config->num_kv_heads,
                                .head_dim = config->head_dim,
                                .num_blocks = stats.num_blocks,
                                .block_tokens = stats.block_tokens,
                                .storage = TREE_FP32};
        status = !config_fits(config, &f->shape) ? KV_INVAL : allocate(f) ? KV_OK : KV_NOMEM;
    }
    if (status != KV_OK) {
        eviction_forest_destroy(f);
        return status;
    }
    *result = f;
    return KV_OK;
}

static void record_destroy(branch_record *record)
{
    if (record == NULL) return;
    free(record->history);
    free(record->queries);
    free(record->query_lengths);
    free(record);
}

void eviction_forest_destroy(eviction_forest *f)
{
    if (f == NULL) return;
    for (uint32_t i = 0; f->records != NULL && i < f->max_branches; i++) record_destroy(f->records[i]);
    if (f->pool != NULL) kv_pool_destroy(f->pool, true, NULL);
    free(f->key);
    free(f->value);
    free(f->norm);
    free(f->last_victims);
    free(f->seen_in_step);
    free(f->records);
    free(f);
}

void eviction_forest_get(const eviction_forest *f, eviction_forest_parts *parts)
{
    *parts = (eviction_forest_parts){.pool = f->pool,
                                     .key = f->key,
                                     .value = f->value,
                                     .norm = f->norm,
                                     .shape = f->shape,
                                     .scale = f->scale,
                                     .counts = f->counts};
}

/* ---- branches ---- */

static branch_record **record_at(const eviction_forest *f, kv_branch branch)
{
    return &f->records[(uint32_t)branch];
}

/* A record with room for the history of `capacity` tokens, and the contents of `from`, if there is one. */
static branch_record *record_create(const eviction_forest *f, const branch_record *from, uint32_t capacity)
{
    size_t window = f->config.policy->window, query_floats = (size_t)f->shape.num_heads * f->shape.head_dim;
    branch_record *record = calloc(1, sizeof *record);
    if (record == NULL) return NULL;
    record->capacity = capacity;
    record->history = calloc((size_t)capacity + 1, sizeof *record->history);
    record->queries = calloc(window * query_floats + 1, sizeof *record->queries);
    record->query_lengths = calloc(window + 1, sizeof *record->query_lengths);
    if (!record->history || !record->queries || !record->query_lengths) {
        record_destroy(record);
        return NULL;
    }
    if (from != NULL) {
        record->num_queries = from->num_queries;
        memcpy(record->history, from->history, from->capacity * sizeof *record->history);
        memcpy(record->queries, from->queries, window * query_floats * sizeof *record->queries);
        memcpy(record->query_lengths, from->query_lengths, window * sizeof *record->query_lengths);
    }
    return record;
}

kv_status eviction_forest_branch(eviction_forest *f, kv_branch *branch)
{
    branch_record *record = record_create(f, NULL, 0);
    kv_status status = record != NULL ? kv_branch_create(f->pool, branch) : KV_NOMEM;
    if (status == KV_OK)
        *record_at(f, *branch) = record;
    else
        record_destroy(record);
    return status;
}

kv_status eviction_forest_fork(eviction_forest *f, kv_branch branch, kv_branch *child)
{
    kv_keep keep;
    kv_status status = kv_branch_keep(f->pool, branch, &keep);
    if (status != KV_OK) return status;
    const branch_record *parent = *record_at(f, branch);
    branch_record *record = record_create(f, parent, parent->capacity);
    status = record != NULL ? kv_branch_fork(f->pool, branch, child) : KV_NOMEM;
    if (status == KV_OK)
        *record_at(f, *child) = record;
    else
        record_destroy(record);
    return status;
}

kv_status eviction_forest_truncate(eviction_forest *f, kv_branch branch, uint32_t length)
{
    kv_status status = kv_branch_truncate(f->pool, branch, length);
    if (status != KV_OK) return status;
    branch_record *record = *record_at(f, branch);
    while (record->num_queries > 0 && record->query_lengths[record->num_queries - 1] > length) record->num_queries--;
    return KV_OK;
}

kv_status eviction_forest_adopt(eviction_forest *f, kv_branch branch, kv_branch winner)
{
    kv_status status = kv_branch_adopt(f->pool, branch, winner);
    if (status != KV_OK) return status;
    record_destroy(*record_at(f, branch));
    *record_at(f, branch) = *record_at(f, winner);
    *record_at(f, winner) = NULL;
    return KV_OK;
}

kv_status eviction_forest_prune(eviction_forest *f, kv_branch branch)
{
    kv_status status = kv_branch_prune(f->pool, branch);
    if (status != KV_OK) return status;
    record_destroy(*record_at(f, branch));
    *record_at(f, branch) = NULL;
    return KV_OK;
}

/* ---- new tokens ---- */

static bool reserve_history(branch_record *record, uint32_t length)
{
    if (length <= record->capacity) return true;
    uint32_t capacity = length + length / 2 + 16;
    double *grown = realloc(record->history, ((size_t)capacity + 1) * sizeof *grown);
    if (grown == NULL) return false;
    record->history = grown;
    record->capacity = capacity;
    return true;
}

/* K, V and norms of the first num_tokens slots. */
static void copy_slots(eviction_forest *f, const kv_copy *copy)
{
    for (uint32_t g = 0; g < f->shape.num_kv_heads && copy->num_tokens > 0; g++) {
        uint64_t to = tree_kv_offset(&f->shape, copy->to_block, g, 0);
        uint64_t from = tree_kv_offset(&f->shape, copy->from_block, g, 0);
        size_t count = (size_t)copy->num_tokens * f->shape.head_dim;
        memcpy(f->key + to, f->key + from, count * sizeof *f->key);
        memcpy(f->value + to, f->value + from, count * sizeof *f->value);
        memcpy(f->norm + to / f->shape.head_dim, f->norm + from / f->shape.head_dim,
               copy->num_tokens * sizeof *f->norm);
    }
}

/* key, value [num_kv_heads][head_dim] */
static void write_token(eviction_forest *f, uint32_t block, uint32_t slot, const float *key, const float *value)
{
    uint32_t head_dim = f->shape.head_dim;
    for (uint32_t g = 0; g < f->shape.num_kv_heads; g++) {
        uint64_t at = tree_kv_offset(&f->shape, block, g, slot);
        memcpy(f->key + at, key + (size_t)g * head_dim, head_dim * sizeof *key);
        memcpy(f->value + at, value + (size_t)g * head_dim, head_dim * sizeof *value);
        f->norm[at / head_dim] = value_norm(value + (size_t)g * head_dim, head_dim);
    }
}

/* The new tokens of one branch, which lie in a hole or at the end of its table. */
static void write_tokens(eviction_forest *f, kv_branch branch, const kv_append *append, uint32_t num_tokens,
                         const float *keys, const float *values)
{
    size_t token_floats = (size_t)f->shape.num_kv_heads * f->shape.head_dim;
    branch_record *record = *record_at(f, branch);
    kv_table table;
    kv_keep keep;
    kv_branch_table(f->pool, branch, &table);
    kv_branch_keep(f->pool, branch, &keep);
    for (uint32_t t = 0; t < num_tokens; t++) {
        uint32_t slot = append->hole != KV_NO_HOLE ? append->hole : table.length - num_tokens + t;
        write_token(f, table.blocks[slot / f->shape.block_tokens], slot % f->shape.block_tokens,
                    keys + t * token_floats, values + t * token_floats);
        record->history[keep.next_position - num_tokens + t] = 0;
    }
}

kv_status eviction_forest_append(eviction_forest *f, kv_branch branch, uint32_t num_tokens, const float *keys,
                                 const float *values)
{
    kv_keep keep;
    kv_append append;
    kv_status status = kv_branch_keep(f->pool, branch, &keep);
    if (status != KV_OK) return status;
    if (num_tokens > KV_MAX_LENGTH - keep.next_position) return KV_RANGE;
    if (!reserve_history(*record_at(f, branch), keep.next_position + num_tokens)) return KV_NOMEM;
    status = kv_branch_append(f->pool, branch, num_tokens, &append);
    if (status != KV_OK) return status;
    copy_slots(f, &append.copy);
    write_tokens(f, branch, &append, num_tokens, keys, values);
    return KV_OK;
}

/* ---- the tokens of a branch, by position ---- */

typedef struct placed_token {
    uint32_t position;
    uint64_t slot;
} placed_token;

static int compare_positions(const void *a, const void *b)
{
    uint32_t x = ((const placed_token *)a)->position, y = ((const placed_token *)b)->position;
    return (x > y) - (x < y);
}

/* tokens [num_kept], ascending positions. */
static void list_tokens(const eviction_forest *f, kv_branch branch, placed_token *tokens)
{
    const uint32_t *positions = kv_pool_positions(f->pool);
    uint32_t block_tokens = f->shape.block_tokens, num_tokens = 0;
    kv_table table;
    kv_keep keep;
    kv_branch_table(f->pool, branch, &table);
    kv_branch_keep(f->pool, branch, &keep);
    for (uint32_t s = 0; s < table.length; s++) {
        if (!kv_keep_slot(&keep, block_tokens, s)) continue;
        uint64_t slot = (uint64_t)table.blocks[s / block_tokens] * block_tokens + s % block_tokens;
        tokens[num_tokens++] = (placed_token){positions[slot], slot};
    }
    assert(num_tokens == keep.num_kept && "num_kept counts the bits that are set");
    qsort(tokens, num_tokens, sizeof *tokens, compare_positions);
}

kv_status eviction_forest_tokens(const eviction_forest *f, kv_branch branch, uint64_t *slots, uint32_t *positions)
{
    kv_keep keep;
    kv_status status = kv_branch_keep(f->pool, branch, &keep);
    if (status != KV_OK) return status;
    placed_token *tokens = malloc(((size_t)keep.num_kept + 1) * sizeof *tokens);
    if (tokens == NULL) return KV_NOMEM;
    list_tokens(f, branch, tokens);
    for (uint32_t t = 0; t < keep.num_kept; t++) {
        if (slots != NULL) slots[t] = tokens[t].slot;
        if (positions != NULL) positions[t] = tokens[t].position;
    }
    free(tokens);
    return KV_OK;
}

/* ---- a step ---- */

/* A branch in the step. Arrays are parts of the step's. */
typedef struct step_branch {
    kv_branch branch;
    branch_record *record;
    uint32_t num_new, next_position; /* before the step */
    token_list tokens;               /* seen by its attention: slots and positions */
    uint64_t *slots;
    uint32_t *positions;
    double *score, *history; /* [num_tokens] */
    eviction_range candidates;
    uint32_t first_private;
    uint32_t excess; /* tokens still to be evicted */
    bool is_finite;
    uint32_t *victims; /* [num_victims] */
    uint32_t num_victims;
} step_branch;

/* Candidates go first, then, if they are too few, the branch's own tokens that policy or pins protect: inherited tokens
 * may take up the whole budget. */
typedef enum vote_turn { VOTE_CANDIDATE = 0, VOTE_OWN, VOTE_KEEP } vote_turn;

/* The vote of a branch on a token that it keeps. */
typedef struct vote {
    uint64_t slot;
    uint32_t position, branch; /* branch: index in the step */
    float score;
    vote_turn turn;
} vote;

/* The votes of all branches that keep a token: the latest turn, the largest score. */
typedef struct ballot {
    vote_turn turn;
    float score;
    uint32_t position;
    uint32_t first_vote, num_votes;
} ballot;

enum { MAX_ARRAYS = 18 };

typedef struct forest_step {
    uint32_t count, max_tokens; /* branches; tokens of the longest, the new ones included */
    uint64_t sum_tokens;        /* of all branches */
    step_branch *branches;      /* [count] */
    kv_append *appends;         /* [count] */
    uint32_t *num_new;          /* [count] */
    kv_branch *voters;          /* [count] */
    uint64_t *slots;            /* [sum_tokens] as the next six */
    uint32_t *positions, *victims;
    double *scores, *histories;
    vote *votes;
    ballot *ballots;
    placed_token *placed;     /* [max_tokens] */
    kv_move *moves;           /* [max_tokens] */
    double *weights;          /* [num_heads][max_tokens] */
    double *importance;       /* [max_tokens] */
    double *scratch;          /* [2][max_tokens] of the policy */
    double *out;              /* [num_heads][head_dim] */
    float *queries;           /* [window + 1][num_heads][head_dim] */
    uint32_t *num_listers;    /* [num_blocks] branches of the step whose table lists the block */
    void *arrays[MAX_ARRAYS]; /* all of the above but victims */
    uint32_t num_arrays;
    bool no_memory;
} forest_step;

static void *step_array(forest_step *s, uint64_t count, size_t bytes)
{
    assert(s->num_arrays < MAX_ARRAYS);
    void *array = calloc(count + 1, bytes);
    s->no_memory = s->no_memory || array == NULL;
    return s->arrays[s->num_arrays++] = array;
}

static void step_destroy(forest_step *s)
{
    for (uint32_t i = 0; i < s->num_arrays; i++) free(s->arrays[i]);
    free(s->victims);
}

/* All memory of the step, before anything changes. */
static kv_status step_create(forest_step *s, eviction_forest *f, const kv_branch *branches, uint32_t count,
                             const uint32_t *num_tokens)
{
    *s = (forest_step){.count = count};
    s->branches = step_array(s, count, sizeof *s->branches);
    s->num_new = step_array(s, count, sizeof *s->num_new);
    if (s->no_memory) return KV_NOMEM;
    for (uint32_t i = 0; i < count; i++) {
        kv_keep keep;
        kv_status status = kv_branch_keep(f->pool, branches[i], &keep);
        if (status != KV_OK) return status;
        s->num_new[i] = num_tokens != NULL ? num_tokens[i] : 1;
        if (s->num_new[i] > KV_MAX_LENGTH - keep.next_position) return KV_RANGE;
        s->branches[i] = (step_branch){.branch = branches[i],
                                       .record = *record_at(f, branches[i]),
                                       .num_new = s->num_new[i],
                                       .next_position = keep.next_position};
        if (!reserve_history(s->branches[i].record, keep.next_position + s->num_new[i])) return KV_NOMEM;
        uint32_t tokens = keep.num_kept + s->num_new[i];
        s->sum_tokens += tokens;
        s->max_tokens = tokens > s->max_tokens ? tokens : s->max_tokens;
    }
    size_t query_floats = (size_t)f->shape.num_heads * f->shape.head_dim;
    s->appends = step_array(s, count, sizeof *s->appends);
    s->voters = step_array(s, count, sizeof *s->voters);
    s->slots = step_array(s, s->sum_tokens, sizeof *s->slots);
    s->positions = step_array(s, s->sum_tokens, sizeof *s->positions);
    s->scores = step_array(s, s->sum_tokens, sizeof *s->scores);
    s->histories = step_array(s, s->sum_tokens, sizeof *s->histories);
    s->votes = step_array(s, s->sum_tokens, sizeof *s->votes);
    s->ballots = step_array(s, s->sum_tokens, sizeof *s->ballots);
    s->placed = step_array(s, s->max_tokens, sizeof *s->placed);
    s->moves = step_array(s, s->max_tokens, sizeof *s->moves);
    s->weights = step_array(s, (uint64_t)f->shape.num_heads * s->max_tokens, sizeof *s->weights);
    s->importance = step_array(s, s->max_tokens, sizeof *s->importance);
    s->scratch = step_array(s, 2 * (uint64_t)s->max_tokens, sizeof *s->scratch);
    s->out = step_array(s, query_floats, sizeof *s->out);
    s->queries = step_array(s, (f->config.policy->window + (uint64_t)1) * query_floats, sizeof *s->queries);
    s->num_listers = step_array(s, f->shape.num_blocks, sizeof *s->num_listers);
    s->victims = s->no_memory ? NULL : calloc(s->sum_tokens + 1, sizeof *s->victims);
    return s->victims != NULL ? KV_OK : KV_NOMEM;
}

/* ---- a step: attend and score ---- */

/* The queries that the policy sees, this one last: at most its window, and at least one. */
static uint32_t gather_queries(const eviction_forest *f, const branch_record *record, const float *query,
                               float *queries)
{
    size_t query_floats = (size_t)f->shape.num_heads * f->shape.head_dim;
    uint32_t window = f->config.policy->window;
    uint32_t kept = record->num_queries < window - 1 ? record->num_queries : window - 1;
    memcpy(queries, record->queries + (record->num_queries - kept) * query_floats,
           kept * query_floats * sizeof *queries);
    memcpy(queries + kept * query_floats, query, query_floats * sizeof *queries);
    return kept + 1;
}

/* Histories and queries of a branch whose scores are finite. */
static void remember(const eviction_forest *f, const step_branch *b, const float *queries, uint32_t num_queries)
{
    branch_record *record = b->record;
    uint32_t window = f->config.policy->window;
    for (uint32_t t = 0; t < b->tokens.num_tokens; t++) record->history[b->tokens.positions[t]] = b->history[t];
    memcpy(record->queries, queries, (size_t)num_queries * f->shape.num_heads * f->shape.head_dim * sizeof *queries);
    if (record->num_queries == window)
        memmove(record->query_lengths, record->query_lengths + 1, (window - 1) * sizeof *record->query_lengths);
    record->num_queries = num_queries;
    record->query_lengths[num_queries - 1] = b->next_position + b->num_new;
}

/* Tokens beyond the budget, 0 until there are as many as the policy's interval. */
static uint32_t excess_of(const eviction_forest *f, const step_branch *b)
{
    uint64_t budget = f->config.budget, num_tokens = b->tokens.num_tokens, inherited = 0;
    uint32_t interval = f->config.policy->interval;
    if (f->config.scope == KV_SCOPE_PRIVATE) {
        while (inherited < num_tokens && b->positions[inherited] < b->first_private) inherited++;
        budget = budget > inherited + 1 ? budget : inherited + 1;
    }
    return interval > 0 && num_tokens >= budget + interval ? (uint32_t)(num_tokens - budget) : 0;
}

static void count_read_tokens(eviction_forest *f, const token_list *tokens)
{
    f->counts.read_tokens += tokens->num_tokens;
    for (uint32_t t = 0; t < tokens->num_tokens; t++) {
        uint64_t *seen = &f->seen_in_step[tokens->slots[t]];
        f->counts.distinct_tokens += *seen != f->counts.steps;
        *seen = f->counts.steps;
    }
}

static void take_tokens(const eviction_forest *f, forest_step *s, step_branch *b)
{
    kv_keep keep;
    kv_branch_keep(f->pool, b->branch, &keep);
    list_tokens(f, b->branch, s->placed);
    b->tokens.num_tokens = keep.num_kept;
    b->first_private = keep.first_private;
    for (uint32_t t = 0; t < keep.num_kept; t++) {
        b->slots[t] = s->placed[t].slot;
        b->positions[t] = s->placed[t].position;
        b->history[t] = b->record->history[b->positions[t]];
    }
}

static bool all_finite(const float *numbers, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (!isfinite(numbers[i])) return false;
    return true;
}

/* The query and every key that it meets. A score of -infinity would leave its token without importance: a victim. */
static bool input_is_finite(const eviction_forest *f, const token_list *tokens, const float *query)
{
    if (!all_finite(query, (size_t)f->shape.num_heads * f->shape.head_dim)) return false;
    for (uint32_t t = 0; t < tokens->num_tokens; t++) {
        uint32_t block = (uint32_t)(tokens->slots[t] / f->shape.block_tokens);
        uint32_t slot = (uint32_t)(tokens->slots[t] % f->shape.block_tokens);
        for (uint32_t g = 0; g < f->shape.num_kv_heads; g++)
            if (!all_finite(f->key + tree_kv_offset(&f->shape, block, g, slot), f->shape.head_dim)) return false;
    }
    return true;
}

/* false: the importance of a token is not finite, or a score that is needed. */
static bool score_tokens(const eviction_forest *f, const forest_step *s, step_branch *b, const eviction_view *view)
{
    const eviction_policy *policy = f->config.policy;
    importance_ref(s->importance, s->weights, f->norm, &b->tokens, &f->shape);
    if (eviction_victim(s->importance, &b->tokens, (eviction_range){0, 0}) == EVICTION_NOT_FINITE) return false;
    if (policy->observe != NULL) policy->observe(b->history, view);
    b->excess = excess_of(f, b);
    if (b->excess == 0) return true;
    b->candidates = candidates_of(&f->config, view);
    policy->score(b->score, b->history, view);
    for (uint32_t t = 0; t < b->tokens.num_tokens; t++)
        if (!isfinite((float)b->score[t])) return false;
    return true;
}

/* Attention of one branch, and its scores. */
static void attend(eviction_forest *f, forest_step *s, step_branch *b, float *out, const float *query)
{
    size_t out_floats = (size_t)f->shape.num_heads * f->shape.head_dim;
    take_tokens(f, s, b);
    attention_weights(s->weights, s->out, NULL, query, f->key, f->value, &b->tokens, &f->shape, f->scale);
    for (size_t i = 0; i < out_floats; i++) out[i] = (float)s->out[i];
    eviction_view view = {.tokens = &b->tokens,
                          .shape = &f->shape,
                          .key = f->key,
                          .value = f->value,
                          .norm = f->norm,
                          .weights = s->weights,
                          .out = s->out,
                          .queries = s->queries,
                          .num_queries = gather_queries(f, b->record, query, s->queries),
                          .budget = f->config.budget,
                          .scale = f->scale,
                          .seed = f->config.seed,
                          .scratch = s->scratch};
    b->is_finite = input_is_finite(f, &b->tokens, query) && score_tokens(f, s, b, &view);
    if (b->is_finite)
        remember(f, b, s->queries, view.num_queries);
    else
        b->excess = 0;
    count_read_tokens(f, &b->tokens);
}

/* ---- a step: choose and evict ---- */

static int compare_votes(const void *a, const void *b)
{
    const vote *x = a, *y = b;
    return x->slot != y->slot ? (x->slot > y->slot) - (x->slot < y->slot)
                              : (x->branch > y->branch) - (x->branch < y->branch);
}

/* Lowest score first; of equal scores, the oldest. */
static int compare_ballots(const void *a, const void *b)
{
    const ballot *x = a, *y = b;
    if (x->turn != y->turn) return x->turn < y->turn ? -1 : 1;
    if (x->score != y->score) return x->score < y->score ? -1 : 1;
    if (x->position != y->position) return x->position < y->position ? -1 : 1;
    return (x->first_vote > y->first_vote) - (x->first_vote < y->first_vote);
}

/* For each block, the branches of the step whose tables list it. */
static void count_listers(const eviction_forest *f, forest_step *s)
{
    for (uint32_t i = 0; i < s->count; i++) {
        kv_table table;
        kv_branch_table(f->pool, s->branches[i].branch, &table);
        for (uint32_t b = 0; b < table.num_blocks; b++) s->num_listers[table.blocks[b]]++;
    }
}

static vote_turn turn_of(const eviction_forest *f, const step_branch *b, uint32_t position)
{
    bool own = position >= b->first_private;
    if (b->excess == 0 || (f->config.scope == KV_SCOPE_PRIVATE && !own)) return VOTE_KEEP;
    if (position >= b->candidates.first && position < b->candidates.end) return VOTE_CANDIDATE;
    return own && f->config.scope != KV_SCOPE_MASK ? VOTE_OWN : VOTE_KEEP;
}

static uint32_t add_votes(const eviction_forest *f, forest_step *s, uint32_t branch, uint32_t num_votes)
{
    const step_branch *b = &s->branches[branch];
    for (uint32_t t = 0; t < b->tokens.num_tokens; t++)
        s->votes[num_votes++] = (vote){.slot = b->slots[t],
                                       .position = b->positions[t],
                                       .branch = branch,
                                       .score = b->excess > 0 ? (float)b->score[t] : 0,
                                       .turn = turn_of(f, b, b->positions[t])};
    return num_votes;
}

/* One ballot for each token. In scope vote, all that list its block have to take part. */
static uint32_t make_ballots(const eviction_forest *f, forest_step *s, uint32_t num_votes)
{
    uint32_t num_ballots = 0;
    qsort(s->votes, num_votes, sizeof *s->votes, compare_votes);
    for (uint32_t v = 0; v < num_votes; num_ballots++) {
        uint32_t block = (uint32_t)(s->votes[v].slot / f->shape.block_tokens);
        bool all_take_part = s->num_listers[block] == kv_pool_references(f->pool, block);
        ballot *token = &s->ballots[num_ballots];
        *token = (ballot){.score = s->votes[v].score,
                          .position = s->votes[v].position,
                          .first_vote = v,
                          .turn = f->config.scope == KV_SCOPE_VOTE && !all_take_part ? VOTE_KEEP : VOTE_CANDIDATE};
        for (; v < num_votes && s->votes[v].slot == s->votes[token->first_vote].slot; v++) {
            token->score = s->votes[v].score > token->score ? s->votes[v].score : token->score;
            token->turn = s->votes[v].turn > token->turn ? s->votes[v].turn : token->turn;
            token->num_votes++;
        }
    }
    qsort(s->ballots, num_ballots, sizeof *s->ballots, compare_ballots);
    return num_ballots;
}

/* The branches of the step that list the block. */
static uint32_t find_voters(const eviction_forest *f, forest_step *s, uint32_t block)
{
    uint32_t num_voters = 0;
    for (uint32_t i = 0; i < s->count; i++) {
        kv_table table;
        kv_branch_table(f->pool, s->branches[i].branch, &table);
        uint32_t b = 0;
        while (b < table.num_blocks && table.blocks[b] != block) b++;
        if (b < table.num_blocks) s->voters[num_voters++] = s->branches[i].branch;
    }
    return num_voters;
}

static kv_status evict_token(eviction_forest *f, forest_step *s, const ballot *token)
{
    const vote *first = &s->votes[token->first_vote];
    if (f->config.scope == KV_SCOPE_VOTE) {
        uint32_t block = (uint32_t)(first->slot / f->shape.block_tokens);
        uint32_t num_voters = find_voters(f, s, block);
        f->counts.voted_tokens += num_voters > 1;
        return kv_evict_shared(f->pool, s->voters, num_voters, block, (uint32_t)(first->slot % f->shape.block_tokens));
    }
    kv_branch branch = s->branches[first->branch].branch;
    uint32_t slot;
    kv_status status = kv_branch_find(f->pool, branch, token->position, &slot);
    return status == KV_OK ? kv_branch_evict(f->pool, branch, f->config.scope, &slot, 1) : status;
}

/* Evicts the token if every branch that keeps it agrees and is above its budget. */
static void close_ballot(eviction_forest *f, forest_step *s, const ballot *token)
{
    bool agreed = token->turn != VOTE_KEEP;
    for (uint32_t v = token->first_vote; v < token->first_vote + token->num_votes; v++)
        agreed = agreed && s->branches[s->votes[v].branch].excess > 0;
    if (!agreed) return;
    kv_status status = evict_token(f, s, token);
    assert(status == KV_OK && "the voters list the token's block, and the scope allows the eviction");
    (void)status;
    for (uint32_t v = token->first_vote; v < token->first_vote + token->num_votes; v++) {
        step_branch *b = &s->branches[s->votes[v].branch];
        b->victims[b->num_victims++] = token->position;
        b->excess--;
        f->counts.evicted_tokens++;
    }
}

/* Votes on the tokens of the branches first .. end - 1, the lowest score first. */
static void elect(eviction_forest *f, forest_step *s, uint32_t first, uint32_t end)
{
    uint32_t num_votes = 0;
    for (uint32_t i = first; i < end; i++) num_votes = add_votes(f, s, i, num_votes);
    uint32_t num_ballots = make_ballots(f, s, num_votes);
    for (uint32_t i = 0; i < num_ballots; i++) close_ballot(f, s, &s->ballots[i]);
}

static void evict(eviction_forest *f, forest_step *s)
{
    if (f->config.scope == KV_SCOPE_VOTE) {
        count_listers(f, s);
        elect(f, s, 0, s->count);
    }
    for (uint32_t i = 0; i < s->count && f->config.scope != KV_SCOPE_VOTE; i++) elect(f, s, i, i + 1); /* alone */
}

/* ---- a step: its end ---- */

static void move_token(eviction_forest *f, const kv_move *move)
{
    uint32_t head_dim = f->shape.head_dim;
    for (uint32_t g = 0; g < f->shape.num_kv_heads; g++) {
        uint64_t to = tree_kv_offset(&f->shape, move->to_block, g, move->to_slot);
        uint64_t from = tree_kv_offset(&f->shape, move->from_block, g, move->from_slot);
        memcpy(f->key + to, f->key + from, head_dim * sizeof *f->key);
        memcpy(f->value + to, f->value + from, head_dim * sizeof *f->value);
        f->norm[to / head_dim] = f->norm[from / head_dim];
    }
}

static void compact(eviction_forest *f, forest_step *s, const step_branch *b)
{
    uint32_t num_moves = 0;
    if (!f->config.compacts || b->num_victims == 0) return;
    kv_status status = kv_branch_compact(f->pool, b->branch, s->moves, s->max_tokens, &num_moves);
    assert(status == KV_OK && "a branch has no more moves than tokens");
    (void)status;
    for (uint32_t i = 0; i < num_moves; i++) move_token(f, &s->moves[i]);
}

static int compare_numbers(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

static uint32_t used_blocks(const eviction_forest *f)
{
    kv_pool_stats stats;
    kv_pool_get_stats(f->pool, &stats);
    return stats.used_blocks;
}

static void finish_branch(eviction_forest *f, const step_branch *b, eviction_forest_result *result)
{
    kv_keep keep;
    qsort(b->victims, b->num_victims, sizeof *b->victims, compare_numbers);
    *result = (eviction_forest_result){.status = b->is_finite ? TREE_OK : TREE_NOT_FINITE,
                                       .num_tokens = b->tokens.num_tokens,
                                       .num_victims = b->num_victims,
                                       .victims = b->victims};
    if (!b->is_finite) {
        kv_status status = kv_branch_truncate(f->pool, b->branch, b->next_position);
        assert(status == KV_OK && "truncate takes no block");
        (void)status;
    }
    kv_branch_keep(f->pool, b->branch, &keep);
    uint32_t interval = f->config.policy->interval;
    f->counts.above_budget += interval > 0 && keep.num_kept >= (uint64_t)f->config.budget + interval;
}

/* All copies, then all writes: a copy may read a block into which a sibling writes. */
static void write_step(eviction_forest *f, const forest_step *s, const float *key, const float *value)
{
    size_t token_floats = (size_t)f->shape.num_kv_heads * f->shape.head_dim, first = 0;
    for (uint32_t i = 0; i < s->count; i++) copy_slots(f, &s->appends[i].copy);
    for (uint32_t i = 0; i < s->count; i++) {
        write_tokens(f, s->branches[i].branch, &s->appends[i], s->num_new[i], key + first * token_floats,
                     value + first * token_floats);
        first += s->num_new[i];
    }
}

/* Parts of the step's arrays for each branch. */
static void deal_arrays(const eviction_forest *f, forest_step *s)
{
    uint64_t first = 0;
    for (uint32_t i = 0; i < s->count; i++) {
        step_branch *b = &s->branches[i];
        kv_keep keep;
        kv_branch_keep(f->pool, b->branch, &keep);
        b->slots = s->slots + first;
        b->positions = s->positions + first;
        b->tokens = (token_list){.slots = b->slots, .positions = b->positions};
        b->score = s->scores + first;
        b->history = s->histories + first;
        b->victims = s->victims + first;
        first += keep.num_kept;
    }
    assert(first <= s->sum_tokens);
}

kv_status eviction_forest_step(eviction_forest *f, const kv_branch *branches, uint32_t count,
                               const uint32_t *num_tokens, float *out, const float *query, const float *key,
                               const float *value, eviction_forest_result *results)
{
    forest_step s;
    kv_status status = step_create(&s, f, branches, count, num_tokens);
    if (status == KV_OK) status = kv_branch_append_many(f->pool, branches, s.num_new, count, s.appends);
    if (status != KV_OK) {
        step_destroy(&s);
        return status;
    }
    size_t query_floats = (size_t)f->shape.num_heads * f->shape.head_dim;
    f->counts.steps++;
    f->counts.queries += count;
    write_step(f, &s, key, value);
    deal_arrays(f, &s);
    for (uint32_t i = 0; i < count; i++)
        attend(f, &s, &s.branches[i], out + i * query_floats, query + i * query_floats);
    uint32_t blocks_before = used_blocks(f);
    evict(f, &s);
    for (uint32_t i = 0; i < count; i++) compact(f, &s, &s.branches[i]);
    f->counts.freed_blocks += blocks_before - used_blocks(f);
    for (uint32_t i = 0; i < count; i++) finish_branch(f, &s.branches[i], &results[i]);
    free(f->last_victims);
    f->last_victims = s.victims; /* results point into it */
    s.victims = NULL;
    step_destroy(&s);
    return KV_OK;
}
