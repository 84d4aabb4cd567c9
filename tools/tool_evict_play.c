/* Plays a workload on one forest for each policy and on one of the full cache, with the same keys, values and queries.
 */
#define _POSIX_C_SOURCE 200809L
#include "tool_evict.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "kv_store.h"

enum { CHUNK_TOKENS = 256 };

/* ---- needs ---- */

/* A branch by its lengths: with a budget it keeps `kept` tokens, `inherited` of which came with its last fork. */
typedef struct branch_length {
    uint32_t length, kept, inherited;
} branch_length;

typedef struct needs_count {
    evict_needs needs;
    uint32_t budget;
    kv_scope scope;
    uint32_t alive, step, num_queries; /* now; num_queries: since the last step */
} needs_count;

static uint32_t most_kept(const needs_count *c, const branch_length *b)
{
    if (c->scope == KV_SCOPE_VOTE) return b->kept; /* a branch that does not step keeps its tokens */
    uint64_t most = c->budget, inherited = b->inherited;
    if (c->scope == KV_SCOPE_PRIVATE && inherited + 1 > most) most = inherited + 1;
    return b->kept < most ? b->kept : (uint32_t)most;
}

static void count_append(needs_count *c, branch_length *b, uint32_t num_tokens)
{
    b->length += num_tokens;
    b->kept += num_tokens;
    c->needs.longest = b->length > c->needs.longest ? b->length : c->needs.longest;
}

static void count_query(needs_count *c, branch_length *b)
{
    c->num_queries++;
    c->needs.num_queries++;
    c->needs.path_tokens += b->length;
    c->needs.kept_tokens += b->kept;
    b->kept = most_kept(c, b);
}

static void count_step(needs_count *c)
{
    evict_needs *needs = &c->needs;
    c->step++;
    needs->peak_queries = c->num_queries > needs->peak_queries ? c->num_queries : needs->peak_queries;
    needs->show_step = c->alive >= needs->most_alive ? c->step : needs->show_step;
    needs->most_alive = c->alive > needs->most_alive ? c->alive : needs->most_alive;
    c->num_queries = 0;
}

static void fork_length(branch_length *parent, branch_length *child)
{
    parent->inherited = parent->kept;
    *child = *parent;
}

static void truncate_length(branch_length *b, uint32_t length)
{
    b->length = length;
    b->kept = b->kept < length ? b->kept : length;
    b->inherited = b->inherited < length ? b->inherited : length;
}

static void count_operation(needs_count *c, branch_length *branches, const workload_operation *o)
{
    branch_length *b = &branches[o->branch];
    c->alive += o->kind == WORKLOAD_CREATE || o->kind == WORKLOAD_FORK;
    c->alive -= o->kind == WORKLOAD_ADOPT || o->kind == WORKLOAD_PRUNE;
    if (o->kind == WORKLOAD_FORK) fork_length(&branches[o->value], b);
    if (o->kind == WORKLOAD_ADOPT) *b = branches[o->value];
    if (o->kind == WORKLOAD_TRUNCATE) truncate_length(b, o->value);
    if (o->kind == WORKLOAD_APPEND) count_append(c, b, o->value);
    if (o->kind == WORKLOAD_DECODE) count_append(c, b, 1);
    if (o->kind == WORKLOAD_DECODE || o->kind == WORKLOAD_QUERY) count_query(c, b);
    if (o->kind == WORKLOAD_STEP) count_step(c);
}

evict_needs evict_count_needs(const workload *work, uint32_t budget, kv_scope scope)
{
    needs_count count = {.budget = budget, .scope = scope};
    branch_length *branches = tool_allocate(work->num_branches, sizeof *branches);
    for (uint32_t i = 0; i < work->num_operations; i++) count_operation(&count, branches, &work->operations[i]);
    free(branches);
    return count.needs;
}

