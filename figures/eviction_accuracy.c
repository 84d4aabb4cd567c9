/* eviction_accuracy: how many card sets the trained model still solves when it forgets. Every held-out set of the Game of
 * 24 that can reach 24, every eviction policy, budgets from 10 to 100 % of the cache; for the search that the model
 * writes out in one text, where states are copied from far back, and for the tree of thoughts, where they are not.
 *
 * Written-out search: a set's text up to the first eviction is the same for all policies. It is written once, by a
 * branch that forgets nothing; when it holds as many tokens as a budget allows, it is forked for each policy. The
 * branches of several sets decode side by side, in one pool. Tree: one search after another.
 *
 * A line of the raw file is one search. It is appended when a set is complete, and a program that runs again goes on
 * after the sets that are there; the csv is written from it at the end.
 *
 * measure_eviction_accuracy CSV report RAW
 * measure_eviction_accuracy [CSV [SETS [RAW [SETS_OF_TREES [SETS_OF_OTHERS]]]]] */
#define _POSIX_C_SOURCE 200809L
#include <inttypes.h>
#include <sys/wait.h>

#include "forgetting.h"
#include "held_out.h"

enum {
    BLOCK_TOKENS = 16,
    MAX_SETS = GAME_NUM_SETS,
    NUM_SETS = 269, /* all */
    SIDE_BY_SIDE = 5,       /* sets with all rules */
    FULL_SIDE_BY_SIDE = 50, /* sets without a rule */
    MAX_PROCESSES = 64,
    MAX_TEXT = 1100,
    MAX_BATCH = 128,
    BREADTH = 3,
    PROPOSALS = 5,
    MAX_ARMS = 256
};

typedef struct arm {
    const char *way; /* written, tree */
    const char *policy;
    bool by_layer;
    uint32_t percent, budget;
} arm;

/* One search. */
typedef struct outcome {
    bool there, solved;
    uint32_t tokens;        /* of the written text; that the tree computed */
    uint32_t longest;       /* tokens of its longest branch */
    uint32_t lines, legal;
} outcome;

typedef struct study {
    model_weights *weights;
    game_state sets[MAX_SETS];
    uint32_t num_sets, limit; /* most characters of a written text */
    arm arms[MAX_ARMS];
    uint32_t num_arms, second, first_tree; /* arms[1 .. second - 1] run first; arms[0]: written, nothing forgotten; arms[first_tree]: tree, nothing forgotten */
    outcome (*outcomes)[MAX_SETS];  /* [num_arms] */
    const char *raw;
    char *lines;                    /* to be appended to raw */
    size_t num_bytes;
} study;

static const uint32_t written_percents[] = {20, 30, 50, 10, 70}, tree_percents[] = {25, 50, 10, 75};
enum { FIRST_PERCENTS = 3 };

/* The first ones, at the first budgets, run before all others, and on more sets where time is short. */
static const struct ruler {
    const char *policy;
    bool by_layer, is_first, in_tree;
} rulers[] = {
    {"random", false, true, true}, {"sink_window", false, true, true}, {"longflow", false, true, true},
    {"longflow", true, true, false}, {"h2o", false, true, true}, {"rkv", false, true, false},
    {"longflow_l2", false, false, true}, {"exact_deletion", false, false, true}, {"current_mass", false, false, true},
    {"vatp", false, false, true},
};

enum { NUM_RULERS = sizeof rulers / sizeof rulers[0], NUM_WRITTEN = sizeof written_percents / sizeof written_percents[0],
       NUM_TREE = sizeof tree_percents / sizeof tree_percents[0] };

static void make_arms(study *s)
{
    s->arms[s->num_arms++] = (arm){"written", "full", false, 100, 0};
    for (int first = 1; first >= 0; first--) {
        for (uint32_t i = 0; i < NUM_RULERS; i++)
            for (uint32_t k = 0; k < NUM_WRITTEN; k++)
                if ((rulers[i].is_first && k < FIRST_PERCENTS) == first)
                    s->arms[s->num_arms++] = (arm){"written", rulers[i].policy, rulers[i].by_layer, written_percents[k], 0};
        s->second = first ? s->num_arms : s->second;
    }
    s->first_tree = s->num_arms;
    s->arms[s->num_arms++] = (arm){"tree", "full", false, 100, 0};
    for (uint32_t i = 0; i < NUM_RULERS; i++)
        for (uint32_t k = 0; k < NUM_TREE && rulers[i].in_tree; k++)
            s->arms[s->num_arms++] = (arm){"tree", rulers[i].policy, rulers[i].by_layer, tree_percents[k], 0};
}

