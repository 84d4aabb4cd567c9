#include "measure_gpu.h"

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_profiler_api.h>
#include <dlfcn.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include <algorithm>
#include <chrono>
#include <string>
#include <thread>
#include <vector>

#include "measure.h"
#include "oracle.h"
#include "provenance.h"
extern "C" {
#include "process.h"
}

#ifndef TREEATTN_CUDA_COMPILER
#define TREEATTN_CUDA_COMPILER ""
#endif

static bool is_counting;                    /* this run is the one under ncu */
static std::vector<bench_counters> counted; /* by that run, for each line; empty: by none */
static size_t num_lines_counted;            /* lines that needed counters so far */

bool bench_has_gpu(void)
{
    int cuda_error = 0;
    tree_status status = tree_gpu_device_check(&cuda_error);
    if (status != TREE_OK)
        fprintf(stderr, "nothing measured: %s (CUDA: %s)\n", tree_status_string(status),
                tree_cuda_error_string(cuda_error));
    return status == TREE_OK;
}

/* Lines of which ncu counted the bytes. */
static size_t num_counted(void)
{
    return (size_t)std::count_if(counted.begin(), counted.end(), [](const bench_counters &c) { return c.dram_bytes >= 0; });
}

void bench_device(char *text, size_t text_bytes)
{
    int device = 0, driver = 0, runtime = 0, clock_khz = 0, memory_khz = 0;
    cudaDeviceProp properties;
    BENCH_CUDA(cudaGetDevice(&device));
    BENCH_CUDA(cudaGetDeviceProperties(&properties, device));
    BENCH_CUDA(cudaDriverGetVersion(&driver));
    BENCH_CUDA(cudaRuntimeGetVersion(&runtime));
    BENCH_CUDA(cudaDeviceGetAttribute(&clock_khz, cudaDevAttrClockRate, device));
    BENCH_CUDA(cudaDeviceGetAttribute(&memory_khz, cudaDevAttrMemoryClockRate, device));
    snprintf(text, text_bytes,
             "%s, %d multiprocessors, L2 %d MiB; driver for CUDA %d.%d, runtime %d.%d; clocks not locked, at most %d "
             "MHz, memory %d MHz",
             properties.name, properties.multiProcessorCount, properties.l2CacheSize >> 20, driver / 1000,
             driver % 1000 / 10, runtime / 1000, runtime % 1000 / 10, clock_khz / 1000, memory_khz / 1000);
}

FILE *bench_open(const char *path, const char *command)
{
    if (!is_counting && figure_keeps_counts(path, num_counted()))
        exit(0);
    char name[512];
    bench_device(name, sizeof name);
    const bench_ceilings &most = bench_ceilings_of_gpu();
    FILE *file = figure_open_on(is_counting ? "/dev/null" : path, name, command, GPU_STATISTIC);
    fprintf(file, "# ceilings: measured in this run, the fastest of 7 replays; GB/s, TFLOP/s, us\n# dram_gbps: %.0f\n# l2_gbps: %.0f\n"
                  "# matrix_tflops: %.0f\n# launch_us: %.2f\n",
            most.dram_gbps, most.l2_gbps, most.matrix_tflops, most.launch_us);
    return file;
}

void bench_close(FILE *csv)
{
    BENCH_MUST(counted.empty() || num_lines_counted == counted.size(), "fewer lines than ncu counted");
    figure_close(csv);
    if (is_counting)
        printf("\nlines: %zu\n", num_lines_counted); /* read_ncu reads it */
}

int bench_keep(FILE *csv, const char *const *starts) { return figure_keep(csv, starts); }

/* ---- a tree with K and V ---- */

static __host__ __device__ float random_element(uint64_t i, uint32_t seed)
{
    uint64_t x = (i + 1) * 0x9E3779B97F4A7C15ull + seed * 0xD1B54A32D192ED03ull;
    x ^= x >> 32;
    x *= 0xD6E8FEB86659FD93ull;
    x ^= x >> 29;
    return ((int)(x & 0xffff) - 32768) / 16384.0f;
}

static __host__ __device__ __half round_to(__half, float x) { return __float2half(x); }
static __host__ __device__ __nv_bfloat16 round_to(__nv_bfloat16, float x) { return __float2bfloat16(x); }

/* As a pool of this type, fp16 or bf16, holds x. */
static float rounded(float x, tree_storage storage)
{
    return storage == TREE_FP16 ? __half2float(round_to(__half(), x)) : __bfloat162float(round_to(__nv_bfloat16(), x));
}

template <typename T> static __global__ void fill(T *array, uint64_t count, uint32_t seed)
{
    for (uint64_t i = blockIdx.x * (uint64_t)blockDim.x + threadIdx.x; i < count; i += (uint64_t)gridDim.x * blockDim.x)
        array[i] = round_to(T(), random_element(i, seed));
}

static __global__ void read_all(const uint4 *array, uint64_t count, uint32_t *never)
{
    uint32_t x = 0;
    for (uint64_t i = blockIdx.x * (uint64_t)blockDim.x + threadIdx.x; i < count;
         i += (uint64_t)gridDim.x * blockDim.x) {
        uint4 v = __ldcs(array + i);
        x ^= v.x ^ v.y ^ v.z ^ v.w;
    }
    if (x == 0x12345678)
        *never = x;
}

static uint32_t sets_of(uint64_t set_bytes) { return (uint32_t)std::min<uint64_t>(64, 600000000 / set_bytes + 2); }

double bench_bytes(const workload *work, const tree_shape *shape)
{
    replay_totals totals;
    BENCH_MUST(replay_measure(&totals, work, BENCH_BLOCK_TOKENS) == KV_OK, "the tree's blocks");
    const uint64_t token_bytes = 4ull * shape->num_kv_heads * shape->head_dim;
    const uint64_t set_bytes = (uint64_t)totals.peak_blocks * BENCH_BLOCK_TOKENS * token_bytes;
    const double rows = (double)totals.peak_queries * shape->num_heads;
    return (double)set_bytes * sets_of(set_bytes) + rows * (2.0 * shape->head_dim + 1) * sizeof(float);
}

