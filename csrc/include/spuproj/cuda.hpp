// The CUDA library: plain C++, no Python, no torch. Pointers are device memory; sizes and strides count elements.
// Functions queue work on a stream (a cudaStream_t) of the current device without waiting for it, and throw
// std::runtime_error if a launch fails.
// T[b, n] is the matrix of the weights with which view n of sample b samples.
#pragma once

#include <string>

#include "spuproj/element.hpp"
#include "spuproj/planes.hpp"
#include "spuproj/sampling.hpp"

namespace spuproj::cuda {

// Transposed taps of each view: entries start[q] to start[q + 1] are the points that read source pixel q, in ascending
// order, and their weights in the arithmetic type.
struct Transpose {
    const int32_t* start;   // [views, source_pixels + 1]
    const int32_t* pixel;   // [views, entries]
    const void* weight;     // likewise
    int64_t entries;        // allocated for each view
    int64_t source_pixels;  // of one source plane
    int64_t source_width;
    int64_t sample_views;  // views from one sample to the next; 0 if all samples share their views
};

// Why the kernels cannot run on the current device; empty if they can.
std::string problem();

// Taps of all points of `count` views. As a kernel cannot throw, an unknown profile code gives taps
// without a source.
void build_taps(void* stream, const ViewGeometry* geometry, int64_t count, const Sampling& sampling, const Taps& taps);

// destination[b, n, c] = T[b, n] source[b, n, c]; with a source view stride of zero all views read the same planes.
// Points without a source get `fill`.
void gather(void* stream, int dtype, int destination_dtype, const Shape& shape, const Taps& taps, const Planes& source,
            const Planes& destination, double fill);

// Planes that gather_interleaved lays side by side: 16 bytes.
constexpr int kSide = 8;

// The same from and to elements of 16 bits, for taps that all samples share and planes that all views share; scratch
// has space for all planes of the source, rounded up to a multiple of kSide.
void gather_interleaved(void* stream, int dtype, const Shape& shape, const Taps& taps, const Planes& source,
                        const Planes& destination, double fill, void* scratch);

// The same with nearest interpolation: copies elements of 1, 2, 4 or 8 bytes without converting them.
void copy(void* stream, int64_t element_size, const Shape& shape, const Taps& taps, const Planes& source,
          const Planes& destination, uint64_t fill_bits);

// As spuproj::cpu::reduce, but weights are not checked; all results are contiguous.
void reduce(void* stream, int dtype, const Shape& shape, const Taps& taps, const Planes& source, const Planes& weights,
            const Planes& mean, const Planes& variance, const Planes& count);

// The gradient of reduce with respect to T[b, n] source[b, n, c]: contiguous [B, N, C] planes of the arithmetic type.
// grad_mean, grad_variance, mean and count are contiguous [B, C] planes.
void slopes(void* stream, int dtype, const Shape& shape, const Taps& taps, const Planes& source, const Planes& weights,
            const Planes& grad_mean, const Planes& grad_variance, const Planes& mean, const Planes& count,
            const Planes& slopes);

// destination[b, n, c] = T[b, n]^T source[b, n, c]; with sum_views, destination[b, c] is their sum over n.
void gather_adjoint(void* stream, int dtype, const Shape& shape, const Transpose& transpose, const Planes& source,
                    const Planes& destination, bool sum_views);

// The same by atomic additions, in varying order, to planes of the arithmetic type.
void gather_adjoint_atomic(void* stream, int dtype, const Shape& shape, const Taps& taps, const Planes& source,
                           const Planes& destination);

}  // namespace spuproj::cuda
