/* gpu_bench of the program: the measurement, with the kernels, is a library of its own, which is loaded when a
 * measurement needs it. So the program can be built and started without CUDA. */
#define _POSIX_C_SOURCE 200809L
#include "gpu_bench.h"

#include <dlfcn.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "process.h"

enum { MAX_PATH = 4096 };

/* A function of the library; NULL with the reason. */
static void *find(const char *name, char why[GPU_BENCH_WHY])
{
    static const char *const places[] = {"libtreeattn_bench.so", TREEATTN_BENCH_INSTALLED}; /* as built, as installed */
    char path[MAX_PATH];
    for (size_t i = 0; i < sizeof places / sizeof places[0]; i++) {
        if (!process_beside(path, sizeof path, places[i]) || access(path, R_OK) != 0)
            continue;
        void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL); /* the same one, if it is loaded already */
        void *function = library ? dlsym(library, name) : NULL;
        if (!function)
            snprintf(why, GPU_BENCH_WHY, "%s", dlerror());
        return function;
    }
    snprintf(why, GPU_BENCH_WHY, "%s",
             strlen(TREEATTN_CUDA_COMPILER) > 0 ? "its library is not built yet; make builds it"
                                                : "this program was built without CUDA; put nvcc on PATH and build again");
    return NULL;
}

gpu_bench_status gpu_bench_measure(gpu_bench_result *result, const gpu_bench_request *request, char why[GPU_BENCH_WHY])
{
    gpu_bench_status (*measure)(gpu_bench_result *, const gpu_bench_request *, char *);
    *(void **)&measure = find("gpu_bench_measure", why);
    return measure ? measure(result, request, why) : GPU_BENCH_NO_GPU;
}

gpu_bench_status gpu_bench_look(gpu_bench_gpu *gpu, char why[GPU_BENCH_WHY])
{
    gpu_bench_status (*look)(gpu_bench_gpu *, char *);
    *(void **)&look = find("gpu_bench_look", why);
    return look ? look(gpu, why) : GPU_BENCH_NO_GPU;
}

gpu_bench_status gpu_bench_times(double *us, const gpu_bench_request *request, const tree_plan_config *configs,
                                 uint32_t count, bool checked, char why[GPU_BENCH_WHY])
{
    gpu_bench_status (*times)(double *, const gpu_bench_request *, const tree_plan_config *, uint32_t, bool, char *);
    *(void **)&times = find("gpu_bench_times", why);
    return times ? times(us, request, configs, count, checked, why) : GPU_BENCH_NO_GPU;
}
