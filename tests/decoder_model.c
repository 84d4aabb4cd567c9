/* decoder_model: see decoder_model.h. */
#include "decoder_model.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "test.h"

const char decoder_model_vocabulary[] = "\n 0123456789+-*/=>:!ynWS";
enum { MAX_TEXT = 1100, MAX_BRANCHES = 256, NUM_CHARACTERS = DECODER_MODEL_CHARACTERS };
_Static_assert(sizeof decoder_model_vocabulary == NUM_CHARACTERS + 1, "the vocabulary of model/README.md");

/* FNV-1a, then mixed: -1 to 1. */
static double hashed(uint64_t seed, const char *text, int c)
{
    uint64_t h = 0xcbf29ce484222325u ^ seed;
    for (; *text; text++)
        h = (h ^ (unsigned char)*text) * 0x100000001b3u;
    h = (h ^ (uint64_t)(c + 1)) * 0x100000001b3u;
    h ^= h >> 29;
    h *= 0xbf58476d1ce4e5b9u;
    h ^= h >> 32;
    return (double)(h >> 11) * 0x1p-52 - 1;
}

/* The state from which the last line of a walk starts; *line is what it has so far. */
static bool last_state(game_state *state, const char *text, const char **line)
{
    char before[128];
    const char *end = strrchr(text, '\n');
    if (text[0] != 'W' || !end)
        return false;
    const char *start = end;
    while (start > text && start[-1] != '\n')
        start--;
    *line = end + 1;
    if (end - start >= (long)sizeof before)
        return false;
    memcpy(before, start, (size_t)(end - start));
    before[end - start] = '\0';
    if (before[0] == 'W')
        return game_state_from_text(state, before + 1);
    size_t length = strlen(before);
    if (length > 0)
        before[length - 1] = '\0'; /* the value word */
    const char *after = strchr(before, '>');
    return after && game_state_from_text(state, after + 1);
}

static void play(const decoder_model *model, const char *text, float *logits)
{
    game_state state;
    const char *line;
    double skill = model->skill > 0 ? model->skill : 6;
    if (!last_state(&state, text, &line))
        return;
    game_step steps[GAME_MAX_STEPS], unused[GAME_CARDS];
    uint32_t num_steps = game_steps(steps, &state), count;
    size_t length = strlen(line);
    for (uint32_t i = 0; i < num_steps; i++) {
        if (strncmp(steps[i].text, line, length) != 0)
            continue;
        char c = steps[i].text[length];
        if (c == '\0')
            c = game_solve(unused, &count, &steps[i].after, NULL) ? 'y' : 'n';
        size_t token = (size_t)(strchr(decoder_model_vocabulary, c) - decoder_model_vocabulary);
        if (logits[token] < skill - 1)
            logits[token] += (float)skill;
    }
}

/* Of a line that begins as `wanted`: the next character of it (y behind its end) by +change, all others by -change. */
static bool push(float *logits, const char *line, const char *wanted, double change)
{
    size_t length = strlen(line);
    if (wanted[0] == '\0' || strncmp(line, wanted, length) != 0)
        return false;
    char next = wanted[length] ? wanted[length] : 'y';
    for (int c = 0; c < NUM_CHARACTERS; c++)
        logits[c] += (float)(decoder_model_vocabulary[c] == next ? change : -change);
    return true;
}

/* Where the chosen and the other line part, the two characters alone count. */
static void disturb_against(const decoder_model *model, const char *text, float *logits)
{
    const search_margin *m = model->against;
    const char *line = strrchr(text, '\n');
    uint32_t level = 0;
    for (const char *c = text; *c; c++)
        level += *c == '\n';
    if (!line || level != m->level)
        return;
    line++;
    size_t length = strlen(line);
    bool both = strncmp(line, m->chosen, length) == 0 && strncmp(line, m->other, length) == 0;
    if (both && m->chosen[length] != m->other[length]) {
        for (int c = 0; c < NUM_CHARACTERS; c++) {
            logits[c] -= (float)(decoder_model_vocabulary[c] == m->chosen[length] ? model->disturbance : 0);
            logits[c] += (float)(decoder_model_vocabulary[c] == m->other[length] ? model->disturbance : 0);
        }
    } else if (!both && !push(logits, line, m->chosen, -model->disturbance)) {
        push(logits, line, m->other, model->disturbance);
    }
}

void decoder_model_logits(const decoder_model *model, const char *text, float logits[DECODER_MODEL_CHARACTERS])
{
    for (int c = 0; c < NUM_CHARACTERS; c++)
        logits[c] = (float)hashed(model->seed, text, c);
    if (model->kind == DECODER_PLAYER) {
        play(model, text, logits);
    } else if (model->kind == DECODER_SCRIPT) {
        size_t length = strlen(text), whole = strlen(model->script);
        const char *token = length < whole ? strchr(decoder_model_vocabulary, model->script[length]) : NULL;
        check(length > whole || strncmp(text, model->script, length) == 0, "the script is followed: '%s'", text);
        if (token)
            logits[token - decoder_model_vocabulary] = 10;
    }
    if (model->against)
        disturb_against(model, text, logits);
    for (int c = 0; !model->against && model->disturbance > 0 && c < NUM_CHARACTERS; c++) {
        double change = hashed(model->disturbance_seed, text, c);
        logits[c] += (float)(model->disturbs_randomly ? change * model->disturbance
                                                      : copysign(model->disturbance, change));
    }
}

