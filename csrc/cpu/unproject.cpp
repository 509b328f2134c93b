#include "cpu/windows.hpp"
#include "cpu/writer.hpp"

namespace spuproj::cpu {

void unproject(int dtype, const Shape& shape, const Tiles& tiles, const Planes& source, const Planes& destination,
               int64_t threads) {
    with_element(dtype, [&](auto element) {
        using E = decltype(element);
        using A = typename Arithmetic<E>::type;
        const LaneKernels<A>& kernels = lane_kernels<A>(sharing_planes(shape, tiles.sample_stride));
        const Blocks blocks(shape, tiles.sample_stride, kernels.lanes);
        const Output output = {dtype, destination,
                               exceeds_cache(shape.batch * shape.views * shape.channels * tiles.height * tiles.width *
                                             element_size(dtype))};
        const int64_t down = tiles_down(tiles), across = tiles_across(tiles);
        const int64_t most = most_pixels(tiles, (tiles.sample_stride == 0 ? 1 : shape.batch) * shape.views, 1);
        parallel_for(blocks.count() * shape.views * down, threads, [&](int64_t unit, Scratch& scratch) {
            const int64_t top = unit % down, n = unit / down % shape.views, block = unit / down / shape.views;
            int64_t from[kMaxLanes], to[kMaxLanes];
            const int64_t planes = blocks.offsets(block, source, from);
            blocks.offsets(block, destination, to);
            for (int64_t l = 0; l < planes; ++l) to[l] += n * destination.view_stride;
            const E* view = static_cast<const E*>(source.data) + n * source.view_stride;
            const int64_t first_tile =
                blocks.sample(block) * tiles.sample_stride + n * tiles_per_view(tiles) + top * across;
            Writer<A> writer(kernels, output, to, planes);
            A* pixels = scratch.get<A>(most * kernels.lanes);
            for (int64_t left = 0; left < across; ++left) {
                const Window& window = tiles.window[first_tile + left];
                load_window<E>(kernels, {view, from, planes}, window, tiles.source_width, pixels);
                const int64_t count = std::min(kTileColumns, tiles.width - left * kTileColumns);
                for (int64_t row = 0; row < std::min(kTileRows, tiles.height - top * kTileRows); ++row) {
                    const TapRun<A> run = run_of<A>(tiles, first_tile + left, row, count);
                    const int64_t first = (top * kTileRows + row) * tiles.width + left * kTileColumns;
                    writer.gather(run, pixels, first);
                }
            }
        });
    });
}

}  // namespace spuproj::cpu
