/* Claim: a search of a transformer draws the same texts for a seed over shared blocks by every strategy, over copies,
 * by plain loops and by a BLAS, on every instruction set of this machine, and by the reference's attention. The
 * differences between their logits are far below the smallest margin of its choices. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "decoder_model.h"
#include "search.h"
#include "test.h"
#include "transformer.h"
#include "transformer_model.h"

enum { MAX_TEXT = 256, MAX_BRANCHES = 64, NUM_BLOCKS = 1200, BLOCK_TOKENS = 4 };

/* One way to compute the same logits. */
typedef struct path {
    char name[40];
    tree_strategy strategy;
    tree_isa isa;
    bool reference, blas, copies;
    uint32_t num_threads; /* 0: 1 */
} path;

/* A transformer's decoder that remembers all logits. With a player, the transformer's logits are added to those of a
 * fake player, so that a transformer of random numbers writes legal lines. */
typedef struct recorder {
    transformer *t;
    kv_pool *pool;
    uint32_t vocabulary;
    const decoder_model *player; /* NULL: the transformer alone */
    char (*text)[BLOCK_TOKENS];  /* [NUM_BLOCKS] characters of the tokens */
    float *logits;               /* [num_rows][vocabulary] in the order of the steps */
    size_t num_rows, capacity;
} recorder;

static void last_block(const recorder *r, kv_branch branch, uint32_t back, uint32_t *block, uint32_t *slot)
{
    kv_table table;
    check(kv_branch_table(r->pool, branch, &table) == KV_OK, "a branch");
    *block = UINT32_MAX;
    if (table.length <= back)
        return;
    *block = table.blocks[(table.length - 1 - back) / BLOCK_TOKENS];
    *slot = (table.length - 1 - back) % BLOCK_TOKENS;
}

static void add_player(recorder *r, kv_branch branch, float *logits)
{
    char text[MAX_TEXT];
    float added[DECODER_MODEL_CHARACTERS];
    kv_table table;
    check(kv_branch_table(r->pool, branch, &table) == KV_OK && table.length < MAX_TEXT, "a branch");
    for (uint32_t t = 0; t < table.length; t++)
        text[t] = r->text[table.blocks[t / BLOCK_TOKENS]][t % BLOCK_TOKENS];
    text[table.length] = '\0';
    decoder_model_logits(r->player, text, added);
    for (uint32_t c = 0; c < r->vocabulary; c++)
        logits[c] += added[c];
}

static model_status step(void *self, const kv_branch *branches, const uint32_t *tokens, uint32_t count, float *logits)
{
    recorder *r = self;
    uint32_t before[MAX_BRANCHES], slot;
    for (uint32_t i = 0; i < count; i++)
        last_block(r, branches[i], 0, &before[i], &slot);
    model_status status = transformer_step(r->t, branches, tokens, count, logits);
    if (status != MODEL_OK)
        return status;
    for (uint32_t i = 0; i < count; i++) { /* the characters follow the copies of copy-on-write */
        uint32_t block, behind;
        last_block(r, branches[i], 0, &block, &slot);
        if (slot > 0) {
            last_block(r, branches[i], 1, &behind, &slot);
            if (before[i] != block)
                memcpy(r->text[block], r->text[before[i]], BLOCK_TOKENS);
        }
    }
    for (uint32_t i = 0; i < count; i++) {
        uint32_t block;
        last_block(r, branches[i], 0, &block, &slot);
        r->text[block][slot] = decoder_model_vocabulary[tokens[i]];
        if (r->player)
            add_player(r, branches[i], logits + i * r->vocabulary);
    }
    if (r->num_rows + count > r->capacity) {
        r->capacity = 2 * r->capacity + 256 + count;
        r->logits = realloc(r->logits, r->capacity * r->vocabulary * sizeof *r->logits);
        check(r->logits, "the test itself is out of memory");
    }
    memcpy(r->logits + r->num_rows * r->vocabulary, logits, (size_t)count * r->vocabulary * sizeof *logits);
    r->num_rows += count;
    return MODEL_OK;
}

