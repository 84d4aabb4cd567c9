/* Claim: the device's softmax_state, held by one warp, gives what reference/softmax_state.h gives: however the tokens are
 * cut into two states that are merged, with empty states, scores of -infinity, +infinity and NaN, and no token at all. */
#include "softmax_state.cuh"

#include <math.h>
#include <stdint.h>

namespace reference {
#include "../reference/softmax_state.h"
}
extern "C" {
#include "test.h"
}

enum { HEAD_DIM = 64, MAX_TOKENS = 8 };

static const float NONE = -INFINITY;
static const struct softmax_case {
    const char *name;
    int num_tokens;
    float score[MAX_TOKENS];
} cases[] = {
    {"no_token", 0, {}},
    {"one_token", 1, {3}},
    {"rising", 6, {-9, -2, 0, 4, 11, 19}},
    {"falling", 6, {19, 11, 4, 0, -2, -9}},
    {"equal", 4, {2, 2, 2, 2}},
    {"hidden_first", 5, {NONE, NONE, 1, 5, 2}},
    {"hidden_last", 5, {1, 5, 2, NONE, NONE}},
    {"all_hidden", 3, {NONE, NONE, NONE}},
    {"large", 4, {-1e30f, 3e38f, -3e38f, 3e38f}},
    {"nan", 4, {1, NAN, NONE, 2}},
    {"nan_first", 4, {NAN, 1, 2, NONE}},
    {"infinity", 4, {1, INFINITY, 2, 3}},
};

template <typename T>
static __global__ void merge_two(float *out, float *lse, const float *score, const T *value, int cut, int num_tokens)
{
    softmax_state<HEAD_DIM, T> state, other;
    softmax_state_empty(state);
    softmax_state_empty(other);
    for (int t = 0; t < num_tokens; t++)
        softmax_state_absorb(t < cut ? state : other, score[t], value + t * HEAD_DIM);
    softmax_state_merge(state, other);
    softmax_state_normalize(out, state);
    if (threadIdx.x == 0)
        *lse = softmax_state_lse(state);
}

static void check_close(float mine, double truth, const char *what, int cut)
{
    const bool same = isnan(truth) ? isnan(mine) : mine == truth || fabs(mine - truth) <= 4e-6 * fmax(1, fabs(truth));
    check(same, "%s, cut at %d: %.9g instead of %.9g", what, cut, mine, truth);
}

/* Values of hidden tokens are NaN: they are not read. */
template <typename T> static void run_case(const void *argument)
{
    const softmax_case *c = (const softmax_case *)argument;
    T value[MAX_TOKENS * HEAD_DIM];
    float exact[MAX_TOKENS * HEAD_DIM];
    for (int i = 0; i < MAX_TOKENS * HEAD_DIM; i++) {
        value[i] = from_float<T>(c->score[i / HEAD_DIM] == NONE ? NAN : (float)(2 * test_uniform() - 1));
        exact[i] = to_float(value[i]);
    }
    double sums[HEAD_DIM];
    reference::softmax_state state = {0, 0, sums};
    reference::softmax_state_empty(&state, HEAD_DIM);
    for (int t = 0; t < c->num_tokens; t++)
        reference::softmax_state_absorb(&state, c->score[t], exact + t * HEAD_DIM, HEAD_DIM);
    float truth[HEAD_DIM];
    reference::softmax_state_normalize(truth, &state, HEAD_DIM);
    for (int cut = 0; cut <= c->num_tokens; cut++) {
        float out[HEAD_DIM], lse = 0;
        cudaError_t error = launch_kernel(1, WARP, 0, NULL, merge_two<T>, (float *)out, &lse, (const float *)c->score,
                                          (const T *)value, cut, (int)c->num_tokens);
        check(error == cudaSuccess, "%s", cudaGetErrorString(error));
        for (int d = 0; d < HEAD_DIM; d++)
            check_close(out[d], truth[d], "out", cut);
        check_close(lse, reference::softmax_state_lse(&state), "lse", cut);
    }
}

int main(int argc, char **argv)
{
    test_begin(argc, argv, "the device's softmax_state is that of the reference");
    for (const softmax_case &c : cases) {
        test_add(run_case<float>, &c, "%s_fp32", c.name);
        test_add(run_case<__half>, &c, "%s_fp16", c.name);
        test_add(run_case<__nv_bfloat16>, &c, "%s_bf16", c.name);
    }
    return test_end();
}
