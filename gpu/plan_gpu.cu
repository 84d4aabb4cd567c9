/* A plan in device memory: the host writes an outline to pinned memory; a kernel reads it and fills in the arrays. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "plan_fill.h"
#include "plan_memory.cuh"

static tree_status check_plan(const tree_plan *plan, const tree_shape *shape)
{
    tree_status status = tree_plan_fits(plan, shape);
    if (status != TREE_OK)
        return status;
    if (shape->head_dim != 64 && shape->head_dim != 128 && shape->head_dim != 256)
        return TREE_UNSUPPORTED;
    return TREE_OK;
}

/* ---- arrays ---- */

static plan_room room_of(const outline_builder *b)
{
    const tree_plan *plan = b->plan;
    return {plan->num_items, plan->num_ranges, plan->num_blocks, plan->num_queries, plan->num_partials,
            plan->num_mask_words, b->room.num_tasks, b->room.num_tiles, b->room.num_tokens, b->room.num_masks};
}

static bool fits(const plan_room *need, const plan_room *room)
{
    return need->items <= room->items && need->ranges <= room->ranges && need->blocks <= room->blocks
           && need->queries <= room->queries && need->partials <= room->partials && need->mask_words <= room->mask_words
           && need->tasks <= room->tasks && need->tiles <= room->tiles && need->tokens <= room->tokens
           && need->masks <= room->masks;
}

/* Half as much again as a larger need: the next plans fit as well. */
static uint64_t grown(uint64_t need, uint64_t room) { return need <= room ? room : need + need / 2 + 64; }

static uint64_t eased(uint64_t need, uint64_t room) { return need <= room ? room : need + need / 4; }

static plan_room choose_room(const plan_room *need, const plan_room *room, uint64_t choose(uint64_t, uint64_t))
{
    return {choose(need->items, room->items), choose(need->ranges, room->ranges), choose(need->blocks, room->blocks),
            choose(need->queries, room->queries), choose(need->partials, room->partials),
            choose(need->mask_words, room->mask_words), choose(need->tasks, room->tasks),
            choose(need->tiles, room->tiles), choose(need->tokens, room->tokens), choose(need->masks, room->masks)};
}

/* Points the arrays of `gpu` to their places; returns the bytes of all. */
static size_t lay_out(tree_plan_gpu *gpu, char *device)
{
    const plan_room *room = &gpu->room;
    size_t end = 0;
    gpu->few_capacity = (uint32_t)(room->tokens < FEW_TOKENS ? room->tokens : (uint64_t)FEW_TOKENS);
    auto place_array = [&](auto *&array, uint64_t count) {
        array = place((decltype(&*array))NULL, count, device, NULL, &end);
    };
    place_array(gpu->plan.masks, room->mask_words);
    place_array(gpu->plan.items, room->items);
    place_array(gpu->plan.ranges, room->ranges);
    place_array(gpu->plan.blocks, room->blocks);
    place_array(gpu->plan.rows, room->queries);
    place_array(gpu->plan.merge_first, room->queries + 1);
    place_array(gpu->plan.merge_partials, room->partials);
    place_array(gpu->queue.masks, room->masks);
    place_array(gpu->queue.tasks, room->tasks);
    place_array(gpu->queue.tiles, room->tiles);
    place_array(gpu->queue.starts, gpu->num_workers);
    place_array(gpu->queue.kv_slots, room->tokens);
    place_array(gpu->queue.queries, room->partials);
    place_array(gpu->few_tokens, gpu->few_capacity);
    place_array(gpu->partial_item, room->partials);
    place_array(gpu->arrivals, 1 + (uint64_t)gpu->shape.num_kv_heads);
    return end;
}

