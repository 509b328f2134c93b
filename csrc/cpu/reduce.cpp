#include "cpu/windows.hpp"
#include "cpu/writer.hpp"

namespace spuproj::cpu {
namespace {

template <class E>
void reduce_elements(const Shape& shape, const Tiles& tiles, const Planes& source, const Output& mean,
                     const Output& variance, int32_t* count, int64_t threads) {
    using A = Arithmetic<E>;
    const LaneKernels<A>& kernels = lane_kernels<A>(sharing_planes(shape, tiles.sample_stride));
    const Chunks blocks = chunks_of(shape, tiles.sample_stride, kernels.lanes);
    const int64_t down = tiles_down(tiles), across = tiles_across(tiles), per_view = down * across;
    const int64_t most = most_pixels(tiles, tiles.sample_stride == 0 ? 1 : shape.batch, shape.views);
    // Counts have four bytes, and are written like floats.
    const auto write_count = arithmetic_kernels(float()).write[kFloat32];
    // A unit of work is one row of tiles, for one block of planes.
    parallel_for(blocks.count() * down, threads, [&](int64_t unit, Scratch& scratch) {
        const int64_t top = unit % down, block = unit / down;
        int64_t from[kMaxLanes], to[kMaxLanes];
        const int64_t planes = offsets_of(blocks, block, 0, source, from);
        offsets_of(blocks, block, 0, mean.planes, to);
        Writer<A> means(kernels, mean, to, planes, A(0)), variances(kernels, variance, to, planes, A(0));
        std::vector<TapRun<A>> runs(static_cast<size_t>(shape.views));
        std::vector<const A*> windows(runs.size());
        for (int64_t left = 0; left < across; ++left) {
            const int64_t tile = blocks.sample(block) * tiles.sample_stride + top * across + left;
            A* window = scratch.get<A>(most * kernels.lanes);
            for (size_t n = 0; n < windows.size(); ++n) {
                const auto view = static_cast<int64_t>(n);
                const Window& read = tiles.window[tile + view * per_view];
                const E* base = static_cast<const E*>(source.data) + view * source.view_stride;
                load_window<E>(kernels, {base, from, planes}, read, tiles.source_width, window);
                windows[n] = window;
                window += pixels_of(read) * kernels.lanes;
            }
            for_each_tile_row(tiles, top, left, [&](int64_t row, int64_t first, int64_t width) {
                int32_t seen[kRun];
                for (size_t n = 0; n < runs.size(); ++n)
                    runs[n] = tile_run<A>(tiles, tile + static_cast<int64_t>(n) * per_view, row, width);
                kernels.reduce(runs.data(), windows.data(), shape.views, means.begin(first, width),
                               variances.begin(first, width), seen);
                means.end();
                variances.end();
                for (int64_t l = 0; l < planes; ++l)
                    write_count(reinterpret_cast<const float*>(seen), width, mean.stream, count + to[l] + first);
            });
        }
    });
}

}  // namespace

void reduce(int64_t threads, int dtype, const Shape& shape, const Tiles& tiles, const Planes& source,
            const Planes& mean, const Planes& variance, const Planes& count) {
    const int64_t bytes_per_pixel = 2 * element_size(dtype) + static_cast<int64_t>(sizeof(int32_t));
    const bool stream = exceeds_cache(shape.batch * shape.channels * tiles.height * tiles.width * bytes_per_pixel);
    with_element(dtype, [&](auto element) {
        reduce_elements<decltype(element)>(shape, tiles, source, {dtype, mean, stream}, {dtype, variance, stream},
                                           static_cast<int32_t*>(count.data), threads);
    });
}

}  // namespace spuproj::cpu
