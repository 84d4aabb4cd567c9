/* Claim: replaying the paper's workloads through the allocator gives exactly the paper's sums with 1 token per
 * block; with 16 it gives at least those and at most one part-filled block per copy more. No block leaks. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "replay.h"
#include "test.h"

#define TRACES TREEATTN_SOURCE_DIR "/../shared/traces/"

typedef struct paper_case {
    const char *workload; /* task, "fewshot" or "spec" */
    uint32_t number;      /* ordinal, branches or leaves */
} paper_case;

typedef struct reference {
    uint32_t prompt, iterations, peak_queries;
    uint64_t unique, path, queries;
} reference;

static trace *read_traces(const char *file)
{
    char path[512];
    trace *t = NULL;
    trace_error error = {.line = 0};
    snprintf(path, sizeof path, TRACES "%s.ttr", file);
    kv_status status = trace_read_file(&t, path, &error);
    if (status == KV_INVAL)
        test_skip("no recorded traces in ../shared/traces");
    check(status == KV_OK, "%s:%u:%u: %s", path, error.line, error.column, error.message);
    return t;
}

static reference find_reference(const paper_case *c)
{
    FILE *file = fopen(TRACES "paper_workloads.txt", "r");
    if (!file)
        test_skip("no recorded traces in ../shared/traces");
    char line[200], workload_name[20], case_name[20], wanted[20];
    const char *format = !strcmp(c->workload, "fewshot") ? "b=%u" : !strcmp(c->workload, "spec") ? "t=%u" : "t%u";
    snprintf(wanted, sizeof wanted, format, c->number);
    reference r;
    bool found = false;
    while (!found && fgets(line, sizeof line, file))
        found = sscanf(line, "ref %19s %19s %u %u %" SCNu64 " %" SCNu64 " %" SCNu64 " %u", workload_name, case_name,
                       &r.prompt, &r.iterations, &r.unique, &r.path, &r.queries, &r.peak_queries) == 8 &&
                !strcmp(workload_name, c->workload) && !strcmp(case_name, wanted);
    fclose(file);
    check(found, "paper_workloads.txt has %s %s", c->workload, wanted);
    return r;
}

static workload *build(const paper_case *c, const reference *r)
{
    workload *w = NULL;
    kv_status status;
    if (!strcmp(c->workload, "fewshot")) {
        status = workload_few_shot(&w, r->prompt, c->number, r->iterations);
    } else if (!strcmp(c->workload, "spec")) {
        trace *t = read_traces("spec_accept");
        const trace_accept *accept = trace_find_accept(t, "apps0-len6000");
        check(accept, "the record is there");
        status = workload_from_accept(&w, accept, c->number, 0, 0);
        trace_destroy(t);
    } else {
        char file[64];
        snprintf(file, sizeof file, "reason_%s", c->workload);
        trace *t = read_traces(file);
        const trace_tree *tree = trace_find(t, (int32_t)c->number);
        check(tree, "ordinal %u is there", c->number);
        check(tree->nodes[0].num_tokens == r->prompt, "prompt %u", r->prompt);
        status = workload_from_tree(&w, tree, 0, 0);
        trace_destroy(t);
    }
    check(status == KV_OK, "built, status %d", status);
    return w;
}

/* At 16 tokens per block only copies duplicate slots, at most 15 each; a copy lives to the end at the longest. */
static void check_paged(const workload *w, const reference *r)
{
    replay_totals paged;
    check(replay_measure(&paged, w, 16) == KV_OK, "replayed with 16 tokens per block");
    check(paged.path_tokens_sum == r->path && paged.queries_sum == r->queries, "S and Q do not depend on the block");
    check(paged.unique_tokens_sum >= r->unique, "U %" PRIu64 " >= %" PRIu64, paged.unique_tokens_sum, r->unique);
    uint64_t most = 15 * (uint64_t)paged.peak_branches * paged.iterations;
    check(paged.unique_tokens_sum <= r->unique + most, "U %" PRIu64 " <= %" PRIu64 " + 15 per branch and iteration",
          paged.unique_tokens_sum, r->unique);
    check(paged.copied_tokens <= 15 * paged.copies, "a copy moves at most 15 tokens");
    check(paged.leaked_blocks == 0, "%u blocks leaked", paged.leaked_blocks);
    test_note("U16=%" PRIu64 " peak_blocks16=%u copies=%" PRIu64, paged.unique_tokens_sum, paged.peak_blocks,
              paged.copies);
}

static void run_paper(const void *argument)
{
    const paper_case *c = argument;
    reference r = find_reference(c);
    workload *w = build(c, &r);
    replay_totals t;
    check(replay_measure(&t, w, 1) == KV_OK, "replayed with 1 token per block");
    check(t.iterations == r.iterations, "%u iterations, got %u", r.iterations, t.iterations);
    check(t.queries_sum == r.queries, "Q %" PRIu64 ", got %" PRIu64, r.queries, t.queries_sum);
    check(t.peak_queries == r.peak_queries, "peak %u, got %u", r.peak_queries, t.peak_queries);
    check(t.unique_tokens_sum == r.unique, "U %" PRIu64 ", got %" PRIu64, r.unique, t.unique_tokens_sum);
    check(t.path_tokens_sum == r.path, "S %" PRIu64 ", got %" PRIu64, r.path, t.path_tokens_sum);
    check(t.copies == 0, "a block of one token is never part-filled");
    check(t.leaked_blocks == 0, "%u blocks leaked", t.leaked_blocks);
    test_note("iterations=%u Q=%" PRIu64 " U=%" PRIu64 " S=%" PRIu64, t.iterations, t.queries_sum,
              t.unique_tokens_sum, t.path_tokens_sum);
    check_paged(w, &r);
    workload_destroy(w);
}

