// The kernel table of one SIMD level; compiled once per level, for which SPUPROJ_KERNELS names the function. This file
// and its includes have internal linkage only and instantiate no standard templates: the linker keeps one copy of such
// a function for all levels, perhaps that for the newest processor.
#include "cpu/kernels/copy.hpp"
#include "cpu/kernels/gather_adjoint.hpp"
#include "cpu/kernels/gather_four.hpp"
#include "cpu/kernels/reduce.hpp"
#include "cpu/kernels/rows.hpp"

namespace spuproj::cpu {
namespace {

template <class A, int L>
constexpr LaneKernels<A> lane_kernels() {
    LaneKernels<A> kernels = {L,
                              interleave<A, L>,
                              deinterleave<A, L>,
                              gather<A, L>,
                              gather_block<A, L>,
                              reduce<A, L, int32_t>,
                              reduce<A, L, A>,
                              gather_adjoint<A, L>};
#if defined(__AVX__)
    if constexpr (std::is_same_v<A, float> && L == 4) {
        kernels.gather = gather_four_rows;
        kernels.gather_block = gather_four_plane_block;
    }
#endif
    return kernels;
}

template <class A>
constexpr ArithmeticKernels<A> arithmetic_kernels() {
    return {{1, interleave<A, 1>, deinterleave<A, 1>, gather_single<A>, nullptr, reduce_single<A, int32_t>,
             reduce_single<A, A>, gather_adjoint<A, 1>},
            lane_kernels<A, 4>(),
            lane_kernels<A, kMaxLanes>(),
            slopes<A, int32_t>,
            slopes<A, A>,
            {write<A, float>, write<A, double>, write<A, Float16>, write<A, BFloat16>},
            {write_pixels<A, float>, write_pixels<A, double>, write_pixels<A, Float16>, write_pixels<A, BFloat16>}};
}

constexpr KernelTable kTable = {arithmetic_kernels<float>(),
                                arithmetic_kernels<double>(),
                                load_row<Float16>,
                                load_row<BFloat16>,
                                {copy<uint8_t>, copy<uint16_t>, copy<uint32_t>, copy<uint64_t>},
                                write_bytes,
                                end_streaming};

}  // namespace

const KernelTable& SPUPROJ_KERNELS() { return kTable; }

}  // namespace spuproj::cpu
