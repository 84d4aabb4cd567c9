/* Fibers, the scheduler that runs them, and CUDA's runtime as far as gpu/emulate/cuda_runtime_api.h goes.
 *
 * The scheduler lives on the caller's stack. A fiber returns to it where its warp or its block must meet; the
 * scheduler then carries out the operation of the warp or the block. */
#undef _FORTIFY_SOURCE /* its longjmp mistakes another stack for a broken one */
#include "emulate.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/mman.h>
#include <ucontext.h>
#include <unistd.h>

#include <deque>
#include <functional>
#include <memory>
#include <numeric>
#include <vector>

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define EMULATE_ASAN
#endif
#elif defined(__SANITIZE_ADDRESS__)
#define EMULATE_ASAN
#endif
#ifdef EMULATE_ASAN
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif

enum {
    STACK_BYTES = 256 * 1024,
    MAX_THREADS = 1024,
    MAX_SHARED_BYTES = 232448,
    ALIGNMENT = 1024,
    IDLE_ROUNDS = 100 /* rounds in which all threads only read counters: no thread is left to write one */
};

uint3 threadIdx, blockIdx;
dim3 blockDim, gridDim;

enum thread_state {
    READY,
    AT_WARP,  /* waits for its warp */
    AT_BLOCK, /* waits for its block */
    SPINNING, /* has read a counter, and reads it again */
    RETURNED,
    FAILED /* broke a rule */
};

/* Where a thread waits, and for which operation. */
struct meeting {
    const char *name, *file;
    int line;
    uint32_t mask;
    emulate_together *together;
    void *part;
};

struct async_copy {
    char *to;
    const void *from;
    size_t bytes;
    bool valid;
};

struct free_memory {
    void operator()(void *memory) const { free(memory); }
};

struct shared_memory {
    std::unique_ptr<void, free_memory> data;
    size_t bytes;
};

struct block_run;

struct fiber {
    /* of the stack: lasts from launch to launch */
    char *stack;
    uint32_t number;
    bool started;
    jmp_buf where;
    ucontext_t context;
    void *fake_stack;
    /* of the thread */
    thread_state state;
    uint3 thread;
    uint32_t lane, num_variables, part;
    block_run *block;
    meeting at;
    std::vector<async_copy> copies; /* those that have not landed */
    std::vector<size_t> groups;     /* number of copies up to the end of each committed group */
};

/* A store from another block of the cluster that has not arrived. */
struct remote_store {
    char *to;
    std::vector<char> data;
    uint64_t *missing; /* bytes of the inbox that it belongs to */
};

struct block_run {
    uint3 index;
    std::vector<fiber *> threads;
    std::vector<remote_store> stores; /* to this block */
    uint32_t num_in_cluster;          /* threads that have arrived at the cluster */
    shared_memory dynamic;
    std::vector<shared_memory> variables;
    uint32_t num_waiting, num_returned, parts;
};

static struct {
    uint64_t seed, random;
    std::vector<std::unique_ptr<fiber>> fibers;
    void (*body)(void *);
    void *context;
    size_t shared_bytes;
    std::vector<std::unique_ptr<block_run>> blocks; /* that run at the same time */
    void (*previous)(void *); /* work of the previous launch that has not ended */
    void *previous_context;
    fiber *running; /* NULL: the scheduler */
    jmp_buf scheduler;
    void *fake_stack; /* of the scheduler */
    const void *stack;
    size_t stack_bytes;
    uint32_t largest_cluster;
    uint64_t num_blocks; /* launched so far */
    uint64_t num_moves; /* runs of a thread that did more than read a counter again */
    char message[1024];
} emulator;

void emulate_seed(unsigned long long seed) { emulator.random = emulator.seed = seed; }

void emulate_largest_cluster(unsigned size) { emulator.largest_cluster = size; }

bool emulate_takes_cluster(unsigned size)
{
    return size <= (emulator.largest_cluster ? emulator.largest_cluster : 16u);
}

unsigned long long emulate_num_blocks(void) { return emulator.num_blocks; }

/* splitmix64 */
static uint32_t draw(uint32_t limit)
{
    uint64_t z = emulator.random += 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return (uint32_t)((uint64_t)(uint32_t)((z ^ (z >> 31)) >> 32) * limit >> 32);
}

template <typename T> static void shuffle(std::vector<T> &list)
{
    for (size_t i = list.size(); i > 1; i--)
        std::swap(list[i - 1], list[draw((uint32_t)i)]);
}

/* ---- from stack to stack ---- */

/* ASan takes a longjmp for the end of all frames in between and forgets the state of the whole stack, which takes half
 * of a test's time. Here the frames live on, so ASan does not learn of the jump. */
#if defined EMULATE_ASAN && defined __x86_64__ && defined __GNUC__
#define SET_PLACE(place) __builtin_setjmp((void **)place)
#define GO_TO_PLACE(place) __builtin_longjmp((void **)place, 1)
#define UNTOLD __attribute__((no_sanitize("address"), noinline))
#else
#define SET_PLACE(place) _setjmp(place)
#define GO_TO_PLACE(place) _longjmp(place, 1)
#define UNTOLD
#endif

