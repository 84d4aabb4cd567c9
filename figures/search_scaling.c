/* search_scaling: how many card sets of the Game of 24 a search solves, over the nodes that it looks at. A node is a step
 * that is proposed, legal or not.
 *
 *   tree        a tree of thoughts of the trained model: `kept` states of a level, `proposals` from each
 *   chains      independent walks of the model at temperature 1; solved if one of them is
 *   chain       the walk at temperature 0
 *   written     the search that the model writes out in one text
 *   random      a tree without a model: random legal steps, random ones kept. Mean over `draws` trees of a set
 *   exhaustive  all steps depth first, in the order of game_steps, stopped after so many nodes
 *
 * Also the memory and the bytes of each search of the model, shared and as copies: blocks in use at most, and the K and V
 * that attention reads.
 *
 * measure_search_scaling [CSV [SETS]] */
#define _POSIX_C_SOURCE 200809L
#include <inttypes.h>
#include <sys/wait.h>

#include "held_out.h"

enum { BLOCK_TOKENS = 16, NUM_SETS = 269 /* all */, DRAWS = 20, MAX_CHAINS = 8 };

/* Sums over the sets. */
typedef struct sums {
    uint64_t sets, solved; /* of random: draws */
    double nodes, tokens, blocks, copied_blocks;
    transformer_counts counts;
} sums;

typedef struct study {
    FILE *csv;
    model_weights *weights;
    game_state sets[GAME_NUM_SETS];
    uint32_t num_sets;
} study;

static void write_row(const study *s, const char *way, uint32_t kept, uint32_t proposals, const sums *m)
{
    const transformer_counts *c = &m->counts;
    double low, high, n = (double)m->sets, total = c->products_us + c->attention_us + c->host_us + c->rest_us;
    bool is_random = strcmp(way, "random") == 0;
    held_out_interval(&low, &high, is_random ? m->solved / DRAWS : m->solved, is_random ? m->sets / DRAWS : m->sets);
    fprintf(s->csv, "%s,%u,%u,%u,%.4f,%.4f,%.4f,%.2f,%.1f,%.2f,%.2f,%.4f,%.4f,%.4f,%.1f,%.4f,%.4f,%.4f,%.4f\n", way, kept,
            proposals, s->num_sets, (double)m->solved / n, low, high, m->nodes / n, m->tokens / n, m->blocks / n,
            m->copied_blocks / n, (double)c->logical_bytes / n * 1e-6, (double)c->plan_bytes / n * 1e-6,
            (double)c->unique_bytes / n * 1e-6, (double)c->steps / n, total > 0 ? c->products_us / total : 0,
            total > 0 ? c->attention_us / total : 0, total > 0 ? c->host_us / total : 0, total > 0 ? c->rest_us / total : 0);
    fflush(s->csv);
}

/* ---- the model ---- */

static model_status step(void *self, const kv_branch *branches, const uint32_t *tokens, uint32_t count, float *logits)
{
    return transformer_step(self, branches, tokens, count, logits);
}

/* Adds one search; returns whether it solved its set. */
static bool run(const study *s, sums *m, const search_config *config, const game_state *set, bool written)
{
    uint32_t most = config->breadth * (config->proposals + 1) + 1, context = s->weights->shape.context;
    kv_pool_config pool_config = {.num_blocks = written ? context / BLOCK_TOKENS + 2 : most * 10,
                                  .block_tokens = BLOCK_TOKENS, .max_branches = most};
    transformer_config t_config = {.max_branches = most, .plan = {.strategy = TREE_COST, .target = TREE_TARGET_CPU},
                                   .num_threads = 1, .blas = transformer_prefers_blas()};
    kv_pool *pool;
    transformer *t;
    search_result *result;
    figure_check(kv_pool_create(&pool, &pool_config) == KV_OK, "out of memory");
    held_out_must(transformer_create(&t, s->weights, pool, &t_config));
    search_decoder decoder = {.self = t, .pool = pool, .vocabulary = s->weights->vocabulary, .max_branches = most,
                              .context = context, .step = step};
    held_out_must((written ? search_written : search_tree)(&result, &decoder, config, set));
    transformer_counts c;
    transformer_get_counts(t, &c);
    m->counts.steps += c.steps;
    m->counts.logical_bytes += c.logical_bytes;
    m->counts.plan_bytes += c.plan_bytes;
    m->counts.unique_bytes += c.unique_bytes;
    m->counts.products_us += c.products_us;
    m->counts.attention_us += c.attention_us;
    m->counts.host_us += c.host_us;
    m->counts.rest_us += c.rest_us;
    m->nodes += result->num_thoughts;
    for (uint32_t i = 0; i < result->num_lines; i++)
        m->nodes += result->lines[i].num_nodes;
    m->tokens += (double)result->tokens;
    m->blocks += result->peak_blocks;
    m->copied_blocks += result->peak_table_blocks;
    bool solved = result->solved;
    search_destroy(result);
    transformer_destroy(t);
    kv_pool_destroy(pool, true, NULL);
    return solved;
}

