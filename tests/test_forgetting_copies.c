/* Claim: why the trained model's written-out search fails when it forgets. The search lists eight thoughts and then
 * follows their states, in the order of the list. While every character of the state that is due is kept, the model
 * copies it. LongFlow forgets some characters of a state, and the model invents the others: the first line that is not
 * legal is such a copy. The window forgets states as a whole, the oldest first, and the model goes on with one that is
 * there. With nothing forgotten, a character of a state has less weight than the average token, whether its turn is
 * over or still to come, and more while it is copied: no score by weight knows what is due next. */
#include <stdio.h>
#include <string.h>

#include "forgetting.h"
#include "search.h"
#include "test.h"

enum { BLOCK_TOKENS = 16, NUM_LISTED = 8, CONTEXT = 400, MAX_LINES = 40 };
static const char cards[] = "4 9 10 13";

typedef struct example {
    const char *name, *policy;
    uint32_t budget;
} example;

/* Searches of 347 characters with nothing forgotten; 162 and 243 are 20 and 30 % in figures/eviction_accuracy.csv. */
static const example loses_characters = {"longflow_that_loses_characters", "longflow", 162},
                     loses_states = {"window_that_loses_states", "sink_window", 243},
                     keeps_states = {"longflow_that_keeps_states", "longflow", 210},
                     loses_nothing = {"nothing_forgotten", NULL, CONTEXT};

/* A policy that evicts nothing and adds up the weights that the positions receive in a step. */
static double step_weight[CONTEXT];

static void add_weights(double *history, const eviction_view *view)
{
    (void)history;
    uint32_t n = view->tokens->num_tokens;
    for (uint32_t h = 0; h < view->shape->num_heads; h++)
        for (uint32_t t = 0; t < n; t++)
            step_weight[view->tokens->positions[t]] += view->weights[h * n + t];
}

static const eviction_policy looks = {.name = "looks", .window = 1, .observe = add_weights};

/* Of characters, each in one step. */
typedef struct mean {
    double sum;
    uint32_t count;
} mean;

typedef struct watch {
    forgetting *f;
    const kv_pool *pool;
    const char *vocabulary;
    char text[CONTEXT + 1];
    uint32_t length, num_lines;
    struct {
        uint32_t first, end; /* of the state that a thought leads to, in text */
    } listed[NUM_LISTED];
    uint32_t kept[MAX_LINES][NUM_LISTED]; /* characters of each listed state when a line begins */
    bool is_copied;                       /* the state of this line is complete */
    mean done, to_come, copied, all;      /* weights, while states are followed */
} watch;

static double mean_of(mean m)
{
    return m.sum / m.count;
}

static void add(mean *m, double weight)
{
    m->sum += weight;
    m->count++;
}

/* The step that has just been taken chooses the next character of the line. */
static void add_step_weights(watch *w)
{
    for (uint32_t t = 0; t < w->length; t++)
        add(&w->all, step_weight[t]);
    uint32_t due = (w->num_lines - 1 - NUM_LISTED) / 2;
    bool copies = (w->num_lines - 1 - NUM_LISTED) % 2 == 0 && !w->is_copied;
    for (uint32_t i = 0; i < NUM_LISTED; i++)
        for (uint32_t t = w->listed[i].first; t < w->listed[i].end && (i != due || copies); t++)
            add(i < due ? &w->done : i > due ? &w->to_come : &w->copied, step_weight[t]);
}

static void line_ends(watch *w, kv_branch branch)
{
    if (w->num_lines > 0 && w->num_lines <= NUM_LISTED) { /* the prompt is line 0 */
        uint32_t first = w->length - 1;
        while (w->text[first - 1] != '>' && w->text[first - 1] != '\n')
            first--;
        w->listed[w->num_lines - 1].first = first;
        w->listed[w->num_lines - 1].end = w->length - 1;
    }
    for (uint32_t i = 0, slot; i < NUM_LISTED && i < w->num_lines; i++)
        for (uint32_t t = w->listed[i].first; t < w->listed[i].end; t++)
            w->kept[w->num_lines][i] += kv_branch_find(w->pool, branch, t, &slot) == KV_OK;
    w->num_lines++;
    check(w->num_lines < MAX_LINES, "room for a line");
}

static model_status step(void *self, const kv_branch *branches, const uint32_t *tokens, uint32_t count, float *logits)
{
    watch *w = self;
    memset(step_weight, 0, sizeof step_weight);
    model_status status = forgetting_step(w->f, branches, tokens, count, logits);
    if (status != MODEL_OK)
        return status;
    char character = w->text[w->length++] = w->vocabulary[tokens[0]];
    w->is_copied = w->is_copied || character == ':';
    if (character == '\n') {
        line_ends(w, branches[0]);
        w->is_copied = false;
    }
    if (w->num_lines > NUM_LISTED)
        add_step_weights(w);
    return MODEL_OK;
}

