// The CUDA library: plain C++, no Python, no torch. Pointers are device memory; sizes and strides count elements.
// Work is queued and not waited for. Every function throws std::runtime_error where a launch fails.
#pragma once

#include "spuproj/element.hpp"
#include "spuproj/planes.hpp"
#include "spuproj/sampling.hpp"

namespace spuproj::cuda {

// Where work is queued: a device's number and one of its streams.
struct Queue {
    int device;
    void* stream;
};

// The transpose of taps, view by view: entries start[q] to start[q + 1] of a view are the pixels that read source pixel
// q, in ascending order, and their weights in the arithmetic type.
struct Transpose {
    const int32_t* start;   // [views, source_pixels + 1]
    const int32_t* pixel;   // [views, entries]
    const void* weight;     // likewise
    int64_t entries;        // places for one view's entries
    int64_t source_pixels;  // of the raster that is read
    int64_t sample_views;   // from one sample's first view to the next one's; 0 when the batch shares them
};

// Taps for every pixel of `count` views' rasters (height x width). A view whose lift or chart is no profile's code has
// no point with a source: a kernel cannot throw.
void build_taps(const Queue& queue, const ViewGeometry* geometry, int64_t count, const Sampling& sampling,
                int64_t height, int64_t width, bool double_precision, const Taps& taps);

// destination[b, n, c] = T[b, n] source[b, n, c]; a source view stride of zero lets every view read the same planes.
// Points without a source get `fill`.
void gather(const Queue& queue, int dtype, int destination_dtype, const Shape& shape, const Taps& taps,
            const Planes& source, const Planes& destination, double fill);

// The same with whole elements of 1, 2, 4 or 8 bytes taken as they are (nearest taps).
void copy(const Queue& queue, int64_t element_size, const Shape& shape, const Taps& taps, const Planes& source,
          const Planes& destination, uint64_t fill_bits);

// mean, variance, count: contiguous [B, C] planes of T[b, n] source[b, n, c] over the valid n; zero where none is.
void reduce(const Queue& queue, int dtype, const Shape& shape, const Taps& taps, const Planes& source, void* mean,
            void* variance, int32_t* count);

// The gradient of reduce with respect to T[b, n] source[b, n, c]: contiguous [B, N, C] planes of the arithmetic type.
// grad_mean, grad_variance, mean and count are contiguous [B, C] planes.
void slopes(const Queue& queue, int dtype, const Shape& shape, const Taps& taps, const Planes& source,
            const void* grad_mean, const void* grad_variance, const void* mean, const int32_t* count, void* slopes);

// destination[b, n, c] = T[b, n]^T source[b, n, c]; with sum_views, destination[b, c] is their sum over n.
void gather_adjoint(const Queue& queue, int dtype, const Shape& shape, const Transpose& transpose, const Planes& source,
                    const Planes& destination, bool sum_views);

// The same with atomic additions to planes of the arithmetic type, whose order is left open.
void gather_adjoint_atomic(const Queue& queue, int dtype, const Shape& shape, const Taps& taps, const Planes& source,
                           const Planes& destination);

}  // namespace spuproj::cuda