static model_status copy_branch(void *self, kv_branch branch, kv_branch *child)
{
    recorder *r = self;
    kv_table from, to;
    model_status status = transformer_copy_branch(r->t, branch, child);
    if (status != MODEL_OK)
        return status;
    check(kv_branch_table(r->pool, branch, &from) == KV_OK && kv_branch_table(r->pool, *child, &to) == KV_OK,
          "two branches");
    for (uint32_t b = 0; b < from.num_blocks; b++) {
        check(to.blocks[b] != from.blocks[b], "a block of its own");
        memcpy(r->text[to.blocks[b]], r->text[from.blocks[b]], BLOCK_TOKENS);
    }
    return MODEL_OK;
}

static search_result *search_by(recorder *r, const model_weights *weights, const decoder_model *player, const path *p,
                                const search_config *config, const char *cards)
{
    kv_pool_config pool = {.num_blocks = NUM_BLOCKS, .block_tokens = BLOCK_TOKENS};
    transformer_config shape = {.max_branches = MAX_BRANCHES, .plan.strategy = p->strategy, .reference = p->reference,
                                .isa = p->isa, .blas = p->blas, .num_threads = p->num_threads ? p->num_threads : 1};
    game_state state;
    search_result *result = NULL;
    *r = (recorder){.player = player, .vocabulary = weights->shape.vocabulary};
    check(game_state_from_cards(&state, cards), "a set");
    check(kv_pool_create(&r->pool, &pool) == KV_OK, "a pool");
    check(transformer_create(&r->t, weights, r->pool, &shape) == MODEL_OK, "%s", p->name);
    r->text = calloc(NUM_BLOCKS, sizeof *r->text);
    check(r->text, "the test itself is out of memory");
    search_decoder decoder = {.self = r,
                              .pool = r->pool,
                              .vocabulary = weights->vocabulary,
                              .max_branches = MAX_BRANCHES,
                              .context = weights->shape.context,
                              .step = step,
                              .fork = p->copies ? copy_branch : NULL};
    model_status status = search_tree(&result, &decoder, config, &state);
    check(status == MODEL_OK, "%s: %s", p->name, model_status_string(status));
    transformer_destroy(r->t);
    check(kv_pool_destroy(r->pool, false, NULL) == KV_OK, "every branch is pruned");
    free(r->text);
    return result;
}

/* Every way that this machine and this build have, or few of them. The first is the reference. */
static uint32_t list_paths(path paths[40], bool few)
{
    uint32_t count = 0;
    paths[count++] =
        (path){.name = "loops reference flash copies", .reference = true, .copies = true, .isa = TREE_ISA_AUTO};
    for (int strategy = few ? TREE_COST : 0; strategy < TREE_NUM_STRATEGIES; strategy++) {
        paths[count] =
            (path){.strategy = (tree_strategy)strategy, .isa = TREE_ISA_AUTO, .blas = transformer_has_blas()};
        snprintf(paths[count].name, sizeof paths[count].name, "%s %s", transformer_has_blas() ? "blas" : "loops",
                 tree_strategy_name[strategy]);
        count++;
    }
    for (int isa = TREE_ISA_AUTO + 1; isa < TREE_NUM_ISAS; isa++) {
        if ((few && isa != TREE_ISA_PORTABLE) || !tree_isa_available((tree_isa)isa))
            continue;
        paths[count] = (path){.strategy = TREE_COST, .isa = (tree_isa)isa};
        snprintf(paths[count].name, sizeof paths[count].name, "loops cost %s", tree_isa_name[isa]);
        count++;
    }
    paths[count++] = (path){.name = "copies", .isa = TREE_ISA_AUTO, .copies = true, .blas = transformer_has_blas(),
                              .num_threads = 2};
    return count;
}

