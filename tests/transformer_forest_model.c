#include "transformer_forest_model.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "test.h"

const model_shape forest_shape = {.vocabulary = 26, .layers = 2, .width = 24, .heads = 4, .kv_heads = 2, .head_dim = 8,
                                  .hidden = 40, .context = 64, .rope_base = 100, .norm_eps = 0.05};

void forest_create(forest *f, const transformer_config *config, uint32_t num_blocks, uint32_t block_tokens,
                   forest_kind kind)
{
    char message[200] = "";
    *f = (forest){.file = weights_file_random(&forest_shape)};
    check(model_weights_parse(&f->weights, f->file.bytes, f->file.num_bytes, message, sizeof message) == MODEL_OK,
          "random weights: %s", message);
    kv_pool_config pool = {.num_blocks = num_blocks, .block_tokens = block_tokens, .evicts = kind == FOREST_EVICTS};
    check(kv_pool_create(&f->pool, &pool) == KV_OK, "a pool");
    transformer_config alone = {.plan.strategy = TREE_FLASH, .reference = true, .isa = TREE_ISA_PORTABLE,
                                .num_threads = 1};
    check(transformer_create(&f->shared, f->weights, f->pool, config) == MODEL_OK, "a transformer");
    if (kind == FOREST_AND_ALONE) {
        check(kv_pool_create(&f->pool_alone, &pool) == KV_OK, "another pool");
        check(transformer_create(&f->alone, f->weights, f->pool_alone, &alone) == MODEL_OK, "another transformer");
    }
    f->same_bits = config->plan.strategy == TREE_FLASH && config->reference && !config->blas;
}

static void drop(forest *f, uint32_t branch)
{
    forest_branch *b = &f->branches[branch];
    text_truth_destroy(&b->truth);
    free(b->logits);
    free(b->logits_alone);
    *b = f->branches[--f->num_branches];
}

void forest_destroy(forest *f)
{
    while (f->num_branches)
        forest_prune(f, 0);
    transformer_destroy(f->shared);
    transformer_destroy(f->alone);
    check(kv_pool_destroy(f->pool, false, NULL) == KV_OK, "no branch is left");
    check(!f->alone || kv_pool_destroy(f->pool_alone, false, NULL) == KV_OK, "no branch is left alone");
    model_weights_destroy(f->weights);
    weights_file_destroy(&f->file);
}

static forest_branch *add(forest *f)
{
    check(f->num_branches < FOREST_BRANCHES, "room for a branch");
    forest_branch *b = &f->branches[f->num_branches++];
    b->logits = calloc(forest_shape.vocabulary, sizeof(float));
    b->logits_alone = calloc(forest_shape.vocabulary, sizeof(float));
    check(b->logits && b->logits_alone, "memory");
    return b;
}

void forest_add_root(forest *f)
{
    forest_branch *b = add(f);
    check(kv_branch_create(f->pool, &b->shared) == KV_OK, "a root");
    check(!f->alone || kv_branch_create(f->pool_alone, &b->alone) == KV_OK, "a root alone");
    b->truth = text_truth_create(&f->file);
}

void forest_fork(forest *f, uint32_t branch)
{
    forest_branch *b = add(f), *parent = &f->branches[branch];
    check(kv_branch_fork(f->pool, parent->shared, &b->shared) == KV_OK, "fork");
    check(!f->alone || transformer_copy_branch(f->alone, parent->alone, &b->alone) == MODEL_OK, "copy");
    b->truth = text_truth_copy(&parent->truth);
    memcpy(b->logits, parent->logits, forest_shape.vocabulary * sizeof(float));
    memcpy(b->logits_alone, parent->logits_alone, forest_shape.vocabulary * sizeof(float));
}

void forest_prune(forest *f, uint32_t branch)
{
    forest_branch *b = &f->branches[branch];
    check(kv_branch_prune(f->pool, b->shared) == KV_OK, "prune");
    check(!f->alone || kv_branch_prune(f->pool_alone, b->alone) == KV_OK, "prune alone");
    drop(f, branch);
}

