// Splits tensors for the kernels: by element type, into blocks of planes with the same taps, and into runs of pixels.
#pragma once

#include <algorithm>
#include <type_traits>

#include "cpu/chunks.hpp"
#include "cpu/runtime/simd.hpp"
#include "spuproj/cpu.hpp"

namespace spuproj::cpu {

inline int64_t element_size(int dtype) {
    return with_element(dtype, [](auto element) { return static_cast<int64_t>(sizeof(element)); });
}

inline const ArithmeticKernels<float>& arithmetic_kernels(float) { return active_kernels().single_precision; }
inline const ArithmeticKernels<double>& arithmetic_kernels(double) { return active_kernels().double_precision; }

inline Load<Float16> load_kernel(Float16) { return active_kernels().load_float16; }
inline Load<BFloat16> load_kernel(BFloat16) { return active_kernels().load_bfloat16; }

// How many planes use the same taps.
inline int64_t sharing_planes(const Shape& shape, int64_t sample_stride) {
    return sample_stride == 0 ? shape.batch * shape.channels : shape.channels;
}

// Each view's weights from pixel `first` on, for the planes of one sample; null pointers without weights.
template <class A>
const A* weights_of(const Planes& weights, int64_t sample, int64_t n, int64_t first) {
    if (weights.data == nullptr) return nullptr;
    return static_cast<const A*>(weights.data) + sample * weights.batch_stride + n * weights.view_stride + first;
}

// For blocks of whole planes: blocks of 16 leave the caches before their pixels are read again.
template <class A>
const LaneKernels<A>& plane_kernels(int64_t planes) {
    const ArithmeticKernels<A>& kernels = arithmetic_kernels(A());
    return planes >= 2 ? kernels.narrow : kernels.single;
}

// For smaller blocks: the kernels that leave the fewest lanes unused with this many planes.
template <class A>
const LaneKernels<A>& lane_kernels(int64_t planes) {
    return planes >= 8 ? arithmetic_kernels(A()).wide : plane_kernels<A>(planes);
}

// Up to kMaxLanes planes of one tensor; `offset` holds their distances from `base`, in elements.
template <class E>
struct PlaneSet {
    E* base;
    const int64_t* offset;
    int64_t planes;
};

// Offsets of a chunk's planes in view n of a tensor; returns their number.
inline int64_t offsets_of(const Chunks& chunks, int64_t chunk, int64_t n, const Planes& tensor, int64_t* offset) {
    ChunkPlanes planes(chunks, chunk);
    for (int l = 0; l < planes.count(); ++l, planes.advance())
        offset[l] = planes.offset(tensor) + n * tensor.view_stride;
    return planes.count();
}

// Calls body(first, count) for every run of at most `length` pixels in [first, last).
template <class Body>
void for_each_run(int64_t first, int64_t last, int64_t length, const Body& body) {
    for (; first < last; first += length) body(first, std::min(length, last - first));
}
template <class Body>
void for_each_run(int64_t first, int64_t last, const Body& body) {
    for_each_run(first, last, kRun, body);
}

// Consecutive taps of FlatTaps or Tiles, the first of which begins a line; `width` is the row length of what they read.
template <class A, class T>
TapRun<A> run_of(const T& taps, int64_t first, int64_t line, int64_t count, int64_t width) {
    return {taps.index + first,
            static_cast<const A*>(taps.fraction_y) + first,
            static_cast<const A*>(taps.fraction_x) + first,
            taps.has_source + line,
            count,
            width};
}

// The number of a sample's view n among all views that have taps.
inline int64_t view_of(const Taps& taps, int64_t sample, int64_t n) {
    return sample * (taps.sample_stride / taps.pixels) + n;
}

// Taps of one view; `first` begins a line.
template <class A>
TapRun<A> view_run(const FlatTaps& taps, int64_t view, int64_t first, int64_t count) {
    const int64_t line = view * ceiling(taps.pixels, kTapLine) + first / kTapLine;
    return run_of<A>(taps, view * taps.pixels + first, line, count, taps.source_width);
}

template <class A>
bool any_source(const TapRun<A>& taps) {
    const bool* const end = taps.has_source + ceiling(taps.count, kTapLine);
    return std::find(taps.has_source, end, true) != end;
}

// Pixels [first, first + count) of the planes in the arithmetic type: in place if the planes have that type, else
// converted to `loaded`. Lanes beyond the last plane repeat it.
template <class E, class A = Arithmetic<E>>
void load_rows(const PlaneSet<const E>& set, int64_t lanes, int64_t first, int64_t count, A* loaded, const A** rows) {
    for (int64_t l = 0; l < lanes; ++l) {
        if (l >= set.planes) {
            rows[l] = rows[l - 1];
        } else if constexpr (std::is_same_v<E, A>) {
            rows[l] = set.base + set.offset[l] + first;
        } else {
            load_kernel(E())(set.base + set.offset[l] + first, count, loaded + l * kRun);
            rows[l] = loaded + l * kRun;
        }
    }
}

// Interleaves pixels [first, last) of the planes into a block.
template <class E, class A = Arithmetic<E>>
void load_block(const LaneKernels<A>& kernels, const PlaneSet<const E>& set, int64_t first, int64_t last, A* block) {
    // Each run has a fixed cost: planes that need no conversion are interleaved in one run.
    for_each_run(first, last, std::is_same_v<E, A> ? last - first : kRun, [&](int64_t start, int64_t count) {
        A loaded[kMaxLanes * kRun];
        const A* rows[kMaxLanes];
        load_rows<E>(set, kernels.lanes, start, count, loaded, rows);
        kernels.interleave(rows, count, block + (start - first) * kernels.lanes);
    });
}

}  // namespace spuproj::cpu
