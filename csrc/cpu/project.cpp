#include "cpu/parallel.hpp"
#include "cpu/writer.hpp"

namespace spuproj::cpu {
namespace {

// A unit of work: enough to pay for its start, few enough to keep several threads busy with one view.
constexpr int64_t kUnitPixels = 256 * kRun;

// The kernels for the planes of a result; where it has its channels side by side, those that have them so too.
template <class A>
const LaneKernels<A>& kernels_for(const Shape& shape, const Taps& taps, const Planes& destination) {
    const LaneKernels<A>& narrow = arithmetic_kernels(A()).narrow;
    if (destination.pixel_stride == narrow.lanes) return narrow;
    return lane_kernels<A>(sharing_planes(shape, taps.sample_stride));
}

// Blocks of the source, so many at a time that every thread has its own.
template <class E, class A = typename Arithmetic<E>::type>
class SourceBlocks {
 public:
    SourceBlocks(const LaneKernels<A>& kernels, const Blocks& blocks, const Taps& taps, const Planes& source,
                 int64_t threads)
        : kernels_(kernels), blocks_(blocks), source_(source), pixels_(taps.source_pixels) {
        in_place_ = std::is_same_v<E, A> && kernels.lanes == 1;
        at_once_ = std::min(blocks.count(), std::max<int64_t>(1, threads));
        if (!in_place_) interleaved_ = storage_.get<A>(at_once_ * pixels_ * kernels.lanes);
    }

    int64_t at_once() const { return at_once_; }

    // Interleaves the blocks [first, last), at most at_once() of them.
    void load(int64_t first, int64_t last, int64_t threads) {
        if (in_place_) return;
        const int64_t parts = ceiling(pixels_, kUnitPixels);
        parallel_for((last - first) * parts, threads, [&](int64_t unit, Scratch&) {
            const int64_t block = first + unit / parts, start = unit % parts * kUnitPixels;
            int64_t offset[kMaxLanes];
            const int64_t planes = blocks_.offsets(block, source_, offset);
            load_block<E>(kernels_, {static_cast<const E*>(source_.data), offset, planes}, start,
                          std::min(pixels_, start + kUnitPixels), at(block) + start * kernels_.lanes);
        });
    }

    // The block as the kernels read it.
    const A* read(int64_t block) const {
        if constexpr (std::is_same_v<E, A>) {
            int64_t offset[kMaxLanes];
            if (in_place_) {
                blocks_.offsets(block, source_, offset);
                return static_cast<const A*>(source_.data) + offset[0];
            }
        }
        return at(block);
    }

 private:
    A* at(int64_t block) const { return interleaved_ + block % at_once_ * pixels_ * kernels_.lanes; }

    const LaneKernels<A>& kernels_;
    const Blocks& blocks_;
    const Planes& source_;
    int64_t pixels_, at_once_;
    bool in_place_;
    Scratch storage_;
    A* interleaved_ = nullptr;
};

}  // namespace

void project(int dtype, int destination_dtype, const Shape& shape, const Taps& taps, const Planes& source,
             const Planes& destination, int64_t threads) {
    with_element(dtype, [&](auto element) {
        using E = decltype(element);
        using A = typename Arithmetic<E>::type;
        const LaneKernels<A>& kernels = kernels_for<A>(shape, taps, destination);
        const Blocks blocks(shape, taps.sample_stride, kernels.lanes);
        const Output output = {
            destination_dtype, destination,
            exceeds_cache(shape.batch * shape.views * shape.channels * taps.pixels * element_size(destination_dtype))};
        const int64_t parts = ceiling(taps.pixels, kUnitPixels);
        SourceBlocks<E> sources(kernels, blocks, taps, source, threads);
        for (int64_t start = 0; start < blocks.count(); start += sources.at_once()) {
            const int64_t end = std::min(blocks.count(), start + sources.at_once());
            sources.load(start, end, threads);
            parallel_for((end - start) * shape.views * parts, threads, [&](int64_t unit, Scratch&) {
                const int64_t part = unit % parts, n = unit / parts % shape.views;
                const int64_t block = start + unit / parts / shape.views;
                int64_t to[kMaxLanes];
                const int64_t planes = blocks.offsets(block, destination, to);
                for (int64_t l = 0; l < planes; ++l) to[l] += n * destination.view_stride;
                const A* from = sources.read(block);
                const int64_t tap = blocks.sample(block) * taps.sample_stride + n * taps.pixels;
                Writer<A> writer(kernels, output, to, planes);
                const int64_t last = std::min(taps.pixels, (part + 1) * kUnitPixels);
                for_each_run(part * kUnitPixels, last, writer.longest_run(), [&](int64_t first, int64_t count) {
                    writer.gather(run_of<A>(taps, tap + first, count), from, first);
                });
            });
        }
    });
}

void copy(int64_t element_size, const Shape& shape, const Taps& taps, const Planes& source, const Planes& destination,
          int64_t threads) {
    const KernelTable& table = active_kernels();
    const Copy run = element_size == 1   ? table.copy8
                     : element_size == 2 ? table.copy16
                     : element_size == 4 ? table.copy32
                     : element_size == 8 ? table.copy64
                                         : nullptr;
    if (run == nullptr)
        throw std::invalid_argument("element size must be 1, 2, 4 or 8 bytes, got " + std::to_string(element_size));
    parallel_for(shape.batch * shape.views, threads, [&](int64_t unit, Scratch&) {
        const int64_t b = unit / shape.views, n = unit % shape.views;
        const int32_t* index = taps.index + b * taps.sample_stride + n * taps.pixels;
        const int64_t from = b * source.batch_stride + n * source.view_stride;
        const int64_t to = b * destination.batch_stride + n * destination.view_stride;
        for (int64_t c = 0; c < shape.channels; ++c)
            run(index, taps.pixels,
                static_cast<const char*>(source.data) + (from + c * source.channel_stride) * element_size,
                destination.pixel_stride,
                static_cast<char*>(destination.data) + (to + c * destination.channel_stride) * element_size);
    });
}

}  // namespace spuproj::cpu