double evict_bytes(const evict_request *request, const evict_needs *needs)
{
    const stream_config *s = &request->stream;
    double num_forests = request->num_policies + 1.0, slots = (double)request->num_blocks * request->block_tokens;
    double slot_bytes = 4.0 * s->num_kv_heads * (2.0 * s->head_dim + 1) + 16;
    double query_bytes = 4.0 * s->head_dim * (s->num_heads * (num_forests + 1) + 2.0 * s->num_kv_heads);
    double branch_bytes = 4.0 * s->num_heads * s->head_dim + num_forests * (8.0 * needs->longest + 256);
    /* the arrays of one step: votes, scores, weights */
    double step_bytes = 80.0 * needs->peak_queries * needs->longest + 8.0 * s->num_heads * needs->longest;
    return num_forests * slots * slot_bytes + (num_forests + 1) * 8.0 * request->workload->num_branches +
           needs->peak_queries * query_bytes + needs->most_alive * branch_bytes + step_bytes +
           8.0 * CHUNK_TOKENS * s->num_kv_heads * s->head_dim;
}

/* ---- keys, values and queries ---- */

/* Of a tree: topic means, noise and drift are numbered vectors, the same on every machine (kv_store_vector). */
enum { VECTORS_MEAN, VECTORS_NOISE, VECTORS_DRIFT, NUM_VECTORS };

typedef struct evict_vectors {
    stream_config config;
    stream *stream; /* NULL: of a tree */
    kv_store *numbered[NUM_VECTORS];
    float **drift; /* [num_branches] of each living branch [num_heads][head_dim] */
    float *vector; /* [head_dim] */
    uint32_t num_tokens, num_queries;
} evict_vectors;

static size_t query_floats(const stream_config *config)
{
    return (size_t)config->num_heads * config->head_dim;
}

static size_t token_floats(const stream_config *config)
{
    return (size_t)config->num_kv_heads * config->head_dim;
}

static evict_vectors vectors_create(const evict_request *request)
{
    evict_vectors v = {.config = request->stream};
    v.vector = tool_allocate(v.config.head_dim, sizeof *v.vector);
    v.drift = tool_allocate(request->workload->num_branches, sizeof(float *));
    if (request->is_stream) {
        tree_status status = stream_create(&v.stream, &v.config);
        if (status != TREE_OK) tool_fail("the stream: %s", tree_status_string(status));
        return v;
    }
    for (uint32_t i = 0; i < NUM_VECTORS; i++) {
        kv_store_config config = {.storage = TREE_FP32,
                                  .num_blocks = 1,
                                  .block_tokens = 1,
                                  .num_kv_heads = 1,
                                  .head_dim = v.config.head_dim,
                                  .seed = v.config.seed + i};
        kv_status status = kv_store_create(&v.numbered[i], &config);
        if (status != KV_OK) tool_fail("keys and values: %s", kv_status_string(status));
    }
    return v;
}

static void vectors_destroy(evict_vectors *v, uint32_t num_branches)
{
    for (uint32_t i = 0; i < num_branches; i++) free(v->drift[i]);
    for (uint32_t i = 0; i < NUM_VECTORS; i++) kv_store_destroy(v->numbered[i]);
    free(v->drift);
    free(v->vector);
    stream_destroy(v->stream);
}

/* Mean of a topic, one head. */
static void mean_vector(evict_vectors *v, uint32_t branch, uint32_t kv_head, bool is_value)
{
    kv_store_vector(v->numbered[VECTORS_MEAN], branch, kv_head, is_value, v->vector);
}

static void make_token(evict_vectors *v, uint32_t branch, float *key, float *value)
{
    uint32_t head_dim = v->config.head_dim;
    for (uint32_t g = 0; g < v->config.num_kv_heads; g++) {
        float *k = key + (size_t)g * head_dim, *u = value + (size_t)g * head_dim;
        kv_store_vector(v->numbered[VECTORS_NOISE], v->num_tokens, g, false, k);
        kv_store_vector(v->numbered[VECTORS_NOISE], v->num_tokens, g, true, u);
        mean_vector(v, branch, g, false);
        for (uint32_t d = 0; d < head_dim; d++) k[d] += v->vector[d];
        mean_vector(v, branch, g, true);
        for (uint32_t d = 0; d < head_dim; d++) u[d] = v->vector[d] + (float)v->config.value_noise * u[d];
    }
    v->num_tokens++;
}

