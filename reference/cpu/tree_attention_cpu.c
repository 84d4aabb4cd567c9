/* tree_attention_cpu: the reference's five steps, in tiles that fit the cache.
 *
 *   idea    a task is one item and one KV head: each of its K and V tiles is packed once and meets all rows of the item
 *   price   a partial state per (row, head) in the workspace, merged at the end as the reference does
 *   limits  the arithmetic of a tile is in tree_attention_cpu_body.h; here is who computes what, and from which tokens
 *
 * Workspace: o [num_kv_heads][num_partials][group_size][o_stride], m and l likewise without o_stride, then a scratch
 * area per thread. */
#include "tree_attention_cpu.h"

#include <math.h>
#include <string.h>
#ifdef _OPENMP
#include <omp.h>
#endif
#ifdef TREE_HAVE_X86
#include <cpuid.h>
#if defined(__GLIBC__) && (__GLIBC__ > 2 || __GLIBC_MINOR__ >= 33)
#include <sys/platform/x86.h>
#endif
#endif

#include "half.h"
#include "tree_attention_cpu_tile.h"

const char *const tree_isa_name[TREE_NUM_ISAS] = {"auto", "portable", "avx2", "avx512", "avx512_bf16"};

#ifdef TREE_HAVE_X86
static bool supports_f16c(void)
{
#if !defined(__clang__) && __GNUC__ >= 11
    return __builtin_cpu_supports("f16c");
#elif defined(CPU_FEATURE_ACTIVE)
    return CPU_FEATURE_ACTIVE(F16C);
#else
    unsigned eax, ebx, ecx, edx;
    return __get_cpuid(1, &eax, &ebx, &ecx, &edx) && ecx & bit_F16C;
#endif
}
#endif

/* By what was asked of the machine before main: CPUID itself takes 30 us on a virtual machine. */
uint32_t cpu_machine_features(void)
{
    uint32_t features = 0;
#ifdef TREE_HAVE_X86
#define ADD_IF(supported, feature) features |= (supported) ? (uint32_t)(feature) : 0
    ADD_IF(__builtin_cpu_supports("avx2"), CPU_AVX2);
    ADD_IF(__builtin_cpu_supports("fma"), CPU_FMA);
    ADD_IF(supports_f16c(), CPU_F16C);
    ADD_IF(__builtin_cpu_supports("avx512f"), CPU_AVX512F);
    ADD_IF(__builtin_cpu_supports("avx512bw"), CPU_AVX512BW);
    ADD_IF(__builtin_cpu_supports("avx512vl"), CPU_AVX512VL);
    ADD_IF(__builtin_cpu_supports("avx512dq"), CPU_AVX512DQ);
    ADD_IF(__builtin_cpu_supports("avx512bf16"), CPU_AVX512BF16);
#undef ADD_IF
#endif
    return features;
}

static const cpu_kernel *kernel_of(tree_isa isa, tree_storage storage)
{
#ifdef TREE_HAVE_X86
    if (isa == TREE_ISA_AVX512_BF16 && storage == TREE_BF16)
        return &cpu_kernel_avx512_bf16;
    if (isa >= TREE_ISA_AVX512)
        return &cpu_kernel_avx512;
    if (isa == TREE_ISA_AVX2)
        return &cpu_kernel_avx2;
#endif
    (void)isa, (void)storage;
    return &cpu_kernel_portable;
}

bool cpu_features_suffice(uint32_t features, tree_isa isa)
{
    if (isa == TREE_ISA_AUTO || isa == TREE_ISA_PORTABLE)
        return true;
#ifdef TREE_HAVE_X86
    uint32_t needs = kernel_of(isa, TREE_FP32)->needs | kernel_of(isa, TREE_BF16)->needs;
    return (unsigned)isa < TREE_NUM_ISAS && (features & needs) == needs;
#else
    (void)features;
    return false;
#endif
}

tree_isa cpu_best_isa(uint32_t features)
{
    tree_isa isa = TREE_NUM_ISAS - 1;
    while (!cpu_features_suffice(features, isa))
        isa--;
    return isa;
}

