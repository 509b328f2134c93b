#include "cuda/launch.hpp"

namespace spuproj::cuda {
namespace {

// A thread computes the tap of one point; a chunk is a view.
template <class A>
struct BuildTaps {
    static constexpr const char* kName = "build_taps";
    static constexpr Tile kTile = {8, 16};
    static constexpr unsigned kResidentThreads = 512;

    using Table = NoTable;

    const ViewGeometry* geometry;
    Sampling sampling;
    Taps taps;

    SPUPROJ_HD void operator()(const Place& place, const Table&) const {
        const Tap tap = tap_at(geometry[place.chunk], sampling, place.row, place.column);
        store_tap<A>(tap, taps.source_width, taps, place.chunk * taps.pixels + place.pixel);
    }
};

}  // namespace

void build_taps(void* stream, const ViewGeometry* geometry, int64_t count, const Sampling& sampling, const Taps& taps) {
    const Raster raster{taps.pixels, taps.width, 1, count};
    if (sampling.double_precision)
        launch(stream, BuildTaps<double>{geometry, sampling, taps}, raster);
    else
        launch(stream, BuildTaps<float>{geometry, sampling, taps}, raster);
}

}  // namespace spuproj::cuda
