/* Claim: the emulated GPU behaves like a real one: threads, warps and blocks synchronise as in CUDA, matrix
 * instructions compute what a triple loop does, copies land no sooner and no later than they may; and a kernel that
 * breaks a rule is reported, with the place in its source. */
#include "device.cuh"
#include "async_copy.cuh"
#include "cluster.cuh"
#include "mma.cuh"

extern "C" {
#include "test.h"
}

#include <vector>

enum { NUM_SEEDS = 8 };

static void launch_ok(cudaError_t error)
{
    check(error == cudaSuccess, "no error, but: %s", cudaGetErrorString(error));
}

/* The launch failed, and the message has all of these words. */
static void fails_with(cudaError_t error, std::vector<const char *> words)
{
    check(error == cudaErrorLaunchFailure, "a failing launch, error %d", (int)error);
    for (const char *word : words)
        check(strstr(cudaGetErrorString(error), word), "'%s' in: %s", word, cudaGetErrorString(error));
    test_note("%s", cudaGetErrorString(error));
}

/* ---- threads ---- */

static __global__ void name_threads(uint32_t *ids, uint32_t *order)
{
    uint64_t block = blockIdx.x + gridDim.x * (blockIdx.y + (uint64_t)gridDim.y * blockIdx.z);
    uint32_t thread = threadIdx.x + blockDim.x * (threadIdx.y + blockDim.y * threadIdx.z);
    ids[block * blockDim.x * blockDim.y * blockDim.z + thread] += 1000 * (uint32_t)block + thread;
    if (thread == 0)
        order[atomicAdd(&order[24], 1)] = (uint32_t)block;
}

static void run_each_thread_once(const void *)
{
    enum { BLOCKS = 24, THREADS = 60 };
    uint32_t first_order[BLOCKS] = {};
    bool differs = false;
    for (int seed = 0; seed < NUM_SEEDS; seed++) {
        std::vector<uint32_t> ids(BLOCKS * THREADS, 7), order(BLOCKS + 1, 0);
        emulate_seed(seed);
        launch_ok(launch_kernel(dim3(4, 3, 2), dim3(5, 4, 3), 0, NULL, name_threads, ids.data(), order.data()));
        for (uint32_t i = 0; i < BLOCKS * THREADS; i++)
            check(ids[i] == 7 + 1000 * (i / THREADS) + i % THREADS, "thread %u once: %u", i, ids[i]);
        if (seed == 0)
            memcpy(first_order, order.data(), sizeof first_order);
        differs |= memcmp(first_order, order.data(), sizeof first_order) != 0;
    }
    check(differs, "blocks come in an order that depends on the seed");
}

static __global__ void nothing() {}

static void run_impossible_launches(const void *)
{
    struct {
        dim3 grid, threads;
        size_t shared_bytes;
    } launches[] = {{1, 1025, 0}, {1, dim3(32, 33), 0}, {dim3(1, 65536), 32, 0}, {dim3(1, 1, 65536), 32, 0},
                    {1, 32, 232449}};
    for (auto &l : launches)
        check(launch_kernel(l.grid, l.threads, l.shared_bytes, NULL, nothing) == cudaErrorInvalidConfiguration,
              "a launch that no GPU takes");
    launch_ok(launch_kernel(0, 32, 0, NULL, nothing));
    launch_ok(launch_kernel(dim3(1, 65535, 1), 1, 0, NULL, nothing));
    launch_ok(launch_kernel(1, 1024, 232448, NULL, nothing));
}

/* ---- warps ---- */

static __global__ void exchange(uint32_t *got)
{
    uint32_t lane = threadIdx.x % WARP, *mine = got + threadIdx.x * 6;
    mine[0] = __shfl_sync(ALL_LANES, lane * 10, lane + 1);
    mine[1] = __shfl_xor_sync(ALL_LANES, lane * 10, 5);
    mine[2] = __ballot_sync(ALL_LANES, lane % 3 == 0);
    mine[3] = __any_sync(ALL_LANES, lane == 31) * 2 + __any_sync(ALL_LANES, 0);
    mine[4] = __all_sync(ALL_LANES, 4) * 2 + __all_sync(ALL_LANES, lane != 7);
    if (lane < 16) /* halves part and meet again */
        mine[5] = __shfl_sync(0xffffu, threadIdx.x, 3);
    else
        mine[5] = __shfl_sync(0xffff0000u, threadIdx.x, 20);
    __syncwarp();
}

