// Runs every kernel on many problems, for sanitizers and memcheck to watch.
#pragma once

#include <cstdint>

namespace spuproj::driver {

// Problems [first, last): the same for the same number, and printed. Number 0 is large enough for streaming stores.
// Throws std::logic_error where a result depends on the number of threads or on what the memory held before.
void exercise(int64_t first, int64_t last);

}  // namespace spuproj::driver
