/* gpu_bench in a build without CUDA. */
#include "gpu_bench.h"

#include <stdio.h>

gpu_bench_status gpu_bench_measure(gpu_bench_result *result, const gpu_bench_request *request, char why[GPU_BENCH_WHY])
{
    (void)result, (void)request;
    snprintf(why, GPU_BENCH_WHY, "this program was built without CUDA; put nvcc on PATH and build again");
    return GPU_BENCH_NO_GPU;
}