static void make_query(evict_vectors *v, uint32_t branch, float *query)
{
    const stream_config *c = &v->config;
    float rho = (float)c->rho, rest = (float)sqrt(1 - c->rho * c->rho);
    float topic = (float)(c->logit_scale * sqrt(c->focus)), own = (float)(c->logit_scale * sqrt(1 - c->focus));
    for (uint32_t h = 0; h < c->num_heads; h++) {
        float *drift = v->drift[branch] + (size_t)h * c->head_dim, *q = query + (size_t)h * c->head_dim;
        kv_store_vector(v->numbered[VECTORS_DRIFT], v->num_queries, h, false, q);
        mean_vector(v, branch, h / (c->num_heads / c->num_kv_heads), false);
        for (uint32_t d = 0; d < c->head_dim; d++) {
            drift[d] = rho * drift[d] + rest * q[d];
            q[d] = topic * v->vector[d] + own * drift[d];
        }
    }
    v->num_queries++;
}

/* The next token of a branch, and its query: NULL if there is none. */
static void next_token(evict_vectors *v, uint32_t branch, float *key, float *value, float *query, float *unused_query)
{
    if (v->stream != NULL) {
        stream_next(v->stream, query != NULL ? query : unused_query, key, value);
        return;
    }
    make_token(v, branch, key, value);
    if (query != NULL) make_query(v, branch, query);
}

/* ---- forests ---- */

typedef struct evict_player {
    const evict_request *request;
    evict_vectors vectors;
    evict_run run;
    uint32_t num_forests; /* the last one is the full cache */
    eviction_forest **forests;
    kv_branch **handles;                              /* [num_forests][num_branches] by name */
    float **out;                                      /* [num_forests][peak_queries][num_heads][head_dim] */
    uint32_t num_queries;                             /* of the step that is being collected */
    uint32_t *names, *num_new;                        /* [peak_queries] */
    kv_branch *stepping;                              /* [peak_queries] */
    eviction_forest_result *outcomes, *full_outcomes; /* [peak_queries] */
    float *query, *key, *value;
    uint32_t num_new_tokens;
    float *chunk_key, *chunk_value, *unused_query;
    double *error_sums; /* [num_policies] */
} evict_player;

static void check(kv_status status, const evict_player *p, const char *operation)
{
    if (status == KV_NOBLOCKS)
        tool_fail("%s: the pool of %u blocks of %u tokens is too small", operation, p->request->num_blocks,
                  p->request->block_tokens);
    if (status != KV_OK) tool_fail("%s: %s", operation, kv_status_string(status));
}

static eviction_forest_config config_of(const evict_request *r, const eviction_policy *policy, uint32_t num_blocks)
{
    uint32_t max_branches = r->workload->max_live_branches;
    return (eviction_forest_config){.pool = {.num_blocks = num_blocks,
                                             .block_tokens = r->block_tokens,
                                             .max_branches = max_branches > 0 ? max_branches : 1},
                                    .num_heads = r->stream.num_heads,
                                    .num_kv_heads = r->stream.num_kv_heads,
                                    .head_dim = r->stream.head_dim,
                                    .policy = policy,
                                    .scope = r->scope,
                                    .budget = r->budget,
                                    .num_sinks = r->num_sinks,
                                    .num_recent = r->num_recent,
                                    .compacts = r->compacts,
                                    .seed = r->stream.seed};
}

bool evict_pins_fit(const evict_request *request, const eviction_policy *policy)
{
    eviction_forest_config config = config_of(request, policy, 1);
    eviction_forest *trial;
    kv_status status = eviction_forest_create(&trial, &config);
    if (status == KV_OK) eviction_forest_destroy(trial);
    return status != KV_INVAL;
}

static eviction_forest *open_forest(const evict_request *r, const eviction_policy *policy)
{
    eviction_forest_config config = config_of(r, policy, r->num_blocks);
    eviction_forest *forest;
    kv_status status = eviction_forest_create(&forest, &config);
    if (status != KV_OK)
        tool_fail("a forest of %u blocks for %s: %s", r->num_blocks, policy->name, kv_status_string(status));
    return forest;
}

