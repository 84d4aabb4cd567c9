/* Claim: the search draws different lines without replacement, keeps the states that the value word rates best, and
 * gives the same texts with shared blocks, with copies, for any batch, and for logits that differ by less than its
 * smallest margin; its answers are checked; where memory is short it narrows; every branch is pruned in the end. */
#include "search.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "decoder_model.h"
#include "test.h"

static const search_config usual = {.breadth = 5, .proposals = 8, .temperature = 1, .seed = 1};

static game_state cards_of(const char *text)
{
    game_state state;
    check(game_state_from_cards(&state, text), "'%s' is a set", text);
    return state;
}

static search_result *search_in(decoder_model *model, const search_config *config, const char *cards,
                                uint32_t num_blocks, uint32_t block_tokens, uint32_t max_branches)
{
    game_state state = cards_of(cards);
    search_decoder decoder = decoder_model_open(model, num_blocks, block_tokens, max_branches);
    search_result *result = NULL;
    model_status status = model->kind == DECODER_SCRIPT ? search_written(&result, &decoder, config, &state)
                                                        : search_tree(&result, &decoder, config, &state);
    check(status == MODEL_OK, "searched: status %d", status);
    decoder_model_close(model);
    return result;
}

static search_result *search(decoder_model *model, const search_config *config, const char *cards)
{
    return search_in(model, config, cards, 4000, 4, 64);
}

/* --- what every tree keeps ---------------------------------------------------------------------------------------- */

static bool may_be_kept(const search_thought *thought)
{
    return thought->verdict != SEARCH_ILLEGAL && (thought->level < 3 || game_state_is_goal(&thought->step.after));
}

static void check_thought(const search_result *r, uint32_t i, const search_config *config)
{
    const search_thought *t = &r->thoughts[i];
    const search_thought *parent = t->parent == SEARCH_NONE ? NULL : &r->thoughts[t->parent];
    check(parent ? t->parent < i && parent->level + 1 == t->level && parent->verdict == SEARCH_KEPT : t->level == 1,
          "'%s' continues a kept thought", t->text);
    check(i == 0 || r->thoughts[i - 1].parent != t->parent || strcmp(r->thoughts[i - 1].text, t->text) < 0,
          "'%s' is in its place", t->text);
    check(strlen(t->text) == t->num_tokens && t->log_probability <= 1e-9, "'%s'", t->text);
    check(config->least <= 0 || t->log_probability >= log(config->least), "'%s': log p %g", t->text,
          t->log_probability);
    game_step step;
    bool legal = game_find_step(&step, parent ? &parent->step.after : &r->cards, t->text);
    check((t->verdict != SEARCH_ILLEGAL) == legal, "'%s' is %s", t->text, search_verdict_name[t->verdict]);
    uint32_t siblings = 0, kept = 0;
    bool better_twin = false;
    for (uint32_t k = 0; k < r->num_thoughts; k++) {
        const search_thought *other = &r->thoughts[k];
        if (other->level != t->level)
            continue;
        siblings += other->parent == t->parent;
        kept += other->verdict == SEARCH_KEPT;
        check(k == i || other->parent != t->parent || strcmp(other->text, t->text) != 0, "'%s' is drawn once", t->text);
        if (!may_be_kept(t) || !may_be_kept(other) || k == i)
            continue;
        if (game_state_equal(&other->step.after, &t->step.after))
            better_twin |= other->log_odds > t->log_odds || (other->log_odds == t->log_odds && k < i);
        else if (t->verdict == SEARCH_KEPT && other->verdict == SEARCH_LOST)
            check(t->log_odds >= other->log_odds, "'%s' is better than '%s'", t->text, other->text);
    }
    check(siblings <= config->proposals && kept <= (t->level < 3 ? config->breadth : 1), "at most as many as wanted");
    if (may_be_kept(t)) {
        check((t->verdict == SEARCH_DUPLICATE) == better_twin, "'%s' is %s", t->text, search_verdict_name[t->verdict]);
        check(t->verdict != SEARCH_LOST || kept == (t->level < 3 ? config->breadth : 1), "'%s' was better than none",
              t->text);
    }
}

