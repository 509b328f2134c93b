// Loads windows, the parts of views that the taps of one tile read, as blocks.
#pragma once

#include "cpu/blocks.hpp"
#include "cpu/runtime/parallel.hpp"

namespace spuproj::cpu {

inline int64_t tiles_across(const Tiles& tiles) { return ceiling(tiles.width, kTileColumns); }
inline int64_t tiles_down(const Tiles& tiles) { return ceiling(tiles.height, kTileRows); }
inline int64_t tiles_per_view(const Tiles& tiles) { return tiles_down(tiles) * tiles_across(tiles); }

inline int64_t pixels_of(const Window& window) { return int64_t(window.rows) * window.columns; }

// The largest number of pixels that the windows of one tile have over all views of a sample.
inline int64_t most_pixels(const Tiles& tiles, int64_t samples, int64_t views) {
    const int64_t per_view = tiles_per_view(tiles);
    int64_t most = 0;
    for (int64_t first = 0; first < samples * views * per_view; first += views * per_view) {
        for (int64_t tile = first; tile < first + per_view; ++tile) {
            int64_t pixels = 0;
            for (int64_t n = 0; n < views; ++n) pixels += pixels_of(tiles.window[tile + n * per_view]);
            most = std::max(most, pixels);
        }
    }
    return most;
}

// Calls body(row, first, count) for each row of the tile: its number in the tile, and its pixels in the slice.
template <class Body>
void for_each_tile_row(const Tiles& tiles, int64_t top, int64_t left, const Body& body) {
    const int64_t rows = std::min(kTileRows, tiles.height - top * kTileRows);
    const int64_t columns = std::min(kTileColumns, tiles.width - left * kTileColumns);
    for (int64_t row = 0; row < rows; ++row)
        body(row, (top * kTileRows + row) * tiles.width + left * kTileColumns, columns);
}

// The first `count` taps of one row of a tile; `tile` counts the tiles of all views.
template <class A>
TapRun<A> tile_run(const Tiles& tiles, int64_t tile, int64_t row, int64_t count) {
    const int64_t first = tile * kTilePixels + row * kTileColumns;
    return run_of<A>(tiles, first, first / kTapLine, count, tiles.window[tile].columns);
}

// Prefetches one row of a window, of a tile's taps or of weights. These rows are too short for the hardware prefetcher
// to detect that they are read in order.
template <class T>
SPUPROJ_PREFETCH prefetch_row(const T* row, int64_t count) {
    for (int64_t p = 0; p < count; p += 64 / static_cast<int64_t>(sizeof(T))) __builtin_prefetch(row + p);
}

// Interleaves the window's pixels of the planes into a block.
template <class E, class A = Arithmetic<E>>
void load_window(const LaneKernels<A>& kernels, const PlaneSet<const E>& set, const Window& window,
                 int64_t source_width, A* block) {
    for (int64_t row = 0; row < window.rows; ++row) {
        const int64_t first = window.first + row * source_width;
        for (int64_t l = 0; l < set.planes && row + 1 < window.rows; ++l)
            prefetch_row(set.base + set.offset[l] + first + source_width, window.columns);
        load_block<E>(kernels, set, first, first + window.columns, block + row * window.columns * kernels.lanes);
    }
}

}  // namespace spuproj::cpu