bench_case bench_create(const char *nodes, const char *tokens, uint32_t num_heads, uint32_t num_kv_heads,
                        uint32_t head_dim, tree_storage storage)
{
    workload *work;
    BENCH_MUST(workload_levels(&work, nodes, tokens, NULL) == KV_OK, "the tree");
    return bench_create_at(work, 1, num_heads, num_kv_heads, head_dim, storage);
}

bench_case bench_create_at(workload *work, uint32_t iteration, uint32_t num_heads, uint32_t num_kv_heads,
                           uint32_t head_dim, tree_storage storage)
{
    bench_case c = {};
    replay_totals totals;
    replay_result step = {};
    c.work = work;
    BENCH_MUST(storage == TREE_FP16 || storage == TREE_BF16, "figures are in fp16 or bf16");
    BENCH_MUST(replay_measure(&totals, c.work, BENCH_BLOCK_TOKENS) == KV_OK, "the tree's blocks");
    kv_pool_config pool = {};
    pool.num_blocks = totals.peak_blocks;
    pool.block_tokens = BENCH_BLOCK_TOKENS;
    pool.max_branches = c.work->max_live_branches;
    BENCH_MUST(kv_pool_create(&c.pool, &pool) == KV_OK && replay_create(&c.play, c.work, c.pool, NULL) == KV_OK,
               "the tree's pool");
    while (step.iteration < iteration)
        BENCH_MUST(replay_step(c.play, &step) == KV_OK && !step.done, "the tree's step");
    c.tables = (kv_table *)calloc(step.num_queries, sizeof *c.tables);
    BENCH_MUST(c.tables && kv_branch_tables(c.pool, step.queries, step.num_queries, c.tables) == KV_OK, "block tables");
    BENCH_MUST(kv_tree_build(&c.tree, c.tables, step.num_queries, BENCH_BLOCK_TOKENS, pool.num_blocks) == KV_OK,
               "the tree's nodes");
    c.shape = {step.num_queries, num_heads, num_kv_heads, head_dim, pool.num_blocks, BENCH_BLOCK_TOKENS, storage};

    uint64_t half = (uint64_t)pool.num_blocks * num_kv_heads * BENCH_BLOCK_TOKENS * head_dim;
    uint64_t num_query = (uint64_t)step.num_queries * num_heads * head_dim;
    c.set_bytes = 4 * half;
    c.num_sets = sets_of(c.set_bytes);
    BENCH_CUDA(cudaStreamCreate(&c.stream));
    BENCH_CUDA(cudaMalloc((void **)&c.d_kv, c.set_bytes * c.num_sets));
    for (uint32_t s = 0; s < 2 * c.num_sets; s++) {
        char *array = c.d_kv + s * (c.set_bytes / 2);
        if (storage == TREE_FP16)
            fill<<<1024, 256, 0, c.stream>>>((__half *)array, half, 1 + s % 2);
        else
            fill<<<1024, 256, 0, c.stream>>>((__nv_bfloat16 *)array, half, 1 + s % 2);
    }
    c.h_query = (float *)malloc(num_query * sizeof(float));
    BENCH_MUST(c.h_query, "memory");
    for (uint64_t i = 0; i < num_query; i++)
        c.h_query[i] = rounded(random_element(i, 3), storage);
    BENCH_CUDA(cudaMalloc((void **)&c.d_query, num_query * sizeof(float)));
    BENCH_CUDA(cudaMalloc((void **)&c.d_out, num_query * sizeof(float)));
    BENCH_CUDA(cudaMalloc((void **)&c.d_lse, num_query / head_dim * sizeof(float)));
    BENCH_CUDA(cudaMemcpy(c.d_query, c.h_query, num_query * sizeof(float), cudaMemcpyHostToDevice));
    BENCH_CUDA(cudaStreamSynchronize(c.stream));
    return c;
}

void bench_destroy(bench_case *c)
{
    cudaFree(c->d_kv);
    cudaFree(c->d_query);
    cudaFree(c->d_out);
    cudaFree(c->d_lse);
    cudaStreamDestroy(c->stream);
    free(c->h_query);
    free(c->tables);
    kv_tree_destroy(c->tree);
    replay_destroy(c->play);
    kv_pool_destroy(c->pool, false, NULL);
    workload_destroy(c->work);
}

/* ---- time ---- */

enum replay_choice { MEDIAN_REPLAY, FASTEST_REPLAY };

enum { REPLAYS = 7, WARM_UP = 2 };

/* Calls 0 .. num_calls - 1 in a graph, and the microseconds per call of each replay. */
struct timed_graph {
    cudaGraph_t graph;
    cudaGraphExec_t exec;
    cudaEvent_t begin, end;
    double us[REPLAYS];
};

static timed_graph capture(cudaStream_t stream, uint32_t num_calls, const std::function<void(uint32_t)> &call)
{
    timed_graph g = {};
    BENCH_CUDA(cudaStreamBeginCapture(stream, cudaStreamCaptureModeGlobal));
    for (uint32_t i = 0; i < num_calls; i++)
        call(i);
    BENCH_CUDA(cudaStreamEndCapture(stream, &g.graph));
    BENCH_CUDA(cudaGraphInstantiate(&g.exec, g.graph, 0));
    BENCH_CUDA(cudaEventCreate(&g.begin));
    BENCH_CUDA(cudaEventCreate(&g.end));
    return g;
}

/* r < 0: a replay to warm up. */
static void replay_graph(timed_graph &g, cudaStream_t stream, uint32_t num_calls, int r)
{
    float ms;
    BENCH_CUDA(cudaEventRecord(g.begin, stream));
    BENCH_CUDA(cudaGraphLaunch(g.exec, stream));
    BENCH_CUDA(cudaEventRecord(g.end, stream));
    BENCH_CUDA(cudaEventSynchronize(g.end));
    BENCH_CUDA(cudaEventElapsedTime(&ms, g.begin, g.end));
    if (r >= 0)
        g.us[r] = ms * 1000.0 / num_calls;
}