static evict_player *player_create(const evict_request *r)
{
    evict_player *p = tool_allocate(1, sizeof *p);
    evict_needs needs = evict_count_needs(r->workload, r->budget, r->scope);
    size_t peak = needs.peak_queries, num_branches = r->workload->num_branches;
    size_t out_floats = query_floats(&r->stream), kv_floats = token_floats(&r->stream);
    p->request = r;
    p->vectors = vectors_create(r);
    p->run = (evict_run){.num_results = r->num_policies};
    p->run.results = tool_allocate(r->num_policies, sizeof *p->run.results);
    p->error_sums = tool_allocate(r->num_policies, sizeof *p->error_sums);
    p->num_forests = r->num_policies + 1;
    p->forests = tool_allocate(p->num_forests, sizeof(eviction_forest *));
    p->handles = tool_allocate(p->num_forests, sizeof(kv_branch *));
    p->out = tool_allocate(p->num_forests, sizeof(float *));
    for (uint32_t i = 0; i < p->num_forests; i++) {
        p->forests[i] = open_forest(r, i < r->num_policies ? r->policies[i] : eviction_policy_from_name("full"));
        p->handles[i] = tool_allocate(num_branches, sizeof(kv_branch));
        p->out[i] = tool_allocate(peak * out_floats, sizeof(float));
    }
    p->names = tool_allocate(peak, sizeof *p->names);
    p->num_new = tool_allocate(peak, sizeof *p->num_new);
    p->stepping = tool_allocate(peak, sizeof *p->stepping);
    p->outcomes = tool_allocate(peak, sizeof *p->outcomes);
    p->full_outcomes = tool_allocate(peak, sizeof *p->full_outcomes);
    p->query = tool_allocate(peak * out_floats, sizeof *p->query);
    p->key = tool_allocate(peak * kv_floats, sizeof *p->key);
    p->value = tool_allocate(peak * kv_floats, sizeof *p->value);
    p->chunk_key = tool_allocate(CHUNK_TOKENS * kv_floats, sizeof *p->chunk_key);
    p->chunk_value = tool_allocate(CHUNK_TOKENS * kv_floats, sizeof *p->chunk_value);
    p->unused_query = tool_allocate(out_floats, sizeof *p->unused_query);
    return p;
}

static void player_destroy(evict_player *p)
{
    for (uint32_t i = 0; i < p->num_forests; i++) {
        eviction_forest_destroy(p->forests[i]);
        free(p->handles[i]);
        free(p->out[i]);
    }
    vectors_destroy(&p->vectors, p->request->workload->num_branches);
    free(p->error_sums);
    free(p->forests);
    free(p->handles);
    free(p->out);
    free(p->names);
    free(p->num_new);
    free(p->stepping);
    free(p->outcomes);
    free(p->full_outcomes);
    free(p->query);
    free(p->key);
    free(p->value);
    free(p->chunk_key);
    free(p->chunk_value);
    free(p->unused_query);
    free(p);
}

/* ---- operations ---- */

static void play_birth(evict_player *p, const workload_operation *o)
{
    for (uint32_t i = 0; i < p->num_forests; i++)
        check(o->kind == WORKLOAD_CREATE
                  ? eviction_forest_branch(p->forests[i], &p->handles[i][o->branch])
                  : eviction_forest_fork(p->forests[i], p->handles[i][o->value], &p->handles[i][o->branch]),
              p, workload_kind_name[o->kind]);
    size_t floats = query_floats(&p->request->stream);
    p->vectors.drift[o->branch] = tool_allocate(floats, sizeof(float));
    if (o->kind == WORKLOAD_FORK)
        memcpy(p->vectors.drift[o->branch], p->vectors.drift[o->value], floats * sizeof(float));
}

static void play_append(evict_player *p, const workload_operation *o)
{
    size_t kv_floats = token_floats(&p->request->stream);
    for (uint32_t done = 0; done < o->value; done += CHUNK_TOKENS) {
        uint32_t count = o->value - done < CHUNK_TOKENS ? o->value - done : CHUNK_TOKENS;
        for (uint32_t t = 0; t < count; t++)
            next_token(&p->vectors, o->branch, p->chunk_key + t * kv_floats, p->chunk_value + t * kv_floats, NULL,
                       p->unused_query);
        for (uint32_t i = 0; i < p->num_forests; i++)
            check(eviction_forest_append(p->forests[i], p->handles[i][o->branch], count, p->chunk_key, p->chunk_value),
                  p, "append");
    }
}