static forgetting_rule rule_of(const arm *a, uint32_t set)
{
    return (forgetting_rule){.policy = eviction_policy_from_name(a->policy), .budget = a->budget,
                             .by_layer = a->by_layer, .seed = set};
}

static const char *kept_by(const arm *a)
{
    return a->by_layer ? "layer" : "all";
}

/* ---- the raw file ---- */

static void note(study *s, uint32_t index, uint32_t set, const outcome *o)
{
    const arm *a = &s->arms[index];
    s->lines = realloc(s->lines, s->num_bytes + 200);
    figure_check(s->lines != NULL, "out of memory");
    s->num_bytes += (size_t)sprintf(s->lines + s->num_bytes, "%s %s %s %u %u %d %u %u %u %u\n", a->way, a->policy, kept_by(a),
                                    a->percent, set, o->solved, o->tokens, o->longest, o->lines, o->legal);
}

/* In one write: several processes append. */
static void append_notes(study *s)
{
    FILE *raw = fopen(s->raw, "a");
    figure_check(raw != NULL, "the raw file cannot be written");
    setvbuf(raw, NULL, _IOFBF, s->num_bytes + 1);
    bool written = fwrite(s->lines, 1, s->num_bytes, raw) == s->num_bytes;
    figure_check(fclose(raw) == 0 && written, "the raw file cannot be written");
    s->num_bytes = 0;
}

/* A raw file of other weights is begun anew. */
static void read_raw(study *s)
{
    char line[400], way[32], policy[32], kept[32];
    uint32_t crc = 0, percent, set;
    FILE *raw = fopen(s->raw, "r");
    bool same = raw && fgets(line, sizeof line, raw) && sscanf(line, "weights %" SCNx32, &crc) == 1 &&
                crc == s->weights->crc32;
    memset(s->outcomes, 0, s->num_arms * sizeof *s->outcomes);
    while (same && fgets(line, sizeof line, raw)) {
        outcome o = {.there = true};
        int solved;
        if (sscanf(line, "%31s %31s %31s %u %u %d %u %u %u %u", way, policy, kept, &percent, &set, &solved, &o.tokens,
                   &o.longest, &o.lines, &o.legal) != 10 || set >= MAX_SETS)
            continue;
        o.solved = solved;
        for (uint32_t i = 0; i < s->num_arms; i++)
            if (strcmp(s->arms[i].way, way) == 0 && strcmp(s->arms[i].policy, policy) == 0 &&
                strcmp(kept_by(&s->arms[i]), kept) == 0 && s->arms[i].percent == percent)
                s->outcomes[i][set] = o;
    }
    if (raw)
        fclose(raw);
    if (same)
        return;
    raw = fopen(s->raw, "w");
    figure_check(raw && fprintf(raw, "weights %08" PRIx32 "\n", s->weights->crc32) > 0 && fclose(raw) == 0,
                 "the raw file cannot be written");
}

/* ---- the checker of a written text: search_written over a decoder that repeats it ---- */

typedef struct repeater {
    const char *text, *vocabulary;
    uint32_t length, at;
} repeater;

static model_status repeat(void *self, const kv_branch *branches, const uint32_t *tokens, uint32_t count, float *logits)
{
    repeater *r = self;
    (void)branches;
    (void)tokens;
    (void)count;
    memset(logits, 0, strlen(r->vocabulary) * sizeof *logits);
    if (++r->at < r->length)
        logits[held_out_token(r->vocabulary, r->text[r->at])] = 9;
    return MODEL_OK;
}

static outcome check_text(const study *s, uint32_t set, const char *text, uint32_t length)
{
    kv_pool *pool;
    kv_pool_config pool_config = {.num_blocks = 4, .block_tokens = BLOCK_TOKENS, .max_branches = 2};
    figure_check(kv_pool_create(&pool, &pool_config) == KV_OK, "out of memory");
    repeater r = {text, s->weights->vocabulary, length, UINT32_MAX};
    search_decoder decoder = {.self = &r, .pool = pool, .vocabulary = s->weights->vocabulary, .max_branches = 1,
                              .context = length, .step = repeat};
    search_config config = {.breadth = 1, .proposals = 1};
    search_result *result;
    r.at = 0; /* the first step has the first character already */
    held_out_must(search_written(&result, &decoder, &config, &s->sets[set]));
    outcome o = {.solved = result->solved, .tokens = length, .longest = length, .lines = result->num_lines};
    for (uint32_t i = 0; i < result->num_lines; i++)
        o.legal += result->lines[i].legal;
    search_destroy(result);
    kv_pool_destroy(pool, true, NULL);
    return o;
}

