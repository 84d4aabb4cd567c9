/* The queue of one thread. Items are long or short. A task of a long item is one KV head, so that threads share the
 * item; a task of a short item is all of its KV heads. The queue alternates between the two kinds, in proportion to
 * their tokens: while the many rows of a long tile are multiplied, memory is read for the short tiles. */
#include "tree_attention_cpu_queue.h"

enum { LONG_ITEM = 16384 }; /* tokens x (16 + rows) */

_Static_assert(CPU_PIECE_TILES * CPU_TILE_TOKENS * 17 >= LONG_ITEM,
               "an item in pieces is long: a thread has the totals of one such item");

/* By the work for one KV head: packing a token costs about as much as 16 rows that see it. */
static bool is_long(const tree_item *item, const tree_shape *shape)
{
    uint32_t group_size = shape->num_heads / shape->num_kv_heads;
    return (uint64_t)item->num_tokens * (16 + (uint64_t)item->num_rows * group_size) > LONG_ITEM;
}

void cpu_tickets_begin(cpu_tickets *tickets, const tree_plan *plan, const tree_shape *shape)
{
    *tickets = (cpu_tickets){.next = {0}};
    for (uint32_t i = 0; i < plan->num_items; i++)
        tickets->num_tokens[is_long(&plan->items[i], shape)] += plan->items[i].num_tokens;
}

void cpu_queue_begin(cpu_queue *queue, const void *key, const void *value, const tree_plan *plan,
                     const tree_shape *shape, cpu_tickets *tickets)
{
    queue->plan = plan;
    queue->shape = shape;
    queue->key = key;
    queue->value = value;
    queue->tickets = tickets;
    for (int kind = 0; kind < CPU_NUM_KINDS; kind++) {
        queue->streams[kind] = (cpu_stream){.item = NULL};
        queue->num_kind_tokens[kind] = tickets->num_tokens[kind];
        queue->taken[kind] = 0;
    }
    queue->first = queue->end = queue->num_tokens = 0;
    queue->prefetch.next = queue->prefetch.end = 0;
    queue->prefetch.at = NULL;
}

static int64_t draw_ticket(int64_t *next)
{
    int64_t ticket;
#pragma omp atomic capture
    ticket = (*next)++;
    return ticket;
}

/* Opens the next task of a kind. Tickets count the tasks of all items; those of the other kind are skipped. */
static bool open_item(cpu_queue *queue, int kind)
{
    cpu_stream *s = &queue->streams[kind];
    uint32_t num_kv_heads = queue->shape->num_kv_heads;
    int64_t tasks_per_item = kind == CPU_LONG ? num_kv_heads : 1;
    int64_t num_tasks = queue->plan->num_items * tasks_per_item;
    for (int64_t task; (task = draw_ticket(&queue->tickets->next[kind])) < num_tasks;) {
        const tree_item *item = &queue->plan->items[task / tasks_per_item];
        if (is_long(item, queue->shape) != (kind == CPU_LONG))
            continue;
        s->item = item;
        s->kv_head = (uint32_t)(task % tasks_per_item);
        s->end_head = kind == CPU_LONG ? s->kv_head + 1 : num_kv_heads;
        s->range = s->token = s->tile = 0;
        return true;
    }
    return false;
}

/* Tokens [at, at + count) of a tile are consecutive slots of one block. */
static void put_tokens(cpu_tile *tile, cpu_prefetch *prefetch, uint32_t at, uint32_t count, const char *key,
                       const char *value, size_t vector_bytes)
{
    for (uint32_t t = 0; t < count; t++) {
        tile->key[at + t] = key + t * vector_bytes;
        tile->value[at + t] = value + t * vector_bytes;
    }
    prefetch->run[prefetch->end++ % CPU_PREFETCH_RUNS] = (cpu_run){key, key + count * vector_bytes};
    prefetch->run[prefetch->end++ % CPU_PREFETCH_RUNS] = (cpu_run){value, value + count * vector_bytes};
}

/* Tokens of the open item, from the stream's place on, until the tile is full or the item ends. */
static void take_tokens(cpu_queue *queue, cpu_stream *s, cpu_tile *tile)
{
    const tree_plan *plan = queue->plan;
    const tree_item *item = s->item;
    uint32_t block_tokens = queue->shape->block_tokens, num_words = (item->num_rows + 63) / 64, count = 0;
    size_t element = tree_storage_bytes(queue->shape->storage), vector_bytes = queue->shape->head_dim * element;
    tile->masked = false;
    while (count < CPU_TILE_TOKENS && s->range < item->num_ranges) {
        const tree_range *range = &plan->ranges[item->first_range + s->range];
        uint32_t position = range->first_slot + s->token, slot = position % block_tokens;
        uint32_t block = plan->blocks[range->first_block + position / block_tokens];
        uint32_t run = block_tokens - slot, left = range->num_tokens - s->token;
        run = run < left ? run : left;
        run = run < CPU_TILE_TOKENS - count ? run : CPU_TILE_TOKENS - count;
        size_t offset = tree_kv_offset(queue->shape, block, s->kv_head, slot) * element;
        put_tokens(tile, &queue->prefetch, count, run, queue->key + offset, queue->value + offset, vector_bytes);
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
    tile->prefetch_end = queue->prefetch.end;
}

/* False: no task of this kind is left. */
static bool take_tile(cpu_queue *queue, int kind, cpu_tile *tile)
{
    cpu_stream *s = &queue->streams[kind];
    if (!s->item && !open_item(queue, kind))
        return false;
    tile->item = s->item;
    tile->kv_head = s->kv_head;
    tile->is_long = kind == CPU_LONG;
    tile->first = s->tile == 0;
    s->tile++;
    take_tokens(queue, s, tile);
    tile->last = s->range == s->item->num_ranges;
    tile->ends_piece = cpu_in_pieces(s->item) && (tile->last || s->tile % CPU_PIECE_TILES == 0);
    if (tile->last) {
        s->range = s->tile = 0;
        if (++s->kv_head == s->end_head)
            s->item = NULL;
    }
    return true;
}

/* The next tile is of the kind whose taken share is smaller; the fractions are compared by cross-multiplication. */
static void fill(cpu_queue *queue)
{
    const uint64_t *taken = queue->taken, *num_tokens = queue->num_kind_tokens;
    while (queue->end - queue->first < CPU_QUEUE_TILES && queue->num_tokens < CPU_QUEUE_TOKENS) {
        cpu_tile *tile = &queue->tiles[queue->end % CPU_QUEUE_TILES];
        bool want_long = taken[CPU_LONG] * num_tokens[CPU_SHORT] <= taken[CPU_SHORT] * num_tokens[CPU_LONG];
        if (!take_tile(queue, want_long, tile) && !take_tile(queue, !want_long, tile))
            return;
        queue->taken[tile->is_long] += tile->num_tokens;
        queue->num_tokens += tile->num_tokens;
        queue->end++;
    }
}

/* Drops this tile's pending prefetches: it is read now. */
static void skip_prefetch(cpu_prefetch *prefetch, const cpu_tile *tile)
{
    if ((int32_t)(tile->prefetch_end - prefetch->next) > 0) {
        prefetch->next = tile->prefetch_end;
        prefetch->at = NULL;
    }
}

cpu_tile *cpu_queue_next(cpu_queue *queue)
{
    fill(queue);
    if (queue->first == queue->end)
        return NULL;
    cpu_tile *tile = &queue->tiles[queue->first++ % CPU_QUEUE_TILES];
    queue->num_tokens -= tile->num_tokens;
    skip_prefetch(&queue->prefetch, tile);
    return tile;
}
