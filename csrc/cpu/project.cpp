#include "cpu/gatherer.hpp"
#include "cpu/runtime/parallel.hpp"

namespace spuproj::cpu {
namespace {

// Pixels of a unit of work: enough to outweigh its start, few enough to share one view among several threads.
constexpr int64_t kUnitPixels = 256 * kRun;

// The source as blocks, interleaved once for all views; as many blocks at a time as there are threads.
template <class E, class A = Arithmetic<E>>
class SourceBlocks {
 public:
    SourceBlocks(const LaneKernels<A>& kernels, const Chunks& blocks, int64_t pixels, const Planes& source,
                 int64_t threads)
        : kernels_(kernels), blocks_(blocks), source_(source), pixels_(pixels) {
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
            const int64_t planes = offsets_of(blocks_, block, 0, source_, offset);
            load_block<E>(kernels_, {static_cast<const E*>(source_.data), offset, planes}, start,
                          std::min(pixels_, start + kUnitPixels), at(block) + start * kernels_.lanes);
        });
    }

    // The block as the kernels read it: a single plane of the arithmetic type is read in place.
    const A* read(int64_t block) const {
        if (!in_place_) return at(block);
        int64_t offset[kMaxLanes];
        offsets_of(blocks_, block, 0, source_, offset);
        return static_cast<const A*>(source_.data) + offset[0];
    }

 private:
    A* at(int64_t block) const { return interleaved_ + block % at_once_ * pixels_ * kernels_.lanes; }

    const LaneKernels<A>& kernels_;
    const Chunks& blocks_;
    const Planes& source_;
    int64_t pixels_, at_once_;
    bool in_place_;
    Scratch storage_;
    A* interleaved_ = nullptr;
};

template <class E>
void project_elements(const Shape& shape, const FlatTaps& taps, const Planes& source, const Output& output, double fill,
                      int64_t threads) {
    using A = Arithmetic<E>;
    const LaneKernels<A>& wide = arithmetic_kernels(A()).wide;
    // For a channels-last destination of 16 channels the kernels whose blocks have its layout.
    const bool fits = output.planes.pixel_stride == wide.lanes;
    const LaneKernels<A>& kernels = fits ? wide : plane_kernels<A>(sharing_planes(shape, taps.sample_stride));
    const Chunks blocks = chunks_of(shape, taps.sample_stride, kernels.lanes);
    const int64_t parts = ceiling(taps.pixels, kUnitPixels);
    SourceBlocks<E> sources(kernels, blocks, taps.source_pixels, source, threads);
    for (int64_t start = 0; start < blocks.count(); start += sources.at_once()) {
        const int64_t end = std::min(blocks.count(), start + sources.at_once());
        sources.load(start, end, threads);
        // A unit of work is one part of one view, for one block of planes.
        parallel_for((end - start) * shape.views * parts, threads, [&](int64_t unit, Scratch&) {
            const int64_t part = unit % parts, n = unit / parts % shape.views;
            const int64_t block = start + unit / parts / shape.views;
            int64_t to[kMaxLanes];
            const int64_t planes = offsets_of(blocks, block, n, output.planes, to);
            Gatherer<A> gatherer(kernels, output, to, planes, static_cast<A>(fill));
            const int64_t view = view_of(taps, blocks.sample(block), n);
            const A* pixels = sources.read(block);
            const int64_t last = std::min(taps.pixels, (part + 1) * kUnitPixels);
            for_each_run(part * kUnitPixels, last, gatherer.longest_run(), [&](int64_t first, int64_t count) {
                gatherer.gather(view_run<A>(taps, view, first, count), pixels, first);
            });
        });
    }
}

Copy copy_kernel(int64_t element_size) {
    for (int power = 0; power < 4; ++power)
        if (element_size == 1 << power) return active_kernels().copy[power];
    throw std::invalid_argument("element size must be 1, 2, 4 or 8 bytes, got " + std::to_string(element_size));
}

}  // namespace

void project(int64_t threads, int dtype, int destination_dtype, const Shape& shape, const FlatTaps& taps,
             const Planes& source, const Planes& destination, double fill) {
    const int64_t elements = shape.batch * shape.views * shape.channels * taps.pixels;
    const Output output = output_of(destination_dtype, destination, elements);
    with_element(
        dtype, [&](auto element) { project_elements<decltype(element)>(shape, taps, source, output, fill, threads); });
}

void copy(int64_t threads, int64_t element_size, const Shape& shape, const FlatTaps& taps, const Planes& source,
          const Planes& destination, uint64_t fill_bits) {
    const Copy run = copy_kernel(element_size);
    parallel_for(shape.batch * shape.views, threads, [&](int64_t unit, Scratch&) {
        const int64_t b = unit / shape.views, n = unit % shape.views;
        const TapRun<float> all = view_run<float>(taps, view_of(taps, b, n), 0, taps.pixels);
        const int64_t from = b * source.batch_stride + n * source.view_stride;
        const int64_t to = b * destination.batch_stride + n * destination.view_stride;
        for (int64_t c = 0; c < shape.channels; ++c)
            run(all, static_cast<const char*>(source.data) + (from + c * source.channel_stride) * element_size,
                fill_bits, destination.pixel_stride,
                static_cast<char*>(destination.data) + (to + c * destination.channel_stride) * element_size);
    });
}

}  // namespace spuproj::cpu