static void leaving(void **fake_stack, const void *to, size_t bytes)
{
#ifdef EMULATE_ASAN
    __sanitizer_start_switch_fiber(fake_stack, to, bytes);
#else
    (void)fake_stack, (void)to, (void)bytes;
#endif
}

static void arrived(void *fake_stack, const void **from, size_t *bytes)
{
#ifdef EMULATE_ASAN
    __sanitizer_finish_switch_fiber(fake_stack, from, bytes);
#else
    (void)fake_stack, (void)from, (void)bytes;
#endif
}

/* Back to the scheduler, until it runs this thread again. */
UNTOLD static void leave(thread_state state)
{
    fiber *f = emulator.running;
    f->state = state;
    leaving(&f->fake_stack, emulator.stack, emulator.stack_bytes);
    if (!SET_PLACE(f->where))
        GO_TO_PLACE(emulator.scheduler);
    arrived(f->fake_stack, NULL, NULL);
}

/* A fiber's bottom frame: thread after thread. */
static void run_threads()
{
    arrived(NULL, &emulator.stack, &emulator.stack_bytes);
    for (;;) {
        emulator.body(emulator.context);
        leave(RETURNED);
    }
}

/* Runs the thread until it leaves. */
UNTOLD static void enter(fiber *f)
{
    emulator.running = f;
    threadIdx = f->thread;
    blockIdx = f->block->index;
    leaving(&emulator.fake_stack, f->stack, STACK_BYTES);
    if (!SET_PLACE(emulator.scheduler)) {
        if (f->started)
            GO_TO_PLACE(f->where);
        f->started = true;
        setcontext(&f->context);
    }
    arrived(emulator.fake_stack, NULL, NULL);
    emulator.running = NULL;
}

/* A page without access rights, then the stack. */
static fiber *create_fiber()
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    char *memory = (char *)mmap(NULL, page + STACK_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED || mprotect(memory, page, PROT_NONE) != 0)
        return NULL;
    fiber *f = new fiber();
    f->number = (uint32_t)emulator.fibers.size();
    f->stack = memory + page;
    return f;
}

/* The next thread to run there begins at the stack's top, whatever lies on it. */
static void restart_fiber(fiber *f)
{
#ifdef EMULATE_ASAN
    __asan_unpoison_memory_region(f->stack, STACK_BYTES);
#endif
    f->started = false;
    f->fake_stack = NULL;
    getcontext(&f->context);
    f->context.uc_stack.ss_sp = f->stack;
    f->context.uc_stack.ss_size = STACK_BYTES - f->number % EMULATE_WARP * 128; /* each in cache lines of its own */
    f->context.uc_link = NULL;
    makecontext(&f->context, run_threads, 0);
}

/* ---- failure ---- */

/* Thrown by the scheduler; the message is in emulator.message. */
struct launch_failure {};

static const char *describe(char text[200], const fiber *f)
{
    int used = snprintf(text, 200, "thread (%u,%u,%u) of block (%u,%u,%u) ", f->thread.x, f->thread.y, f->thread.z,
                        f->block->index.x, f->block->index.y, f->block->index.z);
    if (f->state == RETURNED)
        snprintf(text + used, 200 - used, "has returned");
    else
        snprintf(text + used, 200 - used, "waits in %s at %s:%d", f->at.name, f->at.file, f->at.line);
    return text;
}

void emulate_fail(const char *file, int line, const char *format, ...)
{
    char which[200] = "";
    const fiber *f = emulator.running;
    if (f)
        snprintf(which, sizeof which, "thread (%u,%u,%u) of block (%u,%u,%u): ", f->thread.x, f->thread.y, f->thread.z,
                 blockIdx.x, blockIdx.y, blockIdx.z);
    int used = file ? snprintf(emulator.message, sizeof emulator.message, "%s:%d: %s", file, line, which) : 0;
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(emulator.message + used, sizeof emulator.message - used, format, arguments);
    va_end(arguments);
    if (!f)
        throw launch_failure();
    leave(FAILED);
    abort(); /* a failed thread is not run again */
}

static void fail_apart(const fiber *f, const fiber *other)
{
    char one[200], two[200];
    emulate_fail(NULL, 0, "%s, but %s", describe(one, f), describe(two, other));
}

/* ---- meetings ---- */

static void wait(thread_state state, const meeting &at)
{
    emulator.running->at = at;
    leave(state);
}

void emulate_warp(emulate_together *together, void *part, uint32_t mask, const char *name, const char *file, int line)
{
    if (!(mask >> emulator.running->lane & 1))
        emulate_fail(file, line, "%s: lane %u is not in its own mask", name, emulator.running->lane);
    wait(AT_WARP, {name, file, line, mask, together, part});
}

