/* tiny_forget: what the two branches of the book's tiny tree can do without.
 *
 *   build   cc tiny_forget.c $(pkg-config --cflags --libs treeattn) -lm
 *   tree    as in tiny_tree.c: 6 shared tokens, then 3 of branch 0 and 4 of branch 1; one head, head_dim 4, scale 1/2
 *   check   each predicted error is measured by leaving the token out; exit status 1 if the two differ */
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <treeattn.h>

enum { BLOCK_TOKENS = 4, NUM_BLOCKS = 6, NUM_BRANCHES = 2, HEAD_DIM = 4, MAX_TOKENS = 16 };
static const tree_shape shape = {NUM_BRANCHES, 1, 1, HEAD_DIM, NUM_BLOCKS, BLOCK_TOKENS, TREE_FP32};
static const float query[NUM_BRANCHES][HEAD_DIM] = {{2, 0, 4, -2}, {0, 4, -2, 2}};
static const float scale = 0.5f;

/* One KV head. A slot of the pool has the number block * BLOCK_TOKENS + slot in the block. */
enum { NUM_SLOTS = NUM_BLOCKS * BLOCK_TOKENS };
static float key[NUM_SLOTS][HEAD_DIM], value[NUM_SLOTS][HEAD_DIM], norm[NUM_SLOTS];
static int token_in[NUM_SLOTS];
static int next_token;

static void write_token(uint32_t slot, int t)
{
    for (int d = 0; d < HEAD_DIM; d++) {
        key[slot][d] = d == t % HEAD_DIM;
        value[slot][d] = d == 0 ? (float)t : t % d == 0;
    }
    norm[slot] = value_norm(value[slot], HEAD_DIM);
    token_in[slot] = t;
}

static int append(kv_pool *pool, kv_branch branch, uint32_t num_tokens)
{
    kv_append answer;
    kv_table table;
    if (kv_branch_append(pool, branch, num_tokens, &answer) || kv_branch_table(pool, branch, &table)) return 1;
    const kv_copy copy = answer.copy;
    for (uint32_t slot = 0; slot < copy.num_tokens; slot++)
        write_token(copy.to_block * BLOCK_TOKENS + slot, token_in[copy.from_block * BLOCK_TOKENS + slot]);
    for (uint32_t i = 0; i < num_tokens; i++) {
        uint32_t at = answer.hole != KV_NO_HOLE ? answer.hole : table.length - num_tokens + i;
        write_token(table.blocks[at / BLOCK_TOKENS] * BLOCK_TOKENS + at % BLOCK_TOKENS, next_token++);
    }
    return 0;
}

/* ---- the tokens that a branch keeps, and their shares of its output ---- */

typedef struct look {
    uint64_t slots[MAX_TOKENS];
    uint32_t positions[MAX_TOKENS];
    token_list tokens;
    double weight[MAX_TOKENS], out[HEAD_DIM], lse, importance[MAX_TOKENS], error[MAX_TOKENS];
} look;

/* No hole is in use yet, so the slots of a table are in the order of their positions. */
static int look_at(look *l, const kv_pool *pool, kv_branch branch, int q)
{
    kv_table table;
    kv_keep keep;
    if (kv_branch_table(pool, branch, &table) || kv_branch_keep(pool, branch, &keep)) return 1;
    l->tokens = (token_list){0, l->slots, l->positions};
    for (uint32_t at = 0; at < table.length; at++) {
        if (!kv_keep_slot(&keep, BLOCK_TOKENS, at)) continue;
        uint64_t slot = (uint64_t)table.blocks[at / BLOCK_TOKENS] * BLOCK_TOKENS + at % BLOCK_TOKENS;
        l->slots[l->tokens.num_tokens] = slot;
        l->positions[l->tokens.num_tokens++] = kv_pool_positions(pool)[slot];
    }
    attention_weights(l->weight, l->out, &l->lse, query[q], key[0], value[0], &l->tokens, &shape, scale);
    importance_ref(l->importance, l->weight, norm, &l->tokens, &shape);
    deletion_error(l->error, l->weight, l->out, value[0], &l->tokens, &shape);
    return 0;
}

static void print_look(const look *l)
{
    puts("    token  score  weight  norm  norm x weight  error if deleted");
    for (uint32_t t = 0; t < l->tokens.num_tokens; t++)
        printf("    %5d  %5.2f  %.4f  %4.0f  %13.4f  %16.4f\n", token_in[l->slots[t]], log(l->weight[t]) + l->lse,
               l->weight[t], (double)norm[l->slots[t]], l->importance[t] * HEAD_DIM, l->error[t]);
}

