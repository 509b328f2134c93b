#include "cpu/runtime/simd.hpp"

#include <algorithm>
#include <cstdlib>
#include <stdexcept>

#if defined(SPUPROJ_X86)
#include <cpuid.h>
#endif

namespace spuproj::cpu {
namespace {

#if defined(SPUPROJ_X86)
// Not every compiler's __builtin_cpu_supports knows f16c.
bool converts_halves() {
    unsigned a = 0, b = 0, c = 0, d = 0;
    return __get_cpuid(1, &a, &b, &c, &d) != 0 && (c & bit_F16C) != 0;
}
#endif

std::string choose_level() {
    const std::vector<std::string> levels = supported_levels();
    const char* requested = std::getenv("SPUPROJ_SIMD");
    if (requested == nullptr || *requested == '\0') return levels.back();
    if (std::find(levels.begin(), levels.end(), requested) != levels.end()) return requested;
    std::string names;
    for (const std::string& level : levels) names += (names.empty() ? "" : ", ") + level;
    throw std::invalid_argument("SPUPROJ_SIMD must name a level of this processor (" + names + "), got " + requested);
}

}  // namespace

std::vector<std::string> supported_levels() {
    std::vector<std::string> levels = {"baseline"};
#if defined(SPUPROJ_X86)
    const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && converts_halves();
    if (avx2) levels.push_back("avx2");
    if (avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") &&
        __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq"))
        levels.push_back("avx512");
#endif
    return levels;
}

const std::string& active_level() {
    static const std::string level = choose_level();
    return level;
}

const KernelTable& active_kernels() {
    static const KernelTable& kernels = []() -> const KernelTable& {
#if defined(SPUPROJ_X86)
        if (active_level() == "avx512") return kernels_avx512();
        if (active_level() == "avx2") return kernels_avx2();
#endif
        active_level();
        return kernels_baseline();
    }();
    return kernels;
}

}  // namespace spuproj::cpu