/* ---- written-out searches, side by side ---- */

/* One text and its branch. */
typedef struct writer {
    kv_branch branch;
    uint32_t set, arm; /* arm 0 forgets nothing */
    uint32_t length, fed;
    bool over;
    char text[MAX_TEXT];
} writer;

typedef struct writers {
    study *s;
    kv_pool *pool;
    forgetting *f;
    writer *all;
    uint32_t count, first, end; /* the arms: 0, 1 without a rule */
} writers;

/* Tokens of a branch before its first eviction. */
static uint32_t first_full(const arm *a)
{
    return a->budget + eviction_policy_from_name(a->policy)->interval - 1;
}

/* The last character of a text needs no step. */
static void finish(writers *w, writer *x)
{
    study *s = w->s;
    outcome o = check_text(s, x->set, x->text, x->length);
    x->over = true;
    kv_branch_prune(w->pool, x->branch);
    if (x->arm > 0 || w->first == 0)
        note(s, x->arm, x->set, &o);
    for (uint32_t i = w->first; i < w->end && x->arm == 0 && w->first > 0; i++) /* nothing to forget */
        if (first_full(&s->arms[i]) >= x->fed)
            note(s, i, x->set, &o);
}

/* Rules whose first eviction is the next token's. */
static void fork_rules(writers *w, const writer *trunk)
{
    study *s = w->s;
    for (uint32_t i = w->first; i < w->end; i++) {
        forgetting_rule rule = rule_of(&s->arms[i], trunk->set);
        if (first_full(&s->arms[i]) != trunk->fed)
            continue;
        writer *x = &w->all[w->count++];
        *x = *trunk;
        x->arm = i;
        held_out_must(forgetting_fork(w->f, trunk->branch, &x->branch));
        held_out_must(forgetting_set_rule(w->f, x->branch, &rule));
    }
}

static void step_batch(writers *w, writer **batch, uint32_t count)
{
    static float logits[MAX_BATCH * MODEL_MAX_VOCABULARY];
    kv_branch branches[MAX_BATCH];
    uint32_t tokens[MAX_BATCH], vocabulary = w->s->weights->shape.vocabulary;
    for (uint32_t i = 0; i < count; i++) {
        branches[i] = batch[i]->branch;
        tokens[i] = held_out_token(w->s->weights->vocabulary, batch[i]->text[batch[i]->fed++]);
    }
    held_out_must(forgetting_step(w->f, branches, tokens, count, logits));
    for (uint32_t i = 0; i < count; i++) {
        writer *x = batch[i];
        const float *row = logits + (size_t)i * vocabulary;
        uint32_t best = 0;
        for (uint32_t c = 1; c < vocabulary; c++)
            best = row[c] > row[best] ? c : best;
        if (x->fed < x->length)
            continue;
        x->text[x->length++] = w->s->weights->vocabulary[best];
        if (x->text[x->length - 1] == '!' || x->length >= w->s->limit)
            finish(w, x);
    }
}

