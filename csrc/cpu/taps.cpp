#include <cstdio>

#include "cpu/windows.hpp"

namespace spuproj::cpu {
namespace {

void check_code(const char* column, double code) {
    if (with_profile(code, Profiles(), [](auto) {})) return;
    // Not a stream: beside another copy of the C++ library, as some builds of torch load one, streams can crash.
    char number[32];
    std::snprintf(number, sizeof(number), "%g", code);
    throw std::invalid_argument(std::string(column) + " must be a code from 0 to " +
                                std::to_string(Profiles::kCount - 1) + ", got " + number);
}

void check_profiles(const ViewGeometry* geometry, int64_t count) {
    for (int64_t i = 0; i < count; ++i) {
        check_code("lift", geometry[i].lift);
        check_code("chart", geometry[i].chart);
    }
}

// Whether each line of taps has a source.
void mark_lines(const int32_t* index, int64_t count, bool* has_source) {
    for (int64_t first = 0; first < count; first += kTapLine) {
        const int32_t* const end = index + std::min(count, first + kTapLine);
        *has_source++ = std::any_of(index + first, end, [](int32_t stored) { return stored != -1; });
    }
}

template <class A>
void build(int64_t threads, const ViewGeometry* geometry, int64_t count, const Sampling& sampling,
           const FlatTaps& taps) {
    parallel_for(count * sampling.height, threads, [&](int64_t unit, Scratch&) {
        const int64_t view = unit / sampling.height, row = unit % sampling.height;
        for (int64_t column = 0; column < sampling.width; ++column)
            store_tap<A>(tap_at(geometry[view], sampling, row, column), taps.source_width, taps,
                         unit * sampling.width + column);
    });
    parallel_for(count, threads, [&](int64_t view, Scratch&) {
        mark_lines(taps.index + view * taps.pixels, taps.pixels,
                   taps.has_source + view * ceiling(taps.pixels, kTapLine));
    });
}

// The taps of the tile whose first pixel is (top, left).
void tile_taps(const ViewGeometry& geometry, const Sampling& sampling, const Tiles& tiles, int64_t top, int64_t left,
               Tap* taps) {
    for (int64_t p = 0; p < kTilePixels; ++p) {
        const int64_t row = top + p / kTileColumns, column = left + p % kTileColumns;
        const bool outside = row >= tiles.height || column >= tiles.width;
        taps[p] = outside ? no_tap() : tap_at(geometry, sampling, row, column);
    }
}

Window window_of(const Tap* taps, int64_t source_width) {
    int64_t top = INT64_MAX, left = INT64_MAX, bottom = -1, right = -1;
    for (int64_t p = 0; p < kTilePixels; ++p) {
        if (taps[p].row < 0) continue;
        top = std::min(top, taps[p].row);
        left = std::min(left, taps[p].column);
        bottom = std::max(bottom, taps[p].row + (taps[p].fraction_y > 0.0));
        right = std::max(right, taps[p].column + (taps[p].fraction_x > 0.0));
    }
    if (bottom < 0) return {0, 0, 0};
    return {static_cast<int32_t>(top * source_width + left), static_cast<int32_t>(bottom - top + 1),
            static_cast<int32_t>(right - left + 1)};
}

template <class A>
void build_tiled(int64_t threads, const ViewGeometry* geometry, int64_t count, const Sampling& sampling,
                 const Tiles& tiles) {
    const int64_t across = tiles_across(tiles), per_view = tiles_per_view(tiles);
    parallel_for(count * per_view, threads, [&](int64_t unit, Scratch&) {
        Tap taps[kTilePixels];
        const int64_t top = unit % per_view / across * kTileRows, left = unit % across * kTileColumns;
        tile_taps(geometry[unit / per_view], sampling, tiles, top, left, taps);
        const Window window = window_of(taps, tiles.source_width);
        const int64_t row = window.first / tiles.source_width, column = window.first % tiles.source_width;
        for (int64_t p = 0; p < kTilePixels; ++p) {
            if (taps[p].row >= 0)
                taps[p] = {taps[p].row - row, taps[p].column - column, taps[p].fraction_y, taps[p].fraction_x};
            store_tap<A>(taps[p], window.columns, tiles, unit * kTilePixels + p);
        }
        tiles.window[unit] = window;
        const int64_t first = unit * kTilePixels;
        mark_lines(tiles.index + first, kTilePixels, tiles.has_source + first / kTapLine);
    });
}

}  // namespace

void build_taps(int64_t threads, const ViewGeometry* geometry, int64_t count, const Sampling& sampling,
                const FlatTaps& taps) {
    check_profiles(geometry, count);
    const auto run = sampling.double_precision ? build<double> : build<float>;
    run(threads, geometry, count, sampling, taps);
}

void build_tiles(int64_t threads, const ViewGeometry* geometry, int64_t count, const Sampling& sampling,
                 const Tiles& tiles) {
    check_profiles(geometry, count);
    const auto run = sampling.double_precision ? build_tiled<double> : build_tiled<float>;
    run(threads, geometry, count, sampling, tiles);
}

}  // namespace spuproj::cpu