static void check_answer(const search_result *r)
{
    game_state state = r->cards;
    char text[GAME_MAX_TEXT];
    if (!r->solved)
        return;
    for (uint32_t i = 0; i < r->num_steps; i++) {
        game_step step;
        check(game_find_step(&step, &state, r->steps[i].text), "'%s'", r->steps[i].text);
        state = step.after;
    }
    check(game_state_is_goal(&state) && game_expression(text, &r->cards, r->steps, r->num_steps), "it ends at 24");
}

static void check_tree(const search_result *r, const search_config *config)
{
    bool has_solution = false;
    for (uint32_t i = 0; i < r->num_thoughts; i++) {
        check_thought(r, i, config);
        has_solution |= r->thoughts[i].level == 3 && may_be_kept(&r->thoughts[i]);
    }
    check(r->solved == has_solution, "solved if a line of level 3 makes 24");
    check_answer(r);
    check(r->prunes == r->forks + 1, "%llu branches were forked from the prompt, %llu pruned",
          (unsigned long long)r->forks, (unsigned long long)r->prunes);
    check(r->margin.logits >= 0, "a margin");
}

static void check_same(const search_result *a, const search_result *b)
{
    check(a->num_thoughts == b->num_thoughts, "%u and %u thoughts", a->num_thoughts, b->num_thoughts);
    for (uint32_t i = 0; i < a->num_thoughts; i++) {
        check(strcmp(a->thoughts[i].text, b->thoughts[i].text) == 0, "'%s' and '%s'", a->thoughts[i].text,
              b->thoughts[i].text);
        check(a->thoughts[i].verdict == b->thoughts[i].verdict, "'%s' has the same fate", a->thoughts[i].text);
    }
}

static const char *const sets[] = {"4 9 10 13", "1 1 1 1", "3 3 8 8", "1 2 3 4", "13 13 13 13", "2 5 7 11"};
enum { NUM_SETS = sizeof sets / sizeof sets[0] };

static void test_trees(const void *unused)
{
    (void)unused;
    uint32_t num_solved = 0, num_illegal = 0, num_duplicates = 0;
    for (uint32_t i = 0; i < 4 * NUM_SETS; i++) {
        decoder_model model = {.kind = DECODER_PLAYER, .seed = i, .skill = i % 2 ? 9 : 5.5};
        search_config config = {.breadth = 1 + i % 6,
                                .proposals = 1 + 7 * (i % 5),
                                .temperature = i % 3 * 0.75,
                                .seed = i,
                                .least = i % 4 == 3 ? 1e-3 : 0};
        search_result *r = search(&model, &config, sets[i % NUM_SETS]);
        check_tree(r, &config);
        num_solved += r->solved;
        for (uint32_t k = 0; k < r->num_thoughts; k++) {
            num_illegal += r->thoughts[k].verdict == SEARCH_ILLEGAL;
            num_duplicates += r->thoughts[k].verdict == SEARCH_DUPLICATE;
        }
        search_destroy(r);
    }
    check(num_solved >= 4 && num_illegal > 10 && num_duplicates > 10, "%u solved, %u illegal, %u duplicates",
          num_solved, num_illegal, num_duplicates);
    test_note("%u solved, %u illegal, %u duplicates", num_solved, num_illegal, num_duplicates);
}

/* Characters without any sense: no line is legal, none is kept, nothing breaks. */
static void test_noise(const void *unused)
{
    (void)unused;
    for (uint32_t i = 0; i < 12; i++) {
        decoder_model model = {.kind = DECODER_NOISE, .seed = i, .context = i % 2 ? 1024 : 30};
        search_config config = {.breadth = 3, .proposals = 32, .temperature = i % 3, .seed = i};
        search_result *r = search(&model, &config, sets[i % NUM_SETS]);
        check_tree(r, &config);
        check(!r->solved && r->num_thoughts > 0 && r->num_levels == 1, "%u lines of noise", r->num_thoughts);
        search_destroy(r);
    }
}

/* --- the draw ----------------------------------------------------------------------------------------------------- */