static void run_written(study *s, const uint32_t *sets, uint32_t count, uint32_t first, uint32_t end)
{
    bool with_rules = first > 0;
    uint32_t most = count * (1 + end - first), num_blocks = count * (s->limit / BLOCK_TOKENS + 2);
    for (uint32_t i = first; i < end && with_rules; i++)
        num_blocks += count * ((s->arms[i].by_layer ? s->limit : first_full(&s->arms[i])) / BLOCK_TOKENS + 4);
    writers w = {.s = s, .all = calloc(most, sizeof *w.all), .first = first, .end = end};
    kv_pool_config pool_config = {.num_blocks = num_blocks, .block_tokens = BLOCK_TOKENS, .max_branches = most,
                                  .evicts = true};
    transformer_config config = {.max_branches = MAX_BATCH, .plan = {.strategy = TREE_FLASH, .target = TREE_TARGET_CPU},
                                 .num_threads = 1, .blas = transformer_prefers_blas()};
    figure_check(w.all && kv_pool_create(&w.pool, &pool_config) == KV_OK, "out of memory");
    held_out_must(forgetting_create(&w.f, s->weights, w.pool, most, &config, NULL));
    for (uint32_t i = 0; i < count; i++) {
        writer *x = &w.all[w.count++];
        *x = (writer){.set = sets[i], .text = "S"};
        game_state_text(x->text + 1, &s->sets[x->set]);
        strcat(x->text, "\n");
        x->length = (uint32_t)strlen(x->text);
        figure_check(kv_branch_create(w.pool, &x->branch) == KV_OK, "out of branches");
    }
    for (bool working = true; working;) {
        working = false;
        uint32_t now = w.count, size = 0;
        writer *batch[MAX_BATCH];
        for (uint32_t i = 0; i < now && with_rules; i++)
            if (!w.all[i].over && w.all[i].arm == 0)
                fork_rules(&w, &w.all[i]);
        for (uint32_t i = 0; i < w.count; i++) {
            if (!w.all[i].over)
                batch[size++] = &w.all[i];
            if (size == 0 || (size < MAX_BATCH && i + 1 < w.count))
                continue;
            working = true;
            step_batch(&w, batch, size);
            size = 0;
        }
    }
    forgetting_destroy(w.f);
    kv_pool_destroy(w.pool, true, NULL);
    free(w.all);
}

/* ---- trees ---- */

typedef struct tree_watch {
    forgetting *f;
    const kv_pool *pool;
    uint32_t longest;
} tree_watch;

static model_status step_tree(void *self, const kv_branch *branches, const uint32_t *tokens, uint32_t count, float *logits)
{
    tree_watch *watch = self;
    model_status status = forgetting_step(watch->f, branches, tokens, count, logits);
    for (uint32_t i = 0; i < count && status == MODEL_OK; i++) {
        kv_keep keep;
        kv_branch_keep(watch->pool, branches[i], &keep);
        watch->longest = keep.next_position > watch->longest ? keep.next_position : watch->longest;
    }
    return status;
}

static model_status fork_tree(void *self, kv_branch branch, kv_branch *child)
{
    return forgetting_fork(((tree_watch *)self)->f, branch, child);
}

static void run_tree(study *s, uint32_t index, uint32_t set)
{
    enum { MAX_BRANCHES = BREADTH * (PROPOSALS + 1) + 1, NUM_BLOCKS = MAX_BRANCHES * 10 };
    kv_pool_config pool_config = {.num_blocks = NUM_BLOCKS, .block_tokens = BLOCK_TOKENS, .max_branches = MAX_BRANCHES,
                                  .evicts = true};
    transformer_config config = {.max_branches = MAX_BRANCHES, .plan = {.strategy = TREE_FLASH, .target = TREE_TARGET_CPU},
                                 .num_threads = 1, .blas = transformer_prefers_blas()};
    forgetting_rule rule = rule_of(&s->arms[index], set);
    if (rule.budget == 0)
        rule.budget = s->weights->shape.context;
    kv_pool *pool;
    search_result *result;
    tree_watch watch = {.f = NULL};
    figure_check(kv_pool_create(&pool, &pool_config) == KV_OK, "out of memory");
    held_out_must(forgetting_create(&watch.f, s->weights, pool, MAX_BRANCHES, &config, &rule));
    watch.pool = pool;
    search_decoder decoder = {.self = &watch, .pool = pool, .vocabulary = s->weights->vocabulary,
                              .max_branches = MAX_BRANCHES, .context = s->weights->shape.context, .step = step_tree,
                              .fork = fork_tree};
    search_config search = {.breadth = BREADTH, .proposals = PROPOSALS, .least = SEARCH_USUAL_LEAST, .seed = 1};
    held_out_must(search_tree(&result, &decoder, &search, &s->sets[set]));
    outcome o = {.solved = result->solved, .tokens = (uint32_t)result->tokens, .longest = watch.longest,
                 .lines = result->num_thoughts};
    for (uint32_t i = 0; i < result->num_thoughts; i++)
        o.legal += result->thoughts[i].verdict != SEARCH_ILLEGAL;
    note(s, index, set, &o);
    search_destroy(result);
    forgetting_destroy(watch.f);
    kv_pool_destroy(pool, true, NULL);
}

