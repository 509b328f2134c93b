#include <string>

#include "spuproj/cuda.hpp"

#if defined(__CUDACC__)
#include <cuda_runtime.h>
#endif

namespace spuproj::cuda {

#if defined(__CUDACC__)

namespace {

// Built for the same devices as every other kernel.
__global__ void nothing() {}

std::string version(int number) { return std::to_string(number / 1000) + "." + std::to_string(number % 1000 / 10); }

}  // namespace

std::string problem() {
    cudaFuncAttributes attributes;
    const cudaError_t error = cudaFuncGetAttributes(&attributes, nothing);
    if (error == cudaSuccess) return "";
    cudaGetLastError();  // The next call must not report this error.
    int driver = 0;
    cudaDriverGetVersion(&driver);
    return std::string(cudaGetErrorString(error)) + " (kernels built with CUDA " + version(CUDART_VERSION) +
           ", driver for CUDA " + version(driver) + ")";
}

#else

std::string problem() { return ""; }

#endif

}  // namespace spuproj::cuda
