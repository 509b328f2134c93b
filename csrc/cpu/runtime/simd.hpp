// Chooses the SIMD level at run time.
#pragma once

#include <string>
#include <vector>

#include "cpu/kernels/table.hpp"

namespace spuproj::cpu {

// The levels that this processor supports, lowest first.
std::vector<std::string> supported_levels();

// The level in use: the highest supported one, or the one that SPUPROJ_SIMD names when first asked for.
const std::string& active_level();

const KernelTable& active_kernels();

}  // namespace spuproj::cpu
