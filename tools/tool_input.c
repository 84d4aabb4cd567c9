/* Reads workloads, shapes and names from the command line and from trace files. */
#include "tool_input.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tool_limits.h"

enum { MAX_LEVELS_TEXT = 4096 };

/* "-" is standard input. */
static const char *name_of(const char *file)
{
    return strcmp(file, "-") == 0 ? "standard input" : file;
}

static trace *read_trace(const char *file)
{
    trace *records;
    trace_error error = {.file = file};
    bool is_stdin = strcmp(file, "-") == 0;
    errno = 0;
    kv_status status = is_stdin ? trace_read_stream(&records, stdin, file, &error)
                                : trace_read_file(&records, file, &error);
    file = name_of(file);
    if (status == KV_NOMEM)
        tool_fail("%s: %s", file, kv_status_string(status));
    if (status != KV_OK && error.line == 0)
        tool_bad_input("%s: %s", file, errno != 0 ? strerror(errno) : error.message);
    if (status != KV_OK)
        tool_bad_input("%s:%u:%u: %s", file, error.line, error.column, error.message);
    return records;
}

static void need_workload(const tool_call *call, workload_size size, const char *file)
{
    tool_need_memory(call, tool_workload_bytes(&size), "%s: a workload of %llu operations", name_of(file),
                     (unsigned long long)size.num_operations);
}

static void check_built(kv_status status, const char *file)
{
    file = name_of(file);
    if (status == KV_NOMEM)
        tool_fail("%s: %s", file, kv_status_string(status));
    if (status != KV_OK)
        tool_bad_input("%s: cannot be made into a workload: %s", file, kv_status_string(status));
}

static void refuse_accept_options(const tool_call *call, const char *file, const char *kind)
{
    static const char *const names[] = {"--record", "--star", "--draft", NULL};
    tool_refuse(call, names, "works only with an accept file, and %s is a %s file", name_of(file), kind);
}

static workload *from_reason(const tool_call *call, const trace *records, const char *file, const char *tree_option,
                             uint32_t max_steps)
{
    refuse_accept_options(call, file, "reason");
    int32_t first = records->num_trees > 0 ? records->trees[0].ordinal : 0;
    int32_t ordinal = (int32_t)tool_integer(call, tree_option, first, -1, INT32_MAX);
    const trace_tree *tree = trace_find(records, ordinal);
    if (tree == NULL && ordinal == -1 && records->num_trees > 0)
        tree = &records->trees[0];
    if (tree == NULL)
        tool_bad_input("%s: expected a tree of ordinal %d; none of the %u trees in the file has it", name_of(file),
                       ordinal, records->num_trees);
    workload *work;
    uint32_t prompt = tool_count(call, "--prompt", 0, 1, KV_MAX_LENGTH);
    need_workload(call, workload_size_from_tree(tree, prompt, max_steps), file);
    check_built(workload_from_tree(&work, tree, prompt, max_steps), file);
    return work;
}

static workload *from_draft(const tool_call *call, const trace *records, const char *file, const char *tree_option)
{
    refuse_accept_options(call, file, "draft");
    if (records->num_drafts == 0)
        tool_bad_input("%s: expected a draft tree; the file has none", name_of(file));
    uint32_t label = tool_count(call, tree_option, records->drafts[0].label, 0, UINT32_MAX);
    const trace_draft *draft = trace_find_draft(records, label);
    if (draft == NULL)
        tool_bad_input("%s: expected a draft tree of label %u", name_of(file), label);
    workload *work;
    check_built(workload_draft(&work, draft, tool_count(call, "--prompt", 1024, 1, KV_MAX_LENGTH)), file);
    return work;
}

/* "FILE:LABEL", where LABEL follows the last colon. *holder is set to the trace that holds the draft tree. */
static const trace_draft *read_draft(const tool_call *call, const char *text, bool trace_is_stdin, trace **holder)
{
    const char *colon = strrchr(text, ':');
    char file[4096];
    if (colon == NULL || colon == text || colon[1] == '\0' || strspn(colon + 1, "0123456789") != strlen(colon + 1) ||
        strlen(colon + 1) > 9 || (size_t)(colon - text) >= sizeof file)
        tool_bad_usage(call->verb, "--draft: expected FILE:LABEL, as in draft.ttr:8; got '%s'", text);
    memcpy(file, text, (size_t)(colon - text));
    file[colon - text] = '\0';
    if (strcmp(file, "-") == 0 && trace_is_stdin)
        tool_bad_usage(call->verb, "--draft: standard input is already read as the trace");
    *holder = read_trace(file);
    const trace_draft *draft = trace_find_draft(*holder, (uint32_t)strtoul(colon + 1, NULL, 10));
    if (draft == NULL)
        tool_bad_input("%s: expected a draft tree of label %s", name_of(file), colon + 1);
    return draft;
}