static void run_warp_exchanges(const void *)
{
    enum { THREADS = 96 };
    std::vector<uint32_t> got(THREADS * 6);
    launch_ok(launch_kernel(1, THREADS, 0, NULL, exchange, got.data()));
    for (uint32_t t = 0; t < THREADS; t++) {
        uint32_t lane = t % WARP, *mine = &got[t * 6];
        check(mine[0] == (lane + 1) % WARP * 10 && mine[1] == (lane ^ 5) * 10, "shuffles of thread %u", t);
        check(mine[2] == 0x49249249 && mine[3] == 2 && mine[4] == 2, "votes of thread %u", t);
        check(mine[5] == t - lane + (lane < 16 ? 3 : 20), "half warps: thread %u has %u", t, mine[5]);
    }
}

/* ---- barriers and shared memory ---- */

struct numbers {
    uint32_t of[256];
};

/* Everybody reads what a thread of another warp wrote. */
static __global__ void pass_on(uint32_t *got, bool with_barrier)
{
    SHARED_MEMORY(uint32_t, dynamic);
    SHARED_VARIABLE(fixed, numbers);
    uint32_t t = threadIdx.x, other = (t + 100) % 256;
    dynamic[t] = t;
    fixed.of[t] = 2 * t;
    if (with_barrier)
        __syncthreads();
    got[blockIdx.x * 256 + t] = dynamic[other] + fixed.of[other];
}

static void run_shared_memory(const void *)
{
    std::vector<uint32_t> got(512);
    uint32_t num_missed = 0;
    for (int seed = 0; seed < NUM_SEEDS; seed++) {
        emulate_seed(seed);
        launch_ok(launch_kernel(2, 256, 1024, NULL, pass_on, got.data(), true));
        for (uint32_t i = 0; i < 512; i++)
            check(got[i] == 3 * ((i + 100) % 256), "thread %u of block %u got %u", i % 256, i / 256, got[i]);
        launch_ok(launch_kernel(2, 256, 1024, NULL, pass_on, got.data(), false));
        bool missed = false;
        for (uint32_t i = 0; i < 512; i++)
            missed |= got[i] != 3 * ((i + 100) % 256);
        num_missed += missed;
    }
    check(num_missed == NUM_SEEDS, "without the barrier, it shows for %u of %d seeds", num_missed, NUM_SEEDS);
}

static __global__ void look(float *got)
{
    SHARED_MEMORY(float, dynamic);
    SHARED_VARIABLE(fixed, numbers);
    got[2 * threadIdx.x] = dynamic[threadIdx.x];
    memcpy(&got[2 * threadIdx.x + 1], &fixed.of[threadIdx.x], 4);
    dynamic[threadIdx.x] = 1;
    fixed.of[threadIdx.x] = 1;
}

static void run_shared_memory_begins_as_nan(const void *)
{
    std::vector<float> got(64);
    launch_ok(launch_kernel(3, 32, 128, NULL, look, got.data()));
    for (float x : got)
        check(isnan(x), "NaN, not %g", x);
}

static __global__ void vote(int *got, int voter)
{
    got[threadIdx.x] = __syncthreads_or((int)threadIdx.x == voter ? 4 : 0) ? 1 : 0;
}

static void run_syncthreads_or(const void *)
{
    std::vector<int> got(128);
    for (int voter : {-1, 0, 77}) {
        launch_ok(launch_kernel(1, 128, 0, NULL, vote, got.data(), voter));
        for (int x : got)
            check(x == (voter >= 0), "%d where thread %d says yes", x, voter);
    }
}

/* ---- rules broken ---- */

static __global__ void return_early()
{
    if (threadIdx.x == 37)
        return;
    __syncthreads();
}

