/* search_internal: see search_internal.h. */
#include "search_internal.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "branch_step.h"

/* --- noise -------------------------------------------------------------------------------------------------------- */

/* splitmix64's finalizer: the same bits everywhere. */
static uint64_t mix(uint64_t x)
{
    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
    x = (x ^ x >> 27) * 0x94d049bb133111ebu;
    return x ^ x >> 31;
}

uint64_t search_next_key(uint64_t key, uint32_t token)
{
    return mix(key + (token + 1) * 0x9e3779b97f4a7c15u);
}

double search_noise(uint64_t key, uint32_t token)
{
    uint64_t bits = mix(key ^ (token + 1) * 0xd1b54a32d192ed03u);
    return -log(-log(((double)(bits >> 12) + 0.5) * 0x1p-52));
}

double search_log_sum(const float *logits, uint32_t count, double divisor)
{
    double most = logits[0], sum = 0;
    for (uint32_t i = 1; i < count; i++)
        most = logits[i] > most ? logits[i] : most;
    for (uint32_t i = 0; i < count; i++)
        sum += exp((logits[i] - most) / divisor);
    return most / divisor + log(fmax(sum, 1)); /* the largest term is 1 */
}

/* --- a run -------------------------------------------------------------------------------------------------------- */

static uint32_t token_of(const search_run *run, char c)
{
    const char *at = c ? strchr(run->decoder.vocabulary, c) : NULL;
    return at ? (uint32_t)(at - run->decoder.vocabulary) : SEARCH_NONE;
}

model_status search_begin(search_run *run, const search_decoder *decoder, const search_config *config,
                          const game_state *cards)
{
    *run = (search_run){.decoder = *decoder, .config = *config};
    run->vocabulary = (uint32_t)strlen(decoder->vocabulary);
    run->yes = token_of(run, 'y');
    run->no = token_of(run, 'n');
    run->line_end = token_of(run, '\n');
    run->log_least = config->least > 0 ? log(config->least) : -INFINITY;
    if (!(config->temperature >= 0 && config->temperature <= 10) || !(config->least >= 0 && config->least < 1) ||
        run->vocabulary > SEARCH_MAX_VOCABULARY ||
        run->yes == SEARCH_NONE || run->no == SEARCH_NONE || run->line_end == SEARCH_NONE || decoder->max_branches == 0)
        return MODEL_INVAL;
    run->result = calloc(1, sizeof *run->result);
    run->branches = calloc(decoder->max_branches, sizeof *run->branches);
    run->tokens = calloc(decoder->max_branches, sizeof *run->tokens);
    run->stepped = calloc(decoder->max_branches, sizeof *run->stepped);
    run->logits = calloc((size_t)decoder->max_branches * run->vocabulary, sizeof *run->logits);
    if (!run->result || !run->branches || !run->tokens || !run->stepped || !run->logits) {
        search_result *dropped = NULL;
        return search_finish(run, MODEL_NOMEM, &dropped);
    }
    run->result->cards = *cards;
    run->result->margin.logits = INFINITY;
    return MODEL_OK;
}

model_status search_finish(search_run *run, model_status status, search_result **result)
{
    free(run->branches);
    free(run->tokens);
    free(run->stepped);
    free(run->logits);
    if (status == MODEL_OK)
        *result = run->result;
    else
        search_destroy(run->result);
    return status;
}

void search_destroy(search_result *result)
{
    if (!result)
        return;
    free(result->thoughts);
    free(result->text);
    free(result->lines);
    free(result);
}

search_thought *search_add_thought(search_run *run)
{
    search_result *result = run->result;
    if (result->num_thoughts == run->thoughts_capacity) {
        uint32_t wanted = run->thoughts_capacity * 2 + 64;
        search_thought *grown = realloc(result->thoughts, wanted * sizeof *grown);
        if (!grown)
            return NULL;
        result->thoughts = grown;
        run->thoughts_capacity = wanted;
    }
    return &result->thoughts[result->num_thoughts++];
}