static void release(timed_graph &g)
{
    cudaEventDestroy(g.begin);
    cudaEventDestroy(g.end);
    cudaGraphExecDestroy(g.exec);
    cudaGraphDestroy(g.graph);
}

/* Microseconds per call of calls 0 .. num_calls - 1 in a graph, of its median or its fastest replay. */
static double graph_us(cudaStream_t stream, uint32_t num_calls, const std::function<void(uint32_t)> &call,
                       replay_choice choice = MEDIAN_REPLAY)
{
    if (is_counting)
        return 0;
    timed_graph g = capture(stream, num_calls, call);
    for (int r = -WARM_UP; r < REPLAYS; r++)
        replay_graph(g, stream, num_calls, r);
    release(g);
    return choice == FASTEST_REPLAY ? *std::min_element(g.us, g.us + REPLAYS) : measure_median(g.us, REPLAYS);
}

double bench_time(const bench_case *c, const std::function<void(uint32_t set)> &call, bool is_cold)
{
    return graph_us(c->stream, c->num_sets, [&](uint32_t i) { call(is_cold ? i : 0); });
}

std::vector<double> bench_times(const bench_case *c, const std::vector<std::function<void(uint32_t set)>> &calls)
{
    std::vector<timed_graph> graphs;
    std::vector<double> us(calls.size(), 0);
    if (is_counting)
        return us;
    for (const auto &call : calls)
        graphs.push_back(capture(c->stream, c->num_sets, call));
    for (int r = -WARM_UP; r < REPLAYS; r++)
        for (timed_graph &g : graphs)
            replay_graph(g, c->stream, c->num_sets, r);
    for (size_t i = 0; i < calls.size(); i++) {
        release(graphs[i]);
        us[i] = measure_median(graphs[i].us, REPLAYS);
    }
    return us;
}

double bench_floor(const bench_case *c)
{
    uint64_t unique_bytes = c->tree->unique_tokens * c->shape.num_kv_heads * c->shape.head_dim * 4;
    double flop = 4.0 * (double)c->tree->path_tokens * c->shape.num_heads * c->shape.head_dim;
    const bench_ceilings &most = bench_ceilings_of_gpu();
    double read_us = bench_time(
        c,
        [&](uint32_t set) {
            read_all<<<528, 512, 0, c->stream>>>((const uint4 *)(c->d_kv + set * c->set_bytes), unique_bytes / 16,
                                                 (uint32_t *)c->d_out);
        },
        true);
    return fmax(read_us, flop / most.matrix_tflops * 1e-6 + most.launch_us);
}

double bench_standard(const bench_case *c)
{
    standard_paths_gpu *paths;
    void *workspace;
    int cuda_error;
    BENCH_MUST(standard_paths_gpu_create(&paths, c->tree, &cuda_error) == TREE_OK, "paths on the device");
    size_t bytes = standard_attention_gpu_workspace_bytes(paths, &c->shape);
    BENCH_CUDA(cudaMalloc(&workspace, bytes));
    double us = bench_time(
        c,
        [&](uint32_t set) {
            const char *key = c->d_kv + set * c->set_bytes;
            BENCH_MUST(standard_attention_gpu(c->d_out, c->d_lse, c->d_query, key, key + c->set_bytes / 2, paths,
                                              &c->shape, 1 / sqrtf((float)c->shape.head_dim), workspace, bytes,
                                              c->stream, &cuda_error) == TREE_OK,
                       tree_cuda_error_string(cuda_error));
        },
        true);
    BENCH_CUDA(cudaFree(workspace));
    standard_paths_gpu_destroy(paths);
    return us;
}

/* ---- clock ---- */

static uint32_t num_multiprocessors(void)
{
    int device = 0, count = 0;
    BENCH_CUDA(cudaGetDevice(&device));
    BENCH_CUDA(cudaDeviceGetAttribute(&count, cudaDevAttrMultiProcessorCount, device));
    return (uint32_t)count;
}

enum { MAX_MULTIPROCESSORS = 1024 };

/* Cycles (x) and nanoseconds (y) now, of each multiprocessor that runs one of the thread blocks. Cycles of different
 * multiprocessors cannot be compared. */
static __global__ void stamp(ulonglong2 *stamps /* [MAX_MULTIPROCESSORS] */)
{
    uint32_t id;
    ulonglong2 now;
    asm volatile("mov.u32 %0, %%smid;" : "=r"(id));
    asm volatile("mov.u64 %0, %%clock64;" : "=l"(now.x));
    asm volatile("mov.u64 %0, %%globaltimer;" : "=l"(now.y));
    if (threadIdx.x == 0 && id < MAX_MULTIPROCESSORS)
        stamps[id] = now;
}

double bench_clock_mhz(const bench_case *c, const std::function<void(uint32_t set)> &call)
{
    if (is_counting)
        return 0;
    const uint32_t blocks = 4 * num_multiprocessors();
    const size_t bytes = 2 * MAX_MULTIPROCESSORS * sizeof(ulonglong2);
    std::vector<ulonglong2> stamps(2 * MAX_MULTIPROCESSORS); /* before, after; 0: no thread block ran there */
    std::vector<double> mhz;
    ulonglong2 *d_stamps;
    BENCH_CUDA(cudaMalloc((void **)&d_stamps, bytes));
    BENCH_CUDA(cudaMemsetAsync(d_stamps, 0, bytes, c->stream));
    timed_graph g = capture(c->stream, c->num_sets, call);
    for (int r = -WARM_UP; r < REPLAYS; r++) {
        if (r == 0)
            stamp<<<blocks, 32, 0, c->stream>>>(d_stamps);
        replay_graph(g, c->stream, c->num_sets, r);
    }
    stamp<<<blocks, 32, 0, c->stream>>>(d_stamps + MAX_MULTIPROCESSORS);
    BENCH_CUDA(cudaGetLastError());
    BENCH_CUDA(cudaMemcpyAsync(stamps.data(), d_stamps, bytes, cudaMemcpyDeviceToHost, c->stream));
    BENCH_CUDA(cudaStreamSynchronize(c->stream));
    release(g);
    BENCH_CUDA(cudaFree(d_stamps));
    for (uint32_t i = 0; i < MAX_MULTIPROCESSORS; i++) {
        const ulonglong2 before = stamps[i], after = stamps[MAX_MULTIPROCESSORS + i];
        if (before.y && after.x > before.x && after.y > before.y)
            mhz.push_back((double)(after.x - before.x) / (double)(after.y - before.y) * 1000);
    }
    if (mhz.empty())
        fprintf(stderr, "no clock, the csv says -1: no multiprocessor has two stamps\n");
    return mhz.empty() ? -1 : measure_median(mhz.data(), (uint32_t)mhz.size());
}