/* New memory, twice what the room takes, so that larger arrays may find room there later; that of before stays. */
static cudaError_t allocate(tree_plan_gpu *gpu)
{
    gpu->arrays_bytes = lay_out(gpu, NULL);
    gpu->arrays_bytes *= 2;
    gpu->most_blocks = 2 * gpu->room.blocks;
    const size_t bytes = NEW_BLOCK_TURNS * gpu->most_blocks * sizeof(uint32_t);
    gpu->arrays = NULL;
    gpu->new_blocks = NULL;
    cudaError_t error = cudaMalloc((void **)&gpu->arrays, gpu->arrays_bytes);
    if (error == cudaSuccess)
        error = cudaMallocHost((void **)&gpu->new_blocks, bytes);
    if (error == cudaSuccess)
        memset(gpu->new_blocks, 0, bytes);
    return error;
}

/* Waits for all kernels that may still use it. */
static void free_arrays(const tree_plan_gpu *gpu)
{
    if (!gpu->arrays && !gpu->new_blocks) /* a capture may go on */
        return;
    cudaDeviceSynchronize();
    cudaFree(gpu->arrays);
    cudaFreeHost(gpu->new_blocks);
}

/* Whether the arrays of such a room would fit the memory that is there; they have new places then. */
static bool takes_room(tree_plan_gpu *gpu, plan_room room)
{
    const plan_room before = gpu->room;
    gpu->room = room;
    if (gpu->arrays && room.blocks <= gpu->most_blocks && lay_out(gpu, NULL) <= gpu->arrays_bytes)
        return true;
    gpu->room = before;
    return false;
}

/* Room for the plan of the builder, in new memory only if there is not enough. */
static cudaError_t make_room(tree_plan_gpu *gpu, const plan_room *need, cudaStream_t stream)
{
    const plan_room room = choose_room(need, &gpu->room, grown), small = choose_room(need, &gpu->room, eased);
    cudaError_t error = cudaSuccess;
    if (!takes_room(gpu, room) && !takes_room(gpu, small) && !takes_room(gpu, *need)) {
        gpu->room = room;
        error = refuse_capture(stream); /* an allocation would end the capture */
        if (error == cudaSuccess)
            error = allocate(gpu);
    }
    lay_out(gpu, gpu->arrays);
    return error;
}

/* ---- update ---- */

static uint64_t few_limit(const tree_plan_gpu *gpu, const tree_plan *plan, bool knows_old)
{
    return few_rows_limit(plan->num_queries, &gpu->shape, gpu->num_workers, knows_old);
}

static bool fits_few(const tree_plan_gpu *gpu, const tree_plan *plan, bool knows_old)
{
    const uint64_t limit = few_limit(gpu, plan, knows_old);
    return limit > 0 && plan->loaded_tokens <= limit;
}

static void take_counts(tree_plan_gpu *gpu, const tree_plan *plan)
{
    const tree_plan arrays = gpu->plan;
    const plan_deal *deal = &gpu->builder.deal;
    gpu->plan = *plan;
    gpu->plan.growth = NULL;
    gpu->plan.table_index = NULL;
    gpu->plan.masks = arrays.masks;
    gpu->plan.items = arrays.items;
    gpu->plan.ranges = arrays.ranges;
    gpu->plan.blocks = arrays.blocks;
    gpu->plan.rows = arrays.rows;
    gpu->plan.merge_first = arrays.merge_first;
    gpu->plan.merge_partials = arrays.merge_partials;
    gpu->queue.num_workers = gpu->num_workers;
    gpu->queue.num_tasks = (uint32_t)deal->num_tasks;
    gpu->queue.num_tiles = (uint32_t)deal->num_tiles;
    gpu->queue.num_tokens = (uint32_t)deal->num_tokens;
    gpu->queue.num_masks = (uint32_t)deal->num_masks;
    gpu->queue.num_partials = plan->num_partials;
    gpu->queue.is_small = deal->is_small;
    gpu->queue.needs_merge = deal->needs_merge;
    gpu->fills_few = fits_few(gpu, plan, true) && gpu->builder.room.num_tokens <= gpu->few_capacity;
    gpu->is_few = gpu->fills_few && fits_few(gpu, plan, gpu->new_slots);
}