/* ---- the study ---- */

/* The arms first .. end - 1 of every set that lacks the last of them. */
typedef enum task { WRITTEN_FULL, WRITTEN_RULES, TREES } task;

static void run_part(study *s, task what, uint32_t first, uint32_t end, uint32_t num_sets, uint32_t part, uint32_t parts)
{
    uint32_t sets[FULL_SIDE_BY_SIDE], count = 0, most = what == WRITTEN_FULL ? FULL_SIDE_BY_SIDE : SIDE_BY_SIDE;
    for (uint32_t i = part; i < num_sets; i += parts) {
        if (!s->outcomes[end - 1][i].there)
            sets[count++] = i;
        if (count == 0 || (count < most && i + parts < num_sets))
            continue;
        for (uint32_t k = 0; k < count && what == TREES; k++)
            for (uint32_t index = first; index < end; index++)
                if (!s->outcomes[index][sets[k]].there)
                    run_tree(s, index, sets[k]);
        if (what != TREES)
            run_written(s, sets, count, first, end);
        append_notes(s);
        count = 0;
    }
}

/* As many processes as processors, each with one thread: steps are too short to share. */
static void run(study *s, task what, uint32_t first, uint32_t end, uint32_t num_sets)
{
    pid_t processes[MAX_PROCESSES];
    long online = sysconf(_SC_NPROCESSORS_ONLN);
    uint32_t parts = online < 1 ? 1 : online > MAX_PROCESSES ? MAX_PROCESSES : (uint32_t)online;
    for (uint32_t part = 0; part < parts; part++) {
        processes[part] = fork();
        figure_check(processes[part] >= 0, "fork failed");
        if (processes[part] == 0) {
            run_part(s, what, first, end, num_sets, part, parts);
            _exit(0);
        }
    }
    int status, failed = 0;
    for (uint32_t part = 0; part < parts; part++)
        failed |= waitpid(processes[part], &status, 0) < 0 || status != 0;
    figure_check(!failed, "a part of the study failed");
    read_raw(s);
}

/* The largest of a solved set. */
static uint32_t longest_solved(const study *s, uint32_t index)
{
    uint32_t longest = 0;
    for (uint32_t i = 0; i < s->num_sets; i++)
        if (s->outcomes[index][i].solved && s->outcomes[index][i].longest > longest)
            longest = s->outcomes[index][i].longest;
    return longest;
}

static void set_budgets(study *s, uint32_t first, uint32_t end, uint32_t cache)
{
    for (uint32_t i = first; i < end; i++)
        s->arms[i].budget = s->arms[i].percent * cache / 100;
}

static void write_row(FILE *csv, const study *s, const arm *a, uint32_t index, uint32_t cut)
{
    const outcome *full = s->outcomes[strcmp(a->way, "tree") == 0 ? s->first_tree : 0], *own = s->outcomes[index];
    uint64_t sets = 0, solved = 0, lost = 0, gained = 0, lines = 0, legal = 0, tokens = 0;
    for (uint32_t i = 0; i < s->num_sets; i++) {
        if (!own[i].there)
            continue;
        bool solves = own[i].solved && own[i].tokens <= cut;
        sets++;
        solved += solves;
        lost += full[i].solved && !solves;
        gained += !full[i].solved && solves;
        lines += own[i].lines;
        legal += own[i].legal;
        tokens += own[i].tokens < cut ? own[i].tokens : cut;
    }
    if (sets == 0)
        return;
    double low, high;
    held_out_interval(&low, &high, solved, sets);
    fprintf(csv, "%s,%s,%s,%u,%u,%" PRIu64 ",%" PRIu64 ",%.4f,%.4f,%.4f,%" PRIu64 ",%" PRIu64 ",%.4f,%.1f\n", a->way, a->policy,
            kept_by(a), a->percent, a->budget, sets, solved, (double)solved / (double)sets, low, high, lost, gained,
            (double)legal / (double)lines, (double)tokens / (double)sets);
}

