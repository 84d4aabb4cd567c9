/* Claim: the oracles of the attention tests notice real bugs and raise no false alarm. A small attention over a block
 * table, in float with weights rounded to bf16, has one planted bug at a time; each oracle must see the bugs that it is
 * meant for.
 *
 *   bound   each element of out and lse of random data within the limits of oracle.h; and their means:
 *   mean    over rows: the only comparison that notices one token of many in 16 bits
 *   needle  one key lifted until it alone counts, at each position in turn: out is its value, exactly
 *   twin    two such keys, values 1 and 0: out is one half (2/3 if one counts twice, 0 or 1 if one is lost)
 *   count   query 0: every weight is 1, lse is ln n
 *   poison  NaN wherever the branch may not read
 * For comparison, allclose at 2e-2, which sees few of the bugs, is in the log; no check depends on it. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "compare.h"
#include "test.h"

enum { HEAD_DIM = 32, NUM_HEADS = 4, NUM_KV_HEADS = 2, BLOCK_TOKENS = 16, LENGTH = 371, PIECE = 64 };
enum { NUM_OWN = (LENGTH + BLOCK_TOKENS - 1) / BLOCK_TOKENS, NUM_BLOCKS = NUM_OWN + 6 };
enum { SIBLING_TOKEN = LENGTH - 2, SIBLING_BLOCK = NUM_BLOCKS - 1 };
enum { STALE_INDEX = NUM_OWN - 2, FREE_BLOCK = NUM_BLOCKS - 2 };

typedef enum mutant {
    CORRECT,
    LAST_TOKEN_DROPPED,
    FIRST_TOKEN_DROPPED,
    TAIL_SLOT_INCLUDED,
    EDGE_TOKEN_TWICE,
    EDGE_TOKEN_LOST,
    VALUE_ROWS_SWAPPED,
    SIBLINGS_TOKEN,
    MERGE_WITHOUT_EXP,
    NO_RESCALE,
    NEIGHBOURS_KV_HEAD,
    STALE_BLOCK,
    NUM_MUTANTS
} mutant;

typedef enum oracle { BOUND, NEEDLE, TWIN, COUNT, POISON, MEAN, ALLCLOSE, NUM_ORACLES } oracle;

static const char *const oracle_name[NUM_ORACLES] = {"bound", "needle", "twin", "count", "poison", "mean", "allclose"};

#define BIT(oracle) (1u << (oracle))

/* must: the oracles that have to notice. Equal values, keys or counts hide the others. */
static const struct {
    const char *name;
    unsigned must;
} mutants[NUM_MUTANTS] = {
    [CORRECT] = {"correct", 0},
    [LAST_TOKEN_DROPPED] = {"last_token_dropped", BIT(MEAN) | BIT(NEEDLE) | BIT(TWIN) | BIT(COUNT)},
    [FIRST_TOKEN_DROPPED] = {"first_token_dropped", BIT(MEAN) | BIT(NEEDLE) | BIT(TWIN) | BIT(COUNT)},
    [TAIL_SLOT_INCLUDED] = {"tail_slot_included", BIT(MEAN) | BIT(COUNT) | BIT(POISON)},
    [EDGE_TOKEN_TWICE] = {"split_edge_token_twice", BIT(MEAN) | BIT(TWIN) | BIT(COUNT)},
    [EDGE_TOKEN_LOST] = {"split_edge_token_lost", BIT(MEAN) | BIT(NEEDLE) | BIT(TWIN) | BIT(COUNT)},
    [VALUE_ROWS_SWAPPED] = {"value_rows_swapped", BIT(MEAN) | BIT(NEEDLE) | BIT(TWIN)},
    [SIBLINGS_TOKEN] = {"siblings_token", BIT(MEAN) | BIT(NEEDLE) | BIT(TWIN) | BIT(POISON)},
    [MERGE_WITHOUT_EXP] = {"merge_without_exp", BIT(BOUND) | BIT(MEAN) | BIT(NEEDLE) | BIT(TWIN)},
    [NO_RESCALE] = {"no_rescale_when_m_rises", BIT(BOUND) | BIT(MEAN) | BIT(NEEDLE)},
    [NEIGHBOURS_KV_HEAD] = {"neighbours_kv_head", BIT(BOUND) | BIT(MEAN) | BIT(NEEDLE) | BIT(TWIN) | BIT(POISON)},
    [STALE_BLOCK] = {"stale_block", BIT(MEAN) | BIT(NEEDLE) | BIT(TWIN) | BIT(POISON)},
};

typedef struct scene {
    tree_shape shape;
    float scale;
    uint32_t blocks[NUM_OWN];
    kv_table table;
    float query[NUM_HEADS * HEAD_DIM];
    float key[NUM_BLOCKS * NUM_KV_HEADS * BLOCK_TOKENS * HEAD_DIM];
    float value[NUM_BLOCKS * NUM_KV_HEADS * BLOCK_TOKENS * HEAD_DIM];
} scene;

