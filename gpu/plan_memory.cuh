/* Host data in device memory: one allocation, laid out on the host in pinned memory and copied once. */
#ifndef PLAN_MEMORY_CUH
#define PLAN_MEMORY_CUH

#include <string.h>

#include "gpu_internal.h"

/* Gives the next array its place, aligned to 16 bytes, and returns its future address on the device. Copies its
 * elements (zeros if array is NULL) to staging, unless staging is NULL. */
template <typename T> static T *place(const T *array, uint64_t count, char *device, char *staging, size_t *end)
{
    size_t offset = *end, bytes = count * sizeof(T);
    if (staging && array && bytes)
        memcpy(staging + offset, array, bytes);
    else if (staging)
        memset(staging + offset, 0, bytes);
    *end = (offset + bytes + 15) & ~(size_t)15;
    return (T *)((uintptr_t)device + offset);
}

/* A captured copy would read staging again at each replay. */
static inline cudaError_t refuse_capture(cudaStream_t stream)
{
    cudaStreamCaptureStatus capture = cudaStreamCaptureStatusNone;
    cudaError_t error = cudaStreamIsCapturing(stream, &capture);
    return error == cudaSuccess && capture != cudaStreamCaptureStatusNone ? cudaErrorStreamCaptureUnsupported : error;
}

/* Waits for all kernels and copies that may still use it. */
static inline void memory_free(const plan_memory *memory)
{
    if (!memory->device)
        return;
    cudaDeviceSynchronize();
    cudaFree(memory->device);
    cudaFreeHost(memory->staging);
}

static inline cudaError_t memory_prepare(plan_memory *memory)
{
    cudaError_t error = cudaSuccess;
    *memory = {};
    for (int i = 0; i < 2 && error == cudaSuccess; i++)
        error = cudaEventCreateWithFlags(&memory->copied[i], cudaEventDisableTiming);
    return error;
}

static inline void memory_destroy(plan_memory *memory)
{
    memory_free(memory);
    for (int i = 0; i < 2; i++) {
        if (memory->copied[i])
            cudaEventDestroy(memory->copied[i]);
    }
}

/* Lays out data and enqueues its copy. lay_out(device, staging) places the arrays, and returns their bytes, above 0. On
 * error *memory is what it was. */
template <typename LAY_OUT>
static cudaError_t memory_upload(plan_memory *memory, LAY_OUT lay_out, cudaStream_t stream)
{
    plan_memory next = *memory;
    const size_t bytes = lay_out((char *)NULL, (char *)NULL);
    const bool grows = bytes > memory->capacity;
    cudaError_t error = refuse_capture(stream);
    if (error != cudaSuccess)
        return error;
    if (grows) {
        next.capacity = (bytes + bytes / 4 + 4096) & ~(size_t)15; /* so that the second half begins at 16 bytes */
        next.device = next.staging = NULL;
        error = cudaMalloc((void **)&next.device, next.capacity);
        if (error == cudaSuccess)
            error = cudaMallocHost((void **)&next.staging, 2 * next.capacity);
    } else {
        error = cudaEventSynchronize(next.copied[next.turn]);
    }
    if (error == cudaSuccess) {
        char *staging = next.staging + next.turn * next.capacity;
        lay_out(next.device, staging);
        error = cudaMemcpyAsync(next.device, staging, bytes, cudaMemcpyHostToDevice, stream);
    }
    if (error == cudaSuccess)
        error = cudaEventRecord(next.copied[next.turn], stream);
    if (grows)
        memory_free(error == cudaSuccess ? memory : &next);
    if (error != cudaSuccess)
        return error;
    next.turn ^= 1;
    *memory = next;
    return cudaSuccess;
}

/* The status for an error of the setup, which is cleared, so that the next launch does not report it again. */
static inline tree_status setup_status(cudaError_t error, int *cuda_error)
{
    if (error != cudaSuccess)
        cudaGetLastError();
    return gpu_status(error, cuda_error);
}

#endif