void search_note_margin(search_run *run, double logits, uint32_t level, const char *chosen, const char *other)
{
    search_margin *margin = &run->result->margin;
    if (!(logits < margin->logits))
        return;
    margin->logits = logits;
    margin->level = level;
    strcpy(margin->chosen, chosen);
    strcpy(margin->other, other);
}

/* --- branches ----------------------------------------------------------------------------------------------------- */

static void note_peaks(search_run *run)
{
    search_result *result = run->result;
    kv_pool_stats stats;
    if (kv_pool_get_stats(run->decoder.pool, &stats) != KV_OK)
        return;
    if (stats.live_branches > result->peak_branches)
        result->peak_branches = stats.live_branches;
    if (stats.used_blocks > result->peak_blocks)
        result->peak_blocks = stats.used_blocks;
    if (stats.table_blocks > result->peak_table_blocks)
        result->peak_table_blocks = (uint32_t)stats.table_blocks;
}

model_status search_fork(search_run *run, const search_line *from, search_line *to)
{
    const search_decoder *decoder = &run->decoder;
    model_status status = decoder->fork ? decoder->fork(decoder->self, from->branch, &to->branch)
                                        : model_status_of_kv(kv_branch_fork(decoder->pool, from->branch, &to->branch));
    run->result->forks += status == MODEL_OK;
    return status;
}

void search_prune(search_run *run, search_line *line)
{
    if (!line->branch)
        return;
    kv_branch_prune(run->decoder.pool, line->branch);
    line->branch = 0;
    run->result->prunes++;
}

/* Prunes the line of the lowest rank, the later of equals; false: there is only one. */
static bool narrow(search_run *run, search_line **lines, uint32_t count)
{
    search_line *lowest = NULL;
    uint32_t living = 0;
    for (uint32_t i = 0; i < count; i++) {
        if (!lines[i]->branch)
            continue;
        living++;
        if (!lowest || !(lines[i]->rank > lowest->rank))
            lowest = lines[i];
    }
    if (living < 2)
        return false;
    search_prune(run, lowest);
    run->result->narrowed++;
    return true;
}

/* Up to max_branches lines, from lines[*next] on. */
static uint32_t gather(search_run *run, search_line **lines, uint32_t count, uint32_t *next)
{
    uint32_t size = 0;
    for (; *next < count && size < run->decoder.max_branches; ++*next) {
        search_line *line = lines[*next];
        if (line->done || !line->branch)
            continue;
        run->stepped[size] = line;
        run->branches[size] = line->branch;
        run->tokens[size++] = line->token;
    }
    return size;
}

model_status search_step(search_run *run, search_line **lines, uint32_t count)
{
    for (uint32_t next = 0; next < count;) {
        uint32_t first = next, size = gather(run, lines, count, &next);
        if (size == 0)
            break;
        model_status status =
            run->decoder.step(run->decoder.self, run->branches, run->tokens, size, run->logits);
        if (status == MODEL_NOBLOCKS && narrow(run, lines, count)) {
            next = first;
            continue;
        }
        if (status != MODEL_OK)
            return status;
        for (uint32_t i = 0; i < size; i++) {
            run->stepped[i]->length++;
            memcpy(run->stepped[i]->logits, run->logits + (size_t)i * run->vocabulary,
                   run->vocabulary * sizeof *run->logits);
        }
        run->result->decode_steps++;
        run->result->tokens += size;
        note_peaks(run);
        if (run->config.on_step)
            run->config.on_step(run->config.context, run->result);
    }
    return MODEL_OK;
}

model_status search_prompt(search_run *run, char kind, search_line *line)
{
    char text[GAME_MAX_TEXT + 2] = {kind};
    game_state_text(text + 1, &run->result->cards);
    strcat(text, "\n");
    line->key = mix(run->config.seed);
    model_status status = model_status_of_kv(kv_branch_create(run->decoder.pool, &line->branch));
    for (const char *c = text; *c && status == MODEL_OK; c++) {
        line->token = token_of(run, *c);
        if (line->token == SEARCH_NONE)
            return MODEL_INVAL;
        line->key = search_next_key(line->key, line->token);
        status = search_step(run, &line, 1);
    }
    return status;
}