typedef struct state {
    float m, l, o[HEAD_DIM];
} state;

static void absorb(state *s, float score, const float *value, mutant bug)
{
    float m = fmaxf(s->m, score), weight = expf(score - m);
    float rescale = bug == NO_RESCALE && s->l > 0 ? 1 : expf(s->m - m);
    s->m = m;
    s->l = s->l * rescale + weight;
    for (int d = 0; d < HEAD_DIM; d++)
        s->o[d] = s->o[d] * rescale + storage_round(weight, TREE_BF16) * value[d];
}

static void merge(state *s, const state *other, mutant bug)
{
    float m = fmaxf(s->m, other->m);
    float mine = expf(s->m - m), theirs = expf(other->m - m);
    if (bug == MERGE_WITHOUT_EXP)
        mine = theirs = 1;
    s->m = m;
    s->l = s->l * mine + other->l * theirs;
    for (int d = 0; d < HEAD_DIM; d++)
        s->o[d] = s->o[d] * mine + other->o[d] * theirs;
}

static uint64_t kv_offset(const scene *s, uint32_t kv_head, uint32_t t, mutant bug)
{
    uint32_t block = s->blocks[t / BLOCK_TOKENS];
    if (bug == SIBLINGS_TOKEN && t == SIBLING_TOKEN)
        block = SIBLING_BLOCK;
    if (bug == STALE_BLOCK && t / BLOCK_TOKENS == STALE_INDEX)
        block = FREE_BLOCK;
    if (bug == NEIGHBOURS_KV_HEAD)
        kv_head ^= 1;
    return tree_kv_offset(&s->shape, block, kv_head, t % BLOCK_TOKENS);
}

/* Attention of one head: pieces of PIECE tokens, then their merge. */
static void attend_head(float *out, float *lse, const scene *s, uint32_t head, mutant bug)
{
    uint32_t kv_head = head / (NUM_HEADS / NUM_KV_HEADS);
    uint32_t length = bug == LAST_TOKEN_DROPPED ? LENGTH - 1 : bug == TAIL_SLOT_INCLUDED ? LENGTH + 1 : LENGTH;
    state total = {-INFINITY, 0, {0}};
    for (uint32_t first = 0; first < length; first += PIECE) {
        state part = {-INFINITY, 0, {0}};
        uint32_t end = first + PIECE < length ? first + PIECE : length, t = first;
        if (first == 0 && bug == FIRST_TOKEN_DROPPED)
            t++;
        if (first > 0)
            t += bug == EDGE_TOKEN_LOST ? 1 : bug == EDGE_TOKEN_TWICE ? (uint32_t)-1 : 0;
        for (; t < end; t++) {
            const float *key = s->key + kv_offset(s, kv_head, t, bug);
            const float *value = s->value + kv_offset(s, kv_head, bug == VALUE_ROWS_SWAPPED ? t ^ 1 : t, bug);
            float score = 0;
            for (int d = 0; d < HEAD_DIM; d++)
                score += s->query[head * HEAD_DIM + (uint32_t)d] * key[d];
            absorb(&part, score * s->scale, value, bug);
        }
        merge(&total, &part, bug);
    }
    for (int d = 0; d < HEAD_DIM; d++)
        out[head * HEAD_DIM + (uint32_t)d] = total.o[d] / total.l;
    lse[head] = total.m + logf(total.l);
}

typedef struct result {
    float out[NUM_HEADS * HEAD_DIM], lse[NUM_HEADS];
} result;

static result attend(const scene *s, mutant bug)
{
    result r;
    for (uint32_t head = 0; head < NUM_HEADS; head++)
        attend_head(r.out, r.lse, s, head, bug);
    return r;
}

static scene *create_scene(void)
{
    scene *s = calloc(1, sizeof *s);
    check(s, "memory");
    s->shape = (tree_shape){1, NUM_HEADS, NUM_KV_HEADS, HEAD_DIM, NUM_BLOCKS, BLOCK_TOKENS, TREE_FP32};
    s->scale = 1 / sqrtf(HEAD_DIM);
    for (uint32_t i = 0; i < NUM_OWN; i++)
        s->blocks[i] = NUM_OWN - 1 - i; /* physical order is not logical order */
    s->table = (kv_table){s->blocks, NUM_OWN, LENGTH, 1};
    for (size_t i = 0; i < sizeof s->query / sizeof s->query[0]; i++)
        s->query[i] = storage_round((float)test_normal(), TREE_BF16);
    for (size_t i = 0; i < sizeof s->key / sizeof s->key[0]; i++) {
        s->key[i] = storage_round((float)test_normal(), TREE_BF16);
        s->value[i] = storage_round((float)test_normal(), TREE_BF16);
    }
    return s;
}

