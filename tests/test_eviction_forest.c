/* Claim: a forest under a budget keeps the invariants of eviction in a tree: fork is neutral, the budget holds, a vote
 * matches a model on flat lists, a budget that is never reached changes nothing; and bad input does no harm. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "eviction_forest.h"
#include "test.h"

enum {
    NUM_HEADS = 4,
    NUM_KV_HEADS = 2,
    HEAD_DIM = 4,
    QUERY_FLOATS = NUM_HEADS * HEAD_DIM,
    TOKEN_FLOATS = NUM_KV_HEADS * HEAD_DIM,
    MAX_BRANCHES = 8,
    MAX_POSITIONS = 256
};

static eviction_forest_config usual_config(const char *policy, kv_scope scope, uint32_t budget)
{
    return (eviction_forest_config){.pool = {.num_blocks = 200, .block_tokens = 4, .max_branches = MAX_BRANCHES},
                                    .num_heads = NUM_HEADS,
                                    .num_kv_heads = NUM_KV_HEADS,
                                    .head_dim = HEAD_DIM,
                                    .policy = eviction_policy_from_name(policy),
                                    .scope = scope,
                                    .budget = budget,
                                    .seed = 5};
}

static eviction_forest *open_forest(const eviction_forest_config *config)
{
    eviction_forest *forest;
    kv_status status = eviction_forest_create(&forest, config);
    check(status == KV_OK, "%s", kv_status_string(status));
    return forest;
}

static kv_branch new_branch(eviction_forest *forest)
{
    kv_branch branch;
    check(eviction_forest_branch(forest, &branch) == KV_OK, "branch");
    return branch;
}

static kv_branch fork_of(eviction_forest *forest, kv_branch branch)
{
    kv_branch child;
    check(eviction_forest_fork(forest, branch, &child) == KV_OK, "fork");
    return child;
}

static void check_pool(const eviction_forest *forest)
{
    char message[200] = "";
    eviction_forest_parts parts;
    eviction_forest_get(forest, &parts);
    check(kv_pool_check(parts.pool, message, sizeof message) == KV_OK, "%s", message);
}

static kv_pool_stats stats_of(const eviction_forest *forest)
{
    eviction_forest_parts parts;
    kv_pool_stats stats;
    eviction_forest_get(forest, &parts);
    kv_pool_get_stats(parts.pool, &stats);
    return stats;
}

static eviction_forest_counts counts_of(const eviction_forest *forest)
{
    eviction_forest_parts parts;
    eviction_forest_get(forest, &parts);
    return parts.counts;
}

static kv_keep keep_of(const eviction_forest *forest, kv_branch branch)
{
    eviction_forest_parts parts;
    kv_keep keep;
    eviction_forest_get(forest, &parts);
    check(kv_branch_keep(parts.pool, branch, &keep) == KV_OK, "keep");
    return keep;
}

/* Input of a step, and its outcome. */
typedef struct step_data {
    uint32_t count, num_new[MAX_BRANCHES];
    kv_branch branches[MAX_BRANCHES];
    float query[MAX_BRANCHES * QUERY_FLOATS];
    float key[4 * MAX_BRANCHES * TOKEN_FLOATS], value[4 * MAX_BRANCHES * TOKEN_FLOATS];
    float out[MAX_BRANCHES * QUERY_FLOATS];
    eviction_forest_result results[MAX_BRANCHES];
} step_data;

static void fill(float *numbers, uint32_t count, float scale)
{
    for (uint32_t i = 0; i < count; i++) numbers[i] = scale * (float)test_normal();
}

/* num_new tokens for each branch. */
static step_data step_for(const kv_branch *branches, uint32_t count, uint32_t num_new)
{
    step_data d = {.count = count};
    for (uint32_t i = 0; i < count; i++) {
        d.branches[i] = branches[i];
        d.num_new[i] = num_new;
    }
    fill(d.query, count * QUERY_FLOATS, 2);
    fill(d.key, count * num_new * TOKEN_FLOATS, 1);
    fill(d.value, count * num_new * TOKEN_FLOATS, 1);
    return d;
}

static kv_status try_step(eviction_forest *forest, step_data *d)
{
    return eviction_forest_step(forest, d->branches, d->count, d->num_new, d->out, d->query, d->key, d->value,
                                d->results);
}

static void take_step(eviction_forest *forest, step_data *d)
{
    kv_status status = try_step(forest, d);
    check(status == KV_OK, "%s", kv_status_string(status));
    for (uint32_t i = 0; i < d->count; i++)
        check(d->results[i].status == TREE_OK, "branch %u: %s", i, tree_status_string(d->results[i].status));
    check_pool(forest);
}

static void take_steps(eviction_forest *forest, kv_branch branch, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        step_data d = step_for(&branch, 1, 1);
        take_step(forest, &d);
    }
}

/* The second branch of a step gets the input of the first. */
static void repeat(float *numbers, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) numbers[count + i] = numbers[i];
}

static void check_same_out(const step_data *a, uint32_t i, const step_data *b, uint32_t j)
{
    check(memcmp(a->out + i * QUERY_FLOATS, b->out + j * QUERY_FLOATS, QUERY_FLOATS * sizeof(float)) == 0,
          "the outputs have the same bits");
}

/* ---- invariant 4 ---- */

