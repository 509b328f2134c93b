// The CPU library: plain C++, no Python, no torch. Pointers are host memory; sizes and strides count elements.
// Pixels of source planes are contiguous. T[b, n] is the matrix of the weights with which view n of sample b samples.
#pragma once

#include "spuproj/element.hpp"
#include "spuproj/planes.hpp"
#include "spuproj/sampling.hpp"

namespace spuproj::cpu {

// unproject and reduce cut the slice into tiles; taps of a tile beyond the slice's edge have no source.
constexpr int64_t kTileRows = 16, kTileColumns = 64;
constexpr int64_t kTilePixels = kTileRows * kTileColumns;

// The rectangle of source pixels that a tile's taps read; `first` is the index of its upper left pixel.
struct Window {
    int32_t first, rows, columns;
};

// Taps by tile, [views, tiles, kTilePixels] each; an index is relative to the tile's window.
struct Tiles {
    int32_t* index;
    void* fraction_y;
    void* fraction_x;
    Window* window;         // [views, tiles]
    int64_t height, width;  // of the slice
    int64_t source_width;
    int64_t sample_stride;  // as in Taps, but counts tiles
};

// The next two throw std::invalid_argument for an unknown profile code in lift or chart.

// Taps of all height x width points of `count` views.
void build_taps(const ViewGeometry* geometry, int64_t count, const Sampling& sampling, int64_t height, int64_t width,
                bool double_precision, const Taps& taps, int64_t threads);

// The same taps in tiles, and the tiles' windows.
void build_tiles(const ViewGeometry* geometry, int64_t count, const Sampling& sampling, bool double_precision,
                 const Tiles& tiles, int64_t threads);

// destination[b, n, c] = T[b, n] source[b, c]; points without a source get `fill`.
void project(int dtype, int destination_dtype, const Shape& shape, const Taps& taps, const Planes& source,
             const Planes& destination, double fill, int64_t threads);

// destination[b, n, c] = T[b, n] source[b, n, c]; points without a source get zero.
void unproject(int dtype, const Shape& shape, const Tiles& tiles, const Planes& source, const Planes& destination,
               int64_t threads);

// Either of the two with nearest interpolation: copies elements of 1, 2, 4 or 8 bytes without converting them.
void copy(int64_t element_size, const Shape& shape, const Taps& taps, const Planes& source, const Planes& destination,
          uint64_t fill_bits, int64_t threads);

// destination[b, n, c] = T[b, n]^T source[b, n, c]; with sum_views, destination[b, c] is their sum over n.
void gather_adjoint(int dtype, bool sum_views, const Shape& shape, const Taps& taps, const Planes& source,
                    const Planes& destination, int64_t threads);

// Mean, variance and count of T[b, n] source[b, n, c] over the views n that show a pixel, [B, C] planes; zero if none.
void reduce(int dtype, const Shape& shape, const Tiles& tiles, const Planes& source, void* mean, void* variance,
            int32_t* count, int64_t threads);

// Gradient of reduce with respect to its source, [B, N, C] planes; all tensors but source are contiguous.
void reduce_backward(int dtype, const Shape& shape, const Taps& taps, const Planes& source, const void* grad_mean,
                     const void* grad_variance, const void* mean, const int32_t* count, void* grad_source,
                     int64_t threads);

}  // namespace spuproj::cpu
