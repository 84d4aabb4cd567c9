/* search: how a model looks for a solution of the Game of 24. The tree of thoughts, one chain, and the search that the
 * model writes out itself; over any decoder, so over the CPU, a GPU, or a table of numbers in a test.
 *
 *   tree     from every state that is kept, `proposals` different lines are drawn, a character a step, the lines of all
 *            states side by side. The model's own value word rates the state behind each line; the best `breadth` of
 *            the level are kept, the others are pruned. Three levels
 *   chain    the tree with breadth 1 and 1 proposal
 *   written  one branch, in which the model writes down a depth-first search, with its dead ends
 *
 * Proposals are drawn without replacement, by stochastic beam search (Kool, van Hoof, Welling 2019): the scores of a
 * line's continuations are their log probabilities with Gumbel noise, conditioned on the line's own score being the
 * largest of them; the best `proposals` of all continuations of a state go on. Temperature 0: no noise, a beam search.
 * Where two continuations of a line go on, its branch is forked; a line without one is pruned at once.
 *
 * The same texts on every machine. The noise of a character depends on the seed and the text before it alone, not on
 * the other branches. Logits differ by rounding between a BLAS and plain loops, between plans, instruction sets, CPU
 * and GPU. So every choice has a margin: the least d such that a change of every logit by d could have reversed it (to
 * first order). The smallest margin of a search is in its result; where it is larger than the difference between two
 * ways to compute logits, both choose the same texts.
 *
 * Nothing prints. The caller owns the pool; at the end, and after an error, every branch of the search is pruned. */
#ifndef SEARCH_H
#define SEARCH_H

#include "game.h"
#include "kv_branch.h"
#include "weights.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Whatever computes logits. Branches of the search live in `pool`. */
typedef struct search_decoder {
    void *self;
    kv_pool *pool;
    const char *vocabulary; /* a character for each token */
    uint32_t max_branches;  /* of one step */
    uint32_t context;       /* most tokens of a branch */
    /* Appends tokens[i] to branches[i]; logits [count][vocabulary] of the next token. On error no branch has changed */
    model_status (*step)(void *self, const kv_branch *branches, const uint32_t *tokens, uint32_t count, float *logits);
    /* NULL: kv_branch_fork. A decoder without shared blocks copies the branch here. */
    model_status (*fork)(void *self, kv_branch branch, kv_branch *child);
} search_decoder;

enum { SEARCH_MAX_BREADTH = 64, SEARCH_MAX_PROPOSALS = 32, SEARCH_MAX_LINE = 32, SEARCH_LEVELS = GAME_CARDS - 1 };
#define SEARCH_NONE UINT32_MAX

typedef enum search_verdict {
    SEARCH_KEPT,      /* among the best of its level; of level 3: the solution */
    SEARCH_LOST,      /* legal, but not among the best */
    SEARCH_DUPLICATE, /* a better line of the level leaves the same numbers */
    SEARCH_ILLEGAL,   /* not a step of the game */
    SEARCH_NUM_VERDICTS
} search_verdict;

extern const char *const search_verdict_name[SEARCH_NUM_VERDICTS]; /* "kept", "lost", "duplicate", "illegal" */

/* A line that was drawn. */
typedef struct search_thought {
    uint32_t parent;         /* index of the thought that it continues; SEARCH_NONE: the prompt */
    uint32_t level;          /* 1 .. 3 */
    uint32_t num_tokens;     /* characters of its text */
    search_verdict verdict;
    double log_probability;  /* of the text, at the temperature of the search */
    double log_odds;         /* of the value word: logit of y minus logit of n */
    game_step step;          /* unless illegal */
    char text[SEARCH_MAX_LINE + 1]; /* without the value word */
} search_thought;

/* A line of the written-out search: "4 9 10 13: 13-10=3>3 4 9", or all steps of two numbers, "4 6: 6+4=10 6-4=2". */
typedef struct search_written_line {
    uint32_t first, num_characters; /* in text, without the line end */
    uint32_t num_nodes;  /* steps that it writes */
    bool legal;          /* its state was reached by legal lines before, and its steps are steps of that state */
} search_written_line;

typedef struct search_margin {
    double logits; /* the least change of all logits that could reverse the choice; infinity: there was no choice */
    uint32_t level;         /* 0: in the written-out search */
    char chosen[SEARCH_MAX_LINE + 1], other[SEARCH_MAX_LINE + 1]; /* texts so far */
} search_margin;

typedef struct search_result {
    game_state cards;
    uint32_t num_thoughts;
    search_thought *thoughts;   /* [num_thoughts] level by level, state by state, in the order of their texts */
    uint32_t num_levels;        /* complete ones */
    char *text;                 /* of the written-out search, with its prompt; otherwise NULL */
    uint32_t num_lines;         /* of text behind the prompt, the last one perhaps cut off */
    search_written_line *lines; /* [num_lines] */
    bool solved;                /* checked: the steps are legal and end at 24 */
    uint32_t num_steps;
    game_step steps[GAME_CARDS - 1]; /* of the solution */
    uint64_t decode_steps;      /* calls of step that succeeded */
    uint64_t tokens;            /* that it appended */
    uint64_t forks, prunes;
    uint32_t peak_branches;     /* living at once */
    uint32_t peak_blocks;       /* in use at once, and ... */
    uint32_t peak_table_blocks; /* ... entries of all block tables: the blocks of copies */
    uint64_t narrowed;          /* lines pruned for lack of memory; 1: the written-out search ended for it */
    uint64_t unfinished;        /* lines pruned because they are too long */
    search_margin margin;       /* the smallest one */
} search_result;

/* What `least` is in the program and in the figures: model/README.md, "Proposals and values". */
#define SEARCH_USUAL_LEAST 0.03

typedef struct search_config {
    uint32_t breadth;     /* 1 .. 64 */
    uint32_t proposals;   /* 1 .. 32 */
    double temperature;   /* 0: the most probable; at most 10 */
    double least; /* lines less probable than this are left out; 0: none. Less than 1. Not in the written search */
    uint64_t seed;
    /* NULL, or called after each level, and after each line of the written-out search, with the result so far. */
    void (*on_level)(void *context, const search_result *result);
    /* NULL, or called after each step. */
    void (*on_step)(void *context, const search_result *result);
    void *context;
} search_config;

/* MODEL_INVAL: a config outside its limits, a vocabulary without the characters that the text needs. MODEL_NOMEM.
 * MODEL_NOBLOCKS: not even one line fits into the pool; for the written-out search, not even its prompt. Another status
 * comes from the decoder. *result is untouched then. A set without a solution is searched as any other. */
model_status search_tree(search_result **result, const search_decoder *decoder, const search_config *config,
                         const game_state *cards);

/* breadth, proposals and least are not used. */
model_status search_written(search_result **result, const search_decoder *decoder, const search_config *config,
                            const game_state *cards);

void search_destroy(search_result *result);

#ifdef __cplusplus
}
#endif
#endif