/* Searches by every path; returns the largest difference of a logit. */
static double compare_paths(const model_weights *weights, const decoder_model *player, const search_config *config,
                            const char *cards, double *margin, bool solved, bool few)
{
    path paths[40];
    recorder first, other;
    double largest = 0;
    uint32_t num_paths = list_paths(paths, few);
    search_result *wanted = search_by(&first, weights, player, &paths[0], config, cards);
    for (uint32_t p = 1; p < num_paths; p++) {
        search_result *r = search_by(&other, weights, player, &paths[p], config, cards);
        check(r->num_thoughts == wanted->num_thoughts && other.num_rows == first.num_rows, "%s: %u and %u thoughts",
              paths[p].name, r->num_thoughts, wanted->num_thoughts);
        for (uint32_t i = 0; i < r->num_thoughts; i++)
            check(strcmp(r->thoughts[i].text, wanted->thoughts[i].text) == 0 &&
                  r->thoughts[i].verdict == wanted->thoughts[i].verdict, "%s: '%s' and '%s'", paths[p].name,
                  r->thoughts[i].text, wanted->thoughts[i].text);
        for (size_t i = 0; i < first.num_rows * first.vocabulary; i++) {
            double difference = fabs((double)first.logits[i] - (double)other.logits[i]);
            check(difference < 1, "%s: logit %zu is %g and %g", paths[p].name, i, first.logits[i], other.logits[i]);
            largest = fmax(largest, difference);
        }
        search_destroy(r);
        free(other.logits);
    }
    check(wanted->solved >= solved, "solved");
    *margin = wanted->margin.logits;
    test_note("%u ways, %zu rows of logits, largest difference %.2g, smallest margin %.2g", num_paths, first.num_rows,
              largest, *margin);
    search_destroy(wanted);
    free(first.logits);
    return largest;
}

/* Random numbers beside a player: the texts are legal, and depend on every logit. */
static void test_random_weights(const void *unused)
{
    (void)unused;
    model_shape shape = {.vocabulary = DECODER_MODEL_CHARACTERS, .layers = 2, .width = 32, .heads = 4, .kv_heads = 2,
                         .head_dim = 8, .hidden = 48, .context = 256, .rope_base = 10000, .norm_eps = 1e-5};
    weights_file file = weights_file_random(&shape);
    model_weights *weights = NULL;
    char message[256];
    check(model_weights_parse(&weights, file.bytes, file.num_bytes, message, sizeof message) == MODEL_OK, "%s",
          message);
    strcpy(weights->vocabulary, decoder_model_vocabulary);
    decoder_model player = {.kind = DECODER_PLAYER, .seed = 3, .skill = 9};
    for (uint32_t seed = 1; seed <= (TEST_SANITIZED ? 1 : 3); seed++) {
        search_config config = {.breadth = 3, .proposals = 4, .temperature = 1, .seed = seed};
        double margin, largest = compare_paths(weights, &player, &config, "4 9 10 13", &margin, false, TEST_SANITIZED);
        check(largest > 0 && largest < margin, "a difference of %g, a margin of %g", largest, margin);
    }
    model_weights_destroy(weights);
    weights_file_destroy(&file);
}

/* The trained model: its first screen, and a drawn tree. tests/test_tool_think.sh has the same number, for the margins
 * of choices and of printed values. Another machine has other differences, hence the factor of 20. */
#define LARGEST 6e-5

static void test_trained(const void *argument)
{
    const search_config *config = argument;
    model_weights *weights = NULL;
    char message[512];
    const char *file = TREEATTN_SOURCE_DIR "/model/reasoner.weights";
    check(model_weights_load(&weights, file, message, sizeof message) == MODEL_OK, "%s", message);
    double margin, largest = compare_paths(weights, NULL, config, "3 3 8 8", &margin, true, config->breadth > 2);
    check(largest <= LARGEST && margin >= 20 * LARGEST, "a difference of %g, a margin of %g", largest, margin);
    model_weights_destroy(weights);
}

int main(int argc, char **argv)
{
    test_begin(argc, argv, "a search of a transformer gives the same texts on every path");
    test_add(test_random_weights, NULL, "random_weights");
    static const search_config first_screen = {.breadth = 5, .proposals = 8, .least = 1e-2},
                               drawn = {.breadth = 2, .proposals = 4, .temperature = 0.7, .least = 1e-2, .seed = 11};
    if (!TEST_SANITIZED) { /* more of the same accesses */
        test_add(test_trained, &drawn, "trained_drawn");
        test_add(test_trained, &first_screen, "trained_first_screen");
    }
    return test_end();
}