/* ---- ceilings ---- */

static __global__ void nothing() {}

/* The whole array `times` times, by loads that L2 keeps and L1 does not. */
static __global__ void read_again(const uint4 *array, uint64_t count, int times, uint32_t *never)
{
    uint32_t x = 0;
    const uint64_t stride = (uint64_t)gridDim.x * blockDim.x;
    for (int t = 0; t < times; t++) {
#pragma unroll 4
        for (uint64_t i = blockIdx.x * (uint64_t)blockDim.x + threadIdx.x; i < count; i += stride) {
            uint4 v;
            asm volatile("ld.global.cg.v4.u32 {%0, %1, %2, %3}, [%4];"
                         : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w) : "l"(array + i));
            x ^= v.x ^ v.y ^ v.z ^ v.w;
        }
    }
    if (x == 0x12345678)
        *never = x;
}

/* cuBLAS is loaded at run time: everything else here does without it. */
static void *open_cublas(void)
{
    std::string nvcc = TREEATTN_CUDA_COMPILER;
    std::string cuda = nvcc.size() > 9 ? nvcc.substr(0, nvcc.size() - 9) : ""; /* without /bin/nvcc */
    for (const std::string &folder : {std::string(), cuda + "/lib64/", cuda + "/lib/"}) {
        for (const char *name : {"libcublas.so.13", "libcublas.so.12", "libcublas.so"}) {
            if (void *library = dlopen((folder + name).c_str(), RTLD_NOW))
                return library;
        }
    }
    BENCH_MUST(false, "libcublas was not found, by which the rate of matrix products is measured; set LD_LIBRARY_PATH "
                      "to its folder");
    return NULL;
}

/* A function of cuBLAS: all return a status, 0 if all went well. */
template <typename... Arguments> static void cublas(void *library, const char *name, Arguments... arguments)
{
    auto function = (int (*)(Arguments...))dlsym(library, name);
    BENCH_MUST(function && function(arguments...) == 0, name);
}

static double measure_matrix_tflops(cudaStream_t stream, __half *matrices)
{
    enum { N = 8192, FP16 = 2 /* CUDA_R_16F */, SUMS = 68 /* CUBLAS_COMPUTE_32F */, CALLS = 4 };
    void *library = open_cublas(), *handle = NULL;
    float one = 1, zero = 0;
    __half *a = matrices, *b = a + (size_t)N * N, *c = b + (size_t)N * N;
    fill<<<1024, 256, 0, stream>>>(a, (uint64_t)N * N, 4);
    fill<<<1024, 256, 0, stream>>>(b, (uint64_t)N * N, 5);
    cublas(library, "cublasCreate_v2", &handle);
    cublas(library, "cublasSetStream_v2", handle, stream);
    auto multiply = [&] {
        cublas(library, "cublasGemmEx", handle, 0, 0, (int)N, (int)N, (int)N, (const void *)&one, (const void *)a,
               (int)FP16, (int)N, (const void *)b, (int)FP16, (int)N, (const void *)&zero, (void *)c, (int)FP16, (int)N,
               (int)SUMS, -1);
    };
    multiply(); /* outside of a graph: it may allocate */
    BENCH_CUDA(cudaStreamSynchronize(stream));
    double us = graph_us(stream, CALLS, [&](uint32_t) { multiply(); }, FASTEST_REPLAY);
    cublas(library, "cublasDestroy_v2", handle);
    return 2.0 * N * N * N / us * 1e-6;
}

static bench_ceilings measure_ceilings(void)
{
    enum { LAUNCHES = 256, TIMES = 20 };
    const size_t matrices = 3 * sizeof(__half) * 8192 * 8192;
    bench_ceilings most = {};
    cudaDeviceProp properties;
    cudaStream_t stream;
    int device = 0;
    size_t free_bytes = 0, all_bytes = 0;
    char *memory;
    uint32_t *never;
    if (is_counting)
        return most;
    BENCH_CUDA(cudaGetDevice(&device));
    BENCH_CUDA(cudaGetDeviceProperties(&properties, device));
    BENCH_CUDA(cudaMemGetInfo(&free_bytes, &all_bytes));
    size_t bytes = std::min<size_t>(2000000000, free_bytes / 2) / 16 * 16;
    size_t l2_bytes = (size_t)properties.l2CacheSize / 3 * 2 / 16 * 16;
    BENCH_MUST(bytes >= matrices && bytes >= 4 * l2_bytes, "too little device memory is free to measure its ceilings");
    BENCH_CUDA(cudaStreamCreate(&stream));
    BENCH_CUDA(cudaMalloc((void **)&memory, bytes));
    BENCH_CUDA(cudaMalloc((void **)&never, sizeof *never));
    fill<<<1024, 256, 0, stream>>>((__half *)memory, bytes / sizeof(__half), 6);
    uint32_t blocks = 4 * (uint32_t)properties.multiProcessorCount;
    double dram_us = graph_us(stream, 1, [&](uint32_t) {
        read_again<<<blocks, 512, 0, stream>>>((const uint4 *)memory, bytes / 16, 1, never);
    }, FASTEST_REPLAY);
    double l2_us = graph_us(stream, 1, [&](uint32_t) {
        read_again<<<blocks, 512, 0, stream>>>((const uint4 *)memory, l2_bytes / 16, TIMES, never);
    }, FASTEST_REPLAY);
    most.dram_gbps = bytes / dram_us * 1e-3;
    most.l2_gbps = (double)TIMES * l2_bytes / l2_us * 1e-3;
    most.launch_us = graph_us(stream, LAUNCHES, [&](uint32_t) { nothing<<<1, 32, 0, stream>>>(); },
                              FASTEST_REPLAY);
    most.matrix_tflops = measure_matrix_tflops(stream, (__half *)memory);
    std::this_thread::sleep_for(std::chrono::seconds(1)); /* the clock drops after such products */
    BENCH_CUDA(cudaFree(memory));
    BENCH_CUDA(cudaFree(never));
    BENCH_CUDA(cudaStreamDestroy(stream));
    return most;
}