static __global__ void two_barriers()
{
    if (threadIdx.x / WARP == 1)
        __syncthreads();
    else
        __syncthreads();
}

static __global__ void shuffle_against_barrier()
{
    if (threadIdx.x < 5)
        __syncthreads();
    else
        __shfl_sync(ALL_LANES, 1, 0);
}

static __global__ void shuffle_without_the_dead()
{
    if (threadIdx.x == 40)
        return;
    __shfl_xor_sync(ALL_LANES, 1, 1);
}

static __global__ void two_masks() { __any_sync(threadIdx.x < 8 ? 0xffu : ALL_LANES, 1); }
static __global__ void not_in_the_mask() { __syncwarp(0x7fffffffu); }
static __global__ void ask_outside_the_mask()
{
    if (threadIdx.x < 16)
        __shfl_sync(0xffffu, 1, 16);
}

static __global__ void wait_for(uint32_t *counter, uint32_t count)
{
    atomicAdd(counter, 1);
    while (load_acquire(counter) < count)
        ;
}

static __global__ void copy_outside(const char *from)
{
    SHARED_MEMORY(char, memory);
    cp_async_16(memory + 120, from, true);
}

static __global__ void copy_crooked(const char *from)
{
    SHARED_MEMORY(char, memory);
    cp_async<8>(memory + 4, from);
}

static __global__ void matrix_crooked()
{
    SHARED_MEMORY(char, memory);
    uint32_t r[4];
    ldmatrix_x4(r, shared_address(memory + 8));
}

static void run_broken_rules(const void *)
{
    alignas(16) char array[32] = {};
    uint32_t counter = 0;
    fails_with(launch_kernel(2, 64, 0, NULL, return_early),
               {"__syncthreads at ", "test_emulated_machine.cpp:", "thread (37,0,0) of block", "has returned"});
    fails_with(launch_kernel(1, 64, 0, NULL, two_barriers), {"__syncthreads at ", ", but thread ("});
    fails_with(launch_kernel(1, 32, 0, NULL, shuffle_against_barrier), {"__shfl_sync at ", "__syncthreads at "});
    fails_with(launch_kernel(1, 64, 0, NULL, shuffle_without_the_dead),
               {"__shfl_xor_sync at ", "thread (40,0,0) of block (0,0,0) has returned"});
    fails_with(launch_kernel(1, 32, 0, NULL, two_masks), {"__any_sync at "});
    fails_with(launch_kernel(1, 20, 0, NULL, shuffle_without_the_dead), {"the block ends before"});
    fails_with(launch_kernel(1, 32, 0, NULL, not_in_the_mask), {"lane 31 is not in its own mask"});
    fails_with(launch_kernel(1, 32, 0, NULL, ask_outside_the_mask), {"reads lane 16"});
    fails_with(launch_kernel(3, 32, 0, NULL, wait_for, &counter, 96u), {"load_acquire", "no thread is left to write"});
    fails_with(launch_kernel(1, 32, 128, NULL, copy_outside, array), {"cp_async_16 of 16 bytes outside"});
    fails_with(launch_kernel(1, 32, 128, NULL, copy_crooked, array), {"no multiple of 8"});
    fails_with(launch_kernel(1, 32, 1024, NULL, matrix_crooked), {"ldmatrix_x4: ", "no multiple of 16"});
}

/* After a failure the next launch is sound again; blocks of a cooperative launch can wait for each other. */
static void run_waiting_blocks(const void *)
{
    for (int seed = 0; seed < NUM_SEEDS; seed++) {
        uint32_t counter = 0;
        emulate_seed(seed);
        launch_ok(launch_cooperative(3, 64, 0, NULL, wait_for, &counter, 192u));
        check(counter == 192, "all came: %u", counter);
        fails_with(launch_kernel(1, 64, 0, NULL, return_early), {"has returned"});
    }
}

/* ---- copies ---- */

enum { NO_WAIT, WAIT_FOR_ONE, WAIT_FOR_ALL };

