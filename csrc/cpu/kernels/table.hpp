// The kernels of one SIMD level; cpu/kernels/level.cpp is compiled once for each. They work on runs of taps and on L
// planes at once: in blocks the planes are interleaved (block[p * L + l] is pixel p of plane l), so that each pixel
// that a tap reads is one contiguous load for all of them; in rows each plane is separate (rows[l][p]).
#pragma once

#include "spuproj/element.hpp"
#include "spuproj/taps.hpp"

namespace spuproj::cpu {

// The most taps that kernels take at once, unless they say otherwise.
constexpr int64_t kRun = 64;
constexpr int64_t kMaxLanes = 16;

// Consecutive taps, as FlatTaps or Tiles store them; `width` is the row length of the block that they read.
template <class A>
struct TapRun {
    const int32_t* index;
    const A* fraction_y;
    const A* fraction_x;
    const bool* has_source;  // for each line of kTapLine taps
    int64_t count;
    int64_t width;
};

// A range of source pixels; its accumulator is a block of these pixels alone.
struct Band {
    int64_t first, last;
};

// Returns false if a weight is negative or not finite.
template <class A, class Count>
using Reduce = bool (*)(const TapRun<A>* taps, const A* const* blocks, const A* const* weights, int64_t views,
                        A* const* mean, A* const* variance, Count* count);

// Replaces a view's values by the gradients of mean and variance with respect to them.
template <class A, class Count>
using Slopes = void (*)(const A* grad_mean, const A* grad_variance, const A* mean, const A* weights, const Count* count,
                        int64_t pixels, A* value);

template <class A>
struct LaneKernels {
    int64_t lanes;
    // converts rows of any length to a block
    void (*interleave)(const A* const* rows, int64_t count, A* block);
    // converts a block to rows
    void (*deinterleave)(const A* block, int64_t count, A* const* rows);
    // writes the blends of any number of taps to rows, `fill` for points without a source; if `stream`, with streaming
    // stores where the rows begin with a cache line
    void (*gather)(const TapRun<A>& taps, const A* block, A fill, A* const* rows, bool stream);
    // the same to a block; null for a single plane, whose block is a row
    void (*gather_block)(const TapRun<A>& taps, const A* block, A fill, A* blends, bool stream);
    // mean and population variance, as rows, and count over the views; taps[n] read blocks[n]
    Reduce<A, int32_t> reduce;
    // the same with the weights of each view as a row; count is their sum
    Reduce<A, A> reduce_weighted;
    // the adjoint of gather: adds rows[l][p], weighted, to the pixels of the band that tap p reads
    void (*gather_adjoint)(const TapRun<A>& taps, const A* const* rows, const Band& band, A* accumulator);
};

template <class A>
struct ArithmeticKernels {
    LaneKernels<A> single, narrow, wide;
    Slopes<A, int32_t> slopes;
    Slopes<A, A> slopes_weighted;
    // converts a row to contiguous elements, with streaming stores if `stream`
    void (*write[kDTypes])(const A* row, int64_t count, bool stream, void* to);
    // converts rows, kRun apart, to pixels whose planes are adjacent
    void (*write_pixels[kDTypes])(const A* rows, int64_t planes, int64_t count, int64_t pixel_stride, void* to);
};

// Converts elements to a row.
template <class E>
using Load = void (*)(const E* from, int64_t count, Arithmetic<E>* row);

// destination[p * pixel_stride] = source[tap p], `fill` without a source; for one element size
using Copy = void (*)(const TapRun<float>& taps, const void* source, uint64_t fill, int64_t pixel_stride,
                      void* destination);

struct KernelTable {
    ArithmeticKernels<float> single_precision;
    ArithmeticKernels<double> double_precision;
    Load<Float16> load_float16;
    Load<BFloat16> load_bfloat16;
    Copy copy[4];  // of elements of 1, 2, 4 and 8 bytes
    // copies at most kRun elements, with streaming stores if `stream`
    void (*write_bytes)(const void* from, int64_t nbytes, bool stream, void* to);
    // makes streaming stores visible to other threads
    void (*end_streaming)();
};

const KernelTable& kernels_baseline();
const KernelTable& kernels_avx2();
const KernelTable& kernels_avx512();

}  // namespace spuproj::cpu