static void run_fork_is_neutral(const void *argument)
{
    const kv_scope *scope = argument;
    eviction_forest_config config = usual_config("h2o", *scope, 10);
    eviction_forest *forest = open_forest(&config);
    kv_branch parent = new_branch(forest);
    take_steps(forest, parent, 23);
    kv_pool_stats before = stats_of(forest);
    kv_branch family[2] = {parent, fork_of(forest, parent)};
    kv_pool_stats after = stats_of(forest);
    check(before.used_blocks == after.used_blocks && before.physical_tokens == after.physical_tokens,
          "a fork takes no block");
    step_data d = step_for(family, 2, 0);
    repeat(d.query, QUERY_FLOATS);
    take_step(forest, &d);
    check_same_out(&d, 0, &d, 1);
    uint32_t num_victims = 0;
    for (uint32_t step = 0; step < 4; step++) { /* their histories are the same too */
        d = step_for(family, 2, 1);
        repeat(d.query, QUERY_FLOATS);
        repeat(d.key, TOKEN_FLOATS);
        repeat(d.value, TOKEN_FLOATS);
        take_step(forest, &d);
        check_same_out(&d, 0, &d, 1);
        check(d.results[0].num_victims == d.results[1].num_victims &&
                  (d.results[0].num_victims == 0 || d.results[0].victims[0] == d.results[1].victims[0]),
              "parent and child forget the same token");
        num_victims += d.results[0].num_victims;
    }
    check(num_victims > 0, "there were victims");
    eviction_forest_destroy(forest);
}

/* ---- invariant 7 ---- */

typedef struct bound_case {
    const char *policy;
    kv_scope scope;
    uint32_t budget;
} bound_case;

static uint32_t inherited_tokens(const eviction_forest *forest, kv_branch branch)
{
    static uint32_t positions[MAX_POSITIONS];
    kv_keep keep = keep_of(forest, branch);
    uint32_t inherited = 0;
    check(keep.num_kept <= MAX_POSITIONS, "room");
    check(eviction_forest_tokens(forest, branch, NULL, positions) == KV_OK, "tokens");
    for (uint32_t t = 0; t < keep.num_kept; t++) inherited += positions[t] < keep.first_private;
    return inherited;
}

/* The budget holds after every step, also behind a prefix that is longer; at the budget, a token goes for each that
 * comes. */
static void run_budget_holds(const void *argument)
{
    const bound_case *c = argument;
    eviction_forest_config config = usual_config(c->policy, c->scope, c->budget);
    eviction_forest *forest = open_forest(&config);
    kv_branch branches[4];
    branches[0] = new_branch(forest);
    take_steps(forest, branches[0], c->budget / 2 + 1);
    step_data prompt = step_for(branches, 1, 3);
    check(eviction_forest_append(forest, branches[0], 3, prompt.key, prompt.value) == KV_OK, "append");
    for (uint32_t i = 1; i < 4; i++) branches[i] = fork_of(forest, branches[i - 1]);
    for (uint32_t step = 0; step < 40; step++) {
        uint32_t kept[4];
        for (uint32_t i = 0; i < 4; i++) kept[i] = keep_of(forest, branches[i]).num_kept;
        step_data d = step_for(branches, 4, 1);
        take_step(forest, &d);
        for (uint32_t i = 0; i < 4; i++) {
            uint32_t now = keep_of(forest, branches[i]).num_kept, most = c->budget;
            uint32_t inherited = inherited_tokens(forest, branches[i]);
            if (c->scope == KV_SCOPE_PRIVATE && inherited + 1 > most) most = inherited + 1;
            check(now <= most, "step %u, branch %u: %u tokens, at most %u", step, i, now, most);
            check(c->scope != KV_SCOPE_PRIVATE || now > inherited, "step %u: a token of its own stays", step);
            check(now == kept[i] + 1 - d.results[i].num_victims, "step %u: the victims are those that left", step);
            check(kept[i] != most || d.results[i].num_victims == 1, "step %u: one comes, one goes", step);
        }
    }
    uint64_t above = counts_of(forest).above_budget;
    check((above > 0) == (c->scope == KV_SCOPE_PRIVATE && inherited_tokens(forest, branches[0]) >= c->budget),
          "%u queries end above the budget: only those behind a long prefix", (unsigned)above);
    eviction_forest_destroy(forest);
}

/* ---- invariant 8: a vote, against a model ---- */

/* A branch as a flat list of tokens. Tokens written before a fork are the same object in both branches. */
typedef struct model_token {
    float key[TOKEN_FLOATS], value[TOKEN_FLOATS];
    uint32_t position, num_keepers;
    double score; /* largest over its keepers, of this step */
    bool may_go;
} model_token;

typedef struct model_branch {
    kv_branch branch;
    uint32_t num_tokens, next_position;
    model_token *tokens[MAX_POSITIONS];
} model_branch;

static model_token *all_tokens[2000];
static uint32_t num_all_tokens;