/* With as many proposals as there are steps, a player that never errs proposes each of them once. */
static void test_all_steps(const void *unused)
{
    (void)unused;
    for (uint32_t i = 0; i < NUM_SETS; i++) {
        decoder_model model = {.kind = DECODER_PLAYER, .seed = i, .skill = 30};
        search_config config = {.breadth = 1, .proposals = 32, .temperature = i % 2, .seed = i};
        game_state cards = cards_of(sets[i]);
        game_step steps[GAME_MAX_STEPS];
        search_result *r = search(&model, &config, sets[i]);
        uint32_t num_steps = game_steps(steps, &cards), num_first = 0;
        for (uint32_t k = 0; k < r->num_thoughts; k++)
            num_first += r->thoughts[k].level == 1 && r->thoughts[k].verdict != SEARCH_ILLEGAL;
        check(num_first == num_steps, "%u of %u steps are proposed", num_first, num_steps);
        check_tree(r, &config);
        search_destroy(r);
    }
}

/* One proposal is an ordinary draw; two are a draw and a second one from what is left, in one order or the other. The
 * lines part at their first, second and third character. */
enum { MAX_TEXTS = 9 };
static const char *const lines_of_1112[MAX_TEXTS] = {
    "1*1=1>1 1 2", "1+1=2>1 2 2", "1-1=0>0 1 2", "1/1=1>1 1 2", "1/2=1/2>1/2 1 1",
    "2*1=2>1 1 2", "2+1=3>1 1 3", "2-1=1>1 1 1", "2/1=2>1 1 2"};

static void count_draws(uint32_t proposals, uint32_t draws, uint32_t counts[MAX_TEXTS][MAX_TEXTS], double *probability)
{
    decoder_model model = {.kind = DECODER_PLAYER, .seed = 5, .skill = 20};
    for (uint32_t i = 0; i < draws; i++) {
        search_config config = {.breadth = 1, .proposals = proposals, .temperature = 1, .seed = i};
        search_result *r = search(&model, &config, "1 1 1 2");
        uint32_t at[2] = {0};
        for (uint32_t k = 0; k < proposals; k++) {
            while (at[k] < MAX_TEXTS && strcmp(lines_of_1112[at[k]], r->thoughts[k].text) != 0)
                at[k]++;
            check(at[k] < MAX_TEXTS && r->thoughts[k].level == 1, "'%s' is one of the steps", r->thoughts[k].text);
            probability[at[k]] = exp(r->thoughts[k].log_probability);
        }
        counts[at[0]][at[proposals - 1]]++;
        search_destroy(r);
    }
}

static void test_frequencies(const void *unused)
{
    (void)unused;
    enum { DRAWS = TEST_SANITIZED ? 300 : 2000 };
    uint32_t one[MAX_TEXTS][MAX_TEXTS] = {{0}}, two[MAX_TEXTS][MAX_TEXTS] = {{0}};
    double p[MAX_TEXTS] = {0}, sum = 0;
    count_draws(1, DRAWS, one, p);
    count_draws(2, DRAWS, two, p);
    for (uint32_t i = 0; i < MAX_TEXTS; i++)
        sum += p[i];
    check(fabs(sum - 1) < 1e-6, "these steps are all that there is: %g", sum);
    for (uint32_t i = 0; i < MAX_TEXTS; i++) {
        check(fabs(one[i][i] - DRAWS * p[i]) <= 4 * sqrt(DRAWS * p[i] * (1 - p[i])), "step %u: %u of %d times, p %g", i,
              one[i][i], DRAWS, p[i]);
        for (uint32_t j = i + 1; j < MAX_TEXTS; j++) {
            double q = p[i] * p[j] / (1 - p[i]) + p[i] * p[j] / (1 - p[j]);
            check(fabs(two[i][j] - DRAWS * q) <= 4 * sqrt(DRAWS * q * (1 - q)), "steps %u and %u: %u of %d times, p %g",
                  i, j, two[i][j], DRAWS, q);
        }
    }
}

/* --- the same texts ----------------------------------------------------------------------------------------------- */

