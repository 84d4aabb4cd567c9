/* one_file: tree attention in one file, from the first block to the last sum.
 *
 * The branches of a search share a prefix. This program stores the shared tokens once, loads them once for all branches
 * together, and checks that each branch still gets exactly the attention over its own path. main() prints each step.
 *
 *   build   cc docs/one_file.c -lm && ./a.out     exit status 0 if the check holds, otherwise 1
 *   limits  fixed sizes, one pool, everything in double; a branch has one query, that of its newest token
 *   source  DeFT (ICLR 2025); online softmax (Milakov & Gimelshein 2018); partial states (Flash-Decoding, 2023)
 *   next    allocator/ and reference/ do the same for any size, with every error handled; gpu/ makes it fast */
#include <assert.h>
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

enum {
    NUM_BLOCKS = 12,
    BLOCK_TOKENS = 4, /* slots of a block */
    MAX_TOKENS = 32,  /* of a branch */
    NUM_BRANCHES = 4,
    MAX_PARTS = NUM_BLOCKS * BLOCK_TOKENS, /* nodes of the tree, items of the plan: each has a slot of its own */
    PIECE_TOKENS = 4,                      /* tokens of an item, at most */
    NUM_HEADS = 4, NUM_KV_HEADS = 2,       /* heads of queries; heads of K and V */
    GROUP_SIZE = NUM_HEADS / NUM_KV_HEADS, /* query heads that read the same KV head: grouped-query attention */
    HEAD_DIM = 8,
    TOKEN_BYTES = 2 * NUM_KV_HEADS * HEAD_DIM * sizeof(double) /* K and V of one token */
};

/* ---- 1. Pool: integers only. No key and no value is touched here. ---- */
static uint32_t references[NUM_BLOCKS]; /* number of block tables that list the block; 0: it is free */

static uint32_t take_block(void)
{
    uint32_t block = 0;
    while (block < NUM_BLOCKS && references[block] > 0) block++;
    assert(block < NUM_BLOCKS && "no free block: prune a branch first");
    references[block] = 1;
    return block;
}

/* ---- 2. Branches: a block table and a length. A branch writes only into blocks that no other branch lists. ---- */
typedef struct branch {
    uint32_t length;                              /* tokens */
    uint32_t blocks[MAX_TOKENS / BLOCK_TOKENS];   /* token t: slot t % BLOCK_TOKENS of blocks[t / BLOCK_TOKENS] */
    double k[MAX_TOKENS][NUM_KV_HEADS][HEAD_DIM]; /* its own keys and values, in one piece, for the check alone: */
    double v[MAX_TOKENS][NUM_KV_HEADS][HEAD_DIM]; /* what a program without sharing stores for every branch */
} branch;

typedef struct kv_copy { /* copy the first num_tokens slots of from_block to to_block, K and V of every head */
    uint32_t from_block, to_block, num_tokens; /* num_tokens 0: nothing to copy */
} kv_copy;

static uint32_t blocks_for(uint32_t num_tokens) { return (num_tokens + BLOCK_TOKENS - 1) / BLOCK_TOKENS; }

/* A branch with the first `length` tokens of `parent`. Each listed block gains a reference; the pool copies nothing. */
static branch fork_branch(const branch *parent, uint32_t length)
{
    branch child = *parent;
    child.length = length;
    for (uint32_t i = 0; i < blocks_for(length); i++) references[child.blocks[i]]++;
    return child;
}

/* Each listed block loses a reference; one that no other branch lists is free again. */
static void prune_branch(branch *b)
{
    for (uint32_t i = 0; i < blocks_for(b->length); i++) references[b->blocks[i]]--;
    b->length = 0;
}

/* Makes room for one token. If its place is in a block that another branch lists too, this branch takes a block of its
 * own instead: copy-on-write. The caller carries the copy out, then writes the token. */