static double model_score(const model_branch *b, const float *query, uint32_t t)
{
    double score = 0;
    for (uint32_t h = 0; h < NUM_HEADS; h++) {
        uint32_t g = h / (NUM_HEADS / NUM_KV_HEADS);
        double sum = 0, own = 0, norm = 0;
        for (uint32_t i = 0; i < b->num_tokens; i++) {
            double dot = 0;
            for (uint32_t d = 0; d < HEAD_DIM; d++)
                dot += (double)query[h * HEAD_DIM + d] * b->tokens[i]->key[g * HEAD_DIM + d];
            sum += exp(dot / sqrt(HEAD_DIM));
            if (i == t) own = exp(dot / sqrt(HEAD_DIM));
        }
        for (uint32_t d = 0; d < HEAD_DIM; d++) norm += fabs((double)b->tokens[t]->value[g * HEAD_DIM + d]);
        score += own / sum * norm;
    }
    return score;
}

static void forget(model_branch *b, const model_token *token)
{
    uint32_t kept = 0;
    for (uint32_t t = 0; t < b->num_tokens; t++)
        if (b->tokens[t] != token) b->tokens[kept++] = b->tokens[t];
    b->num_tokens = kept;
}

static bool keeps(const model_branch *b, const model_token *token)
{
    for (uint32_t t = 0; t < b->num_tokens; t++)
        if (b->tokens[t] == token) return true;
    return false;
}

/* The token of lowest score whose keepers all step and are above the budget; NULL: none. */
static model_token *model_victim(model_branch *all, uint32_t count, const bool *steps, uint32_t budget)
{
    model_token *best = NULL;
    for (uint32_t i = 0; i < count; i++) {
        for (uint32_t t = 0; t < all[i].num_tokens; t++) {
            model_token *token = all[i].tokens[t];
            bool agreed = true;
            for (uint32_t j = 0; j < count; j++)
                if (keeps(&all[j], token)) agreed = agreed && steps[j] && all[j].num_tokens > budget;
            if (agreed && (best == NULL || token->score < best->score)) best = token;
        }
    }
    return best;
}

static void model_append(model_branch *b, const float *key, const float *value)
{
    model_token *token = calloc(1, sizeof *token);
    check(token && num_all_tokens < 2000, "memory");
    all_tokens[num_all_tokens++] = b->tokens[b->num_tokens++] = token;
    memcpy(token->key, key, sizeof token->key);
    memcpy(token->value, value, sizeof token->value);
    token->position = b->next_position++;
}

/* Returns the number of victims that several branches kept. */
static uint32_t model_evict(model_branch *all, uint32_t count, const bool *steps, uint32_t budget)
{
    uint32_t shared_victims = 0;
    for (model_token *token; (token = model_victim(all, count, steps, budget)) != NULL;) {
        uint32_t num_keepers = 0;
        for (uint32_t i = 0; i < count; i++) {
            num_keepers += keeps(&all[i], token);
            forget(&all[i], token);
        }
        shared_victims += num_keepers > 1;
    }
    return shared_victims;
}

static void check_as_model(const eviction_forest *forest, const model_branch *b, uint32_t step)
{
    static uint32_t positions[MAX_POSITIONS];
    uint32_t num_kept = keep_of(forest, b->branch).num_kept;
    check(num_kept == b->num_tokens, "step %u: %u tokens, not %u", step, num_kept, b->num_tokens);
    check(eviction_forest_tokens(forest, b->branch, NULL, positions) == KV_OK, "tokens");
    for (uint32_t t = 0; t < b->num_tokens; t++)
        check(positions[t] == b->tokens[t]->position, "step %u: the branch keeps %u, not %u", step, positions[t],
              b->tokens[t]->position);
}

/* One token per block, so that a block is shared exactly where a token is. Branches pause, fork and die. */
static void run_vote_model(const void *argument)
{
    (void)argument;
    enum { BUDGET = 12 };
    eviction_forest_config config = usual_config("longflow", KV_SCOPE_VOTE, BUDGET);
    config.pool.block_tokens = 1;
    eviction_forest *forest = open_forest(&config);
    static model_branch all[MAX_BRANCHES];
    uint32_t count = 1, shared_victims = 0;
    all[0] = (model_branch){.branch = new_branch(forest)};
    num_all_tokens = 0;
    for (uint32_t step = 0; step < 300; step++) {
        bool steps[MAX_BRANCHES] = {false};
        kv_branch branches[MAX_BRANCHES];
        uint32_t members[MAX_BRANCHES], num_members = 0;
        bool pause = test_below(8) == 0;
        for (uint32_t i = 0; i < count; i++) {
            steps[i] = !pause || test_below(2) == 0;
            if (!steps[i]) continue;
            members[num_members] = i;
            branches[num_members++] = all[i].branch;
        }
        step_data d = step_for(branches, num_members, 1);
        take_step(forest, &d);
        for (uint32_t m = 0; m < num_members; m++)
            model_append(&all[members[m]], d.key + m * TOKEN_FLOATS, d.value + m * TOKEN_FLOATS);
        for (uint32_t i = 0; i < num_all_tokens; i++) all_tokens[i]->score = 0;
        for (uint32_t m = 0; m < num_members; m++) {
            model_branch *b = &all[members[m]];
            for (uint32_t t = 0; t < b->num_tokens; t++)
                b->tokens[t]->score = fmax(b->tokens[t]->score, model_score(b, d.query + m * QUERY_FLOATS, t));
        }
        shared_victims += model_evict(all, count, steps, BUDGET);
        for (uint32_t i = 0; i < count; i++) check_as_model(forest, &all[i], step);
        if (test_below(6) == 0 && count < 5) {
            uint32_t parent = test_below(count);
            all[count] = all[parent];
            all[count++].branch = fork_of(forest, all[parent].branch);
        } else if (test_below(8) == 0 && count > 1) {
            uint32_t dead = test_below(count);
            check(eviction_forest_prune(forest, all[dead].branch) == KV_OK, "prune");
            all[dead] = all[--count];
        }
    }
    check(shared_victims > 20, "%u shared victims", shared_victims);
    test_note("%u shared victims", shared_victims);
    check(counts_of(forest).voted_tokens == shared_victims, "all of them are counted");
    while (num_all_tokens > 0) free(all_tokens[--num_all_tokens]);
    eviction_forest_destroy(forest);
}