static void test_same_texts(const void *unused)
{
    (void)unused;
    for (uint32_t i = 0; i < (TEST_SANITIZED ? 1 : 2) * NUM_SETS; i++) {
        decoder_model shared = {.kind = DECODER_PLAYER, .seed = i}, copied = shared;
        search_config config = usual;
        config.seed = i;
        config.temperature = i % 2;
        copied.copies = true;
        search_result *r = search(&shared, &config, sets[i % NUM_SETS]);
        search_result *other = search(&copied, &config, sets[i % NUM_SETS]);
        check_same(r, other);
        check(other->forks == r->forks && other->peak_blocks > r->peak_blocks, "copies take more blocks: %u, %u",
              other->peak_blocks, r->peak_blocks);
        check(other->peak_blocks >= r->peak_table_blocks, "and as many as the tables of shared blocks list: %u, %u",
              other->peak_blocks, r->peak_table_blocks);
        search_destroy(other);
        for (uint32_t block_tokens = 1; block_tokens <= 64; block_tokens *= 8) {
            other = search_in(&shared, &config, sets[i % NUM_SETS], 4000, block_tokens, block_tokens > 1 ? 7 : 1);
            check_same(r, other);
            search_destroy(other);
        }
        search_destroy(r);
    }
}

/* The lines of a state do not depend on how many other states there are. */
static void test_breadths(const void *unused)
{
    (void)unused;
    decoder_model model = {.kind = DECODER_PLAYER, .seed = 3};
    search_config config = usual;
    search_result *wide = search(&model, &config, "4 9 10 13");
    config.breadth = 2;
    search_result *narrow = search(&model, &config, "4 9 10 13");
    for (uint32_t i = 0; i < narrow->num_thoughts; i++) {
        const search_thought *t = &narrow->thoughts[i];
        bool found = false;
        for (uint32_t k = 0; k < wide->num_thoughts; k++)
            found |= wide->thoughts[k].level == t->level && strcmp(wide->thoughts[k].text, t->text) == 0;
        check(found, "'%s' is in the wider tree", t->text);
    }
    search_destroy(wide);
    search_destroy(narrow);
}

static bool is_same(const search_result *a, const search_result *b)
{
    bool same = a->num_thoughts == b->num_thoughts;
    for (uint32_t k = 0; same && k < a->num_thoughts; k++)
        same =
            strcmp(a->thoughts[k].text, b->thoughts[k].text) == 0 && a->thoughts[k].verdict == b->thoughts[k].verdict;
    return same;
}

/* Logits that differ by less than the margin give the same texts, whether they differ by chance or against the closest
 * choice. If they differ against it by three margins, it is often reversed: margins are not far too small. */
static void test_margins(const void *unused)
{
    (void)unused;
    enum { BY_CHANCE = 8, TURNS = 10 };
    uint32_t num_changed = 0, num_against = 0;
    double least = INFINITY;
    for (uint32_t i = 0; i < (TEST_SANITIZED ? 1 : 6) * NUM_SETS; i++) {
        decoder_model model = {.kind = DECODER_PLAYER, .seed = i, .skill = i % 5 ? 12 : 4};
        search_config config = {.breadth = 3, .proposals = 4, .temperature = i % 3 * 0.5, .seed = i,
                                .least = i % 4 == 3 ? 1e-3 : 0};
        search_result *r = search(&model, &config, sets[i % NUM_SETS]);
        check(r->margin.logits > 0 && isfinite(r->margin.logits), "a margin of %g", r->margin.logits);
        least = fmin(least, r->margin.logits);
        for (int turn = 0; turn < TURNS; turn++) {
            decoder_model disturbed = model;
            disturbed.disturbs_randomly = turn % 2;
            disturbed.disturbance_seed = 1000 * i + (uint32_t)turn;
            disturbed.disturbance = r->margin.logits * (turn + 1 < TURNS ? 0.95 : 3);
            disturbed.against = turn < BY_CHANCE ? NULL : &r->margin;
            search_result *other = search(&disturbed, &config, sets[i % NUM_SETS]);
            if (turn + 1 < TURNS)
                check_same(r, other);
            num_changed += turn + 1 == TURNS && !is_same(r, other);
            num_against += turn + 1 == TURNS;
            search_destroy(other);
        }
        search_destroy(r);
    }
    check(num_changed > num_against / 3, "%u of %u searches changed", num_changed, num_against);
    test_note("%u of %u changed; the smallest margin %.2g", num_changed, num_against, least);
}

/* --- memory ------------------------------------------------------------------------------------------------------- */