bool tree_isa_available(tree_isa isa) { return cpu_features_suffice(cpu_machine_features(), isa); }

tree_isa tree_isa_best(void) { return cpu_best_isa(cpu_machine_features()); }

/* The tiles of one kind of items, as a thread gets them. Tickets are drawn from a counter that all threads share. */
typedef struct stream {
    bool is_long;          /* long items: a task is an item and a KV head; short ones: all heads */
    int64_t *tickets;      /* the next task */
    const tree_item *item; /* NULL: none is open */
    uint32_t kv_head, end_head; /* of the open item: [kv_head, end_head) are left */
    uint32_t range, token, tile; /* the next one */
    uint32_t *query;       /* of `rows`, packed */
    cpu_rows rows;         /* of the tile that is being absorbed */
} stream;

/* What one thread computes next. Long items and short ones take turns: while the many rows of a long one are
 * multiplied, memory is read for the short ones. Who computes an item does not change its bits. */
typedef struct tile_queue {
    stream streams[2];     /* short items, long ones */
    uint64_t taken[2];     /* tokens that were queued of each */
    cpu_tile tiles[CPU_AHEAD_TILES]; /* a ring */
    uint32_t first, end, num_tokens; /* tiles [first, end) are queued */
    cpu_ahead ahead;
} tile_queue;

/* ---- workspace ---- */

typedef struct layout {
    uint32_t group_size, o_stride, query_stride, max_rows;
    uint32_t total_rows;                                  /* most rows of an item in pieces; 1 for the merge */
    size_t o_floats, state_floats;                        /* o; m and l each */
    size_t queue_bytes, query_bytes, key_bytes, value_bytes, tile_bytes, visible_bytes, total_o_bytes,
        total_row_bytes, thread_bytes;
    size_t total_bytes;
} layout;

static size_t round_64(size_t bytes) { return (bytes + 63) & ~(size_t)63; }

/* Whether the item's states are sums of several pieces. Such items are long: a thread works on one at a time. */
_Static_assert(CPU_PIECE_TILES * CPU_TILE_TOKENS * 17 >= CPU_LONG_ITEM, "items in pieces are long");
static bool in_pieces(const tree_item *item) { return item->num_tokens > CPU_PIECE_TILES * CPU_TILE_TOKENS; }

static layout layout_of(const tree_plan *plan, const tree_shape *shape, uint32_t num_threads)
{
    layout at = {.group_size = shape->num_heads / shape->num_kv_heads, .total_rows = 1};
    for (uint32_t i = 0; i < plan->num_items; i++) {
        uint32_t num_rows = plan->items[i].num_rows;
        at.max_rows = num_rows > at.max_rows ? num_rows : at.max_rows;
        if (in_pieces(&plan->items[i]) && num_rows * at.group_size > at.total_rows)
            at.total_rows = num_rows * at.group_size;
    }
    at.o_stride = cpu_round_up(shape->head_dim, CPU_PANEL);
    at.query_stride = cpu_round_up(shape->head_dim, 2);
    at.state_floats = round_64((size_t)plan->num_partials * shape->num_heads * sizeof(float)) / sizeof(float);
    at.o_floats = (size_t)plan->num_partials * shape->num_heads * at.o_stride;
    at.queue_bytes = round_64(sizeof(tile_queue));
    at.query_bytes = round_64((size_t)at.max_rows * at.group_size * at.query_stride * 4);
    at.key_bytes = (size_t)CPU_TILE_TOKENS * at.query_stride * 4;
    at.value_bytes = (size_t)CPU_TILE_TOKENS * at.o_stride * 4;
    at.tile_bytes = (size_t)CPU_ROWS * CPU_TILE_TOKENS * 4;
    at.visible_bytes = round_64((size_t)(at.max_rows + 1) * CPU_TILE_TOKENS / 8);
    at.total_o_bytes = (size_t)at.total_rows * at.o_stride * sizeof(double);
    at.total_row_bytes = round_64(at.total_rows * sizeof(double));
    at.thread_bytes = at.queue_bytes + 2 * at.query_bytes + at.key_bytes + at.value_bytes + 2 * at.tile_bytes +
                      at.visible_bytes + at.total_o_bytes + 2 * at.total_row_bytes;
    at.total_bytes = (at.o_floats + 2 * at.state_floats) * sizeof(float) + num_threads * at.thread_bytes;
    return at;
}