/* Branches that list a block keep the same slots of it, as long as their own tokens lie elsewhere. */
static void run_vote_equal_words(const void *argument)
{
    (void)argument;
    /* Of a random score, shared tokens are as likely victims as own ones. */
    eviction_forest_config config = usual_config("random", KV_SCOPE_VOTE, 14);
    eviction_forest *forest = open_forest(&config);
    kv_branch family[3];
    family[0] = new_branch(forest);
    take_steps(forest, family[0], 16);
    family[1] = fork_of(forest, family[0]);
    family[2] = fork_of(forest, family[0]);
    eviction_forest_parts parts;
    eviction_forest_get(forest, &parts);
    for (uint32_t step = 0; step < 100; step++) {
        step_data d = step_for(family, 3, 1);
        take_step(forest, &d);
        kv_table tables[3];
        kv_keep keeps[3];
        check(kv_branch_tables(parts.pool, family, 3, tables) == KV_OK &&
                  kv_branch_keeps(parts.pool, family, 3, keeps) == KV_OK,
              "views");
        for (uint32_t b = 0; b < tables[0].num_blocks; b++)
            for (uint32_t i = 1; i < 3 && kv_pool_references(parts.pool, tables[0].blocks[b]) == 3; i++)
                for (uint32_t at = 0; at < tables[i].num_blocks; at++)
                    check(tables[i].blocks[at] != tables[0].blocks[b] || keeps[i].words[at] == keeps[0].words[b],
                          "step %u: the words of block %u", step, tables[0].blocks[b]);
    }
    eviction_forest_counts counts = counts_of(forest);
    check(counts.voted_tokens > 0 && counts.freed_blocks > 0, "%u votes, %u blocks freed",
          (unsigned)counts.voted_tokens, (unsigned)counts.freed_blocks);
    eviction_forest_destroy(forest);
}

/* A branch that does not step keeps the shared tokens; its return lets them go. */
static void run_vote_paused(const void *argument)
{
    (void)argument;
    eviction_forest_config config = usual_config("longflow", KV_SCOPE_VOTE, 8);
    eviction_forest *forest = open_forest(&config);
    kv_branch family[2];
    family[0] = new_branch(forest);
    take_steps(forest, family[0], 8);
    family[1] = fork_of(forest, family[0]);
    for (uint32_t step = 0; step < 10; step++) {
        step_data d = step_for(family, 1, 1); /* the second one is paused */
        take_step(forest, &d);
        check(d.results[0].num_victims == 1 && d.results[0].victims[0] >= 8, "step %u: a token of its own", step);
    }
    check(counts_of(forest).voted_tokens == 0 && keep_of(forest, family[1]).num_kept == 8, "nothing shared is lost");
    for (uint32_t step = 0; step < 10; step++) {
        step_data d = step_for(family, 2, 1);
        take_step(forest, &d);
    }
    check(counts_of(forest).voted_tokens > 0, "the vote is complete again");
    check(eviction_forest_prune(forest, family[1]) == KV_OK, "prune");
    take_steps(forest, family[0], 20);
    check(keep_of(forest, family[0]).num_kept == 8, "the last one decides alone");
    eviction_forest_destroy(forest);
}

/* Forks, deaths, pauses and truncates inside shared blocks: every vote is one that the pool accepts (an assert of the
 * forest), a token that dies is gone in each branch of the step, and nothing leaks. */
static void run_vote_random(const void *argument)
{
    const uint32_t *block_tokens = argument;
    eviction_forest_config config = usual_config("h2o", KV_SCOPE_VOTE, 9);
    config.pool.block_tokens = *block_tokens;
    config.pool.order = KV_ORDER_SHUFFLE;
    config.compacts = *block_tokens == 4;
    eviction_forest *forest = open_forest(&config);
    kv_branch alive[MAX_BRANCHES] = {new_branch(forest)};
    uint32_t count = 1;
    uint64_t num_victims = 0;
    for (uint32_t i = 0; i < 500; i++) {
        uint32_t b = test_below(count), draw = test_below(20), length = keep_of(forest, alive[b]).next_position;
        if (draw < 14) {
            kv_branch members[MAX_BRANCHES];
            uint32_t num_members = 0;
            bool pause = test_below(3) == 0;
            for (uint32_t j = 0; j < count; j++)
                if (!pause || test_below(2) == 0) members[num_members++] = alive[j];
            step_data d = step_for(members, num_members, test_below(5) > 0 ? 1 : test_below(4));
            take_step(forest, &d);
            for (uint32_t m = 0; m < num_members; m++) {
                num_victims += d.results[m].num_victims;
                check(keep_of(forest, members[m]).num_kept == d.results[m].num_tokens - d.results[m].num_victims,
                      "step %u, branch %u: its victims are gone", i, m);
            }
        } else if (draw < 16 && count < MAX_BRANCHES) {
            alive[count++] = fork_of(forest, alive[b]);
        } else if (draw < 18) {
            uint32_t back = test_below(6);
            check(eviction_forest_truncate(forest, alive[b], length > back ? length - back : 0) == KV_OK, "truncate");
        } else if (count > 1) {
            check(eviction_forest_prune(forest, alive[b]) == KV_OK, "prune");
            alive[b] = alive[--count];
        }
        check_pool(forest);
    }
    check(counts_of(forest).evicted_tokens == num_victims && counts_of(forest).voted_tokens > 0, "victims are counted");
    while (count > 0) check(eviction_forest_prune(forest, alive[--count]) == KV_OK, "prune");
    check(stats_of(forest).used_blocks == 0 && stats_of(forest).kept_tokens == 0, "nothing is left");
    eviction_forest_destroy(forest);
}