/* Of staging: where the next outline goes. */
static char *next_place(const outline_memory *memory)
{
    return memory->staging + (memory->number + 1) % 2 * memory->capacity;
}

static fill_arguments arguments_of(const tree_plan_gpu *gpu)
{
    return {(plan_outline *)gpu->outline.device, gpu->shape, gpu->plan, gpu->queue, gpu->partial_item, gpu->arrivals,
            gpu->fills_few ? gpu->few_tokens : NULL, gpu->few_capacity, gpu->new_blocks, (uint32_t)gpu->most_blocks,
            gpu->num_workers};
}

/* Returns when the device has read what the place of the next outline holds; steps that read the next turn of
 * new_blocks have run then. */
static cudaError_t wait_until_taken(const outline_memory *memory, cudaStream_t stream)
{
    while (*memory->taken + 1 < memory->number) {
        const cudaError_t error = cudaStreamQuery(stream);
        if (error == cudaErrorNotReady)
            cudaGetLastError(); /* or the caller would find it there */
        else if (error != cudaSuccess)
            return error;
    }
    return cudaSuccess;
}

/* Enqueues the copy of bytes that lie in the next place of staging, and fills in all arrays. */
static cudaError_t fill(tree_plan_gpu *gpu, size_t offset, size_t bytes, cudaStream_t stream)
{
    outline_memory *memory = &gpu->outline;
    const fill_arguments a = arguments_of(gpu);
    const outline_copy copy = {next_place(memory), memory->device + offset, (uint32_t)bytes, memory->number + 1,
                               memory->taken, memory->barrier};
    const cudaError_t error = plan_fill_new(&a, &copy, stream);
    memory->number += error == cudaSuccess;
    return error;
}

/* New memory for outlines; that of before stays. */
static cudaError_t allocate_outline(outline_memory *memory, size_t bytes)
{
    memory->capacity = (bytes + bytes / 4 + 4096) & ~(size_t)15;
    memory->device = memory->staging = NULL;
    cudaError_t error = cudaMalloc((void **)&memory->device, memory->capacity);
    if (error == cudaSuccess)
        error = cudaMallocHost((void **)&memory->staging, 2 * memory->capacity);
    return error;
}

/* Waits for all kernels that may still use it. */
static void free_outline(const outline_memory *memory)
{
    if (!memory->device && !memory->staging)
        return;
    cudaDeviceSynchronize();
    cudaFree(memory->device);
    cudaFreeHost(memory->staging);
}

/* Leaves the blocks whose first token this step writes; steps_ahead: until the next one, the end of the room, or the
 * length for which another kernel is chosen. */
static void look_ahead(tree_plan_gpu *gpu, const tree_plan *plan)
{
    uint32_t num_growing = 0;
    const uint32_t *ends = OUTLINE_ARRAY(const uint32_t, gpu->h_outline, ends);
    uint32_t *new_blocks = gpu->new_blocks + gpu->turn * gpu->most_blocks;
    gpu->steps_ahead = gpu->h_outline->num_steps - gpu->steps;
    for (uint32_t q = 0; q < plan->num_queries; q++) {
        if (ends[q] == OUTLINE_FIXED)
            continue;
        const tree_range *range = &plan->ranges[ends[q]];
        const uint32_t newest = range->first_slot + range->num_tokens - 1, entry = newest / plan->block_tokens;
        const uint32_t in_block = newest % plan->block_tokens, left = plan->block_tokens - 1 - in_block;
        if (in_block == 0)
            new_blocks[range->first_block + entry] = plan->blocks[range->first_block + entry];
        gpu->steps_ahead = left < gpu->steps_ahead ? left : gpu->steps_ahead;
        num_growing++;
    }
    if (!gpu->is_few || num_growing == 0)
        return;
    const uint64_t left = few_limit(gpu, plan, gpu->new_slots) - plan->loaded_tokens;
    gpu->steps_ahead = left / num_growing < gpu->steps_ahead ? (uint32_t)(left / num_growing) : gpu->steps_ahead;
}

