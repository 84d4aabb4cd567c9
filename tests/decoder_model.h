/* decoder_model: a decoder without a model, for tests of the search. Its logits are a function of the text of a branch,
 * which it reads back from blocks as a transformer reads K and V: a token that is written into a wrong or a shared
 * block changes texts. */
#ifndef DECODER_MODEL_H
#define DECODER_MODEL_H

#include "search.h"

typedef enum decoder_kind {
    DECODER_PLAYER, /* mostly legal lines; a value word that is mostly right */
    DECODER_NOISE,  /* any character after any text */
    DECODER_SCRIPT  /* the next character of `script` */
} decoder_kind;

typedef struct decoder_model {
    decoder_kind kind;
    uint64_t seed;        /* of the logits */
    double skill;         /* of the player: the logit by which it prefers legal characters and right values; 0: 6 */
    double disturbance;   /* every logit is changed by at most this */
    bool disturbs_randomly; /* otherwise by + or - disturbance */
    uint64_t disturbance_seed;
    const search_margin
        *against; /* not NULL: every logit is changed by `disturbance`, so that this choice is reversed */
    const char *script;
    bool copies;          /* no shared blocks: a fork copies */
    uint32_t context;     /* 0: 1024 */
    uint32_t fails_at;    /* this call of step returns MODEL_NOMEM; 0: none */
    /* set by decoder_model_open */
    kv_pool *pool;
    uint32_t block_tokens;
    char *text;           /* [num_blocks * block_tokens] */
    uint64_t calls;
} decoder_model;

extern const char decoder_model_vocabulary[];
enum { DECODER_MODEL_CHARACTERS = 24 };

/* Its logits after a text. */
void decoder_model_logits(const decoder_model *model, const char *text, float logits[DECODER_MODEL_CHARACTERS]);

/* Opens a pool for it. The config must stay where it is while the decoder is used. */
search_decoder decoder_model_open(decoder_model *model, uint32_t num_blocks, uint32_t block_tokens,
                                  uint32_t max_branches);

/* Checks that no block is in use any more. */
void decoder_model_close(decoder_model *model);

#endif