/* Whether out or lse is beyond a limit of this routine's own roundoffs, or out beyond the loose one. */
static bool beyond_limit(const scene *s, const result *r, oracle o)
{
    const roundoffs u = {0x1p-24, 0x1p-8, 0x1p-24, 0};
    token_paths paths = token_paths_create(&s->table, NULL, 1, BLOCK_TOKENS);
    attention_truth truth = attention_truth_create(s->query, s->key, s->value, &paths, &s->shape, s->scale);
    bool bad = false;
    if (o == ALLCLOSE) {
        for (int i = 0; i < NUM_HEADS * HEAD_DIM; i++)
            bad |= !(fabs(r->out[i] - truth.out[i]) <= 2e-2 + 2e-2 * fabs(truth.out[i]));
    } else if (o == MEAN) {
        bad = compare_mean_out(r->out, &truth, &u).num_bad > 0 || compare_mean_lse(r->lse, &truth, &u).num_bad > 0;
    } else {
        bad = compare_out(r->out, &truth, &u).num_bad > 0 || compare_lse(r->lse, &truth, &u).num_bad > 0;
    }
    attention_truth_destroy(&truth);
    token_paths_destroy(&paths);
    return bad;
}

/* Makes token t score 100 for every head of a group: the head's query is the group's. */
static void lift_key(scene *s, uint32_t t)
{
    for (uint32_t kv_head = 0; kv_head < NUM_KV_HEADS; kv_head++) {
        const float *q = s->query + kv_head * (NUM_HEADS / NUM_KV_HEADS) * HEAD_DIM;
        float square = 0;
        for (int d = 0; d < HEAD_DIM; d++)
            square += q[d] * q[d];
        float *key = s->key + kv_offset(s, kv_head, t, CORRECT);
        for (int d = 0; d < HEAD_DIM; d++)
            key[d] = q[d] * 100 / (square * s->scale);
    }
}

static void share_queries(scene *s)
{
    for (uint32_t head = 0; head < NUM_HEADS; head++) {
        uint32_t leader = head / (NUM_HEADS / NUM_KV_HEADS) * (NUM_HEADS / NUM_KV_HEADS);
        memmove(s->query + head * HEAD_DIM, s->query + leader * HEAD_DIM, HEAD_DIM * sizeof(float));
    }
}

static void move_key(scene *s, uint32_t t, float saved[NUM_KV_HEADS][HEAD_DIM], bool restore)
{
    for (uint32_t kv_head = 0; kv_head < NUM_KV_HEADS; kv_head++) {
        float *key = s->key + kv_offset(s, kv_head, t, CORRECT);
        memcpy(restore ? key : saved[kv_head], restore ? saved[kv_head] : key, HEAD_DIM * sizeof *key);
    }
}

static bool needle_notices(mutant bug)
{
    scene *s = create_scene();
    float saved[NUM_KV_HEADS][HEAD_DIM];
    bool noticed = false;
    share_queries(s);
    for (uint32_t t = 0; t < LENGTH && !noticed; t++) {
        move_key(s, t, saved, false);
        lift_key(s, t);
        result r = attend(s, bug);
        for (uint32_t head = 0; head < NUM_HEADS; head++) {
            const float *row = s->value + kv_offset(s, head / (NUM_HEADS / NUM_KV_HEADS), t, CORRECT);
            for (int d = 0; d < HEAD_DIM; d++)
                noticed |= !(r.out[head * HEAD_DIM + (uint32_t)d] == row[d]);
        }
        move_key(s, t, saved, true);
    }
    free(s);
    return noticed;
}

/* Twins at t and half the branch away: every pair straddles pieces and blocks. */
static bool twin_notices(mutant bug)
{
    scene *s = create_scene();
    float saved[2][NUM_KV_HEADS][HEAD_DIM];
    bool noticed = false;
    share_queries(s);
    for (uint32_t t = 0; t < LENGTH && !noticed; t++) {
        uint32_t pair[2] = {t, (t + LENGTH / 2) % LENGTH};
        for (int i = 0; i < 2; i++) {
            move_key(s, pair[i], saved[i], false);
            lift_key(s, pair[i]);
            for (uint32_t kv_head = 0; kv_head < NUM_KV_HEADS; kv_head++) {
                for (int d = 0; d < HEAD_DIM; d++)
                    s->value[kv_offset(s, kv_head, pair[i], CORRECT) + (uint64_t)d] = i == 0;
            }
        }
        result r = attend(s, bug);
        for (int i = 0; i < NUM_HEADS * HEAD_DIM; i++)
            noticed |= !(fabsf(r.out[i] - 0.5f) <= 1e-5f);
        for (int i = 0; i < 2; i++)
            move_key(s, pair[i], saved[i], true);
    }
    free(s);
    return noticed;
}