/* The logits are those of a longer text from here on, in both: tokens are still sampled from them. */
void forest_truncate(forest *f, uint32_t branch, uint32_t length)
{
    forest_branch *b = &f->branches[branch];
    check(kv_branch_truncate(f->pool, b->shared, length) == KV_OK, "truncate");
    check(!f->alone || kv_branch_truncate(f->pool_alone, b->alone, length) == KV_OK, "truncate alone");
    b->truth.length = length;
}

void forest_evict(forest *f, uint32_t branch, uint32_t position)
{
    forest_branch *b = &f->branches[branch];
    uint32_t slot;
    check(kv_branch_find(f->pool, b->shared, position, &slot) == KV_OK, "position %u is kept", position);
    check(kv_branch_evict(f->pool, b->shared, KV_SCOPE_MASK, &slot, 1) == KV_OK, "evict");
    b->truth.kept[position] = false;
}

bool forest_compact(forest *f, uint32_t branch)
{
    kv_move moves[64];
    uint32_t num_moves;
    check(forest_shape.context <= 64, "room for all moves");
    check(kv_branch_compact(f->pool, f->branches[branch].shared, moves, 64, &num_moves) == KV_OK, "compact");
    transformer_move(f->shared, moves, num_moves);
    return num_moves > 0;
}

static uint32_t largest(const float *logits, const double *gumbel)
{
    uint32_t best = 0;
    for (uint32_t i = 1; i < forest_shape.vocabulary; i++)
        if (logits[i] + gumbel[i] > logits[best] + gumbel[best])
            best = i;
    return best;
}

/* Both logits with the same random numbers give the same token, unless two tokens are within the bounds. */
static uint32_t sample(forest *f, const forest_branch *b)
{
    double gumbel[MODEL_MAX_VOCABULARY];
    for (uint32_t i = 0; i < forest_shape.vocabulary; i++)
        gumbel[i] = -log(-log(0.5 * (test_uniform() + test_uniform()) + 1e-9)); /* any spread will do */
    uint32_t token = largest(b->logits, gumbel), alone = largest(b->logits_alone, gumbel);
    double margin = b->logits[token] + gumbel[token] - b->logits[alone] - gumbel[alone];
    check(token == alone || margin <= 4 * b->truth.limit, "token %u, alone %u, margin %g", token, alone, margin);
    f->num_checked++;
    f->num_close += token != alone;
    return token;
}

void forest_step(forest *f, const uint32_t *branches, uint32_t count)
{
    uint32_t vocabulary = forest_shape.vocabulary, tokens[FOREST_BRANCHES] = {0};
    kv_branch handles[FOREST_BRANCHES] = {0};
    float *logits = malloc((size_t)count * vocabulary * sizeof *logits);
    check(logits, "memory");
    for (uint32_t i = 0; i < count; i++) {
        tokens[i] = sample(f, &f->branches[branches[i]]);
        handles[i] = f->branches[branches[i]].shared;
    }
    model_status status = transformer_step(f->shared, handles, tokens, count, logits);
    check(status == MODEL_OK, "step: %s", model_status_string(status));
    for (uint32_t i = 0; i < count; i++) {
        forest_branch *b = &f->branches[branches[i]];
        memcpy(b->logits, logits + (size_t)i * vocabulary, vocabulary * sizeof(float));
        memcpy(b->logits_alone, b->logits, vocabulary * sizeof(float));
        if (f->alone)
            status = transformer_step(f->alone, &b->alone, &tokens[i], 1, b->logits_alone);
        check(status == MODEL_OK, "step alone: %s", model_status_string(status));
        text_truth_append(&b->truth, tokens[i]);
        double error = text_truth_worst(&b->truth, b->logits);
        double error_alone = text_truth_worst(&b->truth, b->logits_alone);
        check(error <= 1, "branch %u, position %u: error %g limits of %g", branches[i], b->truth.length - 1, error,
              b->truth.limit);
        check(error_alone <= 1, "branch %u alone, position %u: error %g limits", branches[i], b->truth.length - 1,
              error_alone);
        bool same = !memcmp(b->logits, b->logits_alone, vocabulary * sizeof(float));
        check(same || !f->same_bits, "branch %u, position %u: the bits of the branch alone", branches[i],
              b->truth.length - 1);
        f->worst = fmax(f->worst, error);
        f->worst_alone = fmax(f->worst_alone, error_alone);
    }
    free(logits);
}