/* ---- invariant 11 ---- */

static void run_large_budget(const void *argument)
{
    const bound_case *c = argument;
    eviction_forest_config config = usual_config(c->policy, c->scope, 64), full = config;
    full.policy = eviction_policy_from_name("full");
    eviction_forest *forest = open_forest(&config), *plain = open_forest(&full);
    kv_branch branches[3] = {new_branch(forest)}, twins[3] = {new_branch(plain)};
    for (uint32_t step = 0; step < 60; step++) {
        uint32_t count = 1 + (step >= 10) + (step >= 20);
        if (step == 10 || step == 20) {
            branches[count - 1] = fork_of(forest, branches[0]);
            twins[count - 1] = fork_of(plain, twins[0]);
        }
        step_data d = step_for(branches, count, 1), twin = d;
        memcpy(twin.branches, twins, sizeof twins);
        take_step(forest, &d);
        take_step(plain, &twin);
        for (uint32_t i = 0; i < count; i++) {
            check(d.results[i].num_victims == 0, "step %u: no victim", step);
            check_same_out(&d, i, &twin, i);
        }
    }
    eviction_forest_counts a = counts_of(forest), b = counts_of(plain);
    check(a.read_tokens == b.read_tokens && a.distinct_tokens == b.distinct_tokens && a.evicted_tokens == 0,
          "the same tokens are read");
    check(stats_of(forest).used_blocks == stats_of(plain).used_blocks, "the same blocks are used");
    eviction_forest_destroy(forest);
    eviction_forest_destroy(plain);
}

/* ---- bad input ---- */

static void run_bad_config(const void *argument)
{
    (void)argument;
    eviction_forest_config bad[8], good = usual_config("longflow", KV_SCOPE_MASK, 8);
    for (int i = 0; i < 8; i++) bad[i] = good;
    bad[0].budget = 0;
    bad[1].policy = NULL;
    bad[2].scope = KV_NUM_SCOPES;
    bad[3].num_sinks = 5, bad[3].num_recent = 4;
    bad[4].num_kv_heads = 3;
    bad[5].head_dim = 0;
    bad[6].pool.num_blocks = 0;
    bad[7].policy = eviction_policy_from_name("sink_window"), bad[7].num_sinks = 5; /* and 4 recent ones */
    for (int i = 0; i < 8; i++) {
        eviction_forest *forest = NULL;
        kv_status status = eviction_forest_create(&forest, &bad[i]);
        check(status == KV_INVAL && forest == NULL, "config %d: %s", i, kv_status_string(status));
    }
    good.num_sinks = 4, good.num_recent = 4;
    eviction_forest_destroy(open_forest(&good));
}

/* Pins that fill the budget: the token that leaves the window goes. */
static void run_pins_fill_the_budget(const void *argument)
{
    (void)argument;
    eviction_forest_config config = usual_config("longflow", KV_SCOPE_PRIVATE, 8);
    config.num_sinks = 3, config.num_recent = 5;
    eviction_forest *forest = open_forest(&config);
    kv_branch branch = new_branch(forest);
    take_steps(forest, branch, 8);
    for (uint32_t step = 8; step < 30; step++) {
        step_data d = step_for(&branch, 1, 1);
        take_step(forest, &d);
        check(d.results[0].num_victims == 1 && d.results[0].victims[0] == step - 5, "step %u: %u", step,
              d.results[0].victims[0]);
    }
    eviction_forest_destroy(forest);
}

static void run_budget_of_one(const void *argument)
{
    (void)argument;
    eviction_forest_config config = usual_config("sink_window", KV_SCOPE_MASK, 1);
    eviction_forest *forest = open_forest(&config);
    kv_branch branch = new_branch(forest);
    for (uint32_t step = 0; step < 12; step++) {
        step_data d = step_for(&branch, 1, 1);
        take_step(forest, &d);
        check(d.results[0].num_tokens == (step == 0 ? 1 : 2) && keep_of(forest, branch).num_kept == 1,
              "step %u: the last token is kept", step);
    }
    check(stats_of(forest).used_blocks <= 2, "%u blocks", stats_of(forest).used_blocks);
    eviction_forest_destroy(forest);
}