static bool count_notices(mutant bug)
{
    scene *s = create_scene();
    bool noticed = false;
    memset(s->query, 0, sizeof s->query);
    result r = attend(s, bug);
    for (int head = 0; head < NUM_HEADS; head++)
        noticed |= !(fabs(r.lse[head] - log(LENGTH)) <= 8 * 0x1p-24 * (1 + log(LENGTH)));
    free(s);
    return noticed;
}

/* NaN in the tail, in blocks of others, and in the KV head of the other group in turn. */
static bool poison_notices(mutant bug)
{
    bool noticed = false;
    for (uint32_t poisoned = 0; poisoned < NUM_KV_HEADS; poisoned++) {
        scene *s = create_scene();
        for (uint32_t block = 0; block < NUM_BLOCKS; block++) {
            for (uint32_t kv_head = 0; kv_head < NUM_KV_HEADS; kv_head++) {
                for (uint32_t slot = 0; slot < BLOCK_TOKENS; slot++) {
                    bool visible = block < NUM_OWN && (NUM_OWN - 1 - block) * BLOCK_TOKENS + slot < LENGTH;
                    uint64_t first = tree_kv_offset(&s->shape, block, kv_head, slot);
                    for (uint64_t i = first; (!visible || kv_head == poisoned) && i < first + HEAD_DIM; i++)
                        s->key[i] = s->value[i] = NAN;
                }
            }
        }
        result r = attend(s, bug);
        for (uint32_t i = 0; i < NUM_HEADS * HEAD_DIM; i++) {
            if (i / HEAD_DIM / (NUM_HEADS / NUM_KV_HEADS) != poisoned)
                noticed |= !isfinite(r.out[i]) || !isfinite(r.lse[i / HEAD_DIM]);
        }
        free(s);
    }
    return noticed;
}

static bool notices(oracle o, mutant bug)
{
    bool noticed = false;
    if (o == NEEDLE)
        return needle_notices(bug);
    if (o == TWIN)
        return twin_notices(bug);
    if (o == COUNT)
        return count_notices(bug);
    if (o == POISON)
        return poison_notices(bug);
    for (int round = 0; round < 5; round++) {
        scene *s = create_scene();
        result r = attend(s, bug);
        noticed |= beyond_limit(s, &r, o);
        free(s);
    }
    return noticed;
}

static void run_mutant(const void *argument)
{
    mutant bug = (mutant)(*(const int *)argument);
    unsigned noticed = 0;
    for (oracle o = 0; o < NUM_ORACLES; o++) {
        if (notices(o, bug)) {
            noticed |= BIT(o);
            test_note("%s", oracle_name[o]);
        }
    }
    for (oracle o = 0; o < NUM_ORACLES; o++)
        check(noticed & BIT(o) || !(mutants[bug].must & BIT(o)), "%s notices %s", oracle_name[o], mutants[bug].name);
    check(bug != CORRECT || noticed == 0, "no oracle raises a false alarm");
    check(bug == CORRECT || (noticed & ~BIT(ALLCLOSE)) != 0, "at least one of the six notices");
}

/* One row of one element, and what is wrong with it. */
static void run_not_finite(const void *unused)
{
    const roundoffs u = {0x1p-24, 0x1p-24, 0x1p-24, 0};
    const float values[] = {1, INFINITY, -INFINITY, NAN};
    (void)unused;
    for (int i = 0; i < 16; i++) {
        float got = values[i / 4];
        double want = values[i % 4], one = 1;
        bool repeats = false, is_right = i / 4 == i % 4;
        attention_truth truth = {1, 1, 1, 1, &want, &one, &one, &want, &one, &one, &one, &repeats};
        check((compare_out(&got, &truth, &u).num_bad == 0) == is_right, "out %g for %g", got, want);
        check((compare_lse(&got, &truth, &u).num_bad == 0) == is_right, "lse %g for %g", got, want);
        uint64_t bad_means = compare_mean_out(&got, &truth, &u).num_bad + compare_mean_lse(&got, &truth, &u).num_bad;
        check((bad_means == 0) == (is_right || !isfinite(want)), "means: %g for %g", got, want);
    }
}

int main(int argc, char **argv)
{
    static int index[NUM_MUTANTS];
    test_begin(argc, argv, "the oracles notice every planted bug and accept the correct code");
    for (int i = 0; i < NUM_MUTANTS; i++) {
        index[i] = i;
        test_add(run_mutant, &index[i], "%s", mutants[i].name);
    }
    test_add(run_not_finite, NULL, "not_finite_is_right_where_the_truth_is_the_same");
    return test_end();
}
