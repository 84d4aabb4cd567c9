/* treeattn evict: eviction policies over a trace, a synthetic stream or the Game of 24. It reports the tokens and
 * blocks that remain, the bytes that a step reads, and the error of the output against the full cache. */
#include "tool_evict.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "game_of_24.h"
#include "tool_input.h"
#include "tool_limits.h"

enum { NUM_HEADS = 8, NUM_KV_HEADS = 2, HEAD_DIM = 32, MAX_POLICIES = 64, DEFAULT_TOKENS = 1024 };

/* The regime of the queries of a tree, where each branch is a topic. */
#define TREE_REGIME "topics_slow"

/* ---- the command line ---- */

static void refuse_options(const tool_call *call, const char *const *names, const char *source)
{
    tool_refuse(call, names, "works only with %s", source);
}

static const char *read_source(const tool_call *call)
{
    static const char *const of_trace[] = {"--tree", "--record", "--star", "--draft", "--max-iterations", NULL};
    static const char *const of_stream[] = {"--tokens", NULL}, *const prompt[] = {"--prompt", NULL};
    bool from_trace = tool_given(call, "--trace"), from_stream = tool_given(call, "--stream");
    bool from_game = tool_given(call, "--game");
    if (from_trace + from_stream + from_game != 1)
        tool_bad_usage(call->verb, "expected one of --trace FILE, --stream NAME and --game");
    if (!from_trace) refuse_options(call, of_trace, "--trace");
    if (!from_stream) refuse_options(call, of_stream, "--stream");
    if (from_game) refuse_options(call, prompt, "--trace or --stream");
    return from_game ? "Game of 24" : tool_text(call, from_trace ? "--trace" : "--stream", NULL);
}

static stream_config read_stream(const tool_call *call)
{
    const char *name = tool_text(call, "--stream", TREE_REGIME);
    const stream_preset *preset = stream_preset_from_name(name);
    if (preset == NULL) {
        char names[512] = "";
        for (uint32_t i = 0; i < num_stream_presets; i++)
            snprintf(names + strlen(names), sizeof names - strlen(names), "%s%s", i > 0 ? ", " : "",
                     stream_presets[i].name);
        tool_bad_usage(call->verb, "--stream: expected one of %s, got '%s'", names, name);
    }
    stream_config config = preset->config;
    config.num_heads = NUM_HEADS;
    config.num_kv_heads = NUM_KV_HEADS;
    tool_heads(call, "--heads", &config.num_heads, &config.num_kv_heads);
    config.head_dim = tool_count(call, "--head-dim", HEAD_DIM, 1, 1024);
    config.seed = (uint64_t)tool_integer(call, "--seed", 1, 0, INT64_MAX);
    return config;
}

/* One branch: a prompt, then one token in each step. */
static workload *stream_workload(const tool_call *call)
{
    uint32_t num_tokens = tool_count(call, "--tokens", DEFAULT_TOKENS, 1, 1u << 20);
    uint32_t prompt = tool_count(call, "--prompt", 0, 1, 1u << 20);
    workload *work = workload_create();
    if (work == NULL) tool_fail("out of memory");
    uint32_t branch = workload_add_create(work, NULL);
    if (prompt > 0) workload_add(work, WORKLOAD_APPEND, branch, prompt);
    for (uint32_t t = 0; t < num_tokens; t++) {
        workload_add(work, WORKLOAD_DECODE, branch, 0);
        workload_add(work, WORKLOAD_STEP, 0, 0);
    }
    workload_add(work, WORKLOAD_PRUNE, branch, 0);
    if (work->status != KV_OK) tool_fail("the stream: %s", kv_status_string(work->status));
    return work;
}

static workload *read_workload(const tool_call *call, game_of_24 **game)
{
    *game = NULL;
    if (tool_given(call, "--stream")) return stream_workload(call);
    if (tool_given(call, "--trace"))
        return tool_workload_from_file(call, tool_text(call, "--trace", NULL), "--tree",
                                       tool_count(call, "--max-iterations", 0, 1, UINT32_MAX));
    const game_of_24_config config = {.breadth = 0};
    kv_status status = game_of_24_search(game, &config);
    if (status != KV_OK) tool_fail("the search: %s", kv_status_string(status));
    return (*game)->workload;
}

static kv_scope read_scope(const tool_call *call)
{
    const char *name = tool_text(call, "--scope", kv_scope_name[KV_SCOPE_PRIVATE]);
    for (int scope = 0; scope < KV_NUM_SCOPES; scope++)
        if (strcmp(name, kv_scope_name[scope]) == 0) return (kv_scope)scope;
    tool_bad_usage(call->verb, "--scope: expected private, mask or vote, got '%s'", name);
}

