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
typedef gpu_bench_status measure_function(gpu_bench_result *, const gpu_bench_request *, char[GPU_BENCH_WHY]);

gpu_bench_status gpu_bench_measure(gpu_bench_result *result, const gpu_bench_request *request, char why[GPU_BENCH_WHY])
{
    static const char *const places[] = {"libtreeattn_bench.so", TREEATTN_BENCH_INSTALLED}; /* as built, as installed */
    char path[MAX_PATH];
    for (size_t i = 0; i < sizeof places / sizeof places[0]; i++) {
        if (!process_beside(path, sizeof path, places[i]) || access(path, R_OK) != 0)
            continue;
        void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
        measure_function *measure = NULL;
        if (library)
            *(void **)&measure = dlsym(library, "gpu_bench_measure");
        if (measure)
            return measure(result, request, why);
        snprintf(why, GPU_BENCH_WHY, "%s", dlerror());
        return GPU_BENCH_NO_GPU;
    }
    snprintf(why, GPU_BENCH_WHY, "%s",
             strlen(TREEATTN_CUDA_COMPILER) > 0 ? "its library is not built yet; make builds it"
                                                : "this program was built without CUDA; put nvcc on PATH and build again");
    return GPU_BENCH_NO_GPU;
}
