/* measure: the ceilings of this machine, and the time of a call. Shared by `treeattn bench` and the programs behind the
 * figures. Nothing here asserts. */
#ifndef MEASURE_H
#define MEASURE_H

#include <stdint.h>

#include "kv_tree.h"
#include "tree_attention_cpu.h"

#ifdef __cplusplus
extern "C" {
#endif

double measure_now_us(void);

/* Sorts values in place. */
double measure_median(double *values, uint32_t count);

/* Touched pages, aligned to 2 MiB; ends the program without memory. */
void *measure_allocate(size_t bytes);

/* Microseconds of one pass over `bytes` bytes by num_threads threads, each of which reads its own part. */
double measure_read_us(const void *data, size_t bytes, uint32_t num_threads);

/* Multiply-adds from registers, enough of them for a stable time: 10^9 floating-point operations per second of all
 * threads (a multiply-add is 2). The instruction is the one that tree_attention_cpu chooses by itself for this storage
 * type: the ceiling is the machine's, whichever set is forced. */
double measure_peak_gflops(tree_storage storage, uint32_t num_threads);

/* The tree of num_branches branches with own_tokens each behind one prefix, and the blocks of its pool. Ends the program
 * if there is no memory. */
kv_tree *measure_star(uint32_t num_branches, uint32_t prefix_tokens, uint32_t own_tokens, uint32_t block_tokens,
                      uint32_t *num_blocks);

/* K and V of `shape`, num_sets times, so that a call's set is not in the cache if the sets are larger than it. */
typedef struct measure_sets {
    tree_shape shape;
    uint32_t num_sets;
    size_t set_bytes; /* K or V of one set */
    char *key, *value;
    float *query, *out;
    tree_isa isa;     /* TREE_ISA_AUTO unless changed */
} measure_sets;
measure_sets measure_sets_create(const tree_shape *shape, uint32_t num_sets);
void measure_sets_destroy(measure_sets *sets);

/* Microseconds of one call of tree_attention_cpu on set `set`. The workspace is the caller's. */
double measure_attention_us(const measure_sets *sets, uint32_t set, const tree_plan *plan, void *workspace,
                            size_t workspace_bytes, uint32_t num_threads);

/* Threads that OpenMP would use. */
uint32_t measure_threads(void);

/* Bytes of the largest cache that a core sees (sysfs); 32 MiB if unknown. */
size_t measure_cache_bytes(void);

#ifdef __cplusplus
}
#endif

#endif