/* Sends the outline that the builder has begun. On error gpu->outline is to be dropped. */
static cudaError_t send(tree_plan_gpu *gpu, cudaStream_t stream)
{
    outline_builder *builder = &gpu->builder;
    const size_t bytes = builder->head.num_bytes;
    cudaError_t error = refuse_capture(stream);
    if (error == cudaSuccess)
        error = wait_until_taken(&gpu->outline, stream);
    if (error == cudaSuccess && bytes > gpu->outline.capacity)
        error = allocate_outline(&gpu->outline, bytes);
    if (error != cudaSuccess)
        return error;
    gpu->turn = (gpu->turn + 1) % NEW_BLOCK_TURNS;
    gpu->steps = 0;
    builder->head.turn = gpu->turn;
    gpu->h_outline = (const plan_outline *)next_place(&gpu->outline);
    gpu->has_token_masks = builder->head.has_token_masks;
    gpu->mask_place = builder->head.mask_words;
    plan_outline_write(builder, (plan_outline *)next_place(&gpu->outline));
    look_ahead(gpu, builder->plan);
    return fill(gpu, 0, bytes, stream);
}

/* On error nothing has changed but the builder. */
static cudaError_t replace(tree_plan_gpu *gpu, const tree_plan *plan, cudaStream_t stream)
{
    tree_plan_gpu next = *gpu;
    const plan_room need = room_of(&gpu->builder);
    const bool stays = gpu->arrays && fits(&need, &gpu->room);
    cudaError_t error = stays ? cudaSuccess : make_room(&next, &need, stream);
    take_counts(&next, plan);
    if (error == cudaSuccess)
        error = send(&next, stream);
    if (next.arrays != gpu->arrays)
        free_arrays(error == cudaSuccess ? gpu : &next);
    if (next.outline.staging != gpu->outline.staging || next.outline.device != gpu->outline.device)
        free_outline(error == cudaSuccess ? &gpu->outline : &next.outline);
    if (error != cudaSuccess)
        return error;
    next.shape.num_queries = plan->num_queries;
    if (!stays || next.outline.device != gpu->outline.device || next.plan.num_queries != gpu->plan.num_queries
        || next.queue.is_small != gpu->queue.is_small || next.queue.needs_merge != gpu->queue.needs_merge
        || next.fills_few != gpu->fills_few || next.is_few != gpu->is_few)
        next.version++;
    *gpu = next;
    return cudaSuccess;
}

tree_status tree_plan_gpu_update(tree_plan_gpu *gpu_plan, const tree_plan *plan, cudaStream_t stream, int *cuda_error)
{
    assert(gpu_plan && plan && "an update needs a plan on the device and one on the host");
    tree_shape shape = gpu_plan->shape;
    shape.num_queries = plan->num_queries;
    gpu_status(cudaSuccess, cuda_error);
    tree_status status = check_plan(plan, &shape);
    if (status == TREE_OK)
        status = plan_outline_begin(&gpu_plan->builder, plan, &shape, gpu_plan->num_workers);
    return status == TREE_OK ? setup_status(replace(gpu_plan, plan, stream), cuda_error) : status;
}

tree_status tree_plan_gpu_new_slots(tree_plan_gpu *gpu_plan, const uint64_t *new_slots, uint32_t num_new_slots)
{
    assert(gpu_plan && "a plan on the device");
    if ((uintptr_t)new_slots % sizeof *new_slots != 0)
        return TREE_INVAL;
    if (!new_slots || num_new_slots > FEW_NEW_SLOTS) {
        new_slots = NULL;
        num_new_slots = 0;
    }
    if (new_slots == gpu_plan->new_slots && num_new_slots == gpu_plan->num_new_slots)
        return TREE_OK;
    gpu_plan->version++;
    gpu_plan->new_slots = new_slots;
    gpu_plan->num_new_slots = num_new_slots;
    gpu_plan->is_few = gpu_plan->fills_few && fits_few(gpu_plan, &gpu_plan->plan, new_slots);
    gpu_plan->steps_ahead = 0; /* another length may be the last one */
    return TREE_OK;
}

