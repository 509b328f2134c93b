// The kernels of one SIMD level; cpu/kernels.cpp is compiled once for each.
#pragma once

#include "spuproj/element.hpp"

namespace spuproj::cpu {

// Taps of a run of destination pixels; `width` is the source's row length.
template <class A>
struct TapRun {
    const int32_t* index;
    const A* fraction_y;
    const A* fraction_x;
    int64_t count;
    int32_t width;
};

// Up to `Lanes` planes of one tensor; `offset` is each one's distance from `base`, in elements.
template <class E>
struct PlaneSet {
    E* base;
    const int64_t* offset;
    int64_t planes;
};

constexpr int64_t kMaxLanes = 16;

// Kernels on L planes at once, interleaved: block[p * L + l] is pixel p of plane l, in the arithmetic type, so that
// each corner of a tap is one contiguous load for all planes.
template <class E>
struct LaneKernels {
    using A = typename Arithmetic<E>::type;
    int64_t lanes;
    void (*interleave)(const PlaneSet<const E>& source, int64_t count, A* block);
    // destination pixel p of every plane = the tap's blend of the block, zero where there is none
    void (*gather)(const TapRun<A>& taps, const A* block, const PlaneSet<E>& destination);
    // one more view: each pixel's first valid value, and sums of all values' deviations from it
    void (*accumulate)(const TapRun<A>& taps, const A* block, A* origin, A* sum, A* squares, int32_t* count);
    // what accumulate gathered, as planes of mean, population variance and count
    void (*finish)(const A* origin, const A* sum, const A* squares, const int32_t* count, int64_t pixels, int64_t first,
                   const PlaneSet<E>& means, const PlaneSet<E>& variances, const PlaneSet<int32_t>& counts);
};

template <class E>
struct Kernels {
    using A = typename Arithmetic<E>::type;
    LaneKernels<E> single, narrow, wide;
    // the transpose of gather: source[p] is added to the tap's pixels of the accumulator
    void (*scatter)(const TapRun<A>& taps, const E* source, A* accumulator);
    // one view's share of the gradient of reduce, scattered
    void (*reduce_backward)(const TapRun<A>& taps, const E* source, const E* grad_mean, const E* grad_variance,
                            const E* mean, const int32_t* count, A* accumulator);
    void (*store_plane)(const A* accumulator, int64_t count, E* destination);
};

// destination[p] = source[index[p]], zero for -1, for one element size
using Copy = void (*)(const int32_t* index, int64_t count, const void* source, void* destination);

struct KernelTable {
    Kernels<float> f32;
    Kernels<double> f64;
    Kernels<Float16> f16;
    Kernels<BFloat16> bf16;
    Copy copy8, copy16, copy32, copy64;
};

const KernelTable& kernels_baseline();
const KernelTable& kernels_avx2();
const KernelTable& kernels_avx512();

}  // namespace spuproj::cpu