static uint32_t threads_or_default(uint32_t num_threads)
{
#ifdef _OPENMP
    return num_threads ? num_threads : (uint32_t)omp_get_max_threads();
#else
    (void)num_threads;
    return 1;
#endif
}

size_t tree_attention_cpu_workspace_bytes(const tree_plan *plan, const tree_shape *shape, uint32_t max_threads)
{
    if (tree_plan_fits(plan, shape) != TREE_OK)
        return 0;
    size_t bytes = layout_of(plan, shape, threads_or_default(max_threads)).total_bytes;
    return bytes ? bytes : 64;
}

/* ---- one call ---- */

typedef struct call {
    const float *query;
    const void *key, *value;
    const tree_plan *plan;
    const tree_shape *shape;
    const cpu_kernel *kernel;
    float score_scale;
    layout at;
    uint64_t kind_tokens[2]; /* of all short items, of all long ones */
    float *o, *m, *l;
    char *threads; /* scratch areas */
} call;

typedef struct thread_scratch {
    tile_queue *queue;
    uint32_t *query[2]; /* short items, long ones */
    cpu_scratch tile;
    uint64_t *visible; /* [max_rows + 1][CPU_TILE_TOKENS / 64] */
    double *o;         /* [total_rows][o_stride] sums of the pieces so far */
    double *m, *l;     /* [total_rows] */
} thread_scratch;

static thread_scratch scratch_of(const call *c, uint32_t thread)
{
    char *at = c->threads + thread * c->at.thread_bytes;
    thread_scratch scratch;
    scratch.queue = (tile_queue *)at, at += c->at.queue_bytes;
    scratch.query[0] = (uint32_t *)at, at += c->at.query_bytes;
    scratch.query[1] = (uint32_t *)at, at += c->at.query_bytes;
    scratch.tile.key = (uint32_t *)at, at += c->at.key_bytes;
    scratch.tile.value = (uint32_t *)at, at += c->at.value_bytes;
    scratch.tile.scores = (float *)at, at += c->at.tile_bytes;
    scratch.tile.p = (uint32_t *)at, at += c->at.tile_bytes;
    scratch.visible = (uint64_t *)at, at += c->at.visible_bytes;
    scratch.o = (double *)at, at += c->at.total_o_bytes;
    scratch.m = (double *)at, at += c->at.total_row_bytes;
    scratch.l = (double *)at;
    return scratch;
}

/* Work of a head, roughly: packing a token costs as much as 16 rows that see it. */
static bool is_long(const call *c, const tree_item *item)
{
    return (uint64_t)item->num_tokens * (16 + (uint64_t)item->num_rows * c->at.group_size) > CPU_LONG_ITEM;
}

static int64_t take_ticket(int64_t *tickets)
{
    int64_t ticket;
#pragma omp atomic capture
    ticket = (*tickets)++;
    return ticket;
}

static bool open_item(const call *c, stream *s)
{
    uint32_t num_kv_heads = c->shape->num_kv_heads;
    int64_t tasks_per_item = s->is_long ? num_kv_heads : 1, num_tasks = c->plan->num_items * tasks_per_item;
    for (int64_t task; (task = take_ticket(s->tickets)) < num_tasks;) {
        const tree_item *item = &c->plan->items[task / tasks_per_item];
        if (is_long(c, item) != s->is_long)
            continue;
        s->item = item;
        s->kv_head = (uint32_t)(task % tasks_per_item);
        s->end_head = s->is_long ? s->kv_head + 1 : num_kv_heads;
        s->range = s->token = s->tile = 0;
        return true;
    }
    return false;
}