static kv_copy append_token(branch *b)
{
    uint32_t used = b->length % BLOCK_TOKENS, *last = &b->blocks[b->length / BLOCK_TOKENS];
    kv_copy copy = {0, 0, 0};
    b->length++;
    if (used == 0) {
        *last = take_block();
    } else if (references[*last] > 1) {
        copy = (kv_copy){*last, take_block(), used};
        references[*last]--;
        *last = copy.to_block;
    }
    return copy;
}

/* ---- 3. Tree: two branches share a token if their tables name the same slot for it. ---- */
typedef struct node { /* a longest run of tokens that the same branches see */
    uint32_t depth, first_token, num_tokens; /* first_token: its position on the path from the root */
    uint32_t queries;                        /* a set: bit q is 1 if query q, the newest token of branch q, sees it */
    const uint32_t *blocks;                  /* the block table of one of these branches */
} node;

static node nodes[MAX_PARTS]; /* a parent before its children */
static uint32_t num_nodes;

/* The branches of `set` that see the same token t as branch `one`; none if `one` ends before it. */
static uint32_t sharing(const branch *branches, uint32_t set, uint32_t one, uint32_t t)
{
    uint32_t found = 0;
    for (uint32_t q = 0; q < NUM_BRANCHES; q++)
        if (set >> q & 1 && t < branches[one].length && t < branches[q].length &&
            branches[q].blocks[t / BLOCK_TOKENS] == branches[one].blocks[t / BLOCK_TOKENS])
            found |= 1u << q;
    return found;
}

/* Adds the nodes from position `first_token` on, for a set of branches that share all tokens before it. */
static void find_nodes(const branch *branches, uint32_t set, uint32_t one, uint32_t first_token, uint32_t depth)
{
    uint32_t end = first_token;
    while (sharing(branches, set, one, end) == set) end++;
    if (end > first_token)
        nodes[num_nodes++] = (node){depth++, first_token, end - first_token, set, branches[one].blocks};
    for (one = 0; one < NUM_BRANCHES; one++) { /* those that continue with the same token are a group of their own */
        uint32_t group = set >> one & 1 ? sharing(branches, set, one, end) : 0;
        if (group) find_nodes(branches, group, one, end, depth);
        set &= ~group;
    }
}

/* ---- 4. Plan: a list of items. An item loads each of its tokens once, for all of its queries together. ---- */
typedef node item; /* a piece of a node: at most PIECE_TOKENS of its tokens, and all queries that see them */
static item plan[MAX_PARTS];
static uint32_t num_items;

/* (Another plan is per-branch reading: an item for each query and its whole path. Same result, more loads.) */
static void build_plan(void)
{
    for (uint32_t n = 0; n < num_nodes; n++)
        for (uint32_t done = 0; done < nodes[n].num_tokens; done += PIECE_TOKENS) {
            uint32_t rest = nodes[n].num_tokens - done;
            plan[num_items] = nodes[n];
            plan[num_items].first_token += done;
            plan[num_items++].num_tokens = rest < PIECE_TOKENS ? rest : PIECE_TOKENS;
        }
}

/* ---- 5. Attention: out[q][h] = sum over the tokens t that q sees of softmax_t(query . key[t]) * value[t] ---- */
static double query[NUM_BRANCHES][NUM_HEADS][HEAD_DIM];
static double key[NUM_BLOCKS][NUM_KV_HEADS][BLOCK_TOKENS][HEAD_DIM];
static double value[NUM_BLOCKS][NUM_KV_HEADS][BLOCK_TOKENS][HEAD_DIM];
static uint32_t loaded_bytes; /* of K and V, counted where they are loaded */

typedef struct state {  /* of a softmax over some of the tokens; over none: m = -infinity, l = 0, o = 0 */
    double m;           /* the largest score */
    double l;           /* sum of exp(score - m) */
    double o[HEAD_DIM]; /* sum of exp(score - m) * value */
} state;

static state partials[MAX_PARTS][NUM_BRANCHES][NUM_HEADS]; /* of each item, for its queries */

static double score(const double *q, const double *k)
{
    double dot = 0;
    for (uint32_t d = 0; d < HEAD_DIM; d++) dot += q[d] * k[d];
    return dot / sqrt(HEAD_DIM);
}

