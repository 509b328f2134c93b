#include "cpu/bands.hpp"
#include "cpu/windows.hpp"
#include "cpu/writer.hpp"

namespace spuproj::cpu {
namespace {

// Contiguous [B, C] planes.
Planes slices_of(const Shape& shape, int64_t pixels, void* data) {
    return {data, shape.channels * pixels, 0, pixels, 1};
}

// One tile of one block: its taps and windows in every view, and its results.
template <class A>
class ReduceTile {
 public:
    ReduceTile(const LaneKernels<A>& kernels, int64_t views) : kernels_(kernels), runs_(views), windows_(views) {}

    // The windows of every view, which each begin at their view's tile `tile + n * tiles_per_view`.
    template <class E>
    void load(const Tiles& tiles, int64_t tile, PlaneSet<const E> set, int64_t view_stride, A* block) {
        const int64_t step = tiles_per_view(tiles), views = static_cast<int64_t>(windows_.size());
        for (int64_t n = 0; n < views; ++n, set.base += view_stride) {
            const Window& window = tiles.window[tile + n * step];
            load_window<E>(kernels_, set, window, tiles.source_width, block);
            windows_[static_cast<size_t>(n)] = block;
            block += pixels_of(window) * kernels_.lanes;
        }
    }

    // Mean, variance and count of the first `pixels` of one row of the tile.
    void reduce(const Tiles& tiles, int64_t tile, int64_t row, int64_t pixels, A* const* mean, A* const* variance,
                int32_t* count) {
        const int64_t views = static_cast<int64_t>(windows_.size());
        for (int64_t n = 0; n < views; ++n)
            runs_[static_cast<size_t>(n)] = run_of<A>(tiles, tile + n * tiles_per_view(tiles), row, pixels);
        kernels_.reduce(runs_.data(), windows_.data(), views, mean, variance, count);
    }

