/* decoder_gpu of the program: loads libtreeattn_model_gpu.so, as measure/gpu_bench_load.c loads its library. */
#define _POSIX_C_SOURCE 200809L
#include <dlfcn.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "decoder_gpu.h"

enum { MAX_PATH = 4096 };
typedef model_status open_function(decoder_gpu *, const model_weights *, kv_pool *, uint32_t, const tree_plan_config *,
                                   char *, size_t);

/* A path that begins in the folder of the running program. False if it is too long. */
static bool beside_program(char path[MAX_PATH], const char *rest)
{
    ssize_t length = readlink("/proc/self/exe", path, MAX_PATH);
    while (length > 0 && path[length - 1] != '/')
        length--;
    return length > 0 && snprintf(path + length, (size_t)(MAX_PATH - length), "%s", rest) < MAX_PATH - length;
}

model_status decoder_gpu_open(decoder_gpu *decoder, const model_weights *weights, kv_pool *pool, uint32_t max_branches,
                              const tree_plan_config *plan, char *message, size_t message_bytes)
{
    static const char *const places[] = {"libtreeattn_model_gpu.so", TREEATTN_MODEL_GPU_INSTALLED};
    char path[MAX_PATH];
    for (size_t i = 0; i < sizeof places / sizeof places[0]; i++) {
        if (!beside_program(path, places[i]) || access(path, R_OK) != 0)
            continue;
        void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
        open_function *open = NULL;
        if (library)
            *(void **)&open = dlsym(library, "decoder_gpu_open");
        if (open)
            return open(decoder, weights, pool, max_branches, plan, message, message_bytes);
        snprintf(message, message_bytes, "%s", dlerror());
        return MODEL_DEVICE;
    }
    snprintf(message, message_bytes, "%s",
             strlen(TREEATTN_CUDA_COMPILER) > 0
                 ? "its library is not built: make builds it where cuBLAS is installed"
                 : "this program was built without CUDA; put nvcc on PATH and build again");
    return MODEL_DEVICE;
}
