#pragma once

#include <cmath>
#include <cstdint>

#if defined(__CUDACC__)
#define SPUPROJ_HD __host__ __device__
#else
#define SPUPROJ_HD
#endif