/* Adds the tokens of another state: both sums are rescaled to the larger of the two maxima. */
static void merge(state *s, double m, double l, const double *o)
{
    double max = fmax(s->m, m), rescale = exp(s->m - max), other_rescale = exp(m - max);
    s->m = max;
    s->l = s->l * rescale + l * other_rescale;
    for (uint32_t d = 0; d < HEAD_DIM; d++) s->o[d] = s->o[d] * rescale + o[d] * other_rescale;
}

/* Adds one token, which by itself is a state: its score is the maximum, exp(0) = 1 the sum. */
static void absorb(state *s, double token_score, const double *v) { merge(s, token_score, 1, v); }

/* partial  [NUM_BRANCHES][NUM_HEADS]  written */
static void attend_item(state partial[][NUM_HEADS], const item *work)
{
    for (uint32_t row = 0; row < NUM_BRANCHES * NUM_HEADS; row++)
        partial[row / NUM_HEADS][row % NUM_HEADS] = (state){.m = -INFINITY};
    for (uint32_t kv_head = 0; kv_head < NUM_KV_HEADS; kv_head++)
        for (uint32_t t = work->first_token; t < work->first_token + work->num_tokens; t++) {
            const double *k = key[work->blocks[t / BLOCK_TOKENS]][kv_head][t % BLOCK_TOKENS];
            const double *v = value[work->blocks[t / BLOCK_TOKENS]][kv_head][t % BLOCK_TOKENS];
            loaded_bytes += TOKEN_BYTES / NUM_KV_HEADS; /* once, for all rows below */
            for (uint32_t q = 0; q < NUM_BRANCHES; q++)
                for (uint32_t head = kv_head * GROUP_SIZE; head < (kv_head + 1) * GROUP_SIZE; head++)
                    if (work->queries >> q & 1) absorb(&partial[q][head], score(query[q][head], k), v);
        }
}

/* ---- 6. Check: the definition of attention, in two passes. No blocks, no tree, no partial states. ---- */
/* Largest difference between a merged state's o / l and the attention of q over the branch's own keys and values. */
static double difference_alone(const state *all, const branch *b, const double *q, uint32_t kv_head)
{
    double max = -INFINITY, sum = 0, largest = 0;
    for (uint32_t t = 0; t < b->length; t++) max = fmax(max, score(q, b->k[t][kv_head]));
    for (uint32_t t = 0; t < b->length; t++) sum += exp(score(q, b->k[t][kv_head]) - max);
    for (uint32_t d = 0; d < HEAD_DIM; d++) {
        double out = 0;
        for (uint32_t t = 0; t < b->length; t++)
            out += exp(score(q, b->k[t][kv_head]) - max) / sum * b->v[t][kv_head][d];
        double difference = fabs(all->o[d] / all->l - out);
        largest = fmax(largest, isnan(difference) ? INFINITY : difference);
    }
    return largest;
}

/* ---- 7. Story: what is printed, and in which order ---- */
static double random_number(void) /* from -2 to 2; it stands for the output of a model */
{
    static uint32_t x = 1;
    x = x * 1664525 + 1013904223;
    return x / 1073741824.0 - 2;
}

static void show(const char *what, const branch *b)
{
    printf("  %-20sblocks", what);
    for (uint32_t i = 0; i < blocks_for(b->length); i++) printf(" %u", b->blocks[i]);
    printf("%*sreferences", 13 - 2 * (int)blocks_for(b->length), "");
    for (uint32_t block = 0; block < 9; block++) printf(" %u", references[block]);
    puts("");
}

static void show_parts(const char *name, const node *parts, uint32_t num_parts)
{
    for (const node *p = parts; p < parts + num_parts; p++) {
        uint32_t end = p->first_token + p->num_tokens;
        printf("%*s%s %d  tokens %u..%u  blocks", 2 * (int)p->depth + 2, "", name, (int)(p - parts), p->first_token,
               end - 1);
        for (uint32_t i = p->first_token / BLOCK_TOKENS; i < blocks_for(end); i++) printf(" %u", p->blocks[i]);
        printf("  queries");
        for (int q = 0; q < NUM_BRANCHES; q++)
            if (p->queries >> q & 1) printf(" %c", 'A' + q);
        puts("");
    }
}

