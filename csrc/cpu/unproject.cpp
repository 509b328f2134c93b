#include "cpu/gatherer.hpp"
#include "cpu/windows.hpp"

namespace spuproj::cpu {

void unproject(int64_t threads, int dtype, const Shape& shape, const Tiles& tiles, const Planes& source,
               const Planes& destination) {
    const int64_t elements = shape.batch * shape.views * shape.channels * tiles.height * tiles.width;
    const Output output = output_of(dtype, destination, elements);
    const int64_t down = tiles_down(tiles), across = tiles_across(tiles);
    const int64_t most = most_pixels(tiles, (tiles.sample_stride == 0 ? 1 : shape.batch) * shape.views, 1);
    with_element(dtype, [&](auto element) {
        using E = decltype(element);
        using A = Arithmetic<E>;
        const LaneKernels<A>& kernels = lane_kernels<A>(sharing_planes(shape, tiles.sample_stride));
        const Chunks blocks = chunks_of(shape, tiles.sample_stride, kernels.lanes);
        // A unit of work is one row of tiles of one view, for one block of planes.
        parallel_for(blocks.count() * shape.views * down, threads, [&](int64_t unit, Scratch& scratch) {
            const int64_t top = unit % down, n = unit / down % shape.views, block = unit / down / shape.views;
            int64_t from[kMaxLanes], to[kMaxLanes];
            const int64_t planes = offsets_of(blocks, block, n, source, from);
            offsets_of(blocks, block, n, output.planes, to);
            Gatherer<A> gatherer(kernels, output, to, planes, A(0));
            A* pixels = scratch.get<A>(most * kernels.lanes);
            const int64_t view = blocks.sample(block) * tiles.sample_stride + n * tiles_per_view(tiles);
            for (int64_t left = 0; left < across; ++left) {
                const int64_t tile = view + top * across + left;
                load_window<E>(kernels, {static_cast<const E*>(source.data), from, planes}, tiles.window[tile],
                               tiles.source_width, pixels);
                for_each_tile_row(tiles, top, left, [&](int64_t row, int64_t first, int64_t count) {
                    gatherer.gather(tile_run<A>(tiles, tile, row, count), pixels, first);
                });
            }
        });
    });
}

}  // namespace spuproj::cpu