/* policies [MAX_POLICIES]; returns their number. */
static uint32_t read_policies(const tool_call *call, const eviction_policy **policies)
{
    const char *name = tool_text(call, "--policy", "all");
    if (strcmp(name, "all") == 0) {
        for (uint32_t i = 0; i < num_eviction_policies && i < MAX_POLICIES; i++) policies[i] = eviction_policies[i];
        return num_eviction_policies;
    }
    policies[0] = eviction_policy_from_name(name);
    if (policies[0] != NULL) return 1;
    char names[512] = "";
    for (uint32_t i = 0; i < num_eviction_policies; i++)
        snprintf(names + strlen(names), sizeof names - strlen(names), "%s, ", eviction_policies[i]->name);
    tool_bad_usage(call->verb, "--policy: expected %sor all, got '%s'", names, name);
}

/* Tokens, or a share of the longest branch: "205", "20%". */
static uint32_t read_budget(const tool_call *call, uint32_t longest)
{
    const char *text = tool_text(call, "--budget", "20%");
    size_t digits = strspn(text, "0123456789");
    bool share = strcmp(text + digits, "%") == 0;
    unsigned long number = digits > 0 && digits <= 9 ? strtoul(text, NULL, 10) : 0;
    if (number == 0 || (text[digits] != '\0' && !share) || (share && number > 100))
        tool_bad_usage(call->verb,
                       "--budget: expected tokens, at least 1, or a share of the longest branch, 1%% to "
                       "100%%; got '%s'",
                       text);
    return share ? (uint32_t)(((uint64_t)longest * number + 99) / 100) : (uint32_t)number;
}

static void check_pins(const tool_call *call, const evict_request *request)
{
    uint64_t pins = (uint64_t)request->num_sinks + request->num_recent;
    if (pins > request->budget)
        tool_bad_usage(call->verb,
                       "--budget: expected at least %" PRIu64 " tokens, the sum of --sinks and --recent; got %u", pins,
                       request->budget);
    for (uint32_t i = 0; i < request->num_policies; i++)
        if (!evict_pins_fit(request, request->policies[i]))
            tool_bad_usage(call->verb, "--budget: %s protects more than %u tokens with --sinks %u and --recent %u",
                           request->policies[i]->name, request->budget, request->num_sinks, request->num_recent);
}

static void check_show(const tool_call *call, const evict_request *request)
{
    if (!tool_given(call, "--show")) {
        const char *const names[] = {"--step", NULL};
        refuse_options(call, names, "--show");
        return;
    }
    if (call->format != TOOL_TEXT) tool_bad_usage(call->verb, "--show: works only with --format text");
    if (request->num_policies != 1) tool_bad_usage(call->verb, "--show: works only with one --policy");
}

/* ---- limits ---- */

/* Tokens that the queries of one policy see, at most; a policy that looks at the last queries attends with them again
 * at each eviction. */
static double policy_tokens(const evict_request *request, const eviction_policy *policy, const evict_needs *needs)
{
    if (policy->interval == 0) return (double)needs->path_tokens;
    uint64_t most = (uint64_t)request->budget + policy->interval - 1;
    uint32_t budget = most < UINT32_MAX ? (uint32_t)most : UINT32_MAX;
    double tokens = (double)evict_count_needs(request->workload, budget, request->scope).kept_tokens;
    return tokens * (1 + (policy->window > 1 ? (double)policy->window / policy->interval : 0));
}

/* bytes: of the workload and the pools' tables. */
static void need(const tool_call *call, const evict_request *request, const evict_needs *needs, double bytes)
{
    const stream_config *s = &request->stream;
    double tokens = (double)needs->path_tokens;
    for (uint32_t i = 0; i < request->num_policies; i++) tokens += policy_tokens(request, request->policies[i], needs);
    tool_need_work(call, tokens * s->num_heads * s->head_dim,
                   "attention over %.0f tokens in %" PRIu64
                   " queries (the full cache, and %u %s), with %u heads of %u,",
                   tokens, needs->num_queries, request->num_policies,
                   request->num_policies == 1 ? "policy" : "policies", s->num_heads, s->head_dim);
    tool_need_memory(call, bytes + evict_bytes(request, needs), "%u forests of %u blocks with %u heads of %u",
                     request->num_policies + 1, request->num_blocks, s->num_heads, s->head_dim);
}