/* The distance of the output without token t from the output with it, by attention over the other tokens. */
static double measured_error(const look *l, int q, uint32_t without)
{
    float keys[MAX_TOKENS][HEAD_DIM], values[MAX_TOKENS][HEAD_DIM];
    double out[HEAD_DIM], sum = 0;
    size_t count = 0;
    for (uint32_t t = 0; t < l->tokens.num_tokens; t++) {
        if (t == without) continue;
        memcpy(keys[count], key[l->slots[t]], sizeof keys[0]);
        memcpy(values[count++], value[l->slots[t]], sizeof values[0]);
    }
    attention_ref(out, NULL, query[q], keys[0], values[0], count, HEAD_DIM, scale);
    for (int d = 0; d < HEAD_DIM; d++) sum += (out[d] - l->out[d]) * (out[d] - l->out[d]);
    return sqrt(sum);
}

static int victim_of(const look *l, eviction_range candidates)
{
    uint32_t position = eviction_key_position(eviction_victim(l->importance, &l->tokens, candidates));
    for (uint32_t t = 0; t < l->tokens.num_tokens; t++)
        if (l->positions[t] == position) return token_in[l->slots[t]];
    return -1;
}

static void print_keep(const kv_pool *pool, const kv_branch *branches)
{
    for (int i = 0; i < NUM_BRANCHES; i++) {
        kv_table table;
        kv_keep keep;
        if (kv_branch_table(pool, branches[i], &table) || kv_branch_keep(pool, branches[i], &keep)) return;
        printf("    branch %d keeps", i);
        for (uint32_t at = 0; at < table.num_blocks * BLOCK_TOKENS; at++)
            printf("%s%d", at % BLOCK_TOKENS == 0 ? "  " : "", kv_keep_slot(&keep, BLOCK_TOKENS, at));
        printf("   blocks");
        for (uint32_t b = 0; b < table.num_blocks; b++) printf(" %u", table.blocks[b]);
        puts("");
    }
}

static int evict(kv_pool *pool, kv_branch branch, kv_scope scope, uint32_t position)
{
    uint32_t slot;
    return kv_branch_find(pool, branch, position, &slot) || kv_branch_evict(pool, branch, scope, &slot, 1);
}

int main(void)
{
    kv_pool *pool;
    kv_pool_config config = {.num_blocks = NUM_BLOCKS, .block_tokens = BLOCK_TOKENS, .evicts = true};
    kv_branch branches[NUM_BRANCHES];
    if (kv_pool_create(&pool, &config) || kv_branch_create(pool, &branches[0]) || append(pool, branches[0], 6) ||
        kv_branch_fork(pool, branches[0], &branches[1]) || append(pool, branches[0], 3) || append(pool, branches[1], 4))
        return 1;

    look looks[NUM_BRANCHES];
    int wrong = 0;
    for (int q = 0; q < NUM_BRANCHES; q++) {
        printf("branch %d: the share of each token in its output\n", q);
        if (look_at(&looks[q], pool, branches[q], q)) return 1;
        print_look(&looks[q]);
        for (uint32_t t = 0; t < looks[q].tokens.num_tokens; t++)
            wrong |= !(fabs(measured_error(&looks[q], q, t) - looks[q].error[t]) < 1e-6);
    }
    puts(wrong ? "WRONG: a deletion has another error" : "each error is the same when the token is really left out");

    puts("the least important token that a branch may forget");
    kv_keep keep;
    for (int q = 0; q < NUM_BRANCHES; q++) {
        if (kv_branch_keep(pool, branches[q], &keep)) return 1;
        eviction_range all = {0, keep.next_position}, own = {keep.first_private, keep.next_position};
        printf("    branch %d: scope mask %d, scope private %d\n", q, victim_of(&looks[q], all),
               victim_of(&looks[q], own));
    }
    look both = looks[0]; /* of a shared token, the larger importance counts */
    for (uint32_t t = 0; t < BLOCK_TOKENS; t++) both.importance[t] = fmax(both.importance[t], looks[1].importance[t]);
    int voted = victim_of(&both, (eviction_range){0, BLOCK_TOKENS});
    printf("    vote on block 0: %d\n", voted);

    puts("scope mask: branch 0 forgets token 3 alone");
    if (evict(pool, branches[0], KV_SCOPE_MASK, 3)) return 1;
    print_keep(pool, branches);
    puts("scope private: branch 0 forgets its own token 7, and token 13 takes the hole");
    if (evict(pool, branches[0], KV_SCOPE_PRIVATE, 7)) return 1;
    print_keep(pool, branches);
    if (append(pool, branches[0], 1)) return 1;
    print_keep(pool, branches);
    printf("    block 2 holds tokens %d %d %d %d\n", token_in[8], token_in[9], token_in[10], token_in[11]);
    puts("scope vote: both branches forget the token of their vote");
    if (kv_evict_shared(pool, branches, NUM_BRANCHES, 0, (uint32_t)voted)) return 1; /* token t < 4: block 0, slot t */
    print_keep(pool, branches);
    return kv_branch_prune(pool, branches[0]) || kv_branch_prune(pool, branches[1]) ||
           kv_pool_destroy(pool, false, NULL) || wrong;
}