static void read_text(const decoder_model *model, kv_branch branch, char text[MAX_TEXT])
{
    kv_table table;
    check(kv_branch_table(model->pool, branch, &table) == KV_OK && table.length < MAX_TEXT, "a branch");
    for (uint32_t t = 0; t < table.length; t++)
        text[t] = model->text[table.blocks[t / model->block_tokens] * model->block_tokens + t % model->block_tokens];
    text[table.length] = '\0';
}

static void write_last(const decoder_model *model, kv_branch branch, uint32_t token)
{
    kv_table table;
    check(kv_branch_table(model->pool, branch, &table) == KV_OK && table.length > 0, "a branch");
    uint32_t t = table.length - 1, block = table.blocks[t / model->block_tokens];
    check(kv_pool_references(model->pool, block) == 1, "no branch writes into a shared block");
    model->text[block * model->block_tokens + t % model->block_tokens] = decoder_model_vocabulary[token];
}

static model_status step(void *self, const kv_branch *branches, const uint32_t *tokens, uint32_t count, float *logits)
{
    decoder_model *model = self;
    kv_append appends[MAX_BRANCHES];
    uint32_t ones[MAX_BRANCHES];
    char text[MAX_TEXT];
    check(count >= 1 && count <= MAX_BRANCHES, "%u branches", count);
    if (++model->calls == model->fails_at)
        return MODEL_NOMEM;
    for (uint32_t i = 0; i < count; i++)
        ones[i] = 1;
    kv_status status = kv_branch_append_many(model->pool, branches, ones, count, appends);
    check(status == KV_OK || status == KV_NOBLOCKS, "append_many: %s", kv_status_string(status));
    if (status == KV_NOBLOCKS)
        return MODEL_NOBLOCKS;
    for (uint32_t i = 0; i < count; i++) {
        const kv_copy *copy = &appends[i].copy;
        memcpy(model->text + copy->to_block * model->block_tokens, model->text + copy->from_block * model->block_tokens,
               copy->num_tokens);
    }
    for (uint32_t i = 0; i < count; i++)
        write_last(model, branches[i], tokens[i]);
    for (uint32_t i = 0; i < count; i++) {
        read_text(model, branches[i], text);
        decoder_model_logits(model, text, logits + i * NUM_CHARACTERS);
    }
    return MODEL_OK;
}

static model_status copy_branch(void *self, kv_branch branch, kv_branch *child)
{
    decoder_model *model = self;
    char text[MAX_TEXT];
    kv_append append;
    kv_table table;
    read_text(model, branch, text);
    if (kv_branch_create(model->pool, child) != KV_OK)
        return MODEL_NOBRANCH;
    if (kv_branch_append(model->pool, *child, (uint32_t)strlen(text), &append) != KV_OK) {
        kv_branch_prune(model->pool, *child);
        return MODEL_NOBLOCKS;
    }
    kv_branch_table(model->pool, *child, &table);
    for (uint32_t t = 0; t < table.length; t++)
        model->text[table.blocks[t / model->block_tokens] * model->block_tokens + t % model->block_tokens] = text[t];
    return MODEL_OK;
}

search_decoder decoder_model_open(decoder_model *model, uint32_t num_blocks, uint32_t block_tokens,
                                  uint32_t max_branches)
{
    kv_pool_config config = {.num_blocks = num_blocks, .block_tokens = block_tokens, .order = KV_ORDER_SHUFFLE};
    check(max_branches <= MAX_BRANCHES, "room for %u branches", max_branches);
    check(kv_pool_create(&model->pool, &config) == KV_OK, "a pool");
    model->block_tokens = block_tokens;
    model->calls = 0;
    model->text = malloc((size_t)num_blocks * block_tokens);
    check(model->text, "the test itself is out of memory");
    memset(model->text, '?', (size_t)num_blocks * block_tokens);
    return (search_decoder){.self = model, .pool = model->pool, .vocabulary = decoder_model_vocabulary,
                            .max_branches = max_branches, .context = model->context ? model->context : 1024,
                            .step = step, .fork = model->copies ? copy_branch : NULL};
}

void decoder_model_close(decoder_model *model)
{
    kv_pool_stats stats;
    char message[160];
    check(kv_pool_check(model->pool, message, sizeof message) == KV_OK, "%s", message);
    check(kv_pool_get_stats(model->pool, &stats) == KV_OK && stats.used_blocks == 0 && stats.live_branches == 0,
          "%u blocks and %u branches are left", stats.used_blocks, stats.live_branches);
    check(kv_pool_destroy(model->pool, false, NULL) == KV_OK, "an empty pool");
    free(model->text);
}