static workload *from_accept(const tool_call *call, const trace *records, const char *file, const char *tree_option,
                             uint32_t max_steps)
{
    const char *const tree_names[] = {tree_option, NULL}, *const star_names[] = {"--star", NULL};
    tool_refuse(call, tree_names, "works only with a reason or draft file, and %s is an accept file", name_of(file));
    if (tool_given(call, "--draft"))
        tool_refuse(call, star_names, "works only without --draft");
    const char *record = tool_text(call, "--record", NULL);
    const trace_accept *accept = record != NULL ? trace_find_accept(records, record) : records->accepts;
    if (accept == NULL || records->num_accepts == 0)
        tool_bad_input("%s: expected a record '%s'", name_of(file), record != NULL ? record : "of any name");
    uint32_t prompt = tool_count(call, "--prompt", 0, 1, KV_MAX_LENGTH);
    const char *draft_text = tool_text(call, "--draft", NULL);
    workload *work;
    if (draft_text == NULL) {
        uint32_t star = tool_count(call, "--star", 32, 1, KV_MAX_BRANCHES - 1);
        need_workload(call, workload_size_from_accept(accept, star, prompt, max_steps), file);
        check_built(workload_from_accept(&work, accept, star, prompt, max_steps), file);
        return work;
    }
    trace *holder;
    const trace_draft *draft = read_draft(call, draft_text, strcmp(file, "-") == 0, &holder);
    need_workload(call, workload_size_from_accept_draft(accept, draft, prompt, max_steps), file);
    check_built(workload_from_accept_draft(&work, accept, draft, prompt, max_steps), file);
    trace_destroy(holder);
    return work;
}

workload *tool_workload_from_file(const tool_call *call, const char *file, const char *tree_option, uint32_t max_steps)
{
    trace *records = read_trace(file);
    workload *work = NULL;
    if (records->kind == TRACE_REASON)
        work = from_reason(call, records, file, tree_option, max_steps);
    else if (records->kind == TRACE_DRAFT)
        work = from_draft(call, records, file, tree_option);
    else
        work = from_accept(call, records, file, tree_option, max_steps);
    trace_destroy(records);
    return work;
}

/* Levels without blanks, which only serve readers. */
typedef struct level_text {
    char nodes[MAX_LEVELS_TEXT], tokens[MAX_LEVELS_TEXT];
    uint32_t node_column[MAX_LEVELS_TEXT], token_column[MAX_LEVELS_TEXT]; /* from 1, of each character and of the end */
} level_text;

static void read_level_text(const tool_call *call, const char *option, const char *levels, level_text *text)
{
    const char *slash = strchr(levels, '/');
    if (slash == NULL || strlen(levels) >= MAX_LEVELS_TEXT)
        tool_bad_usage(call->verb, "%s: expected 'NODES / TOKENS', as in '1,16,64 / 1024,256,32'; got '%.80s'", option,
                       levels);
    uint32_t nodes = 0, tokens = 0, column = 1;
    for (const char *at = levels; *at != '\0'; at++, column++) {
        if (*at == ' ' || at == slash)
            continue;
        *(at < slash ? &text->node_column[nodes] : &text->token_column[tokens]) = column;
        *(at < slash ? &text->nodes[nodes++] : &text->tokens[tokens++]) = *at;
    }
    text->nodes[nodes] = text->tokens[tokens] = '\0';
    text->node_column[nodes] = (uint32_t)(slash - levels) + 1;
    text->token_column[tokens] = column;
}

workload *tool_workload_from_levels(const tool_call *call, const char *option, const char *levels)
{
    static const char *const names[] = {"--ordinal", "--record", "--star", "--draft", "--prompt", NULL};
    tool_refuse(call, names, "works only with --trace, not with %s", option);
    level_text text;
    read_level_text(call, option, levels, &text);
    workload *work;
    workload_size size;
    kv_text_error error = {.line = 0};
    kv_status status = workload_size_levels(&size, text.nodes, text.tokens, &error);
    if (status == KV_FORMAT)
        tool_bad_usage(call->verb, "%s, %s, column %u: %s", option, error.line == 1 ? "nodes" : "tokens",
                       (error.line == 1 ? text.node_column : text.token_column)[error.column - 1], error.message);
    need_workload(call, size, option);
    status = workload_levels(&work, text.nodes, text.tokens, NULL);
    if (status != KV_OK)
        tool_bad_usage(call->verb, "%s: %s", option, kv_status_string(status));
    return work;
}