/* A prompt of many times the budget: its last query chooses. */
static void run_long_prompt(const void *argument)
{
    (void)argument;
    eviction_forest_config config = usual_config("longflow", KV_SCOPE_PRIVATE, 5);
    eviction_forest *forest = open_forest(&config);
    kv_branch branch = new_branch(forest);
    step_data d = step_for(&branch, 1, 4);
    for (uint32_t i = 0; i < 8; i++)
        check(eviction_forest_append(forest, branch, 4, d.key, d.value) == KV_OK, "append");
    check(keep_of(forest, branch).num_kept == 32, "a prompt without a query evicts nothing");
    take_step(forest, &d);
    check(d.results[0].num_tokens == 36 && d.results[0].num_victims == 31 && keep_of(forest, branch).num_kept == 5,
          "%u victims", d.results[0].num_victims);
    for (uint32_t v = 1; v < d.results[0].num_victims; v++)
        check(d.results[0].victims[v - 1] < d.results[0].victims[v], "victims are ascending");
    eviction_forest_destroy(forest);
}

/* NaN in a key or query, infinity in a value, scores of -infinity: the branch is as before, the others do not notice. */
static void run_not_finite(const void *argument)
{
    const kv_scope *scope = argument;
    eviction_forest_config config = usual_config("h2o", *scope, 8);
    for (uint32_t bad = 0; bad < 4; bad++) {
        eviction_forest *forest = open_forest(&config), *twin = open_forest(&config);
        kv_branch family[2] = {new_branch(forest)}, twins[2] = {new_branch(twin)};
        test_reseed();
        take_steps(forest, family[0], 12);
        test_reseed();
        take_steps(twin, twins[0], 12);
        family[1] = fork_of(forest, family[0]);
        twins[1] = fork_of(twin, twins[0]);
        step_data d = step_for(family, 2, 1), same = d;
        memcpy(same.branches, twins, sizeof twins);
        if (bad == 0)
            d.key[TOKEN_FLOATS + 3] = NAN;
        else if (bad == 1)
            d.value[TOKEN_FLOATS + 3] = INFINITY;
        else if (bad == 2)
            d.query[QUERY_FLOATS + 3] = NAN;
        else /* scores of -infinity: finite weights, and importances of 0 */
            for (uint32_t i = 0; i < TOKEN_FLOATS; i++) {
                d.key[TOKEN_FLOATS + i] = -INFINITY;
                for (uint32_t h = 0; h < NUM_HEADS; h++) d.query[QUERY_FLOATS + h * HEAD_DIM + i % HEAD_DIM] = 1;
            }
        check(try_step(forest, &d) == KV_OK, "the step");
        check(d.results[0].status == TREE_OK && d.results[1].status == TREE_NOT_FINITE, "only the second");
        check(d.results[1].num_victims == 0, "no silent victim");
        same.count = 1; /* in the twin, the second branch does not step */
        take_step(twin, &same);
        check_same_out(&d, 0, &same, 0);
        check(d.results[0].num_victims == same.results[0].num_victims, "the other branch evicts as usual");
        check(keep_of(forest, family[1]).next_position == 12 && keep_of(twin, twins[1]).next_position == 12,
              "the token is dropped again");
        check_pool(forest);
        for (uint32_t step = 0; step < 10; step++) {
            d = step_for(family, 2, 1);
            same = d;
            memcpy(same.branches, twins, sizeof twins);
            take_step(forest, &d);
            take_step(twin, &same);
            check_same_out(&d, 0, &same, 0);
            check_same_out(&d, 1, &same, 1);
        }
        eviction_forest_destroy(forest);
        eviction_forest_destroy(twin);
    }
}

static char *dump_of(const eviction_forest *forest)
{
    eviction_forest_parts parts;
    eviction_forest_get(forest, &parts);
    size_t bytes = kv_pool_dump(parts.pool, NULL, 0);
    char *text = malloc(bytes);
    check(text, "memory");
    kv_pool_dump(parts.pool, text, bytes);
    return text;
}

/* A pool that runs out in the middle of a step: nothing is lost, and after a prune the step gives the same as in a pool
 * with room. */
static void run_out_of_blocks(const void *argument)
{
    const kv_scope *scope = argument;
    eviction_forest_config roomy = usual_config("h2o", *scope, 10), tight = roomy;
    tight.pool.num_blocks = *scope == KV_SCOPE_PRIVATE ? 5 : 7;
    eviction_forest *forest = open_forest(&tight), *twin = open_forest(&roomy);
    kv_branch family[4] = {new_branch(forest)}, twins[4] = {new_branch(twin)};
    uint32_t refused = 0;
    for (uint32_t step = 0; step < 25; step++) {
        uint32_t count = step < 10 ? 1 : step < 14 ? 2 : 3;
        if (step == 10 || step == 14) {
            family[count - 1] = fork_of(forest, family[0]);
            twins[count - 1] = fork_of(twin, twins[0]);
        }
        step_data d = step_for(family, count, 1), same = d;
        memcpy(same.branches, twins, sizeof twins);
        char *before = dump_of(forest);
        kv_status status = try_step(forest, &d);
        check(status == KV_OK || status == KV_NOBLOCKS, "%s", kv_status_string(status));
        if (status == KV_NOBLOCKS) {
            char *after = dump_of(forest);
            check(strcmp(before, after) == 0, "step %u: nothing has changed", step);
            free(after);
            refused++;
            check(eviction_forest_prune(forest, family[2]) == KV_OK && eviction_forest_prune(twin, twins[2]) == KV_OK,
                  "prune");
            d.count = same.count = 2;
            take_step(forest, &d);
        }
        free(before);
        take_step(twin, &same);
        for (uint32_t i = 0; i < d.count; i++) check_same_out(&d, i, &same, i);
        if (status == KV_NOBLOCKS) break;
    }
    check(refused == 1, "the pool ran out");
    eviction_forest_destroy(forest);
    eviction_forest_destroy(twin);
}

