// Blocks of the parts of views that the taps of one tile read.
#pragma once

#include "cpu/blocks.hpp"
#include "cpu/parallel.hpp"

namespace spuproj::cpu {

inline int64_t tiles_across(const Tiles& tiles) { return ceiling(tiles.width, kTileColumns); }
inline int64_t tiles_down(const Tiles& tiles) { return ceiling(tiles.height, kTileRows); }
inline int64_t tiles_per_view(const Tiles& tiles) { return tiles_down(tiles) * tiles_across(tiles); }

inline int64_t pixels_of(const Window& window) { return int64_t(window.rows) * window.columns; }

// The first `count` taps of one row of a tile; `tile` counts from the first view's first one.
template <class A>
TapRun<A> run_of(const Tiles& tiles, int64_t tile, int64_t row, int64_t count) {
    const int64_t first = tile * kTilePixels + row * kTileColumns;
    return {tiles.index + first, static_cast<const A*>(tiles.fraction_y) + first,
            static_cast<const A*>(tiles.fraction_x) + first, count, tiles.window[tile].columns};
}

// The window's pixels of every plane as a block.
template <class E, class A = typename Arithmetic<E>::type>
void load_window(const LaneKernels<A>& kernels, const PlaneSet<const E>& set, const Window& window,
                 int64_t source_width, A* block) {
    for (int64_t row = 0; row < window.rows; ++row) {
        const int64_t first = window.first + row * source_width;
        load_block<E>(kernels, set, first, first + window.columns, block + row * window.columns * kernels.lanes);
    }
}

}  // namespace spuproj::cpu
