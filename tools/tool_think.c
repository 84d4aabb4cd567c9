/* treeattn think: the trained model plays the Game of 24. A tree of thoughts grows on the screen; then the same search
 * in copied memory, in shared blocks, and with grouped reading. */
#define _POSIX_C_SOURCE 200809L
#include "tool_think.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "process.h"
#include "tool_input.h"

enum { BREADTH = 5, PROPOSALS = 8, BLOCK_TOKENS = 16, MAX_PATH = 4096, MAX_BATCH = 64, MAX_ROUNDS = 3 };

const char *const think_place_name[THINK_NUM_PLACES] = {"copied", "shared", "grouped"};

/* ---- the command line ---- */

static void refuse_of_tree(const tool_call *call, const char *why)
{
    static const char *const of_tree[] = {"--breadth", "--proposals", NULL};
    tool_refuse(call, of_tree, "has no effect with %s", why);
}

static think_mode read_mode(const tool_call *call)
{
    bool chain = tool_given(call, "--chain"), written = tool_given(call, "--search");
    if (chain && written)
        tool_bad_usage(call->verb, "--chain, --search: expected one of them");
    if (chain || written)
        refuse_of_tree(call, chain ? "--chain" : "--search");
    return chain ? THINK_CHAIN : written ? THINK_WRITTEN : THINK_TREE;
}

static bool read_products(const tool_call *call)
{
    const char *name = tool_text(call, "--products", "auto");
    if (strcmp(name, "auto") == 0)
        return transformer_has_blas();
    if (strcmp(name, "loops") == 0)
        return false;
    if (strcmp(name, "blas") != 0)
        tool_bad_usage(call->verb, "--products: expected auto, blas or loops, got '%s'", name);
    if (!transformer_has_blas())
        tool_fail("--products blas: this program was built without a BLAS; install libopenblas-dev and build again");
    return true;
}

static forgetting_rule read_rule(const tool_call *call)
{
    static const char *const of_memory[] = {"--gpu", "--strategy", "--isa", NULL};
    static const char *const of_rule[] = {"--budget", NULL};
    if (!tool_given(call, "--evict")) {
        tool_refuse(call, of_rule, "has no effect without --evict");
        return (forgetting_rule){0};
    }
    const char *name = tool_text(call, "--evict", "");
    forgetting_rule rule = {.policy = eviction_policy_from_name(name), .seed = 1};
    if (!rule.policy) {
        char names[512] = "";
        for (uint32_t i = 0; i < num_eviction_policies; i++)
            snprintf(names + strlen(names), sizeof names - strlen(names), "%s%s",
                     i == 0 ? "" : i + 1 < num_eviction_policies ? ", " : " or ", eviction_policies[i]->name);
        tool_bad_usage(call->verb, "--evict: expected %s, got '%s'", names, name);
    }
    tool_refuse(call, of_memory, "has no effect with --evict");
    if (!tool_given(call, "--budget"))
        tool_bad_usage(call->verb, "--evict: needs --budget N, the tokens that a branch keeps");
    rule.budget = tool_count(call, "--budget", 0, 1, 1u << 20);
    return rule;
}

static think_request read_request(const tool_call *call)
{
    static const char *const of_cpu[] = {"--products", "--isa", "--threads", NULL};
    if (tool_given(call, "--gpu"))
        tool_refuse(call, of_cpu, "has no effect with --gpu");
    think_request request = {
        .weights_file = tool_text(call, "--weights", NULL),
        .mode = read_mode(call),
        .strategy = tool_given(call, "--strategy") ? tool_strategy(call, "--strategy") : TREE_COST,
        .blas = read_products(call),
        .block_tokens = tool_block_tokens(call),
        .num_blocks = tool_count(call, "--blocks", 0, 1, 1u << 20),
        .num_threads = tool_count(call, "--threads", 0, 1, 1024),
        .gpu = tool_given(call, "--gpu"),
        .brief = tool_given(call, "--brief"),
        .explain = tool_given(call, "--explain"),
        .rule = read_rule(call),
    };
    bool is_tree = request.mode == THINK_TREE;
    request.isa = tool_isa(call);
    request.search = (search_config){
        .breadth = is_tree ? tool_count(call, "--breadth", BREADTH, 1, SEARCH_MAX_BREADTH) : 1,
        .proposals = is_tree ? tool_count(call, "--proposals", PROPOSALS, 1, SEARCH_MAX_PROPOSALS) : 1,
        .temperature = tool_real(call, "--temperature", 0, 0, 10),
        .least = is_tree ? SEARCH_USUAL_LEAST : 0,
        .seed = (uint64_t)tool_integer(call, "--seed", 1, 0, INT64_MAX),
    };
    if (!game_state_from_cards(&request.cards, call->operand))
        tool_bad_input("'%s': expected four whole numbers from 1 to %d, as in '3 3 8 8'", call->operand,
                       GAME_MAX_CARD);
    return request;
}