/* A policy may need more blocks than the full cache, since holes in a shared block cannot be reused. One more for each
 * node has always sufficed, and a tree has fewer nodes than twice its branches. */
static uint32_t read_blocks(const tool_call *call, const workload *work, uint32_t block_tokens, double *bytes)
{
    replay_needs needs;
    replay_totals totals;
    *bytes = tool_need_replay(call, work, block_tokens, 0, &needs);
    kv_status status = replay_measure(&totals, work, block_tokens);
    if (status != KV_OK) tool_fail("the workload cannot be played: %s", kv_status_string(status));
    return totals.peak_blocks + 2 * work->max_live_branches + 1;
}

/* ---- the table ---- */

static void put_result(tool_table *table, const evict_request *request, const evict_result *result, bool wide)
{
    const stream_config *s = &request->stream;
    tool_row(table);
    tool_put_text(table, "policy", result->policy->name);
    if (wide) {
        tool_put_text(table, "scope", kv_scope_name[request->scope]);
        tool_put_count(table, "budget", request->budget);
        tool_put_count(table, "heads", s->num_heads);
        tool_put_count(table, "kv_heads", s->num_kv_heads);
        tool_put_count(table, "head_dim", s->head_dim);
        tool_put_count(table, "block_tokens", request->block_tokens);
        tool_put_count(table, "steps", result->counts.steps);
        tool_put_count(table, "queries", result->counts.queries);
        tool_put_count(table, "compared_queries", result->num_compared);
        tool_put_count(table, "above_budget", result->counts.above_budget);
        tool_put_count(table, "evicted_tokens", result->counts.evicted_tokens);
        tool_put_count(table, "voted_tokens", result->counts.voted_tokens);
        tool_put_count(table, "branch_bytes", result->branch_bytes);
    }
    double queries = (double)result->counts.queries;
    tool_put_decimal(table, wide ? "kept_tokens" : "kept", (double)result->counts.read_tokens / queries, 1);
    tool_put_count(table, wide ? "freed_blocks" : "freed", result->counts.freed_blocks);
    tool_put_count(table, wide ? "peak_blocks" : "peak", result->peak_blocks);
    tool_put_count(table, "step_bytes", result->step_bytes);
    tool_put_decimal(table, wide ? "error_mean" : "error", result->mean_error, 4);
    tool_put_decimal(table, wide ? "error_max" : "worst", result->max_error, 4);
    tool_put_real(table, "victims_per_s", (double)result->counts.evicted_tokens / result->seconds, 3);
}

static void write_heading(const evict_request *request, const char *source, const evict_needs *needs)
{
    const stream_config *s = &request->stream;
    printf("%s: %u steps, %" PRIu64 " queries, the longest branch has %u tokens\n", source,
           request->workload->num_steps, needs->num_queries, needs->longest);
    printf("budget %u tokens per branch, scope %s, %u tokens per block\n", request->budget,
           kv_scope_name[request->scope], request->block_tokens);
    printf("synthetic keys, values and queries: %u/%u heads, head_dim %u, fp32%s\n", s->num_heads, s->num_kv_heads,
           s->head_dim,
           request->is_stream ? "" : ";\neach branch is a topic, with queries as in --stream " TREE_REGIME);
    putchar('\n');
}

static void write_legend(const evict_request *request, const evict_run *result)
{
    uint64_t above_budget = 0;
    for (uint32_t i = 0; i < result->num_results; i++)
        if (result->results[i].counts.above_budget > above_budget)
            above_budget = result->results[i].counts.above_budget;
    printf("\nkept           mean number of tokens that a query sees\n"
           "freed, peak    blocks that evictions freed; most blocks in use at once\n"
           "step_bytes     mean bytes of K and V that a step reads, each token once for all\n"
           "               branches\n"
           "error, worst   mean and largest |out - full| / |full|, where full is the output\n"
           "               of the full cache, over the %" PRIu64 " queries whose full cache\n"
           "               holds more tokens than the budget\n"
           "victims_per_s  victims per second on this machine, with the attention of the\n"
           "               reference included\n",
           result->results[0].num_compared);
    if (above_budget > 0)
        printf("\nAfter up to %" PRIu64 " queries the branch is above its budget: %s.\n", above_budget,
               request->scope == KV_SCOPE_VOTE ? "the vote spared its tokens" : "it inherited more");
}

