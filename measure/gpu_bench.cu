#include "gpu_bench.h"

#include <math.h>

#include "measure_gpu.h"

static gpu_bench_status refuse_gpu(char *why)
{
    int cuda_error = 0;
    tree_status status = tree_gpu_device_check(&cuda_error);
    if (status == TREE_OK)
        return GPU_BENCH_OK;
    snprintf(why, GPU_BENCH_WHY, "%s (CUDA: %s)", tree_status_string(status), tree_cuda_error_string(cuda_error));
    return GPU_BENCH_NO_GPU;
}

static gpu_bench_status find_rung(const tree_gpu_step **step, const gpu_bench_request *request, char *why)
{
    if (request->rung >= (int)tree_gpu_num_steps) {
        snprintf(why, GPU_BENCH_WHY, "expected a rung, 0 to %u; got %d", tree_gpu_num_steps - 1, request->rung);
        return GPU_BENCH_BAD_INPUT;
    }
    *step = request->rung == GPU_BENCH_LAST_RUNG ? bench_step(NULL) : &tree_gpu_steps[request->rung];
    if (tree_gpu_step_takes(*step, request->shape.storage))
        return GPU_BENCH_OK;
    snprintf(why, GPU_BENCH_WHY, "this GPU, or this build of the library, cannot run %s (wgmma needs sm_90a)",
             (*step)->name);
    return GPU_BENCH_NO_GPU;
}

static gpu_bench_status refuse_memory(const gpu_bench_request *request, char *why)
{
    const double mib = 1 << 20, rest = 64 * mib; /* rest: plan and workspace of most trees */
    size_t free_bytes = 0, all_bytes = 0;
    const double bytes = bench_bytes(request->work, &request->shape) + rest;
    BENCH_CUDA(cudaMemGetInfo(&free_bytes, &all_bytes));
    if (bytes <= (double)free_bytes)
        return GPU_BENCH_OK;
    snprintf(why, GPU_BENCH_WHY, "needs %.0f MiB of the GPU's memory, of which %.0f MiB are free", bytes / mib,
             (double)free_bytes / mib);
    return GPU_BENCH_BAD_INPUT;
}

static double l2_bytes(void)
{
    int device = 0, bytes = 0;
    BENCH_CUDA(cudaGetDevice(&device));
    BENCH_CUDA(cudaDeviceGetAttribute(&bytes, cudaDevAttrL2CacheSize, device));
    return bytes;
}

static void name_gpu(char name[GPU_BENCH_NAME], uint32_t *num_multiprocessors)
{
    int device = 0;
    cudaDeviceProp properties;
    BENCH_CUDA(cudaGetDevice(&device));
    BENCH_CUDA(cudaGetDeviceProperties(&properties, device));
    snprintf(name, GPU_BENCH_NAME, "%.255s", properties.name);
    *num_multiprocessors = (uint32_t)properties.multiProcessorCount;
}

gpu_bench_status gpu_bench_measure(gpu_bench_result *result, const gpu_bench_request *request, char why[GPU_BENCH_WHY])
{
    const tree_gpu_step *step = NULL;
    gpu_bench_status status = refuse_gpu(why);
    if (status == GPU_BENCH_OK)
        status = find_rung(&step, request, why);
    if (status == GPU_BENCH_OK)
        status = refuse_memory(request, why);
    if (status != GPU_BENCH_OK)
        return status;

    gpu_bench_result r = {};
    const bench_ceilings &most = bench_ceilings_of_gpu();
    bench_case c = bench_create_at(request->work, request->iteration, request->shape.num_heads,
                                   request->shape.num_kv_heads, request->shape.head_dim, request->shape.storage);
    tree_plan_config config = {};
    config.strategy = request->strategy, config.prices = request->prices;
    bench_plan p = bench_plan_create_by(&c, config);
    bench_device(r.device, sizeof r.device);
    name_gpu(r.gpu, &r.num_multiprocessors);
    snprintf(r.rung, sizeof r.rung, "%s", step->name);
    r.dram_gbps = most.dram_gbps, r.l2_gbps = most.l2_gbps;
    r.matrix_tflops = most.matrix_tflops, r.launch_us = most.launch_us;
    const bool is_cold = (double)c.set_bytes * c.num_sets > l2_bytes();
    const double floor_us = bench_floor(&c);
    bench_measured m = bench_measure(&c, &p, step);
    r.cold_us = is_cold ? m.cold_us : NAN, r.floor_us = is_cold ? floor_us : NAN;
    r.warm_us = m.warm_us, r.max_error = m.max_error;
    r.plan_us = p.plan_us, r.upload_us = p.upload_us;
    r.num_queries = c.shape.num_queries, r.num_items = p.plan->num_items, r.num_partials = p.plan->num_partials;
    r.unique_bytes = p.traffic.unique_bytes, r.plan_bytes = p.traffic.plan_bytes;
    r.logical_bytes = p.traffic.logical_bytes, r.workspace_bytes = p.workspace_bytes;
    bench_plan_destroy(&p);
    bench_destroy(&c);
    *result = r;
    return GPU_BENCH_OK;
}