/* Two groups; the second one is a zero where not valid. Waits, reads; values from before the barrier stay apart. */
static __global__ void copy_two_groups(const uint32_t *from, uint32_t *got, int waits)
{
    SHARED_MEMORY(uint32_t, memory);
    uint32_t t = threadIdx.x;
    cp_async_16(memory + 4 * t, from + 4 * t, true);
    cp_async_commit();
    cp_async_16(memory + 128 + 4 * t, t % 2 ? from + 4 * t : NULL, t % 2);
    cp_async_commit();
    if (waits == WAIT_FOR_ONE)
        cp_async_wait<1>();
    if (waits == WAIT_FOR_ALL)
        cp_async_wait<0>();
    for (int i = 0; i < 4; i++) {
        got[4 * t + i] = memory[4 * t + i];
        got[128 + 4 * t + i] = memory[128 + 4 * t + i];
    }
}

static void run_copies(const void *)
{
    alignas(16) uint32_t from[128], got[256];
    for (uint32_t i = 0; i < 128; i++)
        from[i] = 3 * i;
    uint32_t late[3][2] = {};
    for (int seed = 0; seed < NUM_SEEDS; seed++) {
        for (int waits = NO_WAIT; waits <= WAIT_FOR_ALL; waits++) {
            emulate_seed(seed);
            launch_ok(launch_kernel(1, 32, 1024, NULL, copy_two_groups, (const uint32_t *)from, got + 0, waits));
            for (uint32_t i = 0; i < 256; i++) {
                uint32_t right = i < 128 ? from[i] : i / 4 % 2 ? from[i - 128] : 0;
                check(got[i] == right || got[i] == UINT32_MAX, "element %u: %u", i, got[i]);
                late[waits][i / 128] += got[i] != right;
            }
        }
    }
    check(late[WAIT_FOR_ALL][0] + late[WAIT_FOR_ALL][1] + late[WAIT_FOR_ONE][0] == 0, "what was waited for is there");
    for (uint32_t count : {late[NO_WAIT][0], late[NO_WAIT][1], late[WAIT_FOR_ONE][1]})
        check(count > NUM_SEEDS * 128 / 4 && count < NUM_SEEDS * 128 * 3 / 4,
              "half of the copies that were not waited for are missing: %u of %d", count, NUM_SEEDS * 128);
}

/* ---- matrices ---- */

static float to_stored(float x, __half) { return __half2float(__floats2half2_rn(x, 0).x); }
static float to_stored(float x, __nv_bfloat16) { return __bfloat162float(__floats2bfloat162_rn(x, 0).x); }

template <typename T> static __global__ void multiply(float *d, const float *a, const float *b)
{
    uint32_t row = threadIdx.x / 4, pair = threadIdx.x % 4 * 2, left[4], right[2];
    float sum[4];
    for (int i = 0; i < 4; i++) {
        const float *from = a + (row + i % 2 * 8) * 16 + i / 2 * 8 + pair;
        left[i] = pack_pair<T>(from[0], from[1]);
        sum[i] = d[(row + i / 2 * 8) * 8 + pair + i % 2];
    }
    for (int i = 0; i < 2; i++)
        right[i] = pack_pair<T>(b[(i * 8 + pair) * 8 + row], b[(i * 8 + pair + 1) * 8 + row]);
    mma_16x8x16<T>(sum, left, right);
    for (int i = 0; i < 4; i++)
        d[(row + i / 2 * 8) * 8 + pair + i % 2] = sum[i];
}

