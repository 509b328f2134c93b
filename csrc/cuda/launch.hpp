// Calls element(item, chunk) for all items of all chunks: in a CUDA kernel, or, if compiled for the CPU, in a loop.
#pragma once

#include "spuproj/cuda.hpp"

#if defined(__CUDACC__)
#include <cuda_runtime.h>
#endif

namespace spuproj::cuda {

#if defined(__CUDACC__)

constexpr unsigned kThreads = 256;
// Resident blocks per multiprocessor, at least: this limits a thread to 128 registers.
constexpr unsigned kResidentBlocks = 2;

template <class Element>
__global__ void __launch_bounds__(kThreads, kResidentBlocks)
    run(const Element element, int64_t items, unsigned blocks_per_chunk) {
    const int64_t item = static_cast<int64_t>(blockIdx.x % blocks_per_chunk) * kThreads + threadIdx.x;
    if (item < items) element(item, blockIdx.x / blocks_per_chunk);
}

inline void check(cudaError_t error) {
    if (error != cudaSuccess) throw std::runtime_error(std::string("CUDA: ") + cudaGetErrorString(error));
}

template <class Element>
void launch(const Queue& queue, const Element& element, int64_t items, int64_t chunks) {
    const int64_t blocks_per_chunk = (items + kThreads - 1) / kThreads;
    if (blocks_per_chunk > INT32_MAX || chunks > INT32_MAX / blocks_per_chunk)
        throw std::runtime_error("one call must have at most 2^31 - 1 blocks of threads, got " +
                                 std::to_string(chunks) + " x " + std::to_string(blocks_per_chunk) +
                                 "; pass fewer samples at a time");
    int current = 0;
    check(cudaGetDevice(&current));
    if (queue.device != current) check(cudaSetDevice(queue.device));
    run<<<static_cast<unsigned>(blocks_per_chunk * chunks), kThreads, 0, static_cast<cudaStream_t>(queue.stream)>>>(
        element, items, static_cast<unsigned>(blocks_per_chunk));
    const cudaError_t error = cudaGetLastError();
    if (queue.device != current) check(cudaSetDevice(current));
    check(error);
}

#else

template <class Element>
void launch(const Queue&, const Element& element, int64_t items, int64_t chunks) {
    for (int64_t chunk = 0; chunk < chunks; ++chunk)
        for (int64_t item = 0; item < items; ++item) element(item, chunk);
}

#endif

}  // namespace spuproj::cuda
