#include "cpu/windows.hpp"
#include "cpu/writer.hpp"

namespace spuproj::cpu {
namespace {

// One tile of one block: its taps and windows in every view.
template <class A>
class ReduceTile {
 public:
    ReduceTile(const LaneKernels<A>& kernels, int64_t views) : kernels_(kernels), runs_(views), windows_(views) {}

    // The windows of every view, which each begin at their view's tile `tile + n * tiles_per_view`.
    template <class E>
    void load(const Tiles& tiles, int64_t tile, PlaneSet<const E> set, int64_t view_stride, A* block) {
        const int64_t step = tiles_per_view(tiles);
        for (const A*& start : windows_) {
            const Window& window = tiles.window[tile];
            load_window<E>(kernels_, set, window, tiles.source_width, block);
            start = block;
            block += pixels_of(window) * kernels_.lanes;
            set.base += view_stride;
            tile += step;
        }
    }

    // Mean, variance and count of the first `pixels` of one row of the tile.
    void reduce(const Tiles& tiles, int64_t tile, int64_t row, int64_t pixels, A* const* mean, A* const* variance,
                int32_t* count) {
        const int64_t step = tiles_per_view(tiles);
        for (TapRun<A>& run : runs_) {
            run = run_of<A>(tiles, tile, row, pixels);
            tile += step;
        }
        kernels_.reduce(runs_.data(), windows_.data(), static_cast<int64_t>(runs_.size()), mean, variance, count);
    }

 private:
    const LaneKernels<A>& kernels_;
    std::vector<TapRun<A>> runs_;
    std::vector<const A*> windows_;
};

template <class E>
void reduce_elements(const Shape& shape, const Tiles& tiles, const Planes& source, const Output& mean,
                     const Output& variance, int32_t* count, int64_t threads) {
    using A = typename Arithmetic<E>::type;
    const LaneKernels<A>& kernels = lane_kernels<A>(sharing_planes(shape, tiles.sample_stride));
    const Chunks blocks = chunks_of(shape, tiles.sample_stride, kernels.lanes);
    const int64_t down = tiles_down(tiles), across = tiles_across(tiles);
    const int64_t most = most_pixels(tiles, tiles.sample_stride == 0 ? 1 : shape.batch, shape.views);
    // Counts are written as any other elements of four bytes.
    const auto write_count = arithmetic_kernels(float()).write[kFloat32];
    // A unit of work is one row of tiles, for one block of planes.
    parallel_for(blocks.count() * down, threads, [&](int64_t unit, Scratch& scratch) {
        const int64_t top = unit % down, block = unit / down;
        int64_t from[kMaxLanes], to[kMaxLanes];
        const int64_t planes = offsets_of(blocks, block, 0, source, from);
        offsets_of(blocks, block, 0, mean.planes, to);
        Writer<A> means(kernels, mean, to, planes, A(0)), variances(kernels, variance, to, planes, A(0));
        ReduceTile<A> work(kernels, shape.views);
        A* windows = scratch.get<A>(most * kernels.lanes);
        for (int64_t left = 0; left < across; ++left) {
            const int64_t tile = blocks.sample(block) * tiles.sample_stride + top * across + left;
            work.template load<E>(tiles, tile, {static_cast<const E*>(source.data), from, planes}, source.view_stride,
                                  windows);
            for_each_tile_row(tiles, top, left, [&](int64_t row, int64_t first, int64_t width) {
                int32_t seen[kRun];
                work.reduce(tiles, tile, row, width, means.begin(first, width), variances.begin(first, width), seen);
                means.end();
                variances.end();
                for (int64_t l = 0; l < planes; ++l)
                    write_count(reinterpret_cast<const float*>(seen), width, mean.stream, count + to[l] + first);
            });
        }
    });
}

}  // namespace

void reduce(int dtype, const Shape& shape, const Tiles& tiles, const Planes& source, void* mean, void* variance,
            int32_t* count, int64_t threads) {
    const int64_t pixels = tiles.height * tiles.width;
    const int64_t bytes_per_pixel = 2 * element_size(dtype) + static_cast<int64_t>(sizeof(int32_t));
    const bool stream = exceeds_cache(shape.batch * shape.channels * pixels * bytes_per_pixel);
    const auto output = [&](void* data) {
        return Output{dtype, contiguous_planes(data, 1, shape.channels, pixels), stream};
    };
    with_element(dtype, [&](auto element) {
        reduce_elements<decltype(element)>(shape, tiles, source, output(mean), output(variance), count, threads);
    });
}

}  // namespace spuproj::cpu
