#include "cpu/bands.hpp"

namespace spuproj::cpu {

void scatter(int dtype, const Shape& shape, const Taps& taps, const Planes& source, const Planes& destination,
             bool sum_views, int64_t threads) {
    const int64_t targets = sum_views ? 1 : shape.views, terms = sum_views ? shape.views : 1;
    with_element(dtype, [&](auto element) {
        using E = decltype(element);
        using A = typename Arithmetic<E>::type;
        const LaneKernels<A>& kernels = lane_kernels<A>(sharing_planes(shape, taps.sample_stride));
        const Blocks blocks(shape, taps.sample_stride, kernels.lanes);
        const Bands bands(taps, blocks.count() * targets, threads);
        parallel_for(blocks.count() * targets * bands.count(), threads, [&](int64_t unit, Scratch& scratch) {
            const Band band = bands.at(unit % bands.count());
            const int64_t target = unit / bands.count() % targets, block = unit / bands.count() / targets;
            int64_t from[kMaxLanes], to[kMaxLanes];
            const int64_t planes = blocks.offsets(block, source, from);
            blocks.offsets(block, destination, to);
            A* accumulator = scratch.get<A>(pixels_of(band) * kernels.lanes);
            std::fill_n(accumulator, pixels_of(band) * kernels.lanes, A(0));
            for (int64_t n = target; n < target + terms; ++n) {
                const E* view = static_cast<const E*>(source.data) + n * source.view_stride;
                const int64_t tap = blocks.sample(block) * taps.sample_stride + n * taps.pixels;
                for_each_run(0, taps.pixels, [&](int64_t first, int64_t count) {
                    A loaded[kMaxLanes * kRun];
                    const A* rows[kMaxLanes];
                    load_rows<E>({view, from, planes}, kernels.lanes, first, count, loaded, rows);
                    kernels.scatter(run_of<A>(taps, tap + first, count), rows, band, accumulator);
                });
            }
            E* image = static_cast<E*>(destination.data) + target * destination.view_stride;
            store_band<E>(kernels, accumulator, band, dtype, {image, to, planes});
        });
    });
}

}  // namespace spuproj::cpu