/* Steps of decoding: make room, carry the copy out if there is one, write K and V of the new token. */
static void append(branch *b, uint32_t num_tokens, const char *what)
{
    for (uint32_t i = 0; i < num_tokens; i++) {
        kv_copy c = append_token(b);
        uint32_t t = b->length - 1, block = b->blocks[t / BLOCK_TOKENS], slot = t % BLOCK_TOKENS;
        if (c.num_tokens)
            printf("    copy %u tokens of block %u to block %u\n", c.num_tokens, c.from_block, c.to_block);
        for (uint32_t head = 0; head < NUM_KV_HEADS; head++) {
            memcpy(key[c.to_block][head], key[c.from_block][head], c.num_tokens * sizeof key[0][0][0]);
            memcpy(value[c.to_block][head], value[c.from_block][head], c.num_tokens * sizeof value[0][0][0]);
            for (uint32_t d = 0; d < HEAD_DIM; d++) {
                key[block][head][slot][d] = b->k[t][head][d] = random_number();
                value[block][head][slot][d] = b->v[t][head][d] = random_number();
            }
        }
    }
    show(what, b);
}

int main(void)
{
    static branch branches[NUM_BRANCHES], loser;
    branch *a = branches, *b = a + 1, *c = a + 2, *d = a + 3;
    puts("Branches: the block table after each call, and the reference counts of blocks 0 to 8");
    append(a, 10, "A appends 10");
    *b = fork_branch(a, 10), show("B = fork of A", b);
    loser = fork_branch(a, 10), show("X = fork of A", &loser);
    append(b, 5, "B appends 5");
    append(&loser, 1, "X appends 1");
    append(a, 3, "A appends 3");
    *c = fork_branch(b, 15), show("C = fork of B", c);
    append(c, 2, "C appends 2");
    prune_branch(&loser), show("X is pruned", &loser);
    *d = fork_branch(a, 6), show("D = fork of A at 6", d);
    append(b, 2, "B appends 2");

    puts("Tree, found in the four block tables, and plan");
    find_nodes(branches, (1u << NUM_BRANCHES) - 1, 0, 0, 0);
    build_plan();
    show_parts("node", nodes, num_nodes);
    show_parts("item", plan, num_items);

    puts("Attention of query A, head 0: the partial state that each item leaves, and their merge so far");
    for (uint32_t row = 0; row < NUM_BRANCHES * NUM_HEADS; row++)
        for (uint32_t d = 0; d < HEAD_DIM; d++) query[row / NUM_HEADS][row % NUM_HEADS][d] = random_number();
    for (uint32_t i = 0; i < num_items; i++) attend_item(partials[i], &plan[i]);
    double largest = 0;
    for (uint32_t row = 0; row < NUM_BRANCHES * NUM_HEADS; row++) {
        uint32_t q = row / NUM_HEADS, head = row % NUM_HEADS;
        state all = {.m = -INFINITY};
        for (uint32_t i = 0; i < num_items; i++) {
            const state *s = &partials[i][q][head];
            if (!(plan[i].queries >> q & 1)) continue;
            merge(&all, s->m, s->l, s->o);
            if (row == 0) printf("  item %u  m %6.3f  l %.3f   merged  m %6.3f  l %.3f\n", i, s->m, s->l, all.m, all.l);
        }
        largest = fmax(largest, difference_alone(&all, &branches[q], query[q][head], head / GROUP_SIZE));
    }
    uint32_t logical_bytes = (a->length + b->length + c->length + d->length) * TOKEN_BYTES;
    printf("Bytes of K and V: logical %u (each branch loads its own path), plan %u\n", logical_bytes, loaded_bytes);
    printf("Check: largest difference to each branch alone %.1e: %s\n", largest, largest < 1e-12 ? "ok" : "WRONG");
    return largest < 1e-12 ? 0 : 1;
}
