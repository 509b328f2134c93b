// The CPU library: plain C++, no Python, no torch. Pointers are host memory; sizes and strides count elements.
#pragma once

#include "spuproj/element.hpp"
#include "spuproj/interpolation.hpp"

namespace spuproj::cpu {

// Taps of B x N or of N views: [views, pixels] each, fractions in the arithmetic type of the tensors they serve.
struct Taps {
    int32_t* index;
    void* fraction_y;
    void* fraction_x;
    int64_t pixels;         // of the raster that reads
    int64_t source_pixels;  // of the raster that is read
    int64_t source_width;
    int64_t sample_stride;  // from one sample's first view to the next one's, in pixels; 0 when the batch shares them
};

// B x N x C planes; each plane is contiguous, the axes above it have any stride.
struct Planes {
    void* data;
    int64_t batch_stride, view_stride, channel_stride;
};

struct Shape {
    int64_t batch, views, channels;
};

// Taps for every pixel of `count` views' rasters (height x width).
void build_taps(const ViewGeometry* geometry, int64_t count, const Sampling& sampling, int64_t height, int64_t width,
                bool double_precision, const Taps& taps, int64_t threads);

// Coordinates of every pixel, NaN where they are invalid; source is where the pixels come from.
void coordinates(const ViewGeometry* geometry, int64_t count, const Sampling& sampling, int64_t height, int64_t width,
                 double* y, double* x, int64_t threads);

// destination[b, n, c] = T[b, n] source[b, n, c]
void gather(int dtype, const Shape& shape, const Taps& taps, const Planes& source, const Planes& destination,
            int64_t threads);

// The same with whole elements of 1, 2, 4 or 8 bytes taken as they are (nearest taps).
void copy(int64_t element_size, const Shape& shape, const Taps& taps, const Planes& source, const Planes& destination,
          int64_t threads);

// destination[b, n, c] = T[b, n]^T source[b, n, c]; with sum_views, destination[b, c] is their sum over n.
void scatter(int dtype, const Shape& shape, const Taps& taps, const Planes& source, const Planes& destination,
             bool sum_views, int64_t threads);

// mean, variance, count [B, C] planes of T[b, n] source[b, n, c] over the valid n.
void reduce(int dtype, const Shape& shape, const Taps& taps, const Planes& source, void* mean, void* variance,
            int32_t* count, int64_t threads);

// Gradient of reduce with respect to its source, [B, N, C] planes; all tensors but source are contiguous.
void reduce_backward(int dtype, const Shape& shape, const Taps& taps, const Planes& source, const void* grad_mean,
                     const void* grad_variance, const void* mean, const int32_t* count, void* grad_source,
                     int64_t threads);

}  // namespace spuproj::cpu
