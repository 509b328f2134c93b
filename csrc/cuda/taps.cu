#include "cuda/launch.hpp"

namespace spuproj::cuda {
namespace {

// An item is a point, a chunk one view.
template <class A>
struct BuildTaps {
    const ViewGeometry* geometry;
    Sampling sampling;
    Taps taps;

    SPUPROJ_HD void operator()(int64_t item, int64_t chunk) const {
        const Tap tap = tap_at(geometry[chunk], sampling, item / sampling.width, item % sampling.width);
        store_tap<A>(tap, taps.source_width, taps, chunk * taps.pixels + item);
    }
};

}  // namespace

void build_taps(const Queue& queue, const ViewGeometry* geometry, int64_t count, const Sampling& sampling,
                const Taps& taps) {
    if (sampling.double_precision)
        launch(queue, BuildTaps<double>{geometry, sampling, taps}, taps.pixels, count);
    else
        launch(queue, BuildTaps<float>{geometry, sampling, taps}, taps.pixels, count);
}

}  // namespace spuproj::cuda