static void test_narrow(const void *unused)
{
    (void)unused;
    uint32_t num_narrow = 0, num_refused = 0, num_whole = 0;
    for (uint32_t blocks = 1; blocks < 1500; blocks += blocks < 30 ? 1 : blocks / 8)
        for (int copies = 0; copies < 2; copies++) {
            decoder_model model = {.kind = DECODER_PLAYER, .seed = 2, .copies = copies};
            search_config config = usual;
            game_state state = cards_of("4 9 10 13");
            search_decoder decoder = decoder_model_open(&model, blocks, 4, 16);
            search_result *r = NULL;
            model_status status = search_tree(&r, &decoder, &config, &state);
            decoder_model_close(&model);
            check(status == MODEL_OK ? r != NULL : status == MODEL_NOBLOCKS && !r, "status %d", status);
            num_refused += status != MODEL_OK;
            if (!r)
                continue;
            check_answer(r);
            check(r->peak_blocks <= blocks, "%u of %u blocks", r->peak_blocks, blocks);
            num_narrow += r->narrowed > 0;
            num_whole += r->narrowed == 0;
            search_destroy(r);
        }
    check(num_narrow > 20 && num_refused > 3 && num_whole > 0, "%u narrow, %u refused, %u whole", num_narrow,
          num_refused, num_whole);
}

/* A decoder that fails at its n-th step, for every n: the error comes through, nothing stays. */
static void test_failing_decoder(const void *unused)
{
    (void)unused;
    game_state state = cards_of("4 9 10 13");
    uint32_t calls = 1;
    for (;; calls++) {
        decoder_model model = {.kind = DECODER_PLAYER, .seed = 2, .fails_at = calls};
        search_config config = {.breadth = 2, .proposals = 3, .temperature = 1, .seed = 1};
        search_decoder decoder = decoder_model_open(&model, 500, 4, 4);
        search_result *r = NULL;
        model_status status = search_tree(&r, &decoder, &config, &state);
        decoder_model_close(&model);
        search_destroy(r);
        if (status == MODEL_OK)
            break;
        check(status == MODEL_NOMEM && !r, "call %u: status %d", calls, status);
    }
    check(calls > 30, "%u calls", calls);
}

static void test_bad_config(const void *unused)
{
    (void)unused;
    static const search_config bad[] = {
        {.breadth = 0, .proposals = 1}, {.breadth = 65, .proposals = 1}, {.breadth = 1, .proposals = 0},
        {.breadth = 1, .proposals = 33}, {.breadth = 1, .proposals = 1, .temperature = -0.1},
        {.breadth = 1, .proposals = 1, .temperature = 11}, {.breadth = 1, .proposals = 1, .temperature = NAN},
        {.breadth = 1, .proposals = 1, .least = 1}, {.breadth = 1, .proposals = 1, .least = -1},
        {.breadth = 1, .proposals = 1, .least = NAN},
    };
    decoder_model model = {.kind = DECODER_PLAYER};
    game_state state = cards_of("4 9 10 13");
    search_decoder decoder = decoder_model_open(&model, 100, 4, 16);
    search_result *r = NULL;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        check(search_tree(&r, &decoder, &bad[i], &state) == MODEL_INVAL && !r, "config %zu", i);
    decoder.vocabulary = "0123456789 \nW";
    check(search_tree(&r, &decoder, &usual, &state) == MODEL_INVAL && !r, "no y and no n");
    decoder.vocabulary = "\n0123456789yn ";
    check(search_tree(&r, &decoder, &usual, &state) == MODEL_INVAL && !r, "no W");
    check(search_written(&r, &decoder, &usual, &state) == MODEL_INVAL && !r, "no S");
    decoder_model_close(&model);
}

/* --- the written-out search --------------------------------------------------------------------------------------- */

typedef struct script_case {
    const char *name, *text;
    const char *legal; /* a letter for each line: y or n */
    bool solved;
} script_case;