static int run(const tool_call *call)
{
    const eviction_policy *policies[MAX_POLICIES];
    game_of_24 *game;
    const char *source = read_source(call);
    evict_request request = {.stream = read_stream(call),
                             .is_stream = tool_given(call, "--stream"),
                             .num_policies = read_policies(call, policies),
                             .policies = policies,
                             .scope = read_scope(call),
                             .block_tokens = tool_block_tokens(call),
                             .num_sinks = tool_count(call, "--sinks", 0, 0, 1u << 30),
                             .num_recent = tool_count(call, "--recent", 0, 0, 1u << 30),
                             .compacts = tool_given(call, "--compact")};
    check_show(call, &request);
    workload *work = read_workload(call, &game);
    request.workload = work;
    double bytes;
    request.num_blocks = read_blocks(call, work, request.block_tokens, &bytes);
    request.budget = read_budget(call, evict_count_needs(work, UINT32_MAX, request.scope).longest);
    evict_needs needs = evict_count_needs(work, request.budget, request.scope);
    if (tool_given(call, "--show")) request.show_step = tool_count(call, "--step", needs.show_step, 1, work->num_steps);
    need(call, &request, &needs, bytes);
    check_pins(call, &request);

    tool_progress progress = tool_progress_begin("evict");
    evict_run result = evict_play(&request, &progress);
    tool_progress_end(&progress);
    bool wide = call->format != TOOL_TEXT;
    tool_table *table = tool_table_create();
    for (uint32_t i = 0; i < result.num_results; i++) put_result(table, &request, &result.results[i], wide);
    if (!wide) write_heading(&request, source, &needs);
    tool_table_write(table, stdout, call->format, false);
    if (!wide) write_legend(&request, &result);
    if (request.show_step > 0) evict_write_strips(&result, stdout);
    uint32_t leaked_blocks = 0;
    for (uint32_t i = 0; i < result.num_results; i++) leaked_blocks += result.results[i].leaked_blocks;
    evict_run_destroy(&result);
    if (game != NULL)
        game_of_24_destroy(game);
    else
        workload_destroy(work);
    if (leaked_blocks > 0) tool_fail("%u blocks leaked", leaked_blocks);
    return TOOL_OK;
}

static const tool_option options[] = {
    {"--stream", "stationary|stationary_slow|topics|topics_sharp|topics_slow|topics_short",
     "one branch that decodes a synthetic stream of this regime"},
    {"--trace", "FILE.ttr", "the branches of a trace (-: standard input)"},
    {"--game", NULL, "the branches of the Game of 24 search, as in treeattn demo"},
    {"--policy", "full|random|sink_window|longflow|current_mass|h2o|vatp|rkv|snapkv|exact_deletion|longflow_l2|all",
     "the rule that chooses the tokens to evict (all)"},
    {"--budget", "TOKENS", "tokens that a branch keeps: a number, or a share of the longest branch (20%)"},
    {"--scope", "private|mask|vote", "tokens that a branch may evict: its own, any, or shared ones by vote (private)"},
    {"--sinks", "N", "never evict the first N positions (0: only those that the policy protects)"},
    {"--recent", "N", "never evict the last N positions (0: only those that the policy protects)"},
    {"--compact", NULL, "pack a branch's kept tokens into fewer blocks after evictions"},
    {"--show", NULL, "draw the kept positions, one line for each branch (one --policy, text)"},
    {"--step", "K", "the step to draw, from 1 (the last step with the most branches)"},
    {"--tokens", "N", "tokens of the stream, 1 to 1048576 (1024)"},
    TOOL_TRACE_OPTIONS("--tree"),
    {"--max-iterations", "N", "stop the trace after N iterations (all)"},
    {"--block-tokens", "N", "tokens per block, a power of two from 1 to 256 (16)"},
    {"--heads", "HEADS/KV", "query heads and KV heads (8/2)"},
    {"--head-dim", "N", "dimension of a head, 1 to 1024 (32)"},
    {"--seed", "N", "seed of keys, values and queries (1)"},
    TOOL_LIMIT_OPTIONS,
    {NULL, NULL, NULL},
};

const tool_verb tool_evict = {
    .name = "evict",
    .summary = "runs eviction policies under a budget and compares them with the full cache",
    .formats = "text csv json",
    .options = options,
    .example = "  treeattn evict --stream topics_slow --tokens 512\n"
               "  treeattn evict --game --scope vote --policy longflow --budget 64 --show\n"
               "  treeattn evict --trace docs/examples/traces/reason.ttr --scope vote --budget 50%\n",
    .run = run,
};
