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

// Taps view by view.
struct FlatTaps : Taps {
    bool* has_source;  // [views, lines of a view]: whether any tap of a line has a source
};

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
    bool* has_source;       // [views, tiles, kTilePixels / kTapLine], as in FlatTaps
};

// The next two throw std::invalid_argument for an unknown profile code in lift or chart.

// Taps of all points of `count` views.
void build_taps(int64_t threads, const ViewGeometry* geometry, int64_t count, const Sampling& sampling,
                const FlatTaps& taps);

// The same taps in tiles, and the tiles' windows.
void build_tiles(int64_t threads, const ViewGeometry* geometry, int64_t count, const Sampling& sampling,
                 const Tiles& tiles);

// destination[b, n, c] = T[b, n] source[b, c]; points without a source get `fill`.
void project(int64_t threads, int dtype, int destination_dtype, const Shape& shape, const FlatTaps& taps,
             const Planes& source, const Planes& destination, double fill);

// destination[b, n, c] = T[b, n] source[b, n, c]; points without a source get zero.
void unproject(int64_t threads, int dtype, const Shape& shape, const Tiles& tiles, const Planes& source,
               const Planes& destination);

// Either of the two with nearest interpolation: copies elements of 1, 2, 4 or 8 bytes without converting them.
void copy(int64_t threads, int64_t element_size, const Shape& shape, const FlatTaps& taps, const Planes& source,
          const Planes& destination, uint64_t fill_bits);

// destination[b, n, c] = T[b, n]^T source[b, n, c]; with sum_views, destination[b, c] is their sum over n.
void gather_adjoint(int64_t threads, int dtype, bool sum_views, const Shape& shape, const FlatTaps& taps,
                    const Planes& source, const Planes& destination);

// Mean, variance and count (int32) of T[b, n] source[b, n, c] over the views n that show a pixel; zero if none does.
// The results are contiguous [B, C] planes. With weights, [B, N] contiguous planes of the arithmetic type, moments are
// weighted, and count is the sum of the weights, of that type; throws std::invalid_argument for a weight that is
// negative or not finite.
void reduce(int64_t threads, int dtype, const Shape& shape, const Tiles& tiles, const Planes& source,
            const Planes& weights, const Planes& mean, const Planes& variance, const Planes& count);

// Gradient of reduce with respect to its source; all tensors but source are contiguous.
void reduce_backward(int64_t threads, int dtype, const Shape& shape, const FlatTaps& taps, const Planes& grad_mean,
                     const Planes& grad_variance, const Planes& source, const Planes& mean, const Planes& count,
                     const Planes& weights, const Planes& grad_source);

}  // namespace spuproj::cpu