/* Tokens [at, at + count) of a tile lie one after the other, in one block. */
static void put_tokens(cpu_tile *tile, cpu_ahead *ahead, uint32_t at, uint32_t count, const char *key,
                       const char *value, size_t row_bytes)
{
    for (uint32_t t = 0; t < count; t++) {
        tile->key[at + t] = key + t * row_bytes;
        tile->value[at + t] = value + t * row_bytes;
    }
    ahead->run[ahead->end++ % CPU_AHEAD_RUNS] = (cpu_run){key, key + count * row_bytes};
    ahead->run[ahead->end++ % CPU_AHEAD_RUNS] = (cpu_run){value, value + count * row_bytes};
}

/* find this item's blocks: up to CPU_TILE_TOKENS tokens of one item and KV head. False: no work is left. */
static bool take_tile(const call *c, stream *s, cpu_tile *tile, cpu_ahead *ahead)
{
    if (!s->item && !open_item(c, s))
        return false;
    const tree_item *item = s->item;
    uint32_t block_tokens = c->shape->block_tokens, num_words = (item->num_rows + 63) / 64, count = 0;
    size_t element = tree_storage_bytes(c->shape->storage), row_bytes = c->shape->head_dim * element;
    tile->item = item;
    tile->kv_head = s->kv_head;
    tile->is_long = s->is_long;
    tile->first = s->tile == 0;
    s->tile++;
    tile->masked = false;
    while (count < CPU_TILE_TOKENS && s->range < item->num_ranges) {
        const tree_range *range = &c->plan->ranges[item->first_range + s->range];
        uint32_t position = range->first_slot + s->token, slot = position % block_tokens;
        uint32_t block = c->plan->blocks[range->first_block + position / block_tokens];
        uint32_t run = block_tokens - slot, left = range->num_tokens - s->token;
        run = run < left ? run : left;
        run = run < CPU_TILE_TOKENS - count ? run : CPU_TILE_TOKENS - count;
        size_t offset = tree_kv_offset(c->shape, block, s->kv_head, slot) * element;
        put_tokens(tile, ahead, count, run, (const char *)c->key + offset, (const char *)c->value + offset, row_bytes);
        for (uint32_t t = 0; t < run; t++)
            tile->mask[count + t] =
                range->mask == TREE_NO_MASK ? TREE_NO_MASK : range->mask + (s->token + t) * num_words;
        tile->masked |= range->mask != TREE_NO_MASK && run;
        count += run;
        s->token += run;
        if (s->token == range->num_tokens)
            s->range++, s->token = 0;
    }
    tile->num_tokens = count;
    tile->ahead_end = ahead->end;
    tile->last = s->range == item->num_ranges;
    tile->ends_piece = in_pieces(item) && (tile->last || s->tile % CPU_PIECE_TILES == 0);
    if (tile->last) {
        s->range = s->tile = 0;
        if (++s->kv_head == s->end_head)
            s->item = NULL;
    }
    return true;
}

static void fill_queue(const call *c, tile_queue *queue)
{
    while (queue->end - queue->first < CPU_AHEAD_TILES && queue->num_tokens < CPU_AHEAD_TOKENS) {
        cpu_tile *tile = &queue->tiles[queue->end % CPU_AHEAD_TILES];
        bool want_long = queue->taken[1] * c->kind_tokens[0] <= queue->taken[0] * c->kind_tokens[1];
        if (!take_tile(c, &queue->streams[want_long], tile, &queue->ahead) &&
            !take_tile(c, &queue->streams[!want_long], tile, &queue->ahead))
            return;
        queue->taken[tile->is_long] += tile->num_tokens;
        queue->num_tokens += tile->num_tokens;
        queue->end++;
    }
}

/* Whatever of this tile was not asked for yet is read now: asking is too late. */
static void skip_ahead(cpu_ahead *ahead, const cpu_tile *tile)
{
    if ((int32_t)(tile->ahead_end - ahead->next) > 0) {
        ahead->next = tile->ahead_end;
        ahead->at = NULL;
    }
}