const bench_ceilings &bench_ceilings_of_gpu(void)
{
    static const bench_ceilings most = measure_ceilings();
    return most;
}

/* ---- counters ---- */

#define DRAM_BYTES "dram__bytes_read.sum"
#define L2_HIT_PERCENT "lts__t_sector_hit_rate.pct"

/* Fields of a line of csv; those in quotes may have commas. */
static std::vector<std::string> split(const char *line)
{
    std::vector<std::string> fields(1);
    bool is_quoted = false;
    for (; *line; line++) {
        if (*line == '"')
            is_quoted = !is_quoted;
        else if (*line == ',' && !is_quoted)
            fields.emplace_back();
        else
            fields.back() += *line;
    }
    return fields;
}

/* 1,234 is a number, n/a is none: -1. */
static double to_number(std::string text)
{
    char *end;
    text.erase(std::remove(text.begin(), text.end(), ','), text.end());
    double number = strtod(text.c_str(), &end);
    return end == text.c_str() ? -1 : number;
}

/* The counters of ncu: its table has a line for each metric of a range, and a range is the one call that a line of the
 * csv showed to ncu. num_lines: as the counting run says. why: the first error in between, or the last line. */
static std::vector<bench_counters> read_ncu(FILE *ncu, size_t *num_lines, std::string *why)
{
    std::vector<bench_counters> results;
    std::vector<std::string> heading, fields;
    std::string range;
    char *line = NULL;
    size_t capacity = 0;
    auto field = [&](const char *name) {
        size_t i = std::find(heading.begin(), heading.end(), name) - heading.begin();
        return i < heading.size() && i < fields.size() ? fields[i] : "";
    };
    while (getline(&line, &capacity, ncu) > 0) {
        line[strcspn(line, "\r\n")] = 0;
        fields = split(line);
        if (fields[0] == "ID")
            heading = fields;
        std::string metric = field("Metric Name");
        if (metric == DRAM_BYTES || metric == L2_HIT_PERCENT) {
            if (results.empty() || field("ID") != range)
                results.push_back({-1, -1});
            range = field("ID");
            double *counter = metric == DRAM_BYTES ? &results.back().dram_bytes : &results.back().l2_hit_percent;
            *counter = to_number(field("Metric Value"));
        }
        sscanf(line, "lines: %zu", num_lines);
        if (*line && why->compare(0, 9, "==ERROR=="))
            *why = line;
    }
    free(line);
    return results;
}

void bench_count_all(int *argc, char **argv)
{
    is_counting = *argc > 1 && !strcmp(argv[*argc - 1], "--count");
    if (is_counting) {
        --*argc;
        return;
    }
    /* A range: from cudaProfilerStart to cudaProfilerStop. With ranges ncu refuses --profile-from-start. */
    std::vector<const char *> command = {"env", "LC_ALL=C", "ncu", "--csv", "--print-units", "base", "--replay-mode",
                                         "app-range", "--cache-control", "none", "--clock-control", "none",
                                         "--metrics", DRAM_BYTES "," L2_HIT_PERCENT};
    command.insert(command.end(), argv, argv + *argc);
    command.insert(command.end(), {"--count", NULL});
    fprintf(stderr, "counting under ncu, before anything is timed: this takes a while\n");
    size_t num_lines = 0;
    std::string why;
    char how[64];
    child_process ncu;
    BENCH_MUST(process_start(&ncu, NULL, command.data(), PROCESS_READS_ALL) == 0, "env could not be started");
    counted = read_ncu(ncu.output, &num_lines, &why);
    if (*process_wait(&ncu, how, sizeof how))
        counted.clear();
    if (counted.empty())
        fprintf(stderr, "no hardware counters, a new csv says -1: %s\n", why.c_str());
    else if (counted.size() != num_lines)
        why = "ncu counted " + std::to_string(counted.size()) + " calls for " + std::to_string(num_lines) + " lines";
    BENCH_MUST(counted.empty() || counted.size() == num_lines, why.c_str());
}

bench_counters bench_count(const bench_case *c, const std::function<void(uint32_t set)> &call, bool is_cold)
{
    size_t line = num_lines_counted++;
    if (is_counting) {
        for (uint32_t s = 1; s < c->num_sets; s++)
            call(s);
        if (!is_cold)
            call(0);
        BENCH_CUDA(cudaStreamSynchronize(c->stream));
        BENCH_CUDA(cudaProfilerStart());
        call(0);
        BENCH_CUDA(cudaStreamSynchronize(c->stream));
        BENCH_CUDA(cudaProfilerStop());
    }
    BENCH_MUST(counted.empty() || line < counted.size(), "more lines than ncu counted");
    return counted.empty() ? bench_counters{-1, -1} : counted[line];
}

/* ---- plans ---- */

/* The median time of work on the host. */
static double median_us(const std::function<void()> &call)
{
    enum { REPEATS = 5 };
    double us[REPEATS];
    for (double &one : us) {
        double begin = measure_now_us();
        call();
        one = measure_now_us() - begin;
    }
    return measure_median(us, REPEATS);
}

bench_plan bench_plan_create(const bench_case *c, tree_strategy strategy)
{
    tree_plan_config config = {};
    config.strategy = strategy;
    return bench_plan_create_by(c, config);
}

