/* The student's kernel in the emulator, in many orders of its warps. */
#include "exercise.h"

#include <vector>

#include "check.h"

enum { NUM_SEEDS = 32 };
uint32_t exercise_barriers;
static std::vector<float> score_of, value_of, out;

static cudaError_t launch(uint32_t num_tokens, unsigned long long seed)
{
    score_of.resize(num_tokens);
    value_of.resize((size_t)num_tokens * THREADS);
    out.assign(THREADS, NAN);
    for (float &x : score_of) x = (float)draw(400) / 100 - 2;
    for (float &x : value_of) x = (float)draw(400) / 100 - 2;
    exercise_barriers = 0;
    emulate_seed(seed);
    return launch_kernel(1, THREADS, TILE * sizeof(float), NULL, exercise_attend, out.data(),
                         (const float *)score_of.data(), (const float *)value_of.data(), num_tokens);
}

static bool expect_out(uint32_t num_tokens, int seed)
{
    bool good = true;
    for (uint32_t d = 0; d < THREADS && good; d++) {
        double sum = 0, l = 0;
        for (uint32_t t = 0; t < num_tokens; t++) {
            sum += exp((double)score_of[t]) * (double)value_of[(size_t)t * THREADS + d];
            l += exp((double)score_of[t]);
        }
        double difference = sum / l - (double)out[d];
        good =
            expect(difference < 1e-4 && difference > -1e-4, "order %d, %u tokens, thread %u: expected %.6f, got %.6f",
                   seed, num_tokens, d, sum / l, (double)out[d]);
    }
    return good;
}

/* Every order, until one is wrong. */
static void try_orders(uint32_t num_tokens)
{
    bool good = true;
    for (int seed = 0; seed < NUM_SEEDS && good; seed++) {
        cudaError_t error = launch(num_tokens, (unsigned long long)seed);
        good = expect(error == cudaSuccess, "the kernel does not end: %s", cudaGetErrorString(error)) &&
               expect_out(num_tokens, seed);
    }
}

int main(void)
{
    enum { TILES = 4, TOKENS = TILES * TILE - 5 };
    property("every thread reaches every barrier");
    for (int seed = 0; seed < 4; seed++) {
        cudaError_t error = launch(TOKENS, (unsigned long long)seed);
        expect(error == cudaSuccess, "%s", cudaGetErrorString(error));
    }

    property("one tile: the weights are written before they are read");
    try_orders(TILE);

    property("several tiles: the weights are read before they are overwritten");
    try_orders(TOKENS);

    property("no more than two barriers per tile");
    launch(TOKENS, 0);
    score("barriers: %u for %d tiles", exercise_barriers, TILES);
    expect(exercise_barriers <= 2 * TILES, "expected at most %d barriers, got %u", 2 * TILES, exercise_barriers);
    return finish();
}