static void run_bad_handles(const void *argument)
{
    (void)argument;
    eviction_forest_config config = usual_config("longflow", KV_SCOPE_VOTE, 4);
    eviction_forest *forest = open_forest(&config);
    kv_branch family[2] = {new_branch(forest)}, child;
    take_steps(forest, family[0], 6);
    family[1] = family[0];
    char *before = dump_of(forest);
    step_data d = step_for(family, 2, 1);
    check(try_step(forest, &d) == KV_INVAL, "a branch is named twice");
    char *after = dump_of(forest);
    check(strcmp(before, after) == 0, "nothing has changed");
    free(before);
    free(after);
    family[1] = fork_of(forest, family[0]);
    check(eviction_forest_prune(forest, family[1]) == KV_OK, "prune");
    check(eviction_forest_prune(forest, family[1]) == KV_STALE, "a second prune");
    check(try_step(forest, &d) == KV_INVAL, "still twice");
    d = step_for(family, 2, 1);
    check(try_step(forest, &d) == KV_STALE, "a step of a dead branch");
    check(eviction_forest_fork(forest, family[1], &child) == KV_STALE, "its fork");
    check(eviction_forest_truncate(forest, family[1], 0) == KV_STALE, "its truncate");
    check(eviction_forest_append(forest, family[1], 1, d.key, d.value) == KV_STALE, "its append");
    check(eviction_forest_adopt(forest, family[0], family[1]) == KV_STALE, "its adoption");
    check(eviction_forest_tokens(forest, family[1], NULL, NULL) == KV_STALE, "its tokens");
    check(eviction_forest_truncate(forest, family[0], 7) == KV_RANGE, "a length beyond the branch");
    step_data none = step_for(family, 0, 0);
    check(try_step(forest, &none) == KV_OK, "a step of no branch");
    eviction_forest_destroy(forest);
    eviction_forest_destroy(NULL);
}

/* ---- queries, adoption, compaction ---- */

/* A policy that remembers the queries that it saw. */
enum { SPY_WINDOW = 4 };
static float spied[SPY_WINDOW];
static uint32_t num_spied;

static void spy_observe(double *history, const eviction_view *view)
{
    (void)history;
    num_spied = view->num_queries;
    check(num_spied <= SPY_WINDOW, "%u queries", num_spied);
    for (uint32_t i = 0; i < num_spied; i++) spied[i] = view->queries[i * QUERY_FLOATS];
}

static void spy_score(double *score, const double *history, const eviction_view *view)
{
    (void)history;
    for (uint32_t t = 0; t < view->tokens->num_tokens; t++) score[t] = 0;
}

static void step_numbered(eviction_forest *forest, kv_branch branch, float number)
{
    step_data d = step_for(&branch, 1, 1);
    d.query[0] = number;
    take_step(forest, &d);
}

static void check_spied(float oldest, float latest)
{
    check(num_spied == (uint32_t)(latest - oldest) + 1 && spied[0] == oldest && spied[num_spied - 1] == latest,
          "queries %g .. %g, not %g .. %g", spied[0], spied[num_spied - 1], oldest, latest);
}

/* A policy sees the last queries of the branch: those of its parent too, none of a sibling or of dropped positions. */
static void run_last_queries(const void *argument)
{
    (void)argument;
    static const eviction_policy spy = {.name = "spy",
                                        .window = SPY_WINDOW,
                                        .interval = 1,
                                        .candidates = eviction_all,
                                        .observe = spy_observe,
                                        .score = spy_score};
    eviction_forest_config config = usual_config("longflow", KV_SCOPE_MASK, 30);
    config.policy = &spy;
    eviction_forest *forest = open_forest(&config);
    kv_branch branch = new_branch(forest);
    for (uint32_t step = 0; step < 7; step++) step_numbered(forest, branch, (float)step);
    check_spied(3, 6);
    kv_branch child = fork_of(forest, branch);
    step_numbered(forest, branch, 100);
    step_numbered(forest, child, 7);
    check_spied(4, 7);
    step_numbered(forest, child, 8);
    check_spied(5, 8);
    check(eviction_forest_truncate(forest, child, 7) == KV_OK, "truncate");
    step_numbered(forest, child, 7); /* 5 and 6 are left, 4 was dropped when 8 came */
    check_spied(5, 7);
    check(eviction_forest_truncate(forest, child, 0) == KV_OK, "truncate");
    step_numbered(forest, child, 9);
    check_spied(9, 9);
    eviction_forest_destroy(forest);
}