/* The listed state that a line begins with; NUM_LISTED: none. */
static uint32_t copied_state(const watch *w, const char *line)
{
    uint32_t i = 0;
    for (; i < NUM_LISTED; i++) {
        uint32_t n = w->listed[i].end - w->listed[i].first;
        if (memcmp(line, w->text + w->listed[i].first, n) == 0 && line[n] == ':')
            break;
    }
    return i;
}

static void run(const void *argument)
{
    const example *e = argument;
    watch w = {.vocabulary = NULL};
    model_weights *weights;
    kv_pool *pool;
    search_result *result;
    game_state set;
    check(model_weights_load(&weights, TREEATTN_SOURCE_DIR "/model/reasoner.weights", NULL, 0) == MODEL_OK, "weights");
    kv_pool_config pool_config = {.num_blocks = CONTEXT / BLOCK_TOKENS + 2, .block_tokens = BLOCK_TOKENS,
                                  .max_branches = 2, .evicts = true};
    transformer_config config = {.max_branches = 1, .plan = {.strategy = TREE_FLASH, .target = TREE_TARGET_CPU},
                                 .num_threads = 1, .blas = transformer_prefers_blas()};
    forgetting_rule rule = {.policy = e->policy ? eviction_policy_from_name(e->policy) : &looks, .budget = e->budget};
    check(kv_pool_create(&pool, &pool_config) == KV_OK, "pool");
    check(forgetting_create(&w.f, weights, pool, 2, &config, &rule) == MODEL_OK, "forgetting");
    w.pool = pool;
    w.vocabulary = weights->vocabulary;
    search_decoder decoder = {.self = &w, .pool = pool, .vocabulary = weights->vocabulary, .max_branches = 1,
                              .context = CONTEXT, .step = step};
    search_config search = {.breadth = 1, .proposals = 1};
    check(game_state_from_cards(&set, cards), "cards");
    check(search_written(&result, &decoder, &search, &set) == MODEL_OK, "search");

    bool is_right = true;
    const char *begin = NULL;
    uint32_t line = NUM_LISTED, due = 0, whole = 0, size = 0, kept = 0, copied = NUM_LISTED;
    for (uint32_t i = 0; i < NUM_LISTED; i++)
        check(result->lines[i].legal && !strncmp(result->text + result->lines[i].first, cards, strlen(cards)),
              "line %u of the list", i);
    for (; line < result->num_lines && due < NUM_LISTED; line += 2, due++) {
        is_right = result->lines[line].legal;
        size = w.listed[due].end - w.listed[due].first;
        kept = w.kept[line][due];
        begin = result->text + result->lines[line].first;
        copied = copied_state(&w, begin);
        if (kept < size || !is_right)
            break;
        check(copied == due, "state %u is kept, but the line is '%.20s'", due, begin);
        whole++;
    }
    if (e == &keeps_states || e == &loses_nothing) {
        check(result->solved && line >= result->num_lines, "solved, with all states that it needed");
    } else if (e == &loses_characters) {
        check(!is_right && kept > 0 && kept < size && copied == NUM_LISTED, "state %u, %u of %u kept: '%.20s'", due,
              kept, size, begin);
    } else {
        check(is_right && kept == 0 && copied > due && copied < NUM_LISTED, "state %u, %u of %u kept: '%.20s'", due,
              kept, size, begin);
        check(w.kept[line][copied] == w.listed[copied].end - w.listed[copied].first, "it is there");
    }
    if (e == &loses_nothing) {
        double done = mean_of(w.done), to_come = mean_of(w.to_come), copying = mean_of(w.copied), all = mean_of(w.all);
        check(done < all && to_come < all && copying > all, "weights %g %g %g %g", done, to_come, copying, all);
        test_note("weight over that of the average token: %.2f of a character that is done, %.2f of one to come, "
                  "%.2f of one that is copied", done / all, to_come / all, copying / all);
    }
    test_note("%u states copied%s; closest choice %.2g", whole, result->solved ? ", solved" : "",
              result->margin.logits);
    if (!result->solved)
        test_note("then state %u, %u of %u characters kept: '%.*s'", due, kept, size,
                  (int)result->lines[line].num_characters, begin);
    search_destroy(result);
    forgetting_destroy(w.f);
    check(kv_pool_destroy(pool, false, NULL) == KV_OK, "every branch is pruned");
    model_weights_destroy(weights);
}

int main(int argc, char **argv)
{
    test_begin(argc, argv, "a search that forgets fails where it copies a state that is no longer there");
    test_add(run, &loses_characters, "%s", loses_characters.name);
    if (!TEST_SANITIZED) {
        test_add(run, &loses_states, "%s", loses_states.name);
        test_add(run, &keeps_states, "%s", keeps_states.name);
        test_add(run, &loses_nothing, "%s", loses_nothing.name);
    }
    return test_end();
}