bench_plan bench_plan_create_by(const bench_case *c, tree_plan_config config)
{
    bench_plan p = {};
    int cuda_error = 0;
    config.group_size = c->shape.num_heads / c->shape.num_kv_heads;
    config.num_workers = num_multiprocessors() * 8 / c->shape.num_kv_heads; /* num_workers is for 8 KV heads */
    p.plan_us = median_us([&] {
        tree_plan_destroy(p.plan);
        BENCH_MUST(tree_plan_build(&p.plan, c->tree, &config) == TREE_OK, tree_strategy_name[config.strategy]);
    });
    BENCH_MUST(tree_plan_gpu_create(&p.gpu, p.plan, &c->shape, c->stream, &cuda_error) == TREE_OK,
               "plan on the device");
    p.upload_us = median_us([&] {
        BENCH_MUST(tree_plan_gpu_update(p.gpu, p.plan, c->stream, &cuda_error) == TREE_OK, "plan on the device");
    });
    p.workspace_bytes = tree_attention_gpu_workspace_bytes(p.plan, &c->shape);
    BENCH_CUDA(cudaMalloc(&p.d_workspace, p.workspace_bytes));
    std::vector<uint64_t> new_slots(c->shape.num_queries, KV_SKIP_SLOT);
    for (uint32_t q = 0; q < c->shape.num_queries; q++)
        kv_last_slots(&new_slots[q], &c->tables[q], c->tables[q].length > 0, c->shape.block_tokens);
    const size_t new_bytes = new_slots.size() * sizeof new_slots[0];
    BENCH_CUDA(cudaMalloc(&p.d_new_slots, new_bytes + 1));
    BENCH_CUDA(cudaMemcpy(p.d_new_slots, new_slots.data(), new_bytes, cudaMemcpyHostToDevice));
    BENCH_MUST(tree_plan_gpu_new_slots(p.gpu, p.d_new_slots, c->shape.num_queries) == TREE_OK, "new slots");
    BENCH_MUST(tree_traffic_count(&p.traffic, p.plan, &c->shape, TRAFFIC_PACKED) == TREE_OK, "bytes");
    BENCH_CUDA(cudaStreamSynchronize(c->stream));
    return p;
}

void bench_plan_destroy(bench_plan *p)
{
    cudaFree(p->d_workspace);
    cudaFree(p->d_new_slots);
    tree_plan_gpu_destroy(p->gpu);
    tree_plan_destroy(p->plan);
}

void bench_attention(const bench_case *c, const bench_plan *p, const tree_gpu_step *step, uint32_t set)
{
    const char *key = c->d_kv + set * c->set_bytes, *value = key + c->set_bytes / 2;
    int cuda_error = 0;
    tree_status status = tree_attention_gpu(c->d_out, c->d_lse, c->d_query, key, value, p->gpu, &c->shape,
                                            1 / sqrtf((float)c->shape.head_dim), p->d_workspace, p->workspace_bytes,
                                            c->stream, step, &cuda_error);
    BENCH_MUST(status == TREE_OK, tree_cuda_error_string(cuda_error));
}

/* K or V of a token's slots, as the device has them. */
static void copy_rounded(float *to, uint64_t first, uint32_t count, uint32_t seed, tree_storage storage)
{
    for (uint32_t d = 0; d < count; d++)
        to[d] = rounded(random_element(first + d, seed), storage);
}

/* K and V of the tokens of a query, for one KV head. */
static void copy_path(const bench_case *c, uint32_t query, uint32_t kv_head, std::vector<float> &key,
                      std::vector<float> &value)
{
    const uint32_t dim = c->shape.head_dim;
    const kv_table *table = &c->tables[query];
    key.resize((size_t)table->length * dim);
    value.resize(key.size());
    for (uint32_t t = 0; t < table->length; t++) {
        uint64_t block = table->blocks[t / BENCH_BLOCK_TOKENS];
        uint64_t first = tree_kv_offset(&c->shape, block, kv_head, t % BENCH_BLOCK_TOKENS);
        copy_rounded(&key[(size_t)t * dim], first, dim, 1, c->shape.storage);
        copy_rounded(&value[(size_t)t * dim], first, dim, 2, c->shape.storage);
    }
}

/* Adds the truth of the row of one query and head. */
static void add_row(const bench_case *c, attention_truth *truth, uint32_t sample, uint32_t query, uint32_t head)
{
    const uint32_t dim = c->shape.head_dim, kv_head = head / (c->shape.num_heads / c->shape.num_kv_heads);
    std::vector<float> key, value;
    copy_path(c, query, kv_head, key, value);
    attention_truth_row(truth, sample, &c->h_query[((uint64_t)query * c->shape.num_heads + head) * dim], key.data(),
                        value.data(), c->tables[query].length, 1 / sqrtf((float)dim));
}

/* Some rows of a case, and the truth of them. */
struct sample_rows {
    enum { SAMPLES = 8 };
    uint32_t query[SAMPLES], head[SAMPLES];
    attention_truth truth;
};

static sample_rows sample_create(const bench_case *c)
{
    sample_rows rows;
    const uint32_t heads = c->shape.num_heads, dim = c->shape.head_dim;
    std::vector<float> queries(rows.SAMPLES * dim);
    for (uint32_t s = 0; s < rows.SAMPLES; s++) {
        rows.query[s] = (uint32_t)((uint64_t)s * 7919 % c->shape.num_queries), rows.head[s] = s * 5 % heads;
        uint64_t row = (uint64_t)rows.query[s] * heads + rows.head[s];
        std::copy_n(&c->h_query[row * dim], dim, &queries[s * dim]);
    }
    rows.truth = attention_truth_begin(queries.data(), rows.SAMPLES, 1, 1, dim);
    for (uint32_t s = 0; s < rows.SAMPLES; s++)
        add_row(c, &rows.truth, s, rows.query[s], rows.head[s]);
    return rows;
}

/* The largest error of out in the sample rows after call(), which writes c->d_out and c->d_lse. Ends the program beyond
 * the limits. */