static void measure_tree(const study *s, uint32_t kept, uint32_t proposals)
{
    sums m = {.sets = s->num_sets};
    search_config config = {.breadth = kept, .proposals = proposals, .least = SEARCH_USUAL_LEAST, .seed = 1};
    for (uint32_t k = 0; k < s->num_sets; k++)
        m.solved += run(s, &m, &config, &s->sets[k], false);
    write_row(s, "tree", kept, proposals, &m);
}

/* The first 1, 2, 4 ... of the chains. Their memory is that of one after another. */
static void measure_chains(const study *s, uint32_t unused, uint32_t unused_too)
{
    (void)unused, (void)unused_too;
    static sums of_first[MAX_CHAINS + 1];
    sums greedy = {.sets = s->num_sets};
    for (uint32_t k = 0; k < s->num_sets; k++) {
        search_config config = {.breadth = 1, .proposals = 1, .seed = 1};
        sums m = {.sets = 0};
        bool solved = false;
        greedy.solved += run(s, &greedy, &config, &s->sets[k], false);
        config.temperature = 1;
        for (uint32_t n = 1; n <= MAX_CHAINS; n++) {
            config.seed = n;
            m.blocks = m.copied_blocks = 0;
            solved |= run(s, &m, &config, &s->sets[k], false);
            sums *to = &of_first[n];
            to->sets++;
            to->solved += solved;
            to->nodes += m.nodes;
            to->tokens += m.tokens;
            to->blocks += m.blocks;
            to->copied_blocks += m.copied_blocks;
            to->counts.steps += m.counts.steps;
            to->counts.logical_bytes += m.counts.logical_bytes;
            to->counts.plan_bytes += m.counts.plan_bytes;
            to->counts.unique_bytes += m.counts.unique_bytes;
            to->counts.products_us += m.counts.products_us;
            to->counts.attention_us += m.counts.attention_us;
            to->counts.host_us += m.counts.host_us;
            to->counts.rest_us += m.counts.rest_us;
        }
    }
    write_row(s, "chain", 1, 1, &greedy);
    for (uint32_t n = 1; n <= MAX_CHAINS; n *= 2)
        write_row(s, "chains", n, 1, &of_first[n]);
}

static void measure_written(const study *s, uint32_t unused, uint32_t unused_too)
{
    (void)unused, (void)unused_too;
    sums m = {.sets = s->num_sets};
    search_config config = {.breadth = 1, .proposals = 1, .seed = 1};
    for (uint32_t k = 0; k < s->num_sets; k++)
        m.solved += run(s, &m, &config, &s->sets[k], true);
    write_row(s, "written", 1, 1, &m);
}

/* ---- without a model ---- */

/* splitmix64 */
static uint32_t random_below(uint64_t *state, uint32_t limit)
{
    uint64_t z = *state += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return (uint32_t)(((z ^ z >> 31) >> 32) * limit >> 32);
}

static bool random_tree(uint64_t *state, uint32_t kept, uint32_t proposals, const game_state *set, double *nodes)
{
    static game_state now[SEARCH_MAX_BREADTH], next[SEARCH_MAX_BREADTH * GAME_MAX_STEPS];
    uint32_t count = 1;
    bool solved = false;
    now[0] = *set;
    for (uint32_t level = 1; level < GAME_CARDS; level++) {
        uint32_t num_next = 0;
        for (uint32_t i = 0; i < count; i++) {
            game_step steps[GAME_MAX_STEPS];
            uint32_t num_steps = game_steps(steps, &now[i]), chosen = 0;
            for (; chosen < proposals && chosen < num_steps; chosen++) { /* without replacement */
                uint32_t at = chosen + random_below(state, num_steps - chosen);
                game_step drawn = steps[at];
                steps[at] = steps[chosen];
                steps[chosen] = drawn;
                solved |= game_state_is_goal(&drawn.after) && level == GAME_CARDS - 1;
                uint32_t k = 0; /* equal states are one */
                while (k < num_next && !game_state_equal(&next[k], &drawn.after))
                    k++;
                next[k] = drawn.after;
                num_next += k == num_next;
            }
            *nodes += chosen;
        }
        for (count = 0; count < kept && count < num_next; count++) {
            uint32_t at = count + random_below(state, num_next - count);
            now[count] = next[at];
            next[at] = next[count];
        }
    }
    return solved;
}

static void measure_random(const study *s, uint32_t kept, uint32_t proposals)
{
    sums m = {.sets = (uint64_t)s->num_sets * DRAWS};
    uint64_t state = 1;
    for (uint32_t k = 0; k < s->num_sets * DRAWS; k++)
        m.solved += random_tree(&state, kept, proposals, &s->sets[k / DRAWS], &m.nodes);
    write_row(s, "random", kept, proposals, &m);
}