template <typename T> static void check_product(bool with_nan)
{
    float a[16 * 16], b[16 * 8], d[16 * 8], right[16 * 8];
    for (float &x : a)
        x = to_stored((float)test_normal(), T());
    for (float &x : b)
        x = to_stored((float)test_normal(), T());
    if (with_nan)
        b[5 * 8 + 3] = NAN, a[2 * 16 + 7] = INFINITY;
    for (int i = 0; i < 16 * 8; i++) {
        double sum = d[i] = (float)test_normal();
        for (int k = 0; k < 16; k++)
            sum += (double)a[i / 8 * 16 + k] * b[k * 8 + i % 8];
        right[i] = (float)sum;
    }
    launch_ok(launch_kernel(1, WARP, 0, NULL, multiply<T>, (float *)d, (const float *)a, (const float *)b));
    for (int i = 0; i < 16 * 8; i++) {
        bool same = isnan(right[i]) ? isnan(d[i]) : isinf(right[i]) ? d[i] == right[i]
                                                                    : fabsf(d[i] - right[i]) <= 0x1p-20f;
        check(same, "row %d, column %d: %g, expected %g", i / 8, i % 8, d[i], right[i]);
        check(!with_nan || isnan(d[i]) == (i % 8 == 3), "a NaN in column 3 alone");
    }
}

static void run_products(const void *)
{
    for (int i = 0; i < 10; i++) {
        check_product<__half>(i % 2);
        check_product<__nv_bfloat16>(i % 2);
    }
}

static __global__ void load_matrices(uint32_t *got, bool transposed)
{
    SHARED_MEMORY(uint16_t, memory); /* row r of matrix j: 100 * j + 10 * r + column */
    uint32_t lane = threadIdx.x, r[4];
    uint16_t *row = memory + lane * 8;
    for (uint32_t column = 0; column < 8; column++)
        row[column] = (uint16_t)(100 * (lane / 8) + 10 * (lane % 8) + column);
    __syncwarp();
    if (transposed)
        ldmatrix_x4_trans(r, shared_address(row));
    else
        ldmatrix_x4(r, shared_address(row));
    memcpy(got + 4 * lane, r, sizeof r);
}

static void run_matrix_loads(const void *)
{
    uint32_t got[128];
    for (int transposed = 0; transposed < 2; transposed++) {
        launch_ok(launch_kernel(1, WARP, 512, NULL, load_matrices, (uint32_t *)got, transposed != 0));
        for (uint32_t lane = 0; lane < WARP; lane++) {
            for (uint32_t i = 0; i < 8; i++) {
                uint32_t row = lane / 4, column = lane % 4 * 2 + i % 2, element = got[4 * lane + i / 2] >> 16 * (i % 2);
                uint32_t right = 100 * (i / 2) + (transposed ? 10 * column + row : 10 * row + column);
                check((element & 0xffff) == right, "lane %u, element %u: %u, expected %u", lane, i, element, right);
            }
        }
    }
}

static __global__ void square_exponents(float *x) { x[threadIdx.x] = exp2_approx(x[threadIdx.x]); }

static void run_exp2(const void *)
{
    float x[] = {0, 1, -1, 10.5f, -126, -126.5f, -INFINITY, 200, NAN};
    const float right[] = {1, 2, 0.5f, 0x1.6a09e6p+10f, 0x1p-126f, 0, 0, INFINITY, NAN};
    enum { COUNT = sizeof x / sizeof x[0] };
    launch_ok(launch_kernel(1, COUNT, 0, NULL, square_exponents, (float *)x));
    for (int i = 0; i < COUNT; i++)
        check(x[i] == right[i] || (isnan(x[i]) && isnan(right[i])), "%g, expected %g", x[i], right[i]);
}

/* ---- clusters ---- */

enum { CLUSTER = 4, CLUSTERS = 3 };

struct cluster_shared {
    float2 from[CLUSTER][WARP];
    cluster_inbox inbox;
};

/* Thread t of each block of a cluster sends (block, t) to every block; each adds up what it gets, after a while. */
static __global__ void send_to_all(float *sums, uint32_t expected_bytes, bool waits)
{
    SHARED_MEMORY(cluster_shared, shared);
    if (threadIdx.x == 0)
        open_inbox(shared->inbox, expected_bytes);
    arrive_at_cluster();
    if (waits)
        wait_for_cluster();
    for (uint32_t to = 0; to < CLUSTER; to++)
        store_to(to, shared->inbox, &shared->from[cluster_rank()][threadIdx.x],
                 float2{(float)blockIdx.x, (float)threadIdx.x});
    wait_for_inbox(shared->inbox);
    float sum = 0;
    for (uint32_t from = 0; from < CLUSTER; from++)
        sum += shared->from[from][threadIdx.x].x * 100 + shared->from[from][threadIdx.x].y;
    sums[blockIdx.x * WARP + threadIdx.x] = sum;
}

