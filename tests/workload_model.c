/* workload_model: see workload_model.h. */
#include "workload_model.h"

#include <stdlib.h>
#include <string.h>

void workload_model_begin(workload_model *model, const workload *score)
{
    *model = (workload_model){.score = score};
    model->branches = calloc((size_t)score->num_branches + 1, sizeof *model->branches);
    model->queries = calloc((size_t)score->num_branches + 1, sizeof *model->queries);
    if (!model->branches || !model->queries)
        abort();
}

void workload_model_end(workload_model *model)
{
    for (uint32_t i = 0; i < model->score->num_branches; i++)
        free(model->branches[i].tokens);
    free(model->branches);
    free(model->queries);
}

static void resize(model_branch *b, uint32_t length)
{
    b->tokens = realloc(b->tokens, (size_t)(length + 1) * sizeof *b->tokens);
    if (!b->tokens)
        abort();
    b->length = length;
}

static void append(workload_model *model, uint32_t branch, uint32_t num_tokens)
{
    model_branch *b = &model->branches[branch];
    uint32_t old = b->length;
    resize(b, old + num_tokens);
    for (uint32_t t = old; t < b->length; t++)
        b->tokens[t] = model->next_token++;
}

static void copy_list(workload_model *model, uint32_t to, uint32_t from)
{
    resize(&model->branches[to], model->branches[from].length);
    memcpy(model->branches[to].tokens, model->branches[from].tokens,
           model->branches[from].length * sizeof *model->branches[from].tokens);
}

static void change(workload_model *model, const workload_operation *o)
{
    model_branch *b = &model->branches[o->branch];
    switch (o->kind) {
    case WORKLOAD_CREATE:
        resize(b, 0);
        b->alive = true;
        break;
    case WORKLOAD_FORK:
        copy_list(model, o->branch, o->value);
        b->alive = true;
        break;
    case WORKLOAD_APPEND:
        append(model, o->branch, o->value);
        break;
    case WORKLOAD_DECODE:
    case WORKLOAD_QUERY:
        model->queries[model->num_queries++] = o->branch;
        break;
    case WORKLOAD_TRUNCATE:
        resize(b, o->value);
        break;
    case WORKLOAD_ADOPT:
        copy_list(model, o->branch, o->value);
        resize(&model->branches[o->value], 0);
        model->branches[o->value].alive = false;
        break;
    case WORKLOAD_PRUNE:
        resize(b, 0);
        b->alive = false;
        break;
    default:
        break;
    }
}

bool workload_model_step(workload_model *model)
{
    model->num_queries = 0;
    uint32_t first = model->next;
    for (; model->next < model->score->num_operations; model->next++) {
        const workload_operation *o = &model->score->operations[model->next];
        if (o->kind == WORKLOAD_STEP) {
            for (uint32_t i = first; i < model->next; i++)
                if (model->score->operations[i].kind == WORKLOAD_DECODE)
                    append(model, model->score->operations[i].branch, 1);
            model->next++;
            return true;
        }
        change(model, o);
    }
    return false;
}

uint64_t workload_model_unique(const workload_model *model)
{
    bool *seen = calloc((size_t)model->next_token + 1, sizeof *seen);
    uint64_t unique = 0;
    if (!seen)
        abort();
    for (uint32_t i = 0; i < model->score->num_branches; i++)
        for (uint32_t t = 0; t < model->branches[i].length; t++) {
            unique += !seen[model->branches[i].tokens[t]];
            seen[model->branches[i].tokens[t]] = true;
        }
    free(seen);
    return unique;
}

uint64_t workload_model_path(const workload_model *model)
{
    uint64_t path = 0;
    for (uint32_t i = 0; i < model->num_queries; i++)
        path += model->branches[model->queries[i]].length;
    return path;
}
