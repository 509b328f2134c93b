#include "spuproj/cpu.hpp"

#if defined(__linux__)
#include <sys/mman.h>
#endif

namespace spuproj::cpu {

void expect_writes(void* data, int64_t bytes) {
#if defined(__linux__)
    constexpr uintptr_t page = uintptr_t(1) << 21;
    const uintptr_t begin = (reinterpret_cast<uintptr_t>(data) + page - 1) / page * page;
    const uintptr_t end = (reinterpret_cast<uintptr_t>(data) + static_cast<uintptr_t>(bytes)) / page * page;
    // Only advice: where the system does not take it, the memory is as good as before.
    if (begin < end) madvise(reinterpret_cast<void*>(begin), end - begin, MADV_HUGEPAGE);
#else
    (void)data;
    (void)bytes;
#endif
}

}  // namespace spuproj::cpu