gpu_bench_status gpu_bench_look(gpu_bench_gpu *gpu, char why[GPU_BENCH_WHY])
{
    int driver = 0, runtime = 0;
    gpu_bench_status status = refuse_gpu(why);
    if (status != GPU_BENCH_OK)
        return status;
    gpu_bench_gpu g = {};
    name_gpu(g.name, &g.num_multiprocessors);
    BENCH_CUDA(cudaDriverGetVersion(&driver));
    BENCH_CUDA(cudaRuntimeGetVersion(&runtime));
    snprintf(g.driver, sizeof g.driver, "CUDA %d.%d, runtime %d.%d", driver / 1000, driver % 1000 / 10, runtime / 1000,
             runtime % 1000 / 10);
    snprintf(g.rung, sizeof g.rung, "%s", bench_step(NULL)->name);
    g.l2_bytes = (uint64_t)l2_bytes();
    const bench_ceilings &most = bench_ceilings_of_gpu();
    g.dram_gbps = most.dram_gbps, g.l2_gbps = most.l2_gbps;
    g.matrix_tflops = most.matrix_tflops, g.launch_us = most.launch_us;
    *gpu = g;
    return GPU_BENCH_OK;
}

/* The case owns a workload; the caller keeps its own. */
static workload *copy_workload(const workload *work)
{
    workload *copy = workload_create();
    BENCH_MUST(copy, "memory");
    for (uint32_t i = 0; i < work->num_operations; i++)
        workload_add(copy, work->operations[i].kind, work->operations[i].branch, work->operations[i].value);
    BENCH_MUST(copy->status == KV_OK, kv_status_string(copy->status));
    return copy;
}

gpu_bench_status gpu_bench_times(double *us, const gpu_bench_request *request, const tree_plan_config *configs,
                                 uint32_t count, bool checked, char why[GPU_BENCH_WHY])
{
    gpu_bench_status status = refuse_gpu(why);
    if (status == GPU_BENCH_OK)
        status = refuse_memory(request, why);
    if (status != GPU_BENCH_OK)
        return status;
    const tree_gpu_step *step = bench_step(NULL);
    bench_case c = bench_create_at(copy_workload(request->work), request->iteration, request->shape.num_heads,
                                   request->shape.num_kv_heads, request->shape.head_dim, request->shape.storage);
    const bool is_cold = (double)c.set_bytes * c.num_sets > l2_bytes();
    std::vector<bench_plan> plans;
    std::vector<std::function<void(uint32_t)>> calls;
    for (uint32_t i = 0; is_cold && i < count; i++)
        plans.push_back(bench_plan_create_by(&c, configs[i]));
    for (const bench_plan &p : plans)
        calls.push_back([&c, &p, step](uint32_t set) { bench_attention(&c, &p, step, set); });
    if (is_cold && checked)
        bench_error(&c, &plans[0], step);
    const std::vector<double> times = bench_times(&c, calls);
    for (uint32_t i = 0; i < count; i++)
        us[i] = is_cold ? times[i] : NAN;
    for (bench_plan &p : plans)
        bench_plan_destroy(&p);
    bench_destroy(&c);
    return GPU_BENCH_OK;
}