uint32_t emulate_block(uint32_t mine, const char *name, const char *file, int line)
{
    block_run *block = emulator.running->block;
    emulator.running->part = mine;
    block->num_waiting++;
    wait(AT_BLOCK, {name, file, line, 0, NULL, NULL});
    return block->parts;
}

uint32_t load_acquire(const uint32_t *counter, const char *file, int line)
{
    wait(SPINNING, {"load_acquire", file, line, 0, NULL, NULL});
    return *counter;
}

uint32_t emulate_lane(void) { return emulator.running->lane; }

static bool same_place(const meeting &a, const meeting &b)
{
    return a.together == b.together && a.mask == b.mask && a.line == b.line
           && (a.file == b.file || !strcmp(a.file, b.file)) && (a.name == b.name || !strcmp(a.name, b.name));
}

/* Lane `first` waits for the lanes of its mask: once all have arrived, the operation runs, and they go on. */
static bool meet_as_warp(fiber *const lanes[EMULATE_WARP], uint32_t first)
{
    const meeting at = lanes[first]->at;
    void *part[EMULATE_WARP] = {};
    for (uint32_t i = 0; i < EMULATE_WARP; i++) {
        if (!(at.mask >> i & 1))
            continue;
        if (!lanes[i])
            emulate_fail(at.file, at.line, "%s: the mask names lane %u, the block ends before", at.name, i);
        if (lanes[i]->state == SPINNING)
            return false;
        if (lanes[i]->state != AT_WARP || !same_place(at, lanes[i]->at))
            fail_apart(lanes[first], lanes[i]);
        part[i] = lanes[i]->at.part;
    }
    at.together(part);
    for (uint32_t i = 0; i < EMULATE_WARP; i++) {
        if (at.mask >> i & 1)
            lanes[i]->state = READY;
    }
    return true;
}

/* All threads that have not returned wait for their block: they go on if all wait at the same barrier. */
static void meet_as_block(block_run *block)
{
    size_t num_threads = block->threads.size();
    if (block->num_waiting == 0 || block->num_waiting + block->num_returned < num_threads)
        return;
    const fiber *first = NULL;
    for (const fiber *f : block->threads)
        first = !first && f->state == AT_BLOCK ? f : first;
    block->parts = 0;
    for (const fiber *f : block->threads) {
        if (f->state == RETURNED || !same_place(first->at, f->at))
            fail_apart(first, f);
        block->parts |= f->part;
    }
    for (fiber *f : block->threads)
        f->state = READY;
    block->num_waiting = 0;
}

/* ---- running ---- */

/* Runs a warp as far as it gets without the others. */
static void run_warp(block_run *block, uint32_t warp)
{
    fiber *lanes[EMULATE_WARP] = {};
    uint32_t num_lanes = (uint32_t)block->threads.size() - warp * EMULATE_WARP;
    for (uint32_t i = 0; i < EMULATE_WARP && i < num_lanes; i++) {
        lanes[i] = block->threads[warp * EMULATE_WARP + i];
        if (lanes[i]->state == SPINNING)
            lanes[i]->state = READY;
    }
    for (bool met = true; met;) {
        uint32_t order = draw(EMULATE_WARP * EMULATE_WARP / 2), stride = order % (EMULATE_WARP / 2) * 2 + 1;
        for (uint32_t i = 0; i < EMULATE_WARP; i++) {
            fiber *f = lanes[(order / (EMULATE_WARP / 2) + i * stride) % EMULATE_WARP];
            if (!f || f->state != READY)
                continue;
            enter(f);
            if (f->state == FAILED)
                throw launch_failure();
            emulator.num_moves += f->state != SPINNING;
            block->num_returned += f->state == RETURNED;
        }
        met = false;
        for (uint32_t i = 0; i < EMULATE_WARP; i++)
            met |= lanes[i] && lanes[i]->state == AT_WARP && meet_as_warp(lanes, i);
    }
    meet_as_block(block);
}

static void fail_waiting(const std::vector<std::unique_ptr<block_run>> &blocks)
{
    char text[200];
    const fiber *waiting = NULL;
    for (auto &block : blocks) {
        for (const fiber *f : block->threads)
            waiting = f->state == SPINNING ? f : waiting;
    }
    emulate_fail(NULL, 0, "%s for a counter that no thread is left to write", describe(text, waiting));
}

struct warp_place {
    block_run *block;
    uint32_t warp;
};

void emulate_previous(void (*work)(void *), void *context)
{
    emulator.previous = work;
    emulator.previous_context = context;
}

static void end_previous()
{
    void (*work)(void *) = emulator.previous;
    emulator.previous = NULL;
    if (work)
        work(emulator.previous_context);
}

void wait_for_previous_launch(const char *file, int line)
{
    while (emulator.previous)
        wait(SPINNING, {"wait_for_previous_launch", file, line, 0, NULL, NULL});
}