static void measure_exhaustive(const study *s, uint32_t unused, uint32_t unused_too)
{
    (void)unused, (void)unused_too;
    static const uint32_t limits[] = {3, 10, 30, 42, 65, 100, 200, 500, 1000, 2000, 4000};
    for (size_t i = 0; i < sizeof limits / sizeof limits[0]; i++) {
        sums m = {.sets = s->num_sets};
        for (uint32_t k = 0; k < s->num_sets; k++) {
            game_step steps[GAME_CARDS - 1];
            uint32_t num_steps;
            uint64_t nodes;
            bool found = game_solve(steps, &num_steps, &s->sets[k], &nodes) && nodes <= limits[i];
            m.solved += found;
            m.nodes += (double)(found ? nodes : limits[i]);
        }
        write_row(s, "exhaustive", limits[i], 1, &m);
    }
}

/* ---- the jobs: processes of one thread, as many at once as there are processors ---- */

static const struct job {
    void (*measure)(const study *s, uint32_t kept, uint32_t proposals);
    uint32_t kept, proposals;
} jobs[] = {
    {measure_random, 1, 1}, {measure_random, 1, 5}, {measure_random, 3, 5}, {measure_random, 5, 5},
    {measure_random, 5, 8}, {measure_random, 16, 16}, {measure_random, 64, 32}, {measure_exhaustive, 0, 0},
    {measure_tree, 1, 3}, {measure_tree, 1, 5}, {measure_tree, 2, 5}, {measure_tree, 3, 5},
    {measure_tree, 5, 5}, {measure_tree, 5, 8}, {measure_chains, 0, 0}, {measure_written, 0, 0},
};

enum { NUM_JOBS = sizeof jobs / sizeof jobs[0] };

/* The rows of each job go to a file of its own, and into the csv in the order of the jobs. */
static void run_jobs(study *s)
{
    FILE *rows[NUM_JOBS], *csv = s->csv;
    long most = sysconf(_SC_NPROCESSORS_ONLN), running = 0;
    int status, failed = 0;
    fflush(NULL);
    for (int i = 0; i < NUM_JOBS || running > 0;) {
        if (i == NUM_JOBS || running >= most) {
            failed |= wait(&status) < 0 || status != 0;
            running--;
            continue;
        }
        s->csv = rows[i] = tmpfile();
        figure_check(rows[i] != NULL, "no temporary file");
        pid_t process = fork();
        figure_check(process >= 0, "fork failed");
        if (process == 0) {
            jobs[i].measure(s, jobs[i].kept, jobs[i].proposals);
            _exit(fflush(rows[i]) != 0);
        }
        running++;
        i++;
    }
    figure_check(!failed, "a part of the measurement failed");
    for (int i = 0; i < NUM_JOBS; i++) {
        rewind(rows[i]);
        for (int c; (c = getc(rows[i])) != EOF;)
            putc(c, csv);
        fclose(rows[i]);
    }
    s->csv = csv;
}

int main(int argc, char **argv)
{
    static study s;
    const char *path = argc > 1 ? argv[1] : TREEATTN_SOURCE_DIR "/figures/search_scaling.csv";
    s.weights = held_out_weights();
    s.num_sets = held_out_sets(s.sets, argc > 2 ? (uint32_t)atoi(argv[2]) : NUM_SETS);
    figure_check(s.num_sets > 0, "no sets");
    s.csv = figure_open(path, "measure_search_scaling", "share of held-out card sets solved; low, high: Wilson's interval at "
                        "95 %; all others: mean of a set");
    fprintf(s.csv, "# weights: model/reasoner.weights, crc32 %08" PRIx32 "\n"
                   "# sets: the first %u held-out sets that can reach 24, in a fixed mixed order\n"
                   "# kept, proposals: of a tree; kept: chains of `chains`, and the most nodes of `exhaustive`\n"
                   "# blocks of %d tokens, in use at most; copied_blocks: if every branch had copies. chains: of the last one\n"
                   "# copied_mb, plan_mb, distinct_mb: K and V that attention reads, over copies, by plans of strategy cost, "
                   "and each token of a step once\n"
                   "# products, attention, host, rest: shares of the time of a step, on one thread of a machine with other "
                   "work\n"
                   "way,kept,proposals,sets,share,low,high,nodes,tokens,blocks,copied_blocks,copied_mb,plan_mb,distinct_mb,"
                   "steps,products,attention,host,rest\n", s.weights->crc32, s.num_sets, BLOCK_TOKENS);
    run_jobs(&s);
    figure_close(s.csv);
    model_weights_destroy(s.weights);
    return 0;
}