static const script_case scripts[] = {
    {"solved",
     "S4 9 10 13\n4 9 10 13: 13*10=130>4 9 130\n4 9 130: 130-9=121>4 121\n"
     "4 121: 121+4=125 121-4=117 121*4=484 121/4=121/4 4/121=4/121\n4 9 10 13: 10+9=19>4 13 19\n4 13 19: 19-13=6>4 6\n"
     "4 6: 6+4=10 6-4=2 6*4=24!",
     "yyyyyy", true},
    {"wrong_sum", "S4 9 10 13\n4 9 10 13: 10+9=18>4 13 18\n4 13 18: 18-13=5>4 5\n4 5: 5+4=9 5-4=1 5*4=24!", "nnn",
     false},
    {"state_out_of_nowhere", "S4 9 10 13\n4 13 19: 19-13=6>4 6\n4 6: 6+4=10 6-4=2 6*4=24!", "nn", false},
    {"step_of_another_state", "S4 9 10 13\n9 10 13: 13-9=4>4 4 10\n4 4 10: 10-4=6>4 6\n4 6: 6+4=10 6-4=2 6*4=24!",
     "nnn", false},
    {"steps_left_out", "S4 9 10 13\n4 9 10 13: 10+9=19>4 13 19\n4 13 19: 19-13=6>4 6\n4 6: 6*4=24!", "yyn", false},
    {"wrong_last_product", "S4 9 10 13\n4 9 10 13: 10+9=19>4 13 19\n4 13 19: 19-13=6>4 6\n4 6: 6+4=10 6-4=2 6*4=25!",
     "yyn", false},
    {"goes_on_behind_24", "S4 9 10 13\n4 9 10 13: 10+9=19>4 13 19\n4 13 19: 19-13=6>4 6\n4 6: 6+4=10 6-4=2 6*4=24\n!",
     "yynn", false},
    {"no_mark", "S4 9 10 13\n4 9 10 13: 10+9=19>4 13 19\n4 13 19: 19-13=6>4 6\n4 6: 6+4=10!", "yyn", false},
    {"not_lines", "S4 9 10 13\n\n4 9 10 13:\n: 1\nW:: S!", "nnnn", false},
};

static void test_script(const void *argument)
{
    const script_case *c = argument;
    decoder_model model = {.kind = DECODER_SCRIPT, .script = c->text};
    search_result *r = search(&model, &usual, "4 9 10 13");
    check(strcmp(r->text, c->text) == 0, "'%s'", r->text);
    check(r->num_lines == strlen(c->legal), "%u lines", r->num_lines);
    for (uint32_t i = 0; i < r->num_lines; i++)
        check(r->lines[i].legal == (c->legal[i] == 'y'), "line %u: '%.*s'", i, (int)r->lines[i].num_characters,
              r->text + r->lines[i].first);
    check(r->solved == c->solved, "solved: %d", r->solved);
    check_answer(r);
    check(r->margin.logits > 0.2, "the script leaves a margin of %g", r->margin.logits);
    search_destroy(r);
}

/* Text without sense up to the end of the context or of the memory. */
static void test_written_noise(const void *unused)
{
    (void)unused;
    game_state state = cards_of("4 9 10 13");
    for (uint32_t i = 0; i < 12; i++) {
        decoder_model model = {.kind = DECODER_NOISE, .seed = i, .context = 200};
        search_config config = {.temperature = i % 3, .seed = i};
        search_decoder decoder = decoder_model_open(&model, i % 2 ? 10 : 100, 4, 1);
        search_result *r = NULL;
        check(search_written(&r, &decoder, &config, &state) == MODEL_OK, "written");
        decoder_model_close(&model);
        bool over = strchr(r->text, '!') != NULL;
        check(!r->solved && (over || strlen(r->text) == (i % 2 ? 41u : 200u)), "%zu characters", strlen(r->text));
        search_destroy(r);
    }
}

int main(int argc, char **argv)
{
    test_begin(argc, argv, "tree of thoughts and written-out search over any decoder");
    test_add(test_trees, NULL, "trees");
    test_add(test_noise, NULL, "noise");
    test_add(test_all_steps, NULL, "all_steps");
    test_add(test_frequencies, NULL, "frequencies");
    test_add(test_same_texts, NULL, "same_texts");
    test_add(test_breadths, NULL, "breadths");
    test_add(test_margins, NULL, "margins");
    test_add(test_narrow, NULL, "narrow");
    test_add(test_failing_decoder, NULL, "failing_decoder");
    test_add(test_bad_config, NULL, "bad_config");
    for (size_t i = 0; i < sizeof scripts / sizeof scripts[0]; i++)
        test_add(test_script, &scripts[i], "script_%s", scripts[i].name);
    test_add(test_written_noise, NULL, "written_noise");
    return test_end();
}