/* Runs blocks that are on the GPU at the same time, to their end. */
static void run_blocks()
{
    const std::vector<std::unique_ptr<block_run>> &blocks = emulator.blocks;
    std::vector<warp_place> warps;
    for (auto &block : blocks) {
        for (uint32_t w = 0; w * EMULATE_WARP < block->threads.size(); w++)
            warps.push_back({block.get(), w});
    }
    uint32_t num_idle = 0;
    for (bool done = false; !done;) {
        uint64_t moves_before = emulator.num_moves;
        shuffle(warps);
        for (warp_place &place : warps)
            run_warp(place.block, place.warp);
        done = true;
        for (auto &block : blocks)
            done &= block->num_returned == block->threads.size();
        num_idle = emulator.num_moves == moves_before ? num_idle + 1 : 0;
        if (num_idle)
            end_previous();
        if (!done && num_idle == IDLE_ROUNDS)
            fail_waiting(blocks);
    }
}

/* Full of 0xff bytes; NULL if there is no memory. */
static void *create_memory(size_t bytes)
{
    void *data = NULL;
    if (posix_memalign(&data, ALIGNMENT, bytes ? bytes : 1) != 0)
        return NULL;
    return memset(data, 0xff, bytes);
}

static shared_memory create_shared(size_t bytes)
{
    void *data = create_memory(bytes);
    if (!data)
        emulate_fail(NULL, 0, "no memory for %zu bytes of shared memory", bytes);
    return {std::unique_ptr<void, free_memory>(data), bytes};
}

static std::unique_ptr<block_run> create_block(uint64_t number, size_t first_fiber)
{
    auto block = std::make_unique<block_run>();
    uint32_t num_threads = blockDim.x * blockDim.y * blockDim.z;
    block->index = {(uint32_t)(number % gridDim.x), (uint32_t)(number / gridDim.x % gridDim.y),
                    (uint32_t)(number / gridDim.x / gridDim.y)};
    block->dynamic = create_shared(emulator.shared_bytes);
    for (uint32_t t = 0; t < num_threads; t++) {
        fiber *f = emulator.fibers[first_fiber + t].get();
        f->state = READY;
        f->thread = {t % blockDim.x, t / blockDim.x % blockDim.y, t / blockDim.x / blockDim.y};
        f->lane = t % EMULATE_WARP;
        f->num_variables = 0;
        f->block = block.get();
        f->copies.clear();
        f->groups.clear();
        block->threads.push_back(f);
    }
    return block;
}

static void run_grid(const std::vector<uint64_t> &order, size_t num_together)
{
    for (size_t first = 0; first < order.size(); first += num_together) {
        emulator.blocks.clear();
        for (size_t i = 0; i < num_together; i++)
            emulator.blocks.push_back(create_block(order[first + i], i * blockDim.x * blockDim.y * blockDim.z));
        run_blocks();
        for (const auto &block : emulator.blocks) {
            if (!block->stores.empty())
                emulate_fail(NULL, 0, "block (%u,%u,%u) has ended before a store to it arrived", block->index.x,
                             block->index.y, block->index.z);
        }
    }
    end_previous();
}

/* Blocks that run together follow each other. */
static std::vector<uint64_t> draw_order(uint64_t num_blocks, uint64_t num_together)
{
    std::vector<uint64_t> groups(num_blocks / num_together), order;
    std::iota(groups.begin(), groups.end(), 0);
    shuffle(groups);
    for (uint64_t group : groups) {
        for (uint64_t i = 0; i < num_together; i++)
            order.push_back(group * num_together + i);
    }
    return order;
}

/* The launches that CUDA refuses. */
static bool is_possible(dim3 grid, dim3 threads, size_t shared_bytes)
{
    uint64_t num_threads = (uint64_t)threads.x * threads.y * threads.z;
    return num_threads >= 1 && num_threads <= MAX_THREADS && grid.x >= 1 && grid.x <= INT32_MAX && grid.y >= 1
           && grid.y <= 65535 && grid.z >= 1 && grid.z <= 65535 && shared_bytes <= MAX_SHARED_BYTES;
}

cudaError_t emulate_launch(emulate_kind kind, dim3 grid, dim3 threads, size_t shared_bytes, void (*body)(void *),
                           void *context)
{
    if (grid.x == 0) /* as device.cuh: nothing to do */
        return cudaSuccess;
    if (!is_possible(grid, threads, shared_bytes))
        return cudaErrorInvalidConfiguration;
    const uint64_t num_blocks = (uint64_t)grid.x * grid.y * grid.z;
    const uint64_t num_together = kind.together == EMULATE_ALL ? num_blocks : kind.together;
    if (kind.together != EMULATE_ALL && (kind.together == 0 || grid.x % kind.together != 0))
        return cudaErrorInvalidConfiguration;
    if (!kind.is_early)
        end_previous();
    const std::vector<uint64_t> order = draw_order(num_blocks, num_together);
    emulator.num_blocks += num_blocks;
    size_t num_fibers = num_together * threads.x * threads.y * threads.z;
    while (emulator.fibers.size() < num_fibers) {
        fiber *f = create_fiber();
        if (!f)
            return cudaErrorMemoryAllocation;
        restart_fiber(f);
        emulator.fibers.emplace_back(f);
    }
    gridDim = grid;
    blockDim = threads;
    emulator.shared_bytes = shared_bytes;
    emulator.body = body;
    emulator.context = context;

    try {
        run_grid(order, num_together);
    } catch (launch_failure) {
        for (auto &f : emulator.fibers)
            restart_fiber(f.get());
        return cudaErrorLaunchFailure;
    }
    return cudaSuccess;
}