/* ---- the weights ---- */

static model_weights *load_weights(const char *file)
{
    static const char *const places[] = {"reasoner.weights", TREEATTN_WEIGHTS_INSTALLED}; /* as built, as installed */
    model_weights *weights = NULL;
    char path[MAX_PATH], message[512];
    for (size_t i = 0; !file && i < sizeof places / sizeof places[0]; i++)
        if (process_beside(path, sizeof path, places[i]) && access(path, R_OK) == 0)
            file = path;
    if (!file)
        tool_fail("no weights: reasoner.weights is neither beside the program nor installed with it; "
                  "--weights FILE names them");
    model_status status = model_weights_load(&weights, file, message, sizeof message);
    if (status == MODEL_FILE || status == MODEL_FORMAT)
        tool_bad_input("%s", message);
    if (status != MODEL_OK)
        tool_fail("%s", message);
    return weights;
}

/* ---- one run ---- */

static double now_s(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* The CPU's transformer in the form of decoder_gpu. */
static model_status cpu_step(void *self, const kv_branch *branches, const uint32_t *tokens, uint32_t count,
                             float *logits)
{
    return transformer_step(self, branches, tokens, count, logits);
}

static model_status cpu_copy_branch(void *self, kv_branch branch, kv_branch *child)
{
    return transformer_copy_branch(self, branch, child);
}

static void cpu_get_counts(const void *self, transformer_counts *counts)
{
    transformer_get_counts(self, counts);
}

static const char *cpu_message(const void *self)
{
    (void)self;
    return NULL;
}

static void cpu_close(void *self)
{
    transformer_destroy(self);
}

/* The same for branches that forget. */
static model_status forgetful_step(void *self, const kv_branch *branches, const uint32_t *tokens, uint32_t count,
                                   float *logits)
{
    return forgetting_step(self, branches, tokens, count, logits);
}

static model_status forgetful_fork(void *self, kv_branch branch, kv_branch *child)
{
    return forgetting_fork(self, branch, child);
}

static void forgetful_get_counts(const void *self, transformer_counts *counts)
{
    (void)self;
    *counts = (transformer_counts){0}; /* of plans, which forgetting does without */
}

static void forgetful_close(void *self)
{
    forgetting_destroy(self);
}

static decoder_gpu open_forgetful(const think_outcome *outcome, kv_pool *pool, uint32_t max_branches,
                                  uint32_t max_pool_branches, uint32_t num_blocks)
{
    const think_request *request = outcome->request;
    transformer_config config = {.max_branches = max_branches,
                                 .plan = {.strategy = TREE_FLASH, .target = TREE_TARGET_CPU},
                                 .num_threads = request->num_threads, .blas = request->blas};
    forgetting *f;
    model_status status = forgetting_create(&f, outcome->weights, pool, max_pool_branches, &config, &request->rule);
    if (status != MODEL_OK)
        tool_fail("the model, with %u blocks of %u tokens: %s", num_blocks, request->block_tokens,
                  model_status_string(status));
    return (decoder_gpu){.self = f, .step = forgetful_step, .copy_branch = forgetful_fork,
                         .get_counts = forgetful_get_counts, .message = cpu_message, .close = forgetful_close};
}

static decoder_gpu open_decoder(const think_outcome *outcome, kv_pool *pool, uint32_t max_branches,
                                tree_strategy strategy, uint32_t num_blocks)
{
    const think_request *request = outcome->request;
    decoder_gpu decoder = {.step = cpu_step, .copy_branch = cpu_copy_branch, .get_counts = cpu_get_counts,
                           .message = cpu_message, .close = cpu_close};
    tree_plan_config plan = {.strategy = strategy};
    char message[512];
    if (request->gpu) {
        if (decoder_gpu_open(&decoder, outcome->weights, pool, max_branches, &plan, message, sizeof message) !=
            MODEL_OK)
            tool_fail("--gpu: %s", message);
        return decoder;
    }
    plan.target = TREE_TARGET_CPU;
    transformer_config config = {.max_branches = max_branches, .plan = plan, .isa = request->isa,
                                 .num_threads = request->num_threads, .blas = request->blas};
    transformer *t;
    model_status status = transformer_create(&t, outcome->weights, pool, &config);
    if (status != MODEL_OK)
        tool_fail("the model, with %u blocks of %u tokens: %s", num_blocks, request->block_tokens,
                  model_status_string(status));
    decoder.self = t;
    return decoder;
}

/* Blocks that are enough even if every branch has all of its tokens to itself. */
static uint32_t enough_blocks(const think_request *request, const model_weights *weights)
{
    uint32_t most = GAME_CARDS * 3 + SEARCH_LEVELS * (SEARCH_MAX_LINE + 2) + 1;
    uint32_t branches = request->search.breadth * (request->search.proposals + 1) + 1;
    if (request->mode == THINK_WRITTEN || most > weights->shape.context)
        most = weights->shape.context;
    return branches * (most / request->block_tokens + 2);
}

typedef struct think_watch {
    const think_outcome *outcome;
    bool writes, has_title;
} think_watch;

/* Late, so that an error before the first level leaves standard output empty. */
static void write_title(think_watch *watch)
{
    if (watch->writes && !watch->has_title)
        think_write_title(watch->outcome);
    watch->has_title = true;
}

static void on_level(void *context, const search_result *result)
{
    think_watch *watch = context;
    if (!watch->writes)
        return;
    write_title(watch);
    if (result->text)
        think_write_line(result);
    else
        think_write_level(watch->outcome, result);
    fflush(stdout);
}

static think_run run_in(const think_outcome *outcome, think_place place, bool writes)
{
    const think_request *request = outcome->request;
    uint32_t num_blocks = request->num_blocks ? request->num_blocks : enough_blocks(request, outcome->weights);
    bool forgets = request->rule.policy != NULL;
    think_run run = {.num_blocks = num_blocks};
    uint32_t most_branches = request->search.breadth * (request->search.proposals + 1) + 1;
    kv_pool_config pool_config = {.num_blocks = run.num_blocks, .block_tokens = request->block_tokens,
                                  .max_branches = most_branches, .evicts = forgets};
    uint32_t max_branches = most_branches < MAX_BATCH ? most_branches : MAX_BATCH;
    think_watch watch = {.outcome = outcome, .writes = writes};
    search_config search = request->search;
    kv_pool *pool;
    search.on_level = on_level;
    search.context = &watch;
    kv_status created = kv_pool_create(&pool, &pool_config);
    if (created != KV_OK)
        tool_fail("a pool of %u blocks: %s", run.num_blocks, kv_status_string(created));
    tree_strategy strategy = place == THINK_GROUPED ? request->strategy : TREE_FLASH;
    decoder_gpu model = forgets ? open_forgetful(outcome, pool, max_branches, most_branches, run.num_blocks)
                                : open_decoder(outcome, pool, max_branches, strategy, run.num_blocks);
    search_decoder decoder = {.self = model.self, .pool = pool, .vocabulary = outcome->weights->vocabulary,
                              .max_branches = max_branches, .context = outcome->weights->shape.context,
                              .step = model.step,
                              .fork = forgets || place == THINK_COPIED ? model.copy_branch : NULL};
    double started_s = now_s();
    run.status = (request->mode == THINK_WRITTEN ? search_written : search_tree)(&run.result, &decoder, &search,
                                                                                 &request->cards);
    run.seconds = now_s() - started_s;
    if (run.status == MODEL_NOMEM || run.status == MODEL_DEVICE) {
        const char *message = model.message(model.self);
        tool_fail("the search: %s", message ? message : model_status_string(run.status));
    }
    if (run.status == MODEL_OK)
        write_title(&watch);
    kv_pool_stats stats;
    kv_pool_get_stats(pool, &stats);
    run.num_forgotten = stats.evicted_tokens;
    model.get_counts(model.self, &run.counts);
    model.close(model.self);
    kv_pool_destroy(pool, true, NULL);
    return run;
}

static bool same_texts(const search_result *a, const search_result *b)
{
    bool same = a->num_thoughts == b->num_thoughts;
    for (uint32_t i = 0; same && i < a->num_thoughts; i++)
        same =
            strcmp(a->thoughts[i].text, b->thoughts[i].text) == 0 && a->thoughts[i].verdict == b->thoughts[i].verdict;
    return same;
}

/* The search that is shown; then, where it is a tree that forgets nothing, the same in each kind of memory, for the
 * table: by turns, and the fastest run of each counts, so that other work on the machine has little part in the
 * comparison. Small searches are repeated for half a second. */
static void run_all(think_outcome *outcome, bool writes)
{
    think_run *shown = &outcome->shown;
    *shown = run_in(outcome, THINK_GROUPED, writes);
    if (shown->status == MODEL_NOBLOCKS)
        tool_fail("%u block%s of %u tokens: too few for one line of thought", shown->num_blocks,
                  shown->num_blocks == 1 ? "" : "s", outcome->request->block_tokens);
    if (shown->status != MODEL_OK)
        tool_fail("the search: %s", model_status_string(shown->status));
    outcome->same_texts = true;
    double started_s = now_s();
    for (int i = 0; i < MAX_ROUNDS * THINK_NUM_PLACES && think_compares(outcome->request); i++) {
        think_place place = (think_place)(i % THINK_NUM_PLACES);
        if (place == 0 && i > 0 && now_s() - started_s > 0.5)
            break;
        think_run again = run_in(outcome, place, false);
        if (again.result)
            outcome->same_texts = outcome->same_texts && same_texts(again.result, shown->result);
        if (i < THINK_NUM_PLACES || again.seconds < outcome->runs[place].seconds) {
            search_destroy(outcome->runs[place].result);
            outcome->runs[place] = again;
        } else {
            search_destroy(again.result);
        }
    }
}

/* ---- all of it ---- */

static int run(const tool_call *call)
{
    think_request request = read_request(call);
    model_weights *weights = load_weights(request.weights_file);
    const model_shape *shape = &weights->shape;
    think_outcome outcome = {.request = &request, .weights = weights};
    game_step steps[GAME_CARDS - 1];
    uint32_t num_steps;
    outcome.solvable = game_solve(steps, &num_steps, &request.cards, &outcome.num_states);
    uint64_t element_bytes = request.gpu ? 2 : sizeof(float);
    outcome.block_bytes =
        2ull * shape->layers * shape->kv_heads * shape->head_dim * element_bytes * request.block_tokens;
    bool text = call->format == TOOL_TEXT;
    run_all(&outcome, text);
    char next[TOOL_MAX_COMMAND];
    tool_command(call, next, "demo");
    if (text)
        think_write_end(&outcome, next);
    else
        think_write_json(&outcome);
    for (int place = 0; place < THINK_NUM_PLACES; place++)
        search_destroy(outcome.runs[place].result);
    search_destroy(outcome.shown.result);
    model_weights_destroy(weights);
    return TOOL_OK;
}

#define TOOL_POLICIES "full|random|sink_window|longflow|current_mass|h2o|vatp|rkv|snapkv|exact_deletion|longflow_l2"

static const tool_option options[] = {
    {"--breadth", "N", "states kept of a level, 1 to 64 (5)"},
    {"--proposals", "N", "lines of thought from each state, 1 to 32 (8)"},
    {"--chain", NULL, "one line after another, without a choice"},
    {"--search", NULL, "one text, in which the model writes down a whole search"},
    {"--evict", TOOL_POLICIES, "each branch keeps --budget tokens, chosen by this policy"},
    {"--budget", "N", "tokens that a branch keeps, with --evict"},
    {"--temperature", "T", "0: the most probable lines; up to 10: drawn, by these odds (0)"},
    {"--seed", "N", "of the draw, at a temperature (1)"},
    {"--brief", NULL, "one screen: of the pruned lines only their number"},
    {"--explain", NULL, "how lines were chosen, and how close the closest choice was"},
    {"--weights", "FILE", "another model than reasoner.weights"},
    {"--strategy", TOOL_STRATEGIES, "of grouped reading (cost)"},
    {"--block-tokens", "N", "tokens of a block, a power of two from 1 to 256 (16)"},
    {"--blocks", "N", "blocks of the pool; where they are too few, the tree gets narrower (enough)"},
    {"--gpu", NULL, "on a GPU, in fp16"},
    {"--products", "auto|blas|loops", "matrix products by a BLAS or by plain loops (auto: a BLAS if there is one)"},
    {"--threads", "N", "threads of the CPU (all)"},
    TOOL_ISA_OPTION,
    {NULL, NULL, NULL},
};

const tool_verb tool_think = {
    .name = "think",
    .summary = "a trained model plays the Game of 24 by a tree of thoughts",
    .operand = "CARDS",
    .formats = "text json",
    .options = options,
    .example = "  treeattn think '3 3 8 8'\n"
               "  treeattn think '2 8 8 9' --breadth 2 --proposals 12 --temperature 1 --seed 4 --explain\n"
               "  treeattn think '3 7 8 13' --search\n"
               "  treeattn think '3 3 8 8' --evict longflow --budget 30\n",
    .run = run,
};
