/* measure: clocks, ceilings and the attention call that is compared with them. */
#define _POSIX_C_SOURCE 200809L
#include "measure.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "kv_branch.h"
#include "machine.h"

double measure_now_us(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec * 1e6 + (double)now.tv_nsec * 1e-3;
}

static int compare_doubles(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

double measure_median(double *values, uint32_t count)
{
    qsort(values, count, sizeof *values, compare_doubles);
    return count % 2 ? values[count / 2] : (values[count / 2 - 1] + values[count / 2]) / 2;
}

void *measure_allocate(size_t bytes)
{
    size_t alignment = (size_t)2 << 20;
    void *data = aligned_alloc(alignment, (bytes + alignment - 1) / alignment * alignment);
    if (!data) {
        fprintf(stderr, "treeattn: no memory for %zu bytes\n", bytes);
        exit(1);
    }
    memset(data, 0x11, bytes); /* not 0: pages of zeros may all be one page */
    return data;
}

static void read_part(const char *data, size_t bytes)
{
#if defined(__x86_64__)
    if (tree_isa_available(TREE_ISA_AVX2)) {
        for (size_t i = 0; i + 256 <= bytes; i += 256)
            __asm__ volatile("vmovdqu (%0), %%ymm0\n\tvmovdqu 32(%0), %%ymm1\n\tvmovdqu 64(%0), %%ymm2\n\t"
                             "vmovdqu 96(%0), %%ymm3\n\tvmovdqu 128(%0), %%ymm0\n\tvmovdqu 160(%0), %%ymm1\n\t"
                             "vmovdqu 192(%0), %%ymm2\n\tvmovdqu 224(%0), %%ymm3"
                             : : "r"(data + i) : "xmm0", "xmm1", "xmm2", "xmm3");
        return;
    }
#endif
    uint64_t sum[4] = {0};
    for (size_t i = 0; i + 32 <= bytes; i += 32) {
        uint64_t words[4];
        memcpy(words, data + i, sizeof words);
        for (int j = 0; j < 4; j++)
            sum[j] += words[j];
    }
    volatile uint64_t sink = sum[0] + sum[1] + sum[2] + sum[3];
    (void)sink;
}

double measure_read_us(const void *data, size_t bytes, uint32_t num_threads)
{
    size_t part = bytes / num_threads;
    double start = measure_now_us();
#pragma omp parallel for num_threads(num_threads) schedule(static, 1)
    for (uint32_t thread = 0; thread < num_threads; thread++)
        read_part((const char *)data + thread * part, part);
    return measure_now_us() - start;
}

#if defined(__x86_64__)
#define ONE(operation, width, sum) operation " %%" width "14, %%" width "15, %%" width sum "\n\t"
#define TIMES_6(operation, width, a, b, c, d, e, f) \
    ONE(operation, width, a) ONE(operation, width, b) ONE(operation, width, c) \
    ONE(operation, width, d) ONE(operation, width, e) ONE(operation, width, f)
#define TIMES_12(operation, width) TIMES_6(operation, width, "0", "1", "2", "3", "4", "5") \
    TIMES_6(operation, width, "6", "7", "8", "9", "10", "11")
#define TIMES_24(operation, width) TIMES_12(operation, width) \
    TIMES_6(operation, width, "16", "17", "18", "19", "20", "21") \
    TIMES_6(operation, width, "22", "23", "24", "25", "26", "27")
#define REGISTERS_12 "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", "xmm11"
#define ZEROS "vxorps %%xmm14, %%xmm14, %%xmm14\n\tvxorps %%xmm15, %%xmm15, %%xmm15\n\t"
#endif

#if defined(__x86_64__)
/* Four tiles of sums, as in the fast path: a product of 16 x 16 x 32 takes 16 cycles, and its result some 50. */
static double multiply_tiles(uint32_t rounds)
{
    static const struct {
        uint8_t palette, reserved[15];
        uint16_t row_bytes[16];
        uint8_t rows[16];
    } shape = {1, {0}, {64, 64, 64, 64, 64, 64, 64, 64}, {16, 16, 16, 16, 16, 16, 16, 16}};
    __asm__ volatile("ldtilecfg %0\n\ttilezero %%tmm4\n\ttilezero %%tmm5" : : "m"(shape));
    for (uint32_t i = 0; i < rounds; i++)
        __asm__ volatile("tdpbf16ps %tmm5, %tmm4, %tmm0\n\ttdpbf16ps %tmm5, %tmm4, %tmm1\n\t"
                         "tdpbf16ps %tmm5, %tmm4, %tmm2\n\ttdpbf16ps %tmm5, %tmm4, %tmm3");
    __asm__ volatile("tilerelease");
    return 4.0 * 16 * 16 * 32 * 2 * rounds;
}
#endif

/* Independent sums hide the latency: 24 where there are 32 registers (10 reach four fifths of the peak). Registers 16
 * to 27 are in no list: this file is compiled without AVX-512. Returns the floating-point operations done. */
static double multiply_add(tree_storage storage, uint32_t rounds)
{
#if defined(__x86_64__)
    tree_isa isa = tree_isa_for(TREE_ISA_AUTO, storage);
    if (isa == TREE_ISA_AMX)
        return multiply_tiles(rounds);
    __asm__ volatile(ZEROS : : : "xmm14", "xmm15");
    if (isa == TREE_ISA_AVX512_BF16) {
        for (uint32_t i = 0; i < rounds; i++)
            __asm__ volatile(TIMES_24("vdpbf16ps", "zmm") : : : REGISTERS_12);
        return 24.0 * 64 * rounds;
    }
    if (isa == TREE_ISA_AVX512) {
        for (uint32_t i = 0; i < rounds; i++)
            __asm__ volatile(TIMES_24("vfmadd231ps", "zmm") : : : REGISTERS_12);
        return 24.0 * 32 * rounds;
    }
    if (isa == TREE_ISA_AVX2) {
        for (uint32_t i = 0; i < rounds; i++)
            __asm__ volatile(TIMES_12("vfmadd231ps", "ymm") : : : REGISTERS_12);
        return 12.0 * 16 * rounds;
    }
#endif
    (void)storage;
    float sum[16] = {0};
    volatile float one = 1;
    float factor = one;
    for (uint32_t i = 0; i < rounds; i++)
        for (int j = 0; j < 16; j++)
            sum[j] = sum[j] * factor + factor;
    volatile float sink = sum[0] + sum[15];
    (void)sink;
    return 32.0 * rounds;
}

double measure_peak_gflops(tree_storage storage, uint32_t num_threads)
{
    enum { ROUNDS = 200000 };
    double operations = 0, start = measure_now_us();
#pragma omp parallel for num_threads(num_threads) schedule(static, 1) reduction(+ : operations)
    for (uint32_t thread = 0; thread < num_threads; thread++)
        operations += multiply_add(storage, ROUNDS);
    return operations / (measure_now_us() - start) * 1e-3;
}

kv_tree *measure_star(uint32_t num_branches, uint32_t prefix_tokens, uint32_t own_tokens, uint32_t block_tokens,
                      uint32_t *num_blocks)
{
    *num_blocks = (prefix_tokens + block_tokens - 1) / block_tokens + num_branches * (own_tokens / block_tokens + 2);
    kv_pool_config config = {.num_blocks = *num_blocks, .block_tokens = block_tokens, .max_branches = num_branches + 1};
    kv_branch *branches = malloc((num_branches + 1) * sizeof *branches);
    kv_table *tables = malloc(num_branches * sizeof *tables);
    kv_pool *pool = NULL;
    kv_append append;
    kv_tree *tree = NULL;
    int good = branches && tables && kv_pool_create(&pool, &config) == KV_OK &&
               kv_branch_create(pool, &branches[num_branches]) == KV_OK &&
               kv_branch_append(pool, branches[num_branches], prefix_tokens, &append) == KV_OK;
    for (uint32_t i = 0; i < num_branches; i++)
        good = good && kv_branch_fork(pool, branches[num_branches], &branches[i]) == KV_OK &&
               kv_branch_append(pool, branches[i], own_tokens, &append) == KV_OK;
    good = good && kv_branch_tables(pool, branches, num_branches, tables) == KV_OK &&
           kv_tree_build(&tree, tables, num_branches, block_tokens, *num_blocks) == KV_OK;
    if (!good) {
        fprintf(stderr, "treeattn: no memory for a tree of %u branches\n", num_branches);
        exit(1);
    }
    kv_pool_destroy(pool, true, NULL);
    free(branches);
    free(tables);
    return tree;
}

/* Small finite codes: bf16 and fp16 between 2^-7 and 2 in magnitude, or floats likewise. */
static void fill_random(char *data, size_t bytes, tree_storage storage, uint64_t seed)
{
    uint64_t state = seed * 2 + 1;
    for (size_t i = 0; i + 4 <= bytes; i += 4) {
        state = state * 6364136223846793005u + 1442695040888963407u;
        uint32_t word = (uint32_t)(state >> 32);
        if (storage == TREE_FP32)
            word = (word & 0x807fffffu) | 0x3e800000u;
        else if (storage == TREE_BF16)
            word = (word & 0x80ff80ffu) | 0x3e003e00u;
        else
            word = (word & 0x8fff8fffu) | 0x20002000u;
        memcpy(data + i, &word, 4);
    }
}

measure_sets measure_sets_create(const tree_shape *shape, uint32_t num_sets)
{
    measure_sets sets = {.shape = *shape, .num_sets = num_sets};
    size_t out_floats = (size_t)shape->num_queries * shape->num_heads * shape->head_dim;
    sets.set_bytes = (size_t)tree_kv_offset(shape, shape->num_blocks, 0, 0) * tree_storage_bytes(shape->storage);
    sets.key = measure_allocate(sets.set_bytes * num_sets);
    sets.value = measure_allocate(sets.set_bytes * num_sets);
    sets.query = measure_allocate(out_floats * sizeof(float));
    sets.out = measure_allocate(out_floats * sizeof(float));
    fill_random(sets.key, sets.set_bytes * num_sets, shape->storage, 1);
    fill_random(sets.value, sets.set_bytes * num_sets, shape->storage, 2);
    fill_random((char *)sets.query, out_floats * sizeof(float), TREE_FP32, 3);
    return sets;
}

void measure_sets_destroy(measure_sets *sets)
{
    free(sets->key);
    free(sets->value);
    free(sets->query);
    free(sets->out);
}

double measure_attention_us(const measure_sets *sets, uint32_t set, const tree_plan *plan, void *workspace,
                            size_t workspace_bytes, uint32_t num_threads)
{
    double start = measure_now_us();
    tree_status status = tree_attention_cpu(sets->out, NULL, sets->query, sets->key + set * sets->set_bytes,
                                            sets->value + set * sets->set_bytes, plan, &sets->shape, 0.0883883f,
                                            workspace, workspace_bytes, num_threads, sets->isa);
    double us = measure_now_us() - start;
    if (status != TREE_OK) {
        fprintf(stderr, "treeattn: %s\n", tree_status_string(status));
        exit(1);
    }
    return us;
}

uint32_t measure_threads(void)
{
    return machine_look().num_threads;
}

size_t measure_cache_bytes(void)
{
    machine_info machine = machine_look();
    size_t largest = 0;
    for (int level = 1; level <= 3; level++)
        largest = machine.cache_bytes[level] > largest ? (size_t)machine.cache_bytes[level] : largest;
    return largest ? largest : (size_t)32 << 20;
}
