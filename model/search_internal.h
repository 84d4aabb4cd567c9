/* search_internal: the parts that search.c (the tree) and search_written.c share. Private. */
#ifndef SEARCH_INTERNAL_H
#define SEARCH_INTERNAL_H

#include "search.h"

enum { SEARCH_MAX_VOCABULARY = MODEL_MAX_VOCABULARY };

/* A line that is being written, and its branch. */
typedef struct search_line {
    kv_branch branch;     /* 0: pruned, or handed on */
    uint32_t length;      /* tokens of the branch */
    uint32_t token;       /* of the next step, unless done */
    bool done;
    double phi, score;    /* log probability of the text; the same with conditioned noise */
    double phi_slack, score_slack; /* how far these move at most, if each logit moves by 1 */
    double rank;          /* where memory is short, the line of the lowest rank is pruned */
    double log_odds;      /* of its value word, once done */
    uint64_t key;         /* of the noise: a function of the seed and the text from the prompt on */
    float *logits;        /* [vocabulary] after its last token */
    uint32_t num_tokens;  /* characters of text */
    char text[SEARCH_MAX_LINE + 1];
} search_line;

typedef struct search_run {
    search_decoder decoder;
    search_config config;
    search_result *result;
    uint32_t vocabulary;
    uint32_t yes, no, line_end;  /* tokens */
    double log_least;            /* log of config.least; -infinity: no limit */
    kv_branch *branches;         /* [max_branches] of a step */
    uint32_t *tokens;
    float *logits;               /* [max_branches][vocabulary] */
    search_line **stepped;       /* [max_branches] */
    uint32_t thoughts_capacity;
} search_run;

model_status search_begin(search_run *run, const search_decoder *decoder, const search_config *config,
                          const game_state *cards);

/* Hands out the result, or drops it after an error. Returns `status`. */
model_status search_finish(search_run *run, model_status status, search_result **result);

/* Creates the line's branch and appends the prompt: `kind`, the cards and a line end. line->logits is set. */
model_status search_prompt(search_run *run, char kind, search_line *line);

/* Appends the token of every line that is not done. Where memory is short, the line of the lowest rank is pruned (its
 * branch is 0 then); MODEL_NOBLOCKS if the only line left does not fit. */
model_status search_step(search_run *run, search_line **lines, uint32_t count);

model_status search_fork(search_run *run, const search_line *from, search_line *to);
void search_prune(search_run *run, search_line *line);

search_thought *search_add_thought(search_run *run); /* NULL: out of memory */

void search_note_margin(search_run *run, double logits, uint32_t level, const char *chosen, const char *other);

double search_log_sum(const float *logits, uint32_t count,
                      double divisor); /* log of the sum of exp(logits / divisor) */
double search_noise(uint64_t key, uint32_t token);                          /* Gumbel */
uint64_t search_next_key(uint64_t key, uint32_t token);

#endif