static void play_query(evict_player *p, const workload_operation *o)
{
    size_t kv_floats = token_floats(&p->request->stream);
    uint32_t q = p->num_queries++;
    float *query = p->query + q * query_floats(&p->request->stream);
    p->names[q] = o->branch;
    p->num_new[q] = o->kind == WORKLOAD_DECODE;
    if (o->kind == WORKLOAD_QUERY) {
        make_query(&p->vectors, o->branch, query);
        return;
    }
    next_token(&p->vectors, o->branch, p->key + p->num_new_tokens * kv_floats, p->value + p->num_new_tokens * kv_floats,
               query, NULL);
    p->num_new_tokens++;
}

static void play_shrink(evict_player *p, const workload_operation *o)
{
    uint32_t dead = o->kind == WORKLOAD_ADOPT ? o->value : o->branch;
    for (uint32_t i = 0; i < p->num_forests; i++) {
        kv_branch *handles = p->handles[i];
        kv_status status;
        if (o->kind == WORKLOAD_TRUNCATE)
            status = eviction_forest_truncate(p->forests[i], handles[o->branch], o->value);
        else if (o->kind == WORKLOAD_ADOPT)
            status = eviction_forest_adopt(p->forests[i], handles[o->branch], handles[o->value]);
        else
            status = eviction_forest_prune(p->forests[i], handles[o->branch]);
        check(status, p, workload_kind_name[o->kind]);
        if (o->kind != WORKLOAD_TRUNCATE) handles[dead] = 0;
    }
    if (o->kind == WORKLOAD_TRUNCATE) return;
    float **drift = p->vectors.drift;
    if (o->kind == WORKLOAD_ADOPT) {
        free(drift[o->branch]);
        drift[o->branch] = drift[dead];
    } else {
        free(drift[dead]);
    }
    drift[dead] = NULL;
}

/* ---- a step ---- */

