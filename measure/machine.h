/* machine_info: the parts that this machine and this build have. None is needed to run, so nothing here fails: a
 * missing part is an empty text or a 0. */
#ifndef MACHINE_H
#define MACHINE_H

#include <stdbool.h>
#include <stdint.h>

typedef struct machine_info {
    char cpu[96];             /* as the kernel names it */
    uint32_t num_cpus;        /* online */
    double cpu_quota;         /* CPUs that the control group allows; 0: no limit */
    uint64_t cache_bytes[4];  /* data or unified cache of level 1, 2, 3 that CPU 0 sees; [0] unused */
    uint64_t memory_bytes;
    char compiler[64];
    int openmp;               /* the value of _OPENMP in the build; 0: built without it */
    uint32_t num_threads;     /* that OpenMP would use */
    char isas[96];            /* instruction sets that can run, separated by blanks */
    const char *isa;          /* the one that runs */
    const char *cuda_compiler;/* "": none was found when this was built */
    char driver[64];          /* NVIDIA driver version; "": no driver */
    char gpu[96];             /* the first GPU, as the driver names it */
    uint32_t num_gpus;
    char gnuplot[64];         /* "gnuplot 5.4 patchlevel 4"; "": none */
} machine_info;

machine_info machine_look(void);

/* Creates folder `path` and those above it if needed; false (errno set) if it cannot. */
bool tool_make_folder(const char *path);

#endif
