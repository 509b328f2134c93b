#include "cuda/launch.hpp"

namespace spuproj::cuda {
namespace {

// An item is a point, a chunk one view.
template <class A>
struct BuildTaps {
    const ViewGeometry* geometry;
    Sampling sampling;
    int64_t width;
    Taps taps;

    SPUPROJ_HD void operator()(int64_t item, int64_t chunk) const {
        const Tap tap = tap_at(geometry[chunk], sampling, item / width, item % width);
        store_tap<A>(tap, taps.source_width, taps, chunk * taps.pixels + item);
    }
};

}  // namespace

void build_taps(const Queue& queue, const ViewGeometry* geometry, int64_t count, const Sampling& sampling,
                int64_t height, int64_t width, bool double_precision, const Taps& taps) {
    if (double_precision)
        launch(queue, BuildTaps<double>{geometry, sampling, width, taps}, height * width, count);
    else
        launch(queue, BuildTaps<float>{geometry, sampling, width, taps}, height * width, count);
}

}  // namespace spuproj::cuda