 private:
    const LaneKernels<A>& kernels_;
    std::vector<TapRun<A>> runs_;
    std::vector<const A*> windows_;
};

}  // namespace

void reduce(int dtype, const Shape& shape, const Tiles& tiles, const Planes& source, void* mean, void* variance,
            int32_t* count, int64_t threads) {
    with_element(dtype, [&](auto element) {
        using E = decltype(element);
        using A = typename Arithmetic<E>::type;
        const LaneKernels<A>& kernels = lane_kernels<A>(sharing_planes(shape, tiles.sample_stride));
        const Blocks blocks(shape, tiles.sample_stride, kernels.lanes);
        const int64_t pixels = tiles.height * tiles.width;
        const bool stream = exceeds_cache(shape.batch * shape.channels * pixels * (2 * sizeof(E) + sizeof(int32_t)));
        const int64_t down = tiles_down(tiles), across = tiles_across(tiles);
        const int64_t most = most_pixels(tiles, tiles.sample_stride == 0 ? 1 : shape.batch, shape.views);
        // Counts are written as any other elements of four bytes.
        const auto write_count = arithmetic_kernels(float()).write[kFloat32];
        parallel_for(blocks.count() * down, threads, [&](int64_t unit, Scratch& scratch) {
            const int64_t top = unit % down, block = unit / down;
            int64_t from[kMaxLanes], to[kMaxLanes];
            const int64_t planes = blocks.offsets(block, source, from);
            blocks.offsets(block, slices_of(shape, pixels, mean), to);
            Writer<A> means(kernels, {dtype, slices_of(shape, pixels, mean), stream}, to, planes);
            Writer<A> variances(kernels, {dtype, slices_of(shape, pixels, variance), stream}, to, planes);
            ReduceTile<A> work(kernels, shape.views);
            A* windows = scratch.get<A>(most * kernels.lanes);
            for (int64_t left = 0; left < across; ++left) {
                const int64_t tile = blocks.sample(block) * tiles.sample_stride + top * across + left;
                work.template load<E>(tiles, tile, {static_cast<const E*>(source.data), from, planes},
                                      source.view_stride, windows);
                const int64_t height = std::min(kTileRows, tiles.height - top * kTileRows);
                const int64_t width = std::min(kTileColumns, tiles.width - left * kTileColumns);
                for (int64_t row = 0; row < height; ++row) {
                    const int64_t first = (top * kTileRows + row) * tiles.width + left * kTileColumns;
                    int32_t seen[kRun];
                    work.reduce(tiles, tile, row, width, means.begin(first, width), variances.begin(first, width),
                                seen);
                    means.end();
                    variances.end();
                    for (int64_t l = 0; l < planes; ++l)
                        write_count(reinterpret_cast<const float*>(seen), width, stream, count + to[l] + first);
                }
            }
        });
    });
}

void reduce_backward(int dtype, const Shape& shape, const Taps& taps, const Planes& source, const void* grad_mean,
                     const void* grad_variance, const void* mean, const int32_t* count, void* grad_source,
                     int64_t threads) {
    const Planes slices = slices_of(shape, taps.pixels, nullptr);
    const int64_t plane = taps.source_pixels;
    const Planes destination = {grad_source, shape.views * shape.channels * plane, shape.channels * plane, plane, 1};
    with_element(dtype, [&](auto element) {
        using E = decltype(element);
        using A = typename Arithmetic<E>::type;
        const LaneKernels<A>& kernels = lane_kernels<A>(sharing_planes(shape, taps.sample_stride));
        const Blocks blocks(shape, taps.sample_stride, kernels.lanes);
        const Bands bands(taps, blocks.count() * shape.views, threads);
        parallel_for(blocks.count() * shape.views * bands.count(), threads, [&](int64_t unit, Scratch& scratch) {
            const Band band = bands.at(unit % bands.count());
            const int64_t n = unit / bands.count() % shape.views, block = unit / bands.count() / shape.views;
            int64_t from[kMaxLanes], to[kMaxLanes], slice[kMaxLanes];
            const int64_t planes = blocks.offsets(block, source, from);
            blocks.offsets(block, destination, to);
            blocks.offsets(block, slices, slice);
            A* view = scratch.get<A>((plane + pixels_of(band)) * kernels.lanes);
            A* accumulator = view + plane * kernels.lanes;
            load_block<E>(kernels, {static_cast<const E*>(source.data) + n * source.view_stride, from, planes}, 0,
                          plane, view);
            std::fill_n(accumulator, pixels_of(band) * kernels.lanes, A(0));
            const int64_t tap = blocks.sample(block) * taps.sample_stride + n * taps.pixels;
            for_each_run(0, taps.pixels, [&](int64_t first, int64_t pixels) {
                A values[kMaxLanes * kRun], loaded[3][kMaxLanes * kRun], *slopes[kMaxLanes];
                const A *rows[kMaxLanes], *given[3][kMaxLanes];
                const TapRun<A> run = run_of<A>(taps, tap + first, pixels);
                for (int64_t l = 0; l < kMaxLanes; ++l) slopes[l] = values + l * kRun;
                if (!kernels.gather(run, view, slopes)) return;
                const void* tensors[3] = {grad_mean, grad_variance, mean};
                for (int i = 0; i < 3; ++i)
                    load_rows<E>({static_cast<const E*>(tensors[i]), slice, planes}, planes, first, pixels, loaded[i],
                                 given[i]);
                for (int64_t l = 0; l < planes; ++l)
                    arithmetic_kernels(A()).slope(given[0][l], given[1][l], given[2][l], count + slice[l] + first,
                                                  pixels, slopes[l]);
                for (int64_t l = 0; l < kernels.lanes; ++l) rows[l] = slopes[std::min(l, planes - 1)];
                kernels.scatter(run, rows, band, accumulator);
            });
            E* grad_view = static_cast<E*>(grad_source) + n * destination.view_stride;
            store_band<E>(kernels, accumulator, band, dtype, {grad_view, to, planes});
        });
    });
}

}  // namespace spuproj::cpu