static cudaError_t launch_exchange(std::vector<float> &sums, uint32_t expected_bytes, bool waits)
{
    sums.assign(CLUSTER * CLUSTERS * WARP, NAN);
    return launch_cluster(CLUSTER, CLUSTER * CLUSTERS, WARP, sizeof(cluster_shared), NULL, send_to_all, sums.data(),
                          expected_bytes, waits);
}

static void run_clusters(const void *)
{
    enum { BYTES = CLUSTER * WARP * sizeof(float2) };
    std::vector<float> sums;
    for (int seed = 0; seed < NUM_SEEDS; seed++) {
        emulate_seed(seed);
        launch_ok(launch_exchange(sums, BYTES, true));
        for (uint32_t i = 0; i < sums.size(); i++) {
            const uint32_t first = i / WARP / CLUSTER * CLUSTER; /* block of the cluster */
            const float right = 100.0f * (CLUSTER * first + 6) + CLUSTER * (float)(i % WARP);
            check(sums[i] == right, "block %u, thread %u: %g, expected %g", i / WARP, i % WARP, sums[i], right);
        }
    }
    fails_with(launch_exchange(sums, BYTES, false), {"store_to block", "which has not arrived"});
    fails_with(launch_exchange(sums, BYTES + 8, true), {"wait_for_inbox", "no thread is left to write"});
    fails_with(launch_exchange(sums, 8, true), {"more bytes than the inbox"});
    check(launch_cluster(CLUSTER, CLUSTER + 1, WARP, 0, NULL, nothing) == cudaErrorInvalidConfiguration,
          "blocks that fill no cluster");
}

static __global__ void read_early(float *got, const float *written, bool waits)
{
    const float early = written[threadIdx.x];
    if (waits)
        wait_for_previous_launch();
    got[threadIdx.x] = early + 10 * written[threadIdx.x];
}

static void add_one(void *context)
{
    for (int i = 0; i < WARP; i++)
        ((float *)context)[i] += 1;
}

/* A launch that may begin early sees what was there before, until it has waited; any other sees all. */
static void run_previous(const void *)
{
    for (int waits = 0; waits < 2; waits++) {
        std::vector<float> written(WARP, 0), got(WARP, 0);
        emulate_previous(add_one, written.data());
        launch_ok(launch_early(false, 1, WARP, 0, NULL, read_early, got.data(), (const float *)written.data(),
                               waits != 0));
        for (float x : got)
            check(x == (waits ? 10 : 0), "before and behind the wait: %g", x);
        check(written[0] == 1, "the previous launch has ended");
        emulate_previous(add_one, written.data());
        launch_ok(launch_kernel(1, WARP, 0, NULL, read_early, got.data(), (const float *)written.data(), waits != 0));
        check(got[0] == 22, "a launch that is not early");
    }
}

int main(int argc, char **argv)
{
    static const struct {
        const char *name;
        void (*run)(const void *);
    } cases[] = {
        {"each_thread_once", run_each_thread_once}, {"impossible_launches", run_impossible_launches},
        {"warp_exchanges", run_warp_exchanges}, {"shared_memory_and_barriers", run_shared_memory},
        {"shared_memory_begins_as_nan", run_shared_memory_begins_as_nan}, {"syncthreads_or", run_syncthreads_or},
        {"broken_rules", run_broken_rules}, {"blocks_that_wait", run_waiting_blocks}, {"copies", run_copies},
        {"products", run_products}, {"matrix_loads", run_matrix_loads}, {"exp2", run_exp2},
        {"clusters", run_clusters}, {"a_previous_launch", run_previous},
    };
    test_begin(argc, argv, "the emulation keeps CUDA's rules, and names the thread that breaks them");
    for (auto &c : cases)
        test_add(c.run, NULL, "%s", c.name);
    return test_end();
}