uint64_t tree_plan_gpu_version(const tree_plan_gpu *gpu_plan) { return gpu_plan->version; }

/* ---- masks ---- */

static bool same_counts(const tree_plan *a, const tree_plan *b)
{
    return a->num_queries == b->num_queries && a->num_items == b->num_items && a->num_ranges == b->num_ranges
           && a->num_blocks == b->num_blocks && a->num_partials == b->num_partials
           && a->num_mask_words == b->num_mask_words && a->loaded_tokens == b->loaded_tokens
           && a->block_tokens == b->block_tokens && a->config.strategy == b->config.strategy;
}

/* The plan's mask words, to their place in the outline. */
static cudaError_t send_masks(tree_plan_gpu *gpu, const tree_plan *plan, cudaStream_t stream)
{
    const size_t bytes = plan->num_mask_words * sizeof(uint64_t);
    cudaError_t error = refuse_capture(stream);
    if (error == cudaSuccess)
        error = wait_until_taken(&gpu->outline, stream);
    if (error != cudaSuccess)
        return error;
    memcpy(next_place(&gpu->outline), plan->masks, bytes);
    gpu->h_outline = NULL;
    gpu->steps_ahead = 0;
    return fill(gpu, gpu->mask_place, bytes, stream);
}

tree_status tree_plan_gpu_update_masks(tree_plan_gpu *gpu_plan, const tree_plan *plan, cudaStream_t stream,
                                       int *cuda_error)
{
    assert(gpu_plan && plan && "an update needs a plan on the device and one on the host");
    gpu_status(cudaSuccess, cuda_error);
    if (!same_counts(&gpu_plan->plan, plan))
        return TREE_INVAL;
    if (!gpu_plan->has_token_masks) /* masks of ranges were sent, and do not have the room */
        return tree_plan_gpu_update(gpu_plan, plan, stream, cuda_error);
    tree_status status = setup_status(send_masks(gpu_plan, plan, stream), cuda_error);
    if (status == TREE_OK)
        gpu_plan->plan.masked_pairs = plan->masked_pairs;
    return status;
}

/* ---- steps ---- */

/* Tokens that each path that grows has more than at the last step; 0: not all of them so many, or another path grew. */
static uint32_t count_steps(const tree_plan_gpu *gpu, const tree_plan *plan)
{
    const plan_outline *o = gpu->h_outline;
    const uint32_t *ends = OUTLINE_ARRAY(const uint32_t, o, ends);
    const outline_range *ranges = OUTLINE_ARRAY(const outline_range, o, ranges);
    uint32_t num_growing = 0, count = 0;
    for (uint32_t q = 0; q < plan->num_queries; q++) {
        if (ends[q] == OUTLINE_FIXED)
            continue;
        const uint32_t grown = plan->ranges[ends[q]].num_tokens - outline_at(ranges[ends[q]].num_tokens, gpu->steps);
        if (num_growing++ && grown != count)
            return 0;
        count = grown;
    }
    return plan->loaded_tokens == gpu->plan.loaded_tokens + (uint64_t)count * num_growing ? count : 0;
}