static bool sees(const call *c, uint32_t mask, uint32_t row)
{
    return mask == TREE_NO_MASK || (c->plan->masks[mask + row / 64] >> (row % 64) & 1);
}

/* The plan's masks are words of rows per token; a tile wants words of tokens per row. */
static void transpose_masks(const call *c, cpu_tile *tile, uint64_t *visible)
{
    enum { WORDS = CPU_TILE_TOKENS / 64 };
    uint32_t num_rows = tile->item->num_rows;
    memset(visible, 0, (size_t)num_rows * WORDS * sizeof *visible);
    for (uint32_t t = 0; t < tile->num_tokens; t++)
        for (uint32_t row = 0; row < num_rows; row++)
            visible[row * WORDS + t / 64] |= (uint64_t)sees(c, tile->mask[t], row) << (t % 64);
    tile->visible = visible;
    tile->visible_stride = WORDS;
}

static void see_all(cpu_tile *tile, uint64_t *visible)
{
    for (uint32_t word = 0; word < CPU_TILE_TOKENS / 64; word++) {
        uint32_t count = tile->num_tokens > 64 * word ? tile->num_tokens - 64 * word : 0;
        visible[word] = count >= 64 ? ~(uint64_t)0 : ((uint64_t)1 << count) - 1;
    }
    tile->visible = visible;
    tile->visible_stride = 0;
}

/* A probability of 0 does not silence a value that is infinite or NaN: 0 * NaN is NaN. */
static bool masked_values_finite(const call *c, const cpu_tile *tile)
{
    uint32_t exponent = c->shape->storage == TREE_FP16 ? 0x7c00u : 0x7f80u, bad = 0;
    for (uint32_t t = 0; t < tile->num_tokens; t++) {
        if (tile->mask[t] == TREE_NO_MASK)
            continue;
        if (c->shape->storage == TREE_FP32) {
            const float *v_t = (const float *)tile->value[t];
            for (uint32_t d = 0; d < c->shape->head_dim; d++)
                bad |= (half_bits(v_t[d]) & 0x7f800000u) == 0x7f800000u;
        } else {
            const uint16_t *v_t = (const uint16_t *)tile->value[t];
            for (uint32_t d = 0; d < c->shape->head_dim; d++)
                bad |= (v_t[d] & exponent) == exponent;
        }
    }
    return !bad;
}

static void absorb(const call *c, const cpu_rows *rows, const cpu_tile *tile, thread_scratch *scratch)
{
    c->kernel->pack_tile(&scratch->tile, tile, c->shape->head_dim, c->shape->storage);
    c->kernel->absorb_tile(rows, tile, &scratch->queue->ahead, &scratch->tile);
}

/* The slow way around such a value: query by query, with 0 for the values that the query does not see. Every token
 * keeps its place, so that no sum has another order: the bits of a query do not tell of its neighbours' NaN. */
static void absorb_query_by_query(const call *c, const cpu_rows *rows, const cpu_tile *tile, thread_scratch *scratch)
{
    for (uint32_t row = 0; row < rows->num_rows / rows->rows_per_query; row++) {
        cpu_tile own = *tile;
        own.visible = tile->visible + (size_t)row * tile->visible_stride;
        own.visible_stride = 0;
        for (uint32_t t = 0; t < tile->num_tokens; t++)
            if (!sees(c, tile->mask[t], row))
                own.value[t] = NULL;
        cpu_rows own_rows = *rows;
        size_t skipped = (size_t)row * rows->rows_per_query;
        own_rows.num_rows = rows->rows_per_query;
        own_rows.query += skipped * rows->query_stride;
        own_rows.o += skipped * rows->o_stride;
        own_rows.m += skipped;
        own_rows.l += skipped;
        absorb(c, &own_rows, &own, scratch);
    }
}