static double sample_error(const bench_case *c, const sample_rows &rows, bool tensor_cores,
                           const std::function<void()> &call)
{
    const uint32_t heads = c->shape.num_heads, dim = c->shape.head_dim;
    uint64_t num_out = (uint64_t)c->shape.num_queries * heads * dim;
    std::vector<float> out(rows.SAMPLES * dim), lse(rows.SAMPLES);
    BENCH_CUDA(cudaMemsetAsync(c->d_out, 0xff, num_out * 4, c->stream));
    BENCH_CUDA(cudaMemsetAsync(c->d_lse, 0xff, num_out / dim * 4, c->stream));
    call();
    BENCH_CUDA(cudaStreamSynchronize(c->stream));
    for (uint32_t s = 0; s < rows.SAMPLES; s++) {
        uint64_t row = (uint64_t)rows.query[s] * heads + rows.head[s];
        BENCH_CUDA(cudaMemcpy(&out[s * dim], c->d_out + row * dim, dim * 4, cudaMemcpyDeviceToHost));
        BENCH_CUDA(cudaMemcpy(&lse[s], c->d_lse + row, 4, cudaMemcpyDeviceToHost));
    }
    const double fp32 = ldexp(1, -24), stored = storage_roundoff(c->shape.storage);
    roundoffs u = {fp32, tensor_cores ? stored : fp32, tensor_cores ? ldexp(1, -22) : fp32, stored};
    verdict v = attention_verdict(out.data(), lse.data(), &rows.truth, &u);
    BENCH_MUST(v.text[0] == '\0', v.text);
    return v.error;
}

double bench_error(const bench_case *c, const bench_plan *p, const tree_gpu_step *step)
{
    if (is_counting)
        return 0;
    sample_rows rows = sample_create(c);
    double error = sample_error(c, rows, !tree_gpu_step_takes(step, TREE_FP32),
                                [&] { bench_attention(c, p, step, 0); });
    attention_truth_destroy(&rows.truth);
    return error;
}

bench_measured bench_measure(const bench_case *c, const bench_plan *p, const tree_gpu_step *step)
{
    auto call = [&](uint32_t set) { bench_attention(c, p, step, set); };
    bench_measured m;
    m.max_error = bench_error(c, p, step);
    m.cold_us = bench_time(c, call, true);
    m.warm_us = bench_time(c, call, false);
    return m;
}

/* ---- eviction ---- */

/* The importance of each token for one query, in double. */
static std::vector<double> importance_truth(const bench_case *c, uint32_t query)
{
    const uint32_t heads = c->shape.num_heads, dim = c->shape.head_dim, group = heads / c->shape.num_kv_heads;
    const uint32_t length = c->tables[query].length;
    std::vector<double> importance(length, 0), score(length), norm(length);
    std::vector<float> key, value;
    for (uint32_t h = 0; h < heads; h++) {
        if (h % group == 0) {
            copy_path(c, query, h / group, key, value);
            for (uint32_t t = 0; t < length; t++) {
                norm[t] = 0;
                for (uint32_t d = 0; d < dim; d++)
                    norm[t] += fabs(value[(size_t)t * dim + d]);
            }
        }
        const float *q = &c->h_query[((uint64_t)query * heads + h) * dim];
        double sum = 0;
        for (uint32_t t = 0; t < length; t++) {
            double dot = 0;
            for (uint32_t d = 0; d < dim; d++)
                dot += (double)q[d] * key[(size_t)t * dim + d];
            score[t] = exp(dot / sqrt(dim)); /* a few units at most: these elements lie between -2 and 2 */
            sum += score[t];
        }
        for (uint32_t t = 0; t < length; t++)
            importance[t] += score[t] / sum * norm[t] / ((double)heads * dim);
    }
    return importance;
}

struct bench_eviction_truth {
    sample_rows rows;
    uint32_t query;
    std::vector<double> importance; /* [length] of this query */
};

bench_eviction bench_eviction_create(const bench_case *c, const bench_plan *p,
                                     const std::vector<const tree_eviction_step *> &steps)
{
    bench_eviction e = {};
    int cuda_error = 0;
    const uint64_t num_slots = (uint64_t)c->shape.num_blocks * c->shape.block_tokens;
    std::vector<uint64_t> slots(num_slots);
    std::vector<uint32_t> positions(num_slots, 0);
    for (uint64_t i = 0; i < num_slots; i++)
        slots[i] = i;
    for (uint32_t q = 0; q < c->shape.num_queries; q++) {
        const kv_table *table = &c->tables[q];
        for (uint32_t t = 0; t < table->length; t++) {
            const uint64_t block = table->blocks[t / BENCH_BLOCK_TOKENS];
            positions[block * BENCH_BLOCK_TOKENS + t % BENCH_BLOCK_TOKENS] = t;
        }
        e.num_slots = std::max<uint64_t>(e.num_slots, (uint64_t)table->num_blocks * BENCH_BLOCK_TOKENS);
    }
    BENCH_MUST(tree_eviction_gpu_create(&e.lists, p->plan, &c->shape, c->stream, &cuda_error) == TREE_OK,
               "lists of eviction on the device");
    e.norm_count = num_slots * c->shape.num_kv_heads;
    BENCH_CUDA(cudaMalloc((void **)&e.d_norm, e.norm_count * c->num_sets * sizeof(float)));
    BENCH_CUDA(cudaMalloc((void **)&e.d_positions, num_slots * sizeof(uint32_t)));
    BENCH_CUDA(cudaMalloc((void **)&e.d_victims, c->shape.num_queries * sizeof(uint64_t)));
    BENCH_CUDA(cudaMalloc((void **)&e.d_importance, c->shape.num_queries * e.num_slots * sizeof(float)));
    for (const tree_eviction_step *step : steps)
        e.workspace_bytes = std::max(e.workspace_bytes, tree_eviction_gpu_workspace_bytes(p->plan, &c->shape, step));
    BENCH_CUDA(cudaMalloc(&e.d_workspace, e.workspace_bytes));
    uint64_t *d_slots;
    BENCH_CUDA(cudaMalloc((void **)&d_slots, num_slots * sizeof(uint64_t)));
    BENCH_CUDA(cudaMemcpy(d_slots, slots.data(), num_slots * sizeof(uint64_t), cudaMemcpyHostToDevice));
    BENCH_CUDA(cudaMemcpy(e.d_positions, positions.data(), num_slots * sizeof(uint32_t), cudaMemcpyHostToDevice));
    for (uint32_t set = 0; set < c->num_sets; set++) {
        const char *value = c->d_kv + set * c->set_bytes + c->set_bytes / 2;
        BENCH_MUST(kv_norms_gpu(e.d_norm + set * e.norm_count, value, d_slots, (uint32_t)num_slots, &c->shape,
                                c->stream, &cuda_error) == TREE_OK,
                   tree_cuda_error_string(cuda_error));
    }
    BENCH_CUDA(cudaStreamSynchronize(c->stream));
    BENCH_CUDA(cudaFree(d_slots));
    e.truth = new bench_eviction_truth();
    e.truth->rows = sample_create(c);
    e.truth->query = c->shape.num_queries - 1;
    e.truth->importance = importance_truth(c, e.truth->query);
    return e;
}