/* ---- shared memory, asynchronous copies ---- */

void *emulate_dynamic_shared(void) { return emulator.running->block->dynamic.data.get(); }

void *emulate_shared_variable(size_t bytes)
{
    fiber *f = emulator.running;
    std::vector<shared_memory> &variables = f->block->variables;
    if (f->num_variables == variables.size())
        variables.push_back(create_shared(bytes));
    return variables[f->num_variables++].data.get();
}

static bool contains(const shared_memory &memory, const void *data, size_t bytes)
{
    uintptr_t first = (uintptr_t)memory.data.get(), at = (uintptr_t)data;
    return at >= first && at + bytes <= first + memory.bytes;
}

static void check_shared(const void *data, size_t bytes, const char *name, const char *file, int line)
{
    const block_run *block = emulator.running->block;
    bool found = contains(block->dynamic, data, bytes);
    for (const shared_memory &variable : block->variables)
        found |= contains(variable, data, bytes);
    if (!found)
        emulate_fail(file, line, "%s of %zu bytes outside of the block's shared memory", name, bytes);
    if ((uintptr_t)data % bytes != 0)
        emulate_fail(file, line, "%s: a shared address that is no multiple of %zu", name, bytes);
}

/* ---- clusters ---- */

static block_run *my_block() { return emulator.running->block; }

uint32_t cluster_rank() { return blockIdx.x % (uint32_t)emulator.blocks.size(); }

static bool has_whole_cluster_arrived()
{
    for (const auto &block : emulator.blocks) {
        if (block->num_in_cluster < block->threads.size())
            return false;
    }
    return true;
}

void arrive_at_cluster(const char *, int) { my_block()->num_in_cluster++; }

void wait_for_cluster(const char *file, int line)
{
    while (!has_whole_cluster_arrived())
        wait(SPINNING, {"wait_for_cluster", file, line, 0, NULL, NULL});
}

void open_inbox(cluster_inbox &inbox, uint32_t bytes, const char *file, int line)
{
    check_shared(&inbox, sizeof inbox, "open_inbox", file, line);
    if (my_block()->num_in_cluster == my_block()->threads.size())
        emulate_fail(file, line, "open_inbox after all threads have arrived at the cluster");
    inbox.missing = bytes;
}

static void arrive(const remote_store &store)
{
    memcpy(store.to, store.data.data(), store.data.size());
    *store.missing -= store.data.size();
}

void emulate_store_to(uint32_t rank, cluster_inbox &inbox, void *to, const void *from, size_t bytes, const char *file,
                      int line)
{
    char *mine = (char *)my_block()->dynamic.data.get();
    check_shared(to, bytes, "store_to", file, line);
    if (rank >= emulator.blocks.size() || !has_whole_cluster_arrived())
        emulate_fail(file, line, "store_to block %u of the cluster, which has not arrived", rank);
    block_run *block = emulator.blocks[rank].get();
    char *there = (char *)block->dynamic.data.get();
    cluster_inbox *inbox_there = (cluster_inbox *)(there + ((char *)&inbox - mine));
    if (inbox_there->missing < bytes)
        emulate_fail(file, line, "store_to: more bytes than the inbox of block %u expects", rank);
    remote_store store = {there + ((char *)to - mine), {(const char *)from, (const char *)from + bytes},
                          &inbox_there->missing};
    if (draw(2))
        arrive(store);
    else
        block->stores.push_back(store);
}

void wait_for_inbox(cluster_inbox &inbox, const char *file, int line)
{
    for (;;) {
        for (const remote_store &store : my_block()->stores)
            arrive(store);
        my_block()->stores.clear();
        if (inbox.missing == 0)
            return;
        wait(SPINNING, {"wait_for_inbox", file, line, 0, NULL, NULL});
    }
}

static void land(const async_copy &copy)
{
    if (copy.valid)
        memcpy(copy.to, copy.from, copy.bytes);
    else
        memset(copy.to, 0, copy.bytes);
}

void emulate_copy(void *shared, const void *global, size_t bytes, bool valid, const char *name, const char *file,
                  int line)
{
    check_shared(shared, bytes, name, file, line);
    if ((uintptr_t)global % bytes != 0)
        emulate_fail(file, line, "%s: a global address that is no multiple of %zu", name, bytes);
    const async_copy copy = {(char *)shared, global, bytes, valid};
    if (draw(2))
        land(copy);
    else
        emulator.running->copies.push_back(copy);
}