/* Rows of the tile's item and KV head: queries packed, sums empty. */
static cpu_rows begin_rows(const call *c, const cpu_tile *tile, uint32_t *packed)
{
    const tree_shape *shape = c->shape;
    const tree_item *item = tile->item;
    uint32_t group_size = c->at.group_size, kv_head = tile->kv_head;
    size_t first_state = ((size_t)kv_head * c->plan->num_partials + item->first_partial) * group_size;
    cpu_rows rows = {.num_rows = item->num_rows * group_size, .rows_per_query = group_size,
                     .head_dim = shape->head_dim, .score_scale = c->score_scale, .query = packed,
                     .o = c->o + first_state * c->at.o_stride, .m = c->m + first_state, .l = c->l + first_state,
                     .query_stride = c->at.query_stride, .o_stride = c->at.o_stride};
    for (uint32_t row = 0; row < rows.num_rows; row++) {
        size_t query = c->plan->rows[item->first_row + row / group_size];
        const float *q_qh = c->query + (query * shape->num_heads + kv_head * group_size + row % group_size) *
                                           shape->head_dim;
        c->kernel->pack_query(packed + (size_t)row * rows.query_stride, q_qh, shape->head_dim, shape->storage);
        rows.m[row] = -INFINITY;
        rows.l[row] = 0;
    }
    return rows;
}

static void begin_totals(const cpu_rows *rows, thread_scratch *scratch)
{
    memset(scratch->o, 0, (size_t)rows->num_rows * rows->o_stride * sizeof *scratch->o);
    for (uint32_t row = 0; row < rows->num_rows; row++) {
        scratch->m[row] = -INFINITY;
        scratch->l[row] = 0;
    }
}

/* Merges the states of a piece into the totals and empties them; behind the last piece they become the totals. A float
 * sum over all tokens would drift: once it is large, each further term loses its low bits, always in one direction. */
static void end_piece(const call *c, const cpu_rows *rows, const cpu_tile *tile, thread_scratch *scratch)
{
    for (uint32_t row = 0; row < rows->num_rows; row++) {
        double *total = scratch->o + (size_t)row * rows->o_stride, m = scratch->m[row];
        float *o = rows->o + (size_t)row * rows->o_stride;
        double m_new = m >= rows->m[row] ? m : rows->m[row], shift = m_new == -INFINITY ? 0 : m_new;
        double keep = exp2(m - shift), weight = exp2(rows->m[row] - shift);
        c->kernel->add_state(total, keep, o, weight, rows->head_dim);
        scratch->m[row] = m_new;
        scratch->l[row] = scratch->l[row] * keep + rows->l[row] * weight;
        rows->m[row] = tile->last ? (float)m_new : -INFINITY;
        rows->l[row] = tile->last ? (float)scratch->l[row] : 0;
        if (tile->last)
            c->kernel->scale_state(o, total, 1, rows->head_dim);
    }
}

/* Partial states of a thread's share of the items: score the keys - absorb into the running maximum and sum. */
static void run_queue(const call *c, thread_scratch *scratch)
{
    tile_queue *queue = scratch->queue;
    for (fill_queue(c, queue); queue->first != queue->end; queue->first++, fill_queue(c, queue)) {
        cpu_tile *tile = &queue->tiles[queue->first % CPU_AHEAD_TILES];
        stream *s = &queue->streams[tile->is_long];
        queue->num_tokens -= tile->num_tokens;
        skip_ahead(&queue->ahead, tile);
        if (tile->first) {
            s->rows = begin_rows(c, tile, s->query);
            if (in_pieces(tile->item))
                begin_totals(&s->rows, scratch);
        }
        if (tile->masked)
            transpose_masks(c, tile, scratch->visible);
        else
            see_all(tile, scratch->visible);
        if (tile->masked && !masked_values_finite(c, tile))
            absorb_query_by_query(c, &s->rows, tile, scratch);
        else
            absorb(c, &s->rows, tile, scratch);
        if (tile->ends_piece)
            end_piece(c, &s->rows, tile, scratch);
    }
}

