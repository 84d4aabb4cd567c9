/* The student's kernel in the emulator; each load of a key is noted. */
#include "exercise.h"

#include <set>
#include <vector>

#include "check.h"

static std::vector<const float *> loads[WARP]; /* of each lane, in order */

float load(const float *element)
{
    loads[emulate_lane()].push_back(element);
    return *element;
}

static std::vector<float> query, key, scores;

static bool run(uint32_t num_tokens, uint32_t head_dim, unsigned long long seed)
{
    query.assign(head_dim, 0);
    key.assign((size_t)num_tokens * head_dim, 0);
    scores.assign(num_tokens, NAN);
    for (float &x : query) x = (float)draw(17) - 8; /* small integers: every order of the sums is exact */
    for (float &x : key) x = (float)draw(17) - 8;
    for (auto &list : loads) list.clear();
    emulate_seed(seed);
    cudaError_t error = launch_kernel(1, WARP, 0, NULL, exercise_scores, scores.data(), (const float *)query.data(),
                                      (const float *)key.data(), num_tokens, head_dim);
    return expect(error == cudaSuccess, "%s", cudaGetErrorString(error));
}

static void expect_scores(uint32_t num_tokens, uint32_t head_dim)
{
    if (!run(num_tokens, head_dim, num_tokens)) return;
    for (uint32_t t = 0; t < num_tokens; t++) {
        double sum = 0;
        for (uint32_t d = 0; d < head_dim; d++) sum += (double)query[d] * (double)key[(size_t)t * head_dim + d];
        expect_number("score of token", t, sum, (double)scores[t], 0);
    }
}

/* Pieces of 32 bytes, counted from the first key: request after request. */
static uint64_t pieces_touched(uint64_t *requests)
{
    uint64_t pieces = 0;
    *requests = 0;
    for (auto &list : loads) *requests = list.size() > *requests ? list.size() : *requests;
    for (uint64_t n = 0; n < *requests; n++) {
        std::set<int64_t> touched;
        for (auto &list : loads)
            if (n < list.size()) touched.insert((list[n] - key.data()) / 8);
        pieces += touched.size();
    }
    return pieces;
}

int main(void)
{
    enum { TOKENS = 40, DIM = 128 };
    property("the scores of 32 keys with 32 elements");
    expect_scores(32, 32);

    property("the scores of 40 keys with 128 elements");
    expect_scores(TOKENS, DIM);
    uint64_t requests, pieces = pieces_touched(&requests), least = (uint64_t)TOKENS * DIM * sizeof(float) / 32,
                       count = 0;

    property("the score of a single key with 64 elements");
    expect_scores(1, 64);

    property("each element of a key is loaded once, by load");
    run(TOKENS, DIM, 1);
    std::vector<int> times((size_t)TOKENS * DIM, 0);
    for (auto &list : loads)
        for (const float *at : list)
            if (expect(at >= key.data() && at < key.data() + times.size(), "a load outside the keys"))
                times[(size_t)(at - key.data())]++, count++;
    for (size_t i = 0; i < times.size(); i++)
        expect(times[i] == 1, "key %zu, element %zu: expected 1 load, got %d", i / DIM, i % DIM, times[i]);

    property("the loads of a warp are coalesced");
    score("bytes of K: %llu in %llu requests; the least is %llu", (unsigned long long)pieces * 32,
          (unsigned long long)requests, (unsigned long long)least * 32);
    expect(pieces == least, "expected %llu pieces of 32 bytes, got %llu: a request touches %.1f of them, instead of 4",
           (unsigned long long)least, (unsigned long long)pieces, requests ? (double)pieces / (double)requests : 0.0);
    return finish();
}