static double now_s(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

static double relative_error(const float *out, const float *full, size_t count)
{
    double difference = 0, norm = 0;
    for (size_t i = 0; i < count; i++) {
        difference += ((double)out[i] - full[i]) * ((double)out[i] - full[i]);
        norm += (double)full[i] * full[i];
    }
    return difference == 0 ? 0 : sqrt(difference / norm);
}

static void step_forest(evict_player *p, uint32_t forest, eviction_forest_result *outcomes)
{
    for (uint32_t q = 0; q < p->num_queries; q++) p->stepping[q] = p->handles[forest][p->names[q]];
    check(eviction_forest_step(p->forests[forest], p->stepping, p->num_queries, p->num_new, p->out[forest], p->query,
                               p->key, p->value, outcomes),
          p, "step");
    for (uint32_t q = 0; q < p->num_queries; q++)
        if (outcomes[q].status != TREE_OK)
            tool_fail("attention of a branch: %s", tree_status_string(outcomes[q].status));
}

static void compare_with_full(evict_player *p, uint32_t forest)
{
    size_t floats = query_floats(&p->request->stream);
    evict_result *result = &p->run.results[forest];
    for (uint32_t q = 0; q < p->num_queries; q++) {
        if (p->full_outcomes[q].num_tokens <= p->request->budget) continue;
        double error = relative_error(p->out[forest] + q * floats, p->out[p->num_forests - 1] + q * floats, floats);
        p->error_sums[forest] += error;
        result->max_error = error > result->max_error ? error : result->max_error;
        result->num_compared++;
    }
}

static void play_step(evict_player *p)
{
    step_forest(p, p->num_forests - 1, p->full_outcomes);
    for (uint32_t i = 0; i < p->request->num_policies; i++) {
        double begin = now_s();
        step_forest(p, i, p->outcomes);
        p->run.results[i].seconds += now_s() - begin;
        compare_with_full(p, i);
    }
    p->num_queries = p->num_new_tokens = 0;
}

/* ---- strips ---- */

static void keep_strip(evict_player *p, uint32_t name, evict_strip *strip)
{
    eviction_forest_parts parts;
    kv_keep keep;
    kv_branch branch = p->handles[0][name];
    eviction_forest_get(p->forests[0], &parts);
    kv_branch_keep(parts.pool, branch, &keep);
    const char *label = workload_label(p->request->workload, name);
    if (label[0] != '\0')
        snprintf(strip->name, sizeof strip->name, "%.*s", (int)strcspn(label, "("), label);
    else
        snprintf(strip->name, sizeof strip->name, "branch %u", name);
    strip->length = keep.next_position;
    strip->num_kept = keep.num_kept;
    strip->positions = tool_allocate(keep.num_kept, sizeof *strip->positions);
    strip->shared = tool_allocate(keep.num_kept, sizeof *strip->shared);
    uint64_t *slots = tool_allocate(keep.num_kept, sizeof *slots);
    check(eviction_forest_tokens(p->forests[0], branch, slots, strip->positions), p, "tokens");
    for (uint32_t t = 0; t < keep.num_kept; t++)
        strip->shared[t] = kv_pool_references(parts.pool, (uint32_t)(slots[t] / p->request->block_tokens)) > 1;
    free(slots);
}

static void keep_strips(evict_player *p, uint32_t step)
{
    uint32_t num_names = p->request->workload->num_branches;
    p->run.strip_step = step;
    for (uint32_t name = 0; name < num_names; name++) p->run.num_strips += p->handles[0][name] != 0;
    p->run.strips = tool_allocate(p->run.num_strips, sizeof *p->run.strips);
    evict_strip *strip = p->run.strips;
    for (uint32_t name = 0; name < num_names; name++)
        if (p->handles[0][name] != 0) keep_strip(p, name, strip++);
}

/* ---- the whole run ---- */

static void finish_results(evict_player *p)
{
    for (uint32_t i = 0; i < p->request->num_policies; i++) {
        evict_result *result = &p->run.results[i];
        eviction_forest_parts parts;
        kv_pool_stats stats;
        eviction_forest_get(p->forests[i], &parts);
        kv_pool_get_stats(parts.pool, &stats);
        uint64_t token_bytes = 2 * token_floats(&p->request->stream) * sizeof(float);
        uint64_t steps = parts.counts.steps > 0 ? parts.counts.steps : 1;
        result->policy = p->request->policies[i];
        result->counts = parts.counts;
        result->peak_blocks = stats.high_water_blocks;
        result->leaked_blocks = stats.used_blocks;
        result->step_bytes = parts.counts.distinct_tokens * token_bytes / steps;
        result->branch_bytes = parts.counts.read_tokens * token_bytes / steps;
        result->mean_error = result->num_compared > 0 ? p->error_sums[i] / (double)result->num_compared : NAN;
        result->max_error = result->num_compared > 0 ? result->max_error : NAN;
    }
}

evict_run evict_play(const evict_request *request, tool_progress *progress)
{
    const workload *work = request->workload;
    evict_player *p = player_create(request);
    uint32_t step = 0;
    for (uint32_t i = 0; i < work->num_operations; i++) {
        const workload_operation *o = &work->operations[i];
        if (o->kind == WORKLOAD_CREATE || o->kind == WORKLOAD_FORK)
            play_birth(p, o);
        else if (o->kind == WORKLOAD_APPEND)
            play_append(p, o);
        else if (o->kind == WORKLOAD_DECODE || o->kind == WORKLOAD_QUERY)
            play_query(p, o);
        else if (o->kind != WORKLOAD_STEP)
            play_shrink(p, o);
        if (o->kind != WORKLOAD_STEP) continue;
        play_step(p);
        if (++step == request->show_step) keep_strips(p, step);
        if (progress != NULL) tool_progress_show(progress, step, work->num_steps);
    }
    finish_results(p);
    evict_run run = p->run;
    player_destroy(p);
    return run;
}

void evict_run_destroy(evict_run *run)
{
    for (uint32_t i = 0; i < run->num_strips; i++) {
        free(run->strips[i].positions);
        free(run->strips[i].shared);
    }
    free(run->strips);
    free(run->results);
}