/* Every tree of every file, incomplete ones too: read, built, replayed. */
static void run_file(const void *argument)
{
    const char *file = argument;
    trace *t = read_traces(file);
    uint64_t nodes = 0, branches = 0;
    for (uint32_t i = 0; i < t->num_trees; i++) {
        const trace_tree *tree = &t->trees[i];
        workload *w = NULL;
        replay_totals totals;
        check(workload_from_tree(&w, tree, 0, 0) == KV_OK, "tree %u is built", i);
        check(replay_measure(&totals, w, 16) == KV_OK, "tree %u is replayed", i);
        check(totals.iterations == tree->last_iteration, "tree %u: %u iterations", i, totals.iterations);
        check(totals.queries_sum == tree->num_tokens - tree->nodes[0].num_tokens, "tree %u: a query a token", i);
        check(totals.leaked_blocks == 0, "tree %u leaks", i);
        nodes += tree->num_nodes;
        branches += w->num_branches;
        workload_destroy(w);
    }
    check(nodes == branches, "a branch per node: %" PRIu64 ", got %" PRIu64, nodes, branches);
    test_note("trees=%u nodes=%" PRIu64, t->num_trees, nodes);
    trace_destroy(t);
}

/* The file that spells the few-shot rule out and the builder agree, operation by operation but for the labels. */
static void run_few_shot_file(const void *argument)
{
    (void)argument;
    trace *t = read_traces("fewshot_rule");
    for (uint32_t i = 0; i < t->num_trees; i++) {
        workload *from_file = NULL, *from_rule = NULL;
        check(workload_from_tree(&from_file, &t->trees[i], 0, 0) == KV_OK, "built from the file");
        check(workload_few_shot(&from_rule, 4000, (uint32_t)t->trees[i].ordinal, 399) == KV_OK, "built from the rule");
        check(from_file->num_operations == from_rule->num_operations, "as many operations");
        for (uint32_t k = 0; k < from_file->num_operations; k++) {
            const workload_operation *a = &from_file->operations[k], *b = &from_rule->operations[k];
            check(a->kind == b->kind && a->branch == b->branch && a->value == b->value, "operation %u", k);
        }
        workload_destroy(from_file);
        workload_destroy(from_rule);
    }
    trace_destroy(t);
}

/* Real topologies on real accepted lengths: as many tokens as were accepted, and a query a draft node. */
static void run_draft_file(const void *argument)
{
    const uint32_t *label = argument;
    trace *drafts = read_traces("spec_draft"), *accepts = read_traces("spec_accept");
    const trace_draft *draft = trace_find_draft(drafts, *label);
    const trace_accept *accept = trace_find_accept(accepts, "apps0");
    check(draft && accept, "both are there");
    workload *w = NULL;
    replay_totals t;
    check(workload_from_accept_draft(&w, accept, draft, 0, 100) == KV_OK, "built");
    check(replay_measure(&t, w, 1) == KV_OK, "replayed");
    uint64_t unique = 0, path = 0, past = accept->prompt_tokens;
    for (uint32_t k = 1; k <= 100; k++) {
        unique += past + draft->num_nodes;
        path += past * draft->num_nodes + draft->num_pairs;
        past += accept->accepted[k];
    }
    check(t.iterations == 100 && t.queries_sum == 100 * (uint64_t)draft->num_nodes, "100 steps of %u", *label);
    check(t.unique_tokens_sum == unique, "U %" PRIu64 ", got %" PRIu64, unique, t.unique_tokens_sum);
    check(t.path_tokens_sum == path, "S %" PRIu64 ", got %" PRIu64, path, t.path_tokens_sum);
    check(t.leaked_blocks == 0, "no block leaks");
    workload_destroy(w);
    trace_destroy(drafts);
    trace_destroy(accepts);
}

int main(int argc, char **argv)
{
    static const char *const tasks[] = {"sorting", "document", "keyword", "set"};
    static const uint32_t few_shot[] = {20, 30, 50}, leaves[] = {32, 64, 128, 256};
    static const char *const files[] = {"reason_sorting_incomplete", "reason_document", "reason_keyword", "reason_set"};
    static paper_case cases[50];
    uint32_t n = 0;
    test_begin(argc, argv, "replaying the paper's workloads gives the paper's sums exactly");
    for (uint32_t task = 0; task < 4; task++)
        for (uint32_t ordinal = 0; ordinal < 10; ordinal++, n++) {
            cases[n] = (paper_case){tasks[task], ordinal};
            test_add(run_paper, &cases[n], "sums_of_the_paper_%s_t%u", tasks[task], ordinal);
        }
    for (uint32_t i = 0; i < 3; i++, n++) {
        cases[n] = (paper_case){"fewshot", few_shot[i]};
        test_add(run_paper, &cases[n], "sums_of_the_paper_fewshot_b%u", few_shot[i]);
    }
    for (uint32_t i = 0; i < 4; i++, n++) {
        cases[n] = (paper_case){"spec", leaves[i]};
        test_add(run_paper, &cases[n], "sums_of_the_paper_spec_t%u", leaves[i]);
    }
    for (uint32_t i = 0; i < 4; i++)
        test_add(run_file, files[i], "every_tree_of_%s", files[i]);
    test_add(run_few_shot_file, NULL, "few_shot_file_is_the_rule");
    for (uint32_t i = 0; i < 4; i++)
        test_add(run_draft_file, &leaves[i], "draft_tree_%u", leaves[i]);
    return test_end();
}