void cp_async_commit() { emulator.running->groups.push_back(emulator.running->copies.size()); }

void emulate_wait(uint32_t groups_left)
{
    fiber *f = emulator.running;
    if (f->groups.size() <= groups_left)
        return;
    size_t num_landing = f->groups.size() - groups_left, num_copies = f->groups[num_landing - 1];
    for (size_t i = 0; i < num_copies; i++)
        land(f->copies[i]);
    f->copies.erase(f->copies.begin(), f->copies.begin() + num_copies);
    f->groups.erase(f->groups.begin(), f->groups.begin() + num_landing);
    for (size_t &group : f->groups)
        group -= num_copies;
}

/* ---- operations of a warp ---- */

struct ballot_part {
    bool mine;
    uint32_t all;
};

uint32_t emulate_ballot(uint32_t mask, bool mine, const char *name, const char *file, int line)
{
    ballot_part part = {mine, 0};
    emulate_warp(
        [](void *const *parts) {
            uint32_t all = 0;
            for (int i = 0; i < EMULATE_WARP; i++)
                all |= (uint32_t)(parts[i] && ((ballot_part *)parts[i])->mine) << i;
            for (int i = 0; i < EMULATE_WARP; i++) {
                if (parts[i])
                    ((ballot_part *)parts[i])->all = all;
            }
        },
        &part, mask, name, file, line);
    return part.all;
}

struct ldmatrix_part {
    uint32_t *r;
    const char *row;
};

static uint32_t read_pair(const char *low, const char *high)
{
    uint16_t pair[2];
    memcpy(&pair[0], low, 2);
    memcpy(&pair[1], high, 2);
    return pair[0] | (uint32_t)pair[1] << 16;
}

template <bool TRANSPOSED> static void ldmatrix_together(void *const parts[EMULATE_WARP])
{
    for (int lane = 0; lane < EMULATE_WARP; lane++) {
        for (int j = 0; j < 4; j++) {
            int row = TRANSPOSED ? lane % 4 * 2 : lane / 4, column = TRANSPOSED ? lane / 4 : lane % 4 * 2;
            const char *low = ((ldmatrix_part *)parts[8 * j + row])->row + 2 * column;
            const char *high = TRANSPOSED ? ((ldmatrix_part *)parts[8 * j + row + 1])->row + 2 * column : low + 2;
            ((ldmatrix_part *)parts[lane])->r[j] = read_pair(low, high);
        }
    }
}

void ldmatrix_x4(uint32_t r[4], shared_at row, const char *file, int line)
{
    ldmatrix_part part = {r, (const char *)row};
    check_shared((const void *)row, 16, "ldmatrix_x4", file, line);
    emulate_warp(ldmatrix_together<false>, &part, 0xffffffff, "ldmatrix_x4", file, line);
}

void ldmatrix_x4_trans(uint32_t r[4], shared_at row, const char *file, int line)
{
    ldmatrix_part part = {r, (const char *)row};
    check_shared((const void *)row, 16, "ldmatrix_x4_trans", file, line);
    emulate_warp(ldmatrix_together<true>, &part, 0xffffffff, "ldmatrix_x4_trans", file, line);
}

/* sum[n] += left * right[n]. The arrays are the emulator's own, and most of the time goes here: not sanitized. */
__attribute__((no_sanitize("address", "undefined"))) static void add_multiple(double *sum, double left,
                                                                              const double *right, uint32_t count)
{
    for (uint32_t n = 0; n < count; n++)
        sum[n] += left * right[n];
}

static bool all_finite(const double *row, uint32_t count)
{
    bool all = true;
    for (uint32_t n = 0; n < count; n++)
        all &= isfinite(row[n]);
    return all;
}

/* The places of A, B and D: mma.cuh. */
void emulate_mma(void *const parts[EMULATE_WARP], float (*element)(uint32_t pair, int which))
{
    double a[16][16], b[16][8], d[16][8];
    for (int lane = 0; lane < EMULATE_WARP; lane++) {
        const emulate_mma_part *part = (const emulate_mma_part *)parts[lane];
        int row = lane / 4, pair = lane % 4 * 2;
        for (int i = 0; i < 8; i++)
            a[row + i / 2 % 2 * 8][pair + i / 4 * 8 + i % 2] = element(part->a[i / 2], i % 2);
        for (int i = 0; i < 4; i++)
            b[pair + i / 2 * 8 + i % 2][row] = element(part->b[i / 2], i % 2);
        for (int i = 0; i < 4; i++)
            d[row + i / 2 * 8][pair + i % 2] = part->d[i];
    }
    for (int k = 0; k < 16; k++) {
        const bool is_finite = all_finite(b[k], 8);
        for (int m = 0; m < 16; m++) {
            if (a[m][k] != 0 || !is_finite) /* saves time: with few rows, most elements are 0 */
                add_multiple(d[m], a[m][k], b[k], 8);
        }
    }
    for (int lane = 0; lane < EMULATE_WARP; lane++) {
        for (int i = 0; i < 4; i++)
            ((emulate_mma_part *)parts[lane])->d[i] = (float)d[lane / 4 + i / 2 * 8][lane % 4 * 2 + i % 2];
    }
}

