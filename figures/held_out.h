/* held_out: what the figures about the trained model share. Its weights, the card sets that it has never seen, the
 * decoder of a transformer on the CPU, and the interval of a share. */
#ifndef HELD_OUT_H
#define HELD_OUT_H

#include <math.h>
#include <stdbool.h>

#include "provenance.h"
#include "search.h"
#include "transformer.h"

/* Of model/reasoner.weights; ends the program with the message if they cannot be read. */
static inline model_weights *held_out_weights(void)
{
    model_weights *weights = NULL;
    char message[512] = "out of memory";
    model_status status = model_weights_load(&weights, TREEATTN_SOURCE_DIR "/model/reasoner.weights", message,
                                             sizeof message);
    figure_check(status == MODEL_OK, message);
    return weights;
}

/* The card sets that are held out and can reach 24, at most `count` of them: every 97th in turn, so that the first ones
 * are not those of small cards. sets [GAME_NUM_SETS] */
static inline uint32_t held_out_sets(game_state *sets, uint32_t count)
{
    static game_state all[GAME_NUM_SETS + 1];
    uint32_t found = 0;
    for (int a = 1; a <= GAME_MAX_CARD; a++)
        for (int b = a; b <= GAME_MAX_CARD; b++)
            for (int c = b; c <= GAME_MAX_CARD; c++)
                for (int d = c; d <= GAME_MAX_CARD; d++) {
                    char text[64];
                    game_step steps[GAME_CARDS - 1];
                    uint32_t num_steps;
                    snprintf(text, sizeof text, "%d %d %d %d", a, b, c, d);
                    if (game_state_from_cards(&all[found], text) && game_is_held_out(&all[found]) &&
                        game_solve(steps, &num_steps, &all[found], NULL))
                        found++;
                }
    figure_check(found % 97 != 0, "every 97th set would not be each set");
    for (uint32_t i = 0; i < found; i++)
        sets[i] = all[i * 97 % found];
    return count < found ? count : found;
}

/* Wilson's interval of a share at 95 %. */
static inline void held_out_interval(double *low, double *high, uint64_t solved, uint64_t sets)
{
    double z = 1.96, n = (double)sets, p = (double)solved / n, middle = (p + z * z / (2 * n)) / (1 + z * z / n),
           half = z / (1 + z * z / n) * sqrt(p * (1 - p) / n + z * z / (4 * n * n));
    *low = middle - half > 0 ? middle - half : 0;
    *high = middle + half < 1 ? middle + half : 1;
}

static inline uint32_t held_out_token(const char *vocabulary, char c)
{
    const char *at = strchr(vocabulary, c);
    figure_check(at != NULL && c != '\0', "the model's vocabulary lacks a character of the game");
    return (uint32_t)(at - vocabulary);
}

static inline void held_out_must(model_status status)
{
    figure_check(status == MODEL_OK, model_status_string(status));
}

#endif
