// Macros with which the same code compiles for CPUs and, by nvcc, for GPUs.
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
