#include "driver/count.hpp"

#include <valgrind/callgrind.h>

#include <cstdio>

#include "cpu/runtime/simd.hpp"
#include "driver/calls.hpp"

namespace spuproj::driver {
namespace {

// Large enough that what a call does once is little beside its loops.
Problem problem_of(int64_t channels, int dtype) { return {1, 2, channels, 64, 64, 64, 64, dtype}; }

void count(const Call& call, const std::string& name) {
    results_of(call, 1, 0);  // What only a first call does is not counted.
    std::vector<Tensor> results;
    for (const Layout& layout : call.results) results.push_back(tensor(layout));
    CALLGRIND_ZERO_STATS;
    CALLGRIND_TOGGLE_COLLECT;
    call.run(1, results);
    CALLGRIND_TOGGLE_COLLECT;
    CALLGRIND_DUMP_STATS_AT(name.c_str());
    std::printf("%s\t%lld\n", name.c_str(), static_cast<long long>(call.elements));
}

}  // namespace

void count() {
    std::printf("%s\n%s\n", SPUPROJ_COMPILER, cpu::active_level().c_str());
    for (const Call& call : tap_calls(problem_of(1, kFloat32), 1)) count(call, call.name);
    // One plane, few and many use different kernels.
    for (const int64_t planes : {1, 4, 16})
        for (const Call& call : plane_calls(problem_of(planes, kFloat32), 1))
            count(call, call.name + " float32 x " + std::to_string(planes));
    for (const Call& call : plane_calls(problem_of(16, kBFloat16), 1)) count(call, call.name + " bfloat16 x 16");
}

}  // namespace spuproj::driver