/* An element of a panel; `at` is its address before the swizzle. */
static float panel_element(const emulate_warpgroup_part &part, shared_at at)
{
    uint16_t bits;
    memcpy(&bits, (const void *)(at ^ (at >> 7 & 7) << 4), sizeof bits);
    return part.element(bits, 0);
}

static shared_at right_element(const emulate_warpgroup_part &part, uint32_t k, uint32_t n)
{
    return part.is_transposed ? part.right + n / 64 * part.panels + k * 128 + n % 64 * 2
                              : part.right + n * 128 + k * 2;
}

/* Lane `lane` of a product has, as element i of its d, a row and a column. */
static uint32_t warpgroup_row(uint32_t lane, uint32_t i) { return lane / 4 + i / 2 % 2 * 8; }
static uint32_t warpgroup_column(uint32_t lane, uint32_t i) { return i / 4 * 8 + lane % 4 * 2 + i % 2; }

static void warpgroup_together(void *const parts[EMULATE_WARP])
{
    const emulate_warpgroup_part &first = *(const emulate_warpgroup_part *)parts[0];
    double left[16][16], right[16][256], sum[16][256];
    for (uint32_t k = 0; k < 16; k++) {
        for (uint32_t n = 0; n < first.columns; n++)
            right[k][n] = panel_element(first, right_element(first, k, n));
    }
    for (uint32_t lane = 0; lane < EMULATE_WARP; lane++) {
        const emulate_warpgroup_part &part = *(const emulate_warpgroup_part *)parts[lane];
        for (uint32_t i = 0; i < 8; i++)
            left[warpgroup_row(lane, i)][lane % 4 * 2 + i / 4 * 8 + i % 2] = part.element(part.left[i / 2], i % 2);
        for (uint32_t i = 0; i < part.columns / 2; i++)
            sum[warpgroup_row(lane, i)][warpgroup_column(lane, i)] = part.adds ? part.d[i] : 0;
    }
    for (uint32_t k = 0; k < 16; k++) {
        const bool is_finite = all_finite(right[k], first.columns);
        for (uint32_t row = 0; row < 16; row++) {
            if (left[row][k] != 0 || !is_finite)
                add_multiple(sum[row], left[row][k], right[k], first.columns);
        }
    }
    for (uint32_t lane = 0; lane < EMULATE_WARP; lane++) {
        const emulate_warpgroup_part &part = *(const emulate_warpgroup_part *)parts[lane];
        for (uint32_t i = 0; i < part.columns / 2; i++)
            part.d[i] = (float)sum[warpgroup_row(lane, i)][warpgroup_column(lane, i)];
    }
}

void emulate_warpgroup(emulate_warpgroup_part part, const char *name, const char *file, int line)
{
    check_shared((const void *)part.right, 16, name, file, line);
    shared_at last = part.is_transposed ? right_element(part, 15, part.columns - 64)
                                        : right_element(part, 0, part.columns - 1);
    check_shared((const void *)last, 16, name, file, line);
    emulate_warp(warpgroup_together, &part, 0xffffffff, name, file, line);
}

/* ---- the runtime ---- */

const char *cudaGetErrorString(cudaError_t error)
{
    switch (error) {
    case cudaSuccess: return "no error";
    case cudaErrorMemoryAllocation: return "out of memory";
    case cudaErrorInvalidConfiguration: return "no GPU takes a launch of this size";
    case cudaErrorLaunchFailure: return emulator.message;
    default: return "an error that the emulation does not know";
    }
}

cudaError_t cudaFuncGetAttributes(cudaFuncAttributes *, const void *) { return cudaSuccess; }
cudaError_t cudaStreamDestroy(cudaStream_t) { return cudaSuccess; }
cudaError_t cudaEventDestroy(cudaEvent_t) { return cudaSuccess; }
cudaError_t cudaEventRecord(cudaEvent_t, cudaStream_t) { return cudaSuccess; }
cudaError_t cudaEventSynchronize(cudaEvent_t) { return cudaSuccess; }

template <typename T> static cudaError_t answer(T *to, T value)
{
    *to = value;
    return cudaSuccess;
}

cudaError_t cudaDriverGetVersion(int *version) { return answer(version, 13000); }
cudaError_t cudaGetDeviceCount(int *count) { return answer(count, 1); }
cudaError_t cudaGetDevice(int *device) { return answer(device, 0); }
cudaError_t cudaDeviceGetAttribute(int *value, cudaDeviceAttr attribute, int)
{
    return answer(value, attribute == cudaDevAttrMultiProcessorCount ? 2 : 228 * 1024);
}
cudaError_t cudaStreamCreateWithFlags(cudaStream_t *stream, unsigned) { return answer(stream, cudaStream_t()); }
cudaError_t cudaEventCreateWithFlags(cudaEvent_t *event, unsigned) { return answer(event, cudaEvent_t()); }