bool tree_plan_gpu_grow(tree_plan_gpu *gpu_plan, const tree_plan *plan)
{
    assert(gpu_plan && plan && "a step needs a plan on the device and one on the host");
    const tree_plan *before = &gpu_plan->plan;
    if (!gpu_plan->h_outline || plan->num_queries != before->num_queries || plan->num_items != before->num_items
        || plan->num_ranges != before->num_ranges || plan->num_blocks != before->num_blocks
        || plan->max_block >= gpu_plan->shape.num_blocks
        || (gpu_plan->is_few && !fits_few(gpu_plan, plan, gpu_plan->new_slots)))
        return false;
    const uint32_t count = count_steps(gpu_plan, plan);
    if (count == 0 || count > gpu_plan->steps_ahead + 1 || count > gpu_plan->h_outline->num_steps - gpu_plan->steps)
        return false;
    gpu_plan->steps += count;
    look_ahead(gpu_plan, plan);
    gpu_plan->plan.max_block = plan->max_block;
    gpu_plan->plan.unique_tokens = plan->unique_tokens;
    gpu_plan->plan.path_tokens = plan->path_tokens;
    gpu_plan->plan.loaded_tokens = plan->loaded_tokens;
    gpu_plan->plan.masked_pairs = plan->masked_pairs;
    return true;
}

uint32_t tree_plan_gpu_steps_ahead(const tree_plan_gpu *gpu_plan) { return gpu_plan->steps_ahead; }

tree_status tree_plan_gpu_advance(tree_plan_gpu *gpu_plan, uint64_t *slots, cudaStream_t stream, int *cuda_error)
{
    assert(gpu_plan && "a plan on the device");
    gpu_status(cudaSuccess, cuda_error);
    if ((uintptr_t)slots % sizeof *slots != 0)
        return TREE_INVAL;
    const fill_arguments a = arguments_of(gpu_plan);
    return gpu_status(plan_fill_step(&a, slots, stream), cuda_error);
}

/* ---- create, destroy ---- */

static cudaError_t prepare(tree_plan_gpu *gpu, const tree_shape *shape, cudaStream_t stream)
{
    gpu->shape = *shape;
    cudaError_t error = refuse_capture(stream);
    if (error == cudaSuccess)
        error = gpu_num_workers(&gpu->num_workers);
    if (error == cudaSuccess)
        error = cudaMallocHost((void **)&gpu->outline.taken, sizeof *gpu->outline.taken);
    if (error == cudaSuccess)
        error = cudaMalloc((void **)&gpu->outline.barrier, sizeof *gpu->outline.barrier);
    if (error != cudaSuccess)
        return error;
    *gpu->outline.taken = 0;
    return cudaMemsetAsync(gpu->outline.barrier, 0, sizeof *gpu->outline.barrier, stream);
}

tree_status tree_plan_gpu_create(tree_plan_gpu **gpu_plan, const tree_plan *plan, const tree_shape *shape,
                                 cudaStream_t stream, int *cuda_error)
{
    assert(plan && shape && "a plan on the device is made from one on the host, for a shape");
    gpu_status(cudaSuccess, cuda_error);
    tree_status status = check_plan(plan, shape);
    if (status != TREE_OK)
        return status;
    tree_plan_gpu *gpu = (tree_plan_gpu *)calloc(1, sizeof *gpu);
    if (!gpu)
        return TREE_NOMEM;
    status = setup_status(prepare(gpu, shape, stream), cuda_error);
    if (status == TREE_OK)
        status = tree_plan_gpu_update(gpu, plan, stream, cuda_error);
    if (status != TREE_OK) {
        tree_plan_gpu_destroy(gpu);
        return status;
    }
    *gpu_plan = gpu;
    return TREE_OK;
}

void tree_plan_gpu_destroy(tree_plan_gpu *gpu_plan)
{
    if (!gpu_plan)
        return;
    free_outline(&gpu_plan->outline);
    free_arrays(gpu_plan);
    if (gpu_plan->outline.taken)
        cudaFreeHost((void *)gpu_plan->outline.taken);
    if (gpu_plan->outline.barrier)
        cudaFree(gpu_plan->outline.barrier);
    plan_outline_free(&gpu_plan->builder);
    free(gpu_plan);
}