static void run_adopt(const void *argument)
{
    (void)argument;
    eviction_forest_config config = usual_config("h2o", KV_SCOPE_PRIVATE, 9);
    eviction_forest *forest = open_forest(&config), *twin = open_forest(&config);
    kv_branch a = new_branch(forest), b = new_branch(twin);
    test_reseed();
    take_steps(forest, a, 12);
    test_reseed();
    take_steps(twin, b, 12);
    kv_branch winner = fork_of(forest, a), other = fork_of(twin, b);
    for (uint32_t step = 0; step < 12; step++) {
        step_data d = step_for(&winner, 1, 1), same = d;
        same.branches[0] = other;
        take_step(forest, &d);
        take_step(twin, &same);
        if (step == 5) check(eviction_forest_adopt(forest, a, winner) == KV_OK, "adopt");
        if (step == 5) winner = a;
        check_same_out(&d, 0, &same, 0);
    }
    eviction_forest_destroy(forest);
    eviction_forest_destroy(twin);
}

/* Compaction moves tokens and changes no output; it uses fewer blocks. */
static void run_compaction(const void *argument)
{
    const kv_scope *scope = argument;
    eviction_forest_config loose = usual_config("longflow", *scope, 12), packed = loose;
    packed.compacts = true;
    eviction_forest *forest = open_forest(&packed), *twin = open_forest(&loose);
    kv_branch family[3] = {new_branch(forest)}, twins[3] = {new_branch(twin)};
    uint64_t blocks = 0, blocks_of_twin = 0;
    for (uint32_t step = 0; step < 60; step++) {
        uint32_t count = step < 10 ? 1 : step < 30 ? 2 : 3;
        if (step == 10 || step == 30) {
            family[count - 1] = fork_of(forest, family[0]);
            twins[count - 1] = fork_of(twin, twins[0]);
        }
        step_data d = step_for(family, count, step % 10 == 9 ? 4 : 1), same = d;
        memcpy(same.branches, twins, sizeof twins);
        take_step(forest, &d);
        take_step(twin, &same);
        for (uint32_t i = 0; i < count && *scope != KV_SCOPE_VOTE; i++) check_same_out(&d, i, &same, i);
        blocks += stats_of(forest).used_blocks;
        blocks_of_twin += stats_of(twin).used_blocks;
    }
    test_note("%u blocks, %u without compaction", (unsigned)blocks, (unsigned)blocks_of_twin);
    check(blocks <= blocks_of_twin && (*scope == KV_SCOPE_PRIVATE || stats_of(forest).moved_tokens > 0),
          "%u blocks, %u without compaction", (unsigned)blocks, (unsigned)blocks_of_twin);
    eviction_forest_destroy(forest);
    eviction_forest_destroy(twin);
}

int main(int argc, char **argv)
{
    static const uint32_t block_sizes[] = {1, 4, 16};
    static const kv_scope scopes[] = {KV_SCOPE_PRIVATE, KV_SCOPE_MASK, KV_SCOPE_VOTE};
    static const bound_case bounds[] = {
        {"longflow", KV_SCOPE_PRIVATE, 12}, {"longflow", KV_SCOPE_PRIVATE, 3}, {"longflow", KV_SCOPE_PRIVATE, 1},
        {"longflow", KV_SCOPE_MASK, 12},    {"longflow", KV_SCOPE_MASK, 1},    {"longflow", KV_SCOPE_VOTE, 12},
        {"h2o", KV_SCOPE_PRIVATE, 12},      {"h2o", KV_SCOPE_PRIVATE, 3},      {"sink_window", KV_SCOPE_PRIVATE, 5},
        {"sink_window", KV_SCOPE_MASK, 12}, {"h2o", KV_SCOPE_VOTE, 12}};
    test_begin(argc, argv, "a forest under a budget keeps the invariants of eviction in a tree, and takes bad input");
    for (int s = 0; s < KV_NUM_SCOPES; s++) {
        test_add(run_fork_is_neutral, &scopes[s], "fork_is_neutral_%s", kv_scope_name[s]);
        test_add(run_not_finite, &scopes[s], "not_finite_%s", kv_scope_name[s]);
        test_add(run_out_of_blocks, &scopes[s], "out_of_blocks_%s", kv_scope_name[s]);
        test_add(run_compaction, &scopes[s], "compaction_%s", kv_scope_name[s]);
    }
    for (size_t i = 0; i < sizeof bounds / sizeof bounds[0]; i++) {
        test_add(run_budget_holds, &bounds[i], "budget_holds_%s_%s_%u", bounds[i].policy,
                 kv_scope_name[bounds[i].scope], bounds[i].budget);
        test_add(run_large_budget, &bounds[i], "large_budget_%s_%s_%zu", bounds[i].policy,
                 kv_scope_name[bounds[i].scope], i);
    }
    test_add(run_vote_model, NULL, "vote_as_the_model");
    test_add(run_vote_equal_words, NULL, "vote_equal_words");
    for (size_t i = 0; i < sizeof block_sizes / sizeof block_sizes[0]; i++)
        test_add(run_vote_random, &block_sizes[i], "vote_random_blocks_of_%u", block_sizes[i]);
    test_add(run_vote_paused, NULL, "vote_with_a_paused_branch");
    test_add(run_bad_config, NULL, "bad_config");
    test_add(run_pins_fill_the_budget, NULL, "pins_fill_the_budget");
    test_add(run_budget_of_one, NULL, "budget_of_one");
    test_add(run_long_prompt, NULL, "long_prompt");
    test_add(run_bad_handles, NULL, "bad_handles");
    test_add(run_last_queries, NULL, "last_queries");
    test_add(run_adopt, NULL, "adopt");
    return test_end();
}