static void write_csv(const study *s, const char *path, uint32_t written_cache, uint32_t tree_cache)
{
    FILE *csv = figure_open(path, "measure_eviction_accuracy", "share of held-out card sets solved; low, high: Wilson's "
                            "interval at 95 %");
    fprintf(csv, "# weights: model/reasoner.weights, crc32 %08" PRIx32 "\n# written_tokens: %u\n# tree_tokens: %u\n"
                 "# sets: so many of the held-out sets that can reach 24, in a fixed mixed order: fewer where time was short\n"
                 "# budget: tokens that a branch keeps; 100 %%: the longest text, or the longest branch of a tree, that "
                 "solved a set with nothing forgotten. No text is longer\n"
                 "# kept_set: one for all layers (scores summed, the pool forgets), or each layer its own\n"
                 "# stop: nothing is forgotten, the text ends when the budget is full. lost, gained: against full\n"
                 "# snapkv is not run: it scores prompts, and these have at most %u characters. rkv keeps up to 127 tokens more: "
                 "more than a branch of the tree has, where it is not run\n"
                 "# tree: breadth %u, %u proposals, temperature 0\n"
                 "way,policy,kept_set,percent,budget,sets,solved,share,low,high,lost,gained,legal_share,mean_tokens\n",
            s->weights->crc32, written_cache, tree_cache, 13, BREADTH, PROPOSALS);
    write_row(csv, s, &s->arms[0], 0, UINT32_MAX);
    write_row(csv, s, &s->arms[s->first_tree], s->first_tree, UINT32_MAX);
    for (uint32_t n = 0; n < 2 * NUM_RULERS; n++) /* written ones, then trees */
        for (uint32_t percent = 1, k = n % NUM_RULERS; percent < 100; percent++)
            for (uint32_t i = n < NUM_RULERS ? 1 : s->first_tree; i < (n < NUM_RULERS ? s->first_tree : s->num_arms); i++)
                if (s->arms[i].percent == percent && strcmp(s->arms[i].policy, rulers[k].policy) == 0 &&
                    s->arms[i].by_layer == rulers[k].by_layer)
                    write_row(csv, s, &s->arms[i], i, UINT32_MAX);
    for (uint32_t percent = 10; percent < 100; percent += 10) {
        uint32_t budget = percent * written_cache / 100;
        arm stop = {"written", "stop", false, percent, budget};
        write_row(csv, s, &stop, 0, budget);
    }
    figure_close(csv);
}

int main(int argc, char **argv)
{
    static study s;
    const char *path = argc > 1 ? argv[1] : TREEATTN_SOURCE_DIR "/figures/eviction_accuracy.csv";
    s.weights = held_out_weights();
    bool reports = argc > 2 && strcmp(argv[2], "report") == 0; /* the csv of the raw file as it is */
    s.num_sets = held_out_sets(s.sets, argc > 2 && !reports ? (uint32_t)atoi(argv[2]) : NUM_SETS);
    uint32_t tree_sets = argc > 4 ? (uint32_t)atoi(argv[4]) : s.num_sets,
             other_sets = argc > 5 ? (uint32_t)atoi(argv[5]) : s.num_sets;
    s.raw = argc > 3 ? argv[3] : "eviction_accuracy.raw";
    make_arms(&s);
    s.outcomes = calloc(s.num_arms, sizeof *s.outcomes);
    figure_check(s.outcomes != NULL && s.num_sets > 0, "no sets, or out of memory");
    read_raw(&s);
    s.limit = s.weights->shape.context;
    if (!reports)
        run(&s, WRITTEN_FULL, 0, 1, s.num_sets);
    uint32_t written_cache = longest_solved(&s, 0);
    set_budgets(&s, 0, s.first_tree, written_cache);
    s.limit = written_cache;
    figure_check(written_cache > 0, "the model solves nothing by a written search");
    if (!reports)
        run(&s, TREES, s.first_tree, s.first_tree + 1, tree_sets);
    uint32_t tree_cache = longest_solved(&s, s.first_tree);
    set_budgets(&s, s.first_tree, s.num_arms, tree_cache);
    figure_check(tree_cache > 0, "the model solves nothing by a tree");
    if (!reports) {
        run(&s, TREES, s.first_tree + 1, s.num_arms, tree_sets);
        run(&s, WRITTEN_RULES, 1, s.second, s.num_sets);
        run(&s, WRITTEN_RULES, s.second, s.first_tree, other_sets);
    }
    write_csv(&s, path, written_cache, tree_cache);
    model_weights_destroy(s.weights);
    free(s.outcomes);
    free(s.lines);
    return 0;
}