/* merge partial states - normalize; total [head_dim] is scratch */
static void merge_query(const call *c, float *out, float *lse, double *total, uint32_t query, uint32_t head)
{
    const tree_plan *plan = c->plan;
    uint32_t group_size = c->at.group_size, head_dim = c->shape->head_dim;
    uint32_t begin = plan->merge_first[query], end = plan->merge_first[query + 1];
    size_t head_states = (size_t)(head / group_size) * plan->num_partials, of_group = head % group_size;
    float m = -INFINITY;
    for (uint32_t i = begin; i < end; i++) {
        float m_i = c->m[(head_states + plan->merge_partials[i]) * group_size + of_group];
        m = m >= m_i ? m : m_i;
    }
    float shift = m == -INFINITY ? 0 : m;
    double l = 0;
    memset(total, 0, head_dim * sizeof *total);
    for (uint32_t i = begin; i < end; i++) {
        size_t state = (head_states + plan->merge_partials[i]) * group_size + of_group;
        double weight = exp2f(c->m[state] - shift);
        l += weight * c->l[state];
        c->kernel->add_state(total, 1, c->o + state * c->at.o_stride, weight, head_dim);
    }
    c->kernel->scale_state(out, total, l == 0 ? 0 : 1 / l, head_dim);
    if (lse)
        *lse = (float)((m + log2(l)) * 0x1.62e42fefa39efp-1);
}

static void begin_queue(thread_scratch *scratch, int64_t tickets[2])
{
    tile_queue *queue = scratch->queue;
    for (int i = 0; i < 2; i++)
        queue->streams[i] = (stream){.is_long = i, .tickets = &tickets[i], .query = scratch->query[i]};
    queue->taken[0] = queue->taken[1] = 0;
    queue->first = queue->end = queue->num_tokens = 0;
    queue->ahead.next = queue->ahead.end = 0;
    queue->ahead.at = NULL;
}

static void run_all(const call *c, float *out, float *lse, uint32_t num_threads)
{
    uint32_t num_heads = c->shape->num_heads;
    int64_t num_outputs = (int64_t)c->shape->num_queries * num_heads, tickets[2] = {0, 0};
#pragma omp parallel num_threads(num_threads)
    {
#ifdef _OPENMP
        uint32_t thread = (uint32_t)omp_get_thread_num();
#else
        uint32_t thread = 0;
#endif
        thread_scratch scratch = scratch_of(c, thread);
        begin_queue(&scratch, tickets);
        run_queue(c, &scratch);
#pragma omp barrier
#pragma omp for schedule(static)
        for (int64_t i = 0; i < num_outputs; i++)
            merge_query(c, out + i * c->shape->head_dim, lse ? lse + i : NULL, scratch.o,
                        (uint32_t)(i / num_heads), (uint32_t)(i % num_heads));
    }
    (void)num_threads;
}

tree_status tree_attention_cpu(float *out, float *lse, const float *query, const void *key, const void *value,
                               const tree_plan *plan, const tree_shape *shape, float scale, void *workspace,
                               size_t workspace_bytes, uint32_t num_threads, tree_isa isa)
{
    tree_status status = tree_plan_fits(plan, shape);
    if (status != TREE_OK)
        return status;
    uint32_t features = cpu_machine_features();
    if (!cpu_features_suffice(features, isa))
        return TREE_UNSUPPORTED;
    if (isa == TREE_ISA_AUTO)
        isa = cpu_best_isa(features);
    num_threads = threads_or_default(num_threads);
    call c = {.query = query, .key = key, .value = value, .plan = plan, .shape = shape,
              .kernel = kernel_of(isa, shape->storage), .score_scale = scale * 0x1.715476p+0f,
              .at = layout_of(plan, shape, num_threads)};
    if (!workspace || (uintptr_t)workspace % 64 || workspace_bytes < c.at.total_bytes)
        return TREE_WORKSPACE;
    for (uint32_t i = 0; i < plan->num_items; i++)
        c.kind_tokens[is_long(&c, &plan->items[i])] += plan->items[i].num_tokens;
    c.o = workspace;
    c.m = c.o + c.at.o_floats;
    c.l = c.m + c.at.state_floats;
    c.threads = (char *)(c.l + c.at.state_floats);
    run_all(&c, out, lse, num_threads);
    return TREE_OK;
}