void bench_eviction_destroy(bench_eviction *e)
{
    cudaFree(e->d_norm);
    cudaFree(e->d_positions);
    cudaFree(e->d_victims);
    cudaFree(e->d_importance);
    cudaFree(e->d_workspace);
    tree_eviction_gpu_destroy(e->lists);
    attention_truth_destroy(&e->truth->rows.truth);
    delete e->truth;
}

static void evict(const bench_case *c, const bench_plan *p, const bench_eviction *e, const tree_eviction_step *step,
                  uint32_t set, float *importance)
{
    const char *key = c->d_kv + set * c->set_bytes, *value = key + c->set_bytes / 2;
    int cuda_error = 0;
    tree_status status = tree_eviction_gpu_run(
        c->d_out, c->d_lse, importance, e->num_slots, e->d_victims, c->d_query, key, value,
        e->d_norm + set * e->norm_count, e->d_positions, NULL, p->gpu, e->lists, &c->shape,
        1 / sqrtf((float)c->shape.head_dim), e->d_workspace, e->workspace_bytes, c->stream, step, &cuda_error);
    BENCH_MUST(status == TREE_OK, cuda_error ? tree_cuda_error_string(cuda_error) : tree_status_string(status));
}

void bench_evict(const bench_case *c, const bench_plan *p, const bench_eviction *e, const tree_eviction_step *step,
                 uint32_t set)
{
    evict(c, p, e, step, set, NULL);
}

void bench_eviction_check(const bench_case *c, const bench_plan *p, const bench_eviction *e,
                          const tree_eviction_step *step)
{
    if (is_counting)
        return;
    const std::vector<double> &truth = e->truth->importance;
    std::vector<float> importance(truth.size());
    uint64_t victim;
    sample_error(c, e->truth->rows, true, [&] { evict(c, p, e, step, 0, e->d_importance); });
    BENCH_CUDA(cudaMemcpy(importance.data(), e->d_importance + e->truth->query * e->num_slots,
                          truth.size() * sizeof(float), cudaMemcpyDeviceToHost));
    BENCH_CUDA(cudaMemcpy(&victim, e->d_victims + e->truth->query, sizeof victim, cudaMemcpyDeviceToHost));
    const double most = *std::max_element(truth.begin(), truth.end());
    const size_t least = std::min_element(truth.begin(), truth.end()) - truth.begin();
    const size_t position = eviction_key_position(victim);
    char message[200];
    for (size_t t = 0; t < truth.size(); t++) {
        snprintf(message, sizeof message, "%s: query %u, token %zu: importance %g instead of %g", step->name,
                 e->truth->query, t, importance[t], truth[t]);
        BENCH_MUST(fabs(importance[t] - truth[t]) <= 1e-4 * most, message);
    }
    snprintf(message, sizeof message, "%s: query %u: victim %llx, but the least important token is %zu, with %g",
             step->name, e->truth->query, (unsigned long long)victim, least, truth[least]);
    BENCH_MUST(position < truth.size() && truth[position] <= truth[least] * (1 + 1e-4), message);
    BENCH_MUST(victim == eviction_key(importance[position], (uint32_t)position), message);
}

const tree_gpu_step *bench_step(const char *name)
{
    for (uint32_t i = 0; name && i < tree_gpu_num_steps; i++) {
        if (!strcmp(tree_gpu_steps[i].name, name))
            return &tree_gpu_steps[i];
    }
    BENCH_MUST(!name, name);
    uint32_t last = tree_gpu_num_steps - 1;
    while (!tree_gpu_step_takes(&tree_gpu_steps[last], TREE_FP16))
        last--;
    return &tree_gpu_steps[last];
}

void bench_line(FILE *csv, const char *name, const bench_case *c, double floor_us, tree_strategy strategy,
                const tree_gpu_step *step, bool has_clock)
{
    bench_plan p = bench_plan_create(c, strategy);
    bench_measured m = bench_measure(c, &p, step);
    auto call = [&](uint32_t set) { bench_attention(c, &p, step, set); };
    bench_counters counters = bench_count(c, call, true);
    fprintf(csv, "\"%s\",%u,%u,%u,%s,%s,%.2f,%.2f,%.2f,%.3f,%.0f,%.0f,%u,%u,%llu,%llu,%llu,%.0f,%.1f,%zu,%.1e", name,
            c->shape.num_queries, c->shape.num_heads, c->shape.num_kv_heads, tree_strategy_name[strategy], step->name,
            m.cold_us, m.warm_us, floor_us, floor_us / m.cold_us, p.plan_us, p.upload_us, p.plan->num_items,
            p.plan->num_partials, (unsigned long long)p.traffic.plan_bytes, (unsigned long long)p.traffic.logical_bytes,
            (unsigned long long)p.traffic.unique_bytes, counters.dram_bytes, counters.l2_hit_percent, p.workspace_bytes,
            m.max_error);
    if (has_clock)
        fprintf(csv, ",%.0f", bench_clock_mhz(c, call));
    fputc('\n', csv);
    fflush(csv); /* a run that ends early leaves its lines in the file beside the csv */
    fprintf(stderr, "%-40s %2u/%-2u %-14s %-20s %8.1f us, floor %.1f\n", name, c->shape.num_heads,
            c->shape.num_kv_heads, tree_strategy_name[strategy], step->name, m.cold_us, floor_us);
    bench_plan_destroy(&p);
}