/* One stream is captured at a time, whichever it is. */
struct emulated_graph {
    std::vector<std::function<cudaError_t()>> launches;
    bool is_broken; /* by a call that no capture allows */
};
static emulated_graph *captured;

/* Launches that wait for their turn; the first error of one that ran late. */
static std::deque<std::function<cudaError_t()>> waiting;
static bool runs_late;
static cudaError_t late_error = cudaSuccess, last_error = cudaSuccess;

static void run_next(void)
{
    const std::function<cudaError_t()> launch = waiting.front();
    waiting.pop_front();
    const cudaError_t error = launch();
    late_error = late_error == cudaSuccess ? error : late_error;
}

static cudaError_t run_waiting(void)
{
    while (!waiting.empty())
        run_next();
    return late_error;
}

void emulate_late(bool late)
{
    run_waiting();
    runs_late = late;
}

cudaError_t emulate_enqueue(const std::function<cudaError_t()> &launch)
{
    if (!captured && !runs_late)
        return launch();
    if (captured)
        captured->launches.push_back(launch);
    else
        waiting.push_back(launch);
    return cudaSuccess;
}

cudaError_t cudaDeviceSynchronize(void) { return run_waiting(); }
cudaError_t cudaStreamSynchronize(cudaStream_t) { return run_waiting(); }

cudaError_t cudaStreamQuery(cudaStream_t)
{
    if (waiting.empty())
        return late_error;
    run_next();
    return last_error = cudaErrorNotReady;
}

cudaError_t cudaGetLastError(void)
{
    const cudaError_t error = last_error;
    last_error = cudaSuccess;
    return error;
}

cudaError_t cudaStreamIsCapturing(cudaStream_t, cudaStreamCaptureStatus *status)
{
    return answer(status, captured ? cudaStreamCaptureStatusActive : cudaStreamCaptureStatusNone);
}

cudaError_t cudaStreamBeginCapture(cudaStream_t, cudaStreamCaptureMode)
{
    captured = new emulated_graph{};
    return cudaSuccess;
}

cudaError_t cudaStreamEndCapture(cudaStream_t, cudaGraph_t *graph)
{
    cudaError_t error = captured->is_broken ? cudaErrorStreamCaptureUnsupported : answer(graph, captured);
    if (error != cudaSuccess)
        delete captured;
    captured = NULL;
    return error;
}

cudaError_t cudaGraphInstantiate(cudaGraphExec_t *exec, cudaGraph_t graph, unsigned long long)
{
    return answer(exec, new emulated_graph(*graph));
}

cudaError_t cudaGraphLaunch(cudaGraphExec_t exec, cudaStream_t)
{
    cudaError_t error = cudaSuccess;
    for (size_t i = 0; i < exec->launches.size() && error == cudaSuccess; i++)
        error = emulate_enqueue(exec->launches[i]);
    return error;
}

cudaError_t cudaGraphDestroy(cudaGraph_t graph)
{
    delete graph;
    return cudaSuccess;
}

cudaError_t cudaGraphExecDestroy(cudaGraphExec_t exec) { return cudaGraphDestroy(exec); }

/* Memory is neither made nor freed in a capture. */
static bool breaks_capture(void)
{
    if (captured)
        captured->is_broken = true;
    return captured;
}

cudaError_t cudaMalloc(void **memory, size_t bytes)
{
    if (breaks_capture())
        return cudaErrorStreamCaptureUnsupported;
    *memory = create_memory(bytes);
    return *memory ? cudaSuccess : cudaErrorMemoryAllocation;
}

cudaError_t cudaFree(void *memory)
{
    if (breaks_capture())
        return cudaErrorStreamCaptureUnsupported;
    run_waiting();
    free(memory);
    return cudaSuccess;
}

cudaError_t cudaMallocHost(void **memory, size_t bytes) { return cudaMalloc(memory, bytes); }
cudaError_t cudaFreeHost(void *memory) { return cudaFree(memory); }

cudaError_t cudaMemset(void *memory, int value, size_t bytes)
{
    run_waiting();
    memset(memory, value, bytes);
    return cudaSuccess;
}

cudaError_t cudaMemsetAsync(void *memory, int value, size_t bytes, cudaStream_t)
{
    return cudaMemset(memory, value, bytes);
}

cudaError_t cudaMemcpy(void *to, const void *from, size_t bytes, cudaMemcpyKind)
{
    run_waiting();
    memcpy(to, from, bytes);
    return cudaSuccess;
}

cudaError_t cudaMemcpyAsync(void *to, const void *from, size_t bytes, cudaMemcpyKind kind, cudaStream_t)
{
    return cudaMemcpy(to, from, bytes, kind);
}
