// Macros for what differs between compilers: the same code compiles for CPUs and, by nvcc, for GPUs.
#pragma once

#include <cmath>
#include <cstdint>

#if defined(__CUDACC__)
#define SPUPROJ_HD __host__ __device__
#else
#define SPUPROJ_HD
#endif

#if defined(__CUDA_ARCH__)
#define SPUPROJ_UNROLL _Pragma("unroll")
#else
#define SPUPROJ_UNROLL
#endif

// GCC takes a function that only prefetches for one without effect and drops its calls, unless it is always inlined.
#define SPUPROJ_PREFETCH __attribute__((always_inline)) inline void