workload *tool_workload(const tool_call *call)
{
    const char *levels = tool_text(call, "--tree", NULL), *file = tool_text(call, "--trace", NULL);
    if ((levels == NULL) == (file == NULL))
        tool_bad_usage(call->verb, "expected either --tree 'NODES / TOKENS' or --trace FILE");
    if (levels != NULL)
        return tool_workload_from_levels(call, "--tree", levels);
    return tool_workload_from_file(call, file, "--ordinal", tool_count(call, "--iteration", 0, 1, UINT32_MAX));
}

/* The first step with the most queries, from 1; 0 if there is no step. */
static uint32_t widest_step(const workload *work)
{
    uint32_t step = 0, widest = 0, num_queries = 0, most = 0;
    for (uint32_t i = 0; i < work->num_operations; i++) {
        workload_kind kind = work->operations[i].kind;
        if (kind == WORKLOAD_DECODE || kind == WORKLOAD_QUERY)
            num_queries++;
        if (kind != WORKLOAD_STEP)
            continue;
        step++;
        if (num_queries > most) {
            most = num_queries;
            widest = step;
        }
        num_queries = 0;
    }
    return widest;
}

uint32_t tool_iteration(const workload *work, uint32_t iteration)
{
    uint32_t wanted = iteration > 0 ? iteration : widest_step(work);
    if (wanted == 0 || wanted > work->num_steps)
        tool_bad_input("iteration %u: expected 1 to %u, the steps of this workload", wanted, work->num_steps);
    return wanted;
}

void tool_play_to(tool_scene *scene, uint32_t iteration)
{
    uint32_t wanted = tool_iteration(scene->workload, iteration);
    while (scene->step.iteration < wanted)
        tool_scene_next(scene);
}

tree_shape tool_shape(const tool_call *call, uint32_t num_heads, uint32_t num_kv_heads, uint32_t head_dim,
                      tree_storage storage)
{
    static const char *const names[] = {[TREE_FP32] = "fp32", [TREE_FP16] = "fp16", [TREE_BF16] = "bf16"};
    tree_shape shape = {.block_tokens = tool_block_tokens(call), .storage = storage};
    tool_heads(call, "--heads", &num_heads, &num_kv_heads);
    shape.num_heads = num_heads;
    shape.num_kv_heads = num_kv_heads;
    shape.head_dim = tool_count(call, "--head-dim", head_dim, 1, 1024);
    const char *text = tool_text(call, "--storage", names[storage]);
    for (int s = TREE_FP32; s <= TREE_BF16; s++) {
        if (strcmp(text, names[s]) == 0) {
            shape.storage = (tree_storage)s;
            return shape;
        }
    }
    tool_bad_usage(call->verb, "--storage: expected fp32, fp16 or bf16, got '%s'", text);
}

uint32_t tool_block_tokens(const tool_call *call)
{
    uint32_t block_tokens = tool_count(call, "--block-tokens", 16, 1, 256);
    if ((block_tokens & (block_tokens - 1)) != 0)
        tool_bad_usage(call->verb, "--block-tokens: expected a power of two from 1 to 256, got %u", block_tokens);
    return block_tokens;
}

tree_strategy tool_strategy(const tool_call *call, const char *option)
{
    tree_strategy strategy;
    const char *name = tool_text(call, option, "");
    if (!tree_strategy_from_name(name, &strategy))
        tool_bad_usage(call->verb,
                       "%s: expected flash, flash_decoding, radix, tree_mask, node, node_chunk, flatten or cost, "
                       "got '%s'", option, name);
    return strategy;
}

tree_isa tool_isa(const tool_call *call)
{
    const char *name = tool_text(call, "--isa", tree_isa_name[TREE_ISA_AUTO]);
    char available[96] = "";
    for (tree_isa isa = TREE_ISA_AUTO; isa < TREE_NUM_ISAS; isa++) {
        if (tree_isa_available(isa) && strcmp(name, tree_isa_name[isa]) == 0)
            return isa == TREE_ISA_AUTO ? tree_isa_best() : isa;
        if (tree_isa_available(isa) && isa != TREE_ISA_AUTO)
            snprintf(available + strlen(available), sizeof available - strlen(available), " %s", tree_isa_name[isa]);
    }
    for (tree_isa isa = TREE_ISA_PORTABLE; isa < TREE_NUM_ISAS; isa++) {
        if (strcmp(name, tree_isa_name[isa]) == 0)
            tool_fail("--isa: this machine or this build cannot run %s; it can:%s", name, available);
    }
    tool_bad_usage(call->verb, "--isa: expected auto, portable, avx2, avx512, avx512_bf16 or amx, got '%s'", name);
}
