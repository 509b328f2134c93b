#include <atomic>

#include "cpu/windows.hpp"
#include "cpu/writer.hpp"
#include "spuproj/moments.hpp"

namespace spuproj::cpu {
namespace {

template <class Count, class A>
Reduce<A, Count> reduce_kernel(const LaneKernels<A>& kernels) {
    if constexpr (kWeighted<Count>)
        return kernels.reduce_weighted;
    else
        return kernels.reduce;
}

// Count is int32_t, or with weights the arithmetic type.
template <class E, class Count>
void reduce_elements(const Shape& shape, const Tiles& tiles, const Planes& source, const Planes& weights,
                     const Output& mean, const Output& variance, Count* count, int64_t threads) {
    using A = Arithmetic<E>;
    // Zero if all samples share both taps and weights.
    const int64_t distance = tiles.sample_stride + weights.batch_stride;
    const LaneKernels<A>& kernels = lane_kernels<A>(sharing_planes(shape, distance));
    const Chunks blocks = chunks_of(shape, distance, kernels.lanes);
    const int64_t down = tiles_down(tiles), across = tiles_across(tiles), per_view = down * across;
    const int64_t most = most_pixels(tiles, tiles.sample_stride == 0 ? 1 : shape.batch, shape.views);
    std::atomic<bool> valid{true};
    // A unit of work is one row of tiles, for one block of planes.
    parallel_for(blocks.count() * down, threads, [&](int64_t unit, Scratch& scratch) {
        const int64_t top = unit % down, block = unit / down;
        int64_t from[kMaxLanes], to[kMaxLanes];
        const int64_t planes = offsets_of(blocks, block, 0, source, from);
        offsets_of(blocks, block, 0, mean.planes, to);
        RowWriter<A> means(mean, to, planes), variances(variance, to, planes);
        std::vector<TapRun<A>> runs(static_cast<size_t>(shape.views));
        std::vector<const A*> windows(runs.size()), each(runs.size());
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
                Count seen[kRun];
                for (size_t n = 0; n < runs.size(); ++n) {
                    const auto view = static_cast<int64_t>(n);
                    runs[n] = tile_run<A>(tiles, tile + view * per_view, row, width);
                    prefetch_row(runs[n].index + kTileColumns, width);
                    prefetch_row(runs[n].fraction_y + kTileColumns, width);
                    prefetch_row(runs[n].fraction_x + kTileColumns, width);
                    each[n] = weights_of<A>(weights, blocks.sample(block), view, first);
                    if (weights.data != nullptr) prefetch_row(each[n] + tiles.width, width);
                }
                if (!reduce_kernel<Count>(kernels)(runs.data(), windows.data(), each.data(), shape.views,
                                                   means.begin(first, width), variances.begin(first, width), seen))
                    valid = false;
                means.end();
                variances.end();
                const auto nbytes = width * static_cast<int64_t>(sizeof(Count));
                for (int64_t l = 0; l < planes; ++l)
                    active_kernels().write_bytes(seen, nbytes, mean.stream, count + to[l] + first);
            });
        }
    });
    if (!valid) throw std::invalid_argument("weights must be finite and not negative, got one that is not");
}

}  // namespace

void reduce(int64_t threads, int dtype, const Shape& shape, const Tiles& tiles, const Planes& source,
            const Planes& weights, const Planes& mean, const Planes& variance, const Planes& count) {
    const int64_t bytes_per_pixel = 2 * element_size(dtype) + static_cast<int64_t>(sizeof(int32_t));
    const bool stream = use_streaming(shape.batch * shape.channels * tiles.height * tiles.width * bytes_per_pixel);
    with_element(dtype, [&](auto element) {
        using E = decltype(element);
        const auto run = [&](auto* counts) {
            reduce_elements<E>(shape, tiles, source, weights, {dtype, mean, stream}, {dtype, variance, stream}, counts,
                               threads);
        };
        weights.data != nullptr ? run(static_cast<Arithmetic<E>*>(count.data)) : run(static_cast<int32_t*>(count.data));
    });
}

}  // namespace spuproj::cpu
