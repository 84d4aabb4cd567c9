/* game_of_24: a real search without a model or a data file. Breadth-first tree of thoughts on the Game of 24.
 *
 * The goal: make 24 from four numbers with + - * /, each number used once. A state is the numbers left; a thought is
 * one arithmetic step as text, "10 - 4 = 6 (left: 6 9 13)\n". Every thought of a level is a branch forked from its
 * state and decodes its text, one byte per token, one token per iteration, all thoughts of a level side by side; a
 * finished thought waits. Then the level is scored, the best `breadth` are kept, the rest pruned. After three levels
 * one number is left.
 *   score       one step of look-ahead, no solver. One number: minus its distance to 24, or 1000 for 24 itself.
 *               Two: the best such score after one more step. Three: every different pair that one more step leaves
 *               counts 4 if both numbers divide 24, and 1 more if both are whole and one of them divides 24
 *   duplicates  thoughts that leave the same numbers are all decoded (a model must write a thought to know it), but
 *               only the first of them can be kept
 *   numbers     exact fractions; differences are taken so that they are not negative, which loses no solution
 * After Yao et al., Tree of Thoughts, NeurIPS 2023, with arithmetic in place of the language model. */
#ifndef GAME_OF_24_H
#define GAME_OF_24_H

#include "workload.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct game_of_24_config {
    uint32_t numbers[4]; /* 1 .. 99; all 0 means 4 9 10 13 */
    uint32_t breadth;    /* states kept per level, 1 .. 64; 0 means 5 */
} game_of_24_config;

typedef struct game_of_24_thought {
    uint32_t branch;     /* name in the workload */
    uint32_t parent;     /* index of the thought that it continues; TRACE_NONE: the prompt */
    uint32_t level;      /* 1 .. 3 */
    uint32_t num_tokens; /* bytes of its text */
    int32_t score;       /* higher is better */
    bool duplicate;      /* an earlier thought of the level leaves the same numbers */
    bool kept;
    char text[112]; /* without the newline; the branch's label too */
} game_of_24_thought;

typedef struct game_of_24 {
    game_of_24_config config;  /* as used */
    struct workload *workload; /* branch 0 is the prompt */
    char prompt[160];          /* text of the prompt, one byte per token */
    uint32_t num_thoughts;
    game_of_24_thought *thoughts; /* [num_thoughts] level by level */
    bool solved;
    uint32_t solution_thought; /* index of the last step; TRACE_NONE if unsolved */
    char solution[96];         /* "(10 - 4) * (13 - 9) = 24"; "" if unsolved */
} game_of_24;

/* Searches. Deterministic. KV_INVAL (a number or breadth outside its range), KV_NOMEM; *result is untouched then. */
kv_status game_of_24_search(game_of_24 **result, const game_of_24_config *config);
void game_of_24_destroy(game_of_24 *game);

#ifdef __cplusplus
}
#endif
#endif
