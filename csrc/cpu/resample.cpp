#include <algorithm>
#include <stdexcept>
#include <string>

#include "cpu/parallel.hpp"
#include "cpu/simd.hpp"
#include "spuproj/cpu.hpp"

namespace spuproj::cpu {
namespace {

// A part of a slice has at least this many pixels.
constexpr int64_t kPartPixels = 1024;

const Kernels<float>& kernels(float) { return active_kernels().f32; }
const Kernels<double>& kernels(double) { return active_kernels().f64; }
const Kernels<Float16>& kernels(Float16) { return active_kernels().f16; }
const Kernels<BFloat16>& kernels(BFloat16) { return active_kernels().bf16; }

template <class Call>
void with_element(int dtype, const Call& call) {
    switch (dtype) {
        case kFloat32: return call(float());
        case kFloat64: return call(double());
        case kFloat16: return call(Float16());
        case kBFloat16: return call(BFloat16());
        default: throw std::invalid_argument("dtype must be a code from 0 to 3, got " + std::to_string(dtype));
    }
}

template <class A>
TapRun<A> run_of(const Taps& taps, int64_t first, int64_t count) {
    return {taps.index + first, static_cast<const A*>(taps.fraction_y) + first,
            static_cast<const A*>(taps.fraction_x) + first, count, static_cast<int32_t>(taps.source_width)};
}

int64_t plane_offset(const Planes& planes, int64_t b, int64_t n, int64_t c) {
    return b * planes.batch_stride + n * planes.view_stride + c * planes.channel_stride;
}

// How the (b, c) planes are divided into blocks that are resampled together: planes that share their taps.
class Blocks {
 public:
    Blocks(const Shape& shape, const Taps& taps, int64_t lanes)
        : channels_(shape.channels),
          planes_per_group_(taps.sample_stride == 0 ? shape.batch * shape.channels : shape.channels),
          per_group_((planes_per_group_ + lanes - 1) / lanes),
          count_(per_group_ * (taps.sample_stride == 0 ? 1 : shape.batch)),
          lanes_(lanes) {}

    int64_t count() const { return count_; }
    // Sample whose taps the block uses.
    int64_t sample(int64_t block) const { return block / per_group_; }
    // Writes each lane's plane offset and returns how many there are.
    int64_t offsets(int64_t block, int64_t n, const Planes& planes, int64_t* offset) const {
        const int64_t first = block % per_group_ * lanes_;
        const int64_t active = std::min(lanes_, planes_per_group_ - first);
        for (int64_t l = 0; l < active; ++l) {
            const int64_t plane = sample(block) * planes_per_group_ + first + l;
            offset[l] = plane_offset(planes, plane / channels_, n, plane % channels_);
        }
        return active;
    }

 private:
    int64_t channels_, planes_per_group_, per_group_, count_, lanes_;
};

template <class E>
const LaneKernels<E>& lane_kernels(const Kernels<E>& kernels, const Shape& shape, const Taps& taps) {
    const int64_t planes = taps.sample_stride == 0 ? shape.batch * shape.channels : shape.channels;
    return planes >= 12 ? kernels.wide : planes >= 2 ? kernels.narrow : kernels.single;
}

// Into how many parts each block is cut so that every thread has work.
int64_t parts_per_block(int64_t blocks, int64_t threads, int64_t limit) {
    return std::max<int64_t>(1, std::min(limit, (threads + blocks - 1) / blocks));
}

}  // namespace

void gather(int dtype, const Shape& shape, const Taps& taps, const Planes& source, const Planes& destination,
            int64_t threads) {
    with_element(dtype, [&](auto element) {
        using E = decltype(element);
        using A = typename Arithmetic<E>::type;
        const LaneKernels<E>& run = lane_kernels(kernels(element), shape, taps);
        const Blocks blocks(shape, taps, run.lanes);
        const bool shared_source = source.view_stride == 0;
        const int64_t parts = shared_source ? parts_per_block(blocks.count(), threads, shape.views) : shape.views;
        parallel_for(blocks.count() * parts, threads, [&](int64_t unit, Scratch& scratch) {
            const int64_t block = unit / parts, part = unit % parts;
            const int64_t first = part * shape.views / parts, last = (part + 1) * shape.views / parts;
            int64_t from[kMaxLanes], to[kMaxLanes];
            A* interleaved = scratch.get<A>(taps.source_pixels * run.lanes);
            for (int64_t n = first; n < last; ++n) {
                const int64_t planes = blocks.offsets(block, n, source, from);
                blocks.offsets(block, n, destination, to);
                if (n == first || !shared_source)
                    run.interleave({static_cast<const E*>(source.data), from, planes}, taps.source_pixels, interleaved);
                const int64_t tap = blocks.sample(block) * taps.sample_stride + n * taps.pixels;
                run.gather(run_of<A>(taps, tap, taps.pixels), interleaved,
                           {static_cast<E*>(destination.data), to, planes});
            }
        });
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
        for (int64_t c = 0; c < shape.channels; ++c)
            run(index, taps.pixels,
                static_cast<const char*>(source.data) + plane_offset(source, b, n, c) * element_size,
                static_cast<char*>(destination.data) + plane_offset(destination, b, n, c) * element_size);
    });
}

void scatter(int dtype, const Shape& shape, const Taps& taps, const Planes& source, const Planes& destination,
             bool sum_views, int64_t threads) {
    const int64_t targets = sum_views ? 1 : shape.views, terms = sum_views ? shape.views : 1;
    with_element(dtype, [&](auto element) {
        using E = decltype(element);
        using A = typename Arithmetic<E>::type;
        const Kernels<E>& run = kernels(element);
        parallel_for(shape.batch * targets * shape.channels, threads, [&](int64_t unit, Scratch& scratch) {
            const int64_t c = unit % shape.channels, target = unit / shape.channels % targets;
            const int64_t b = unit / shape.channels / targets;
            A* accumulator = scratch.get<A>(taps.source_pixels);
            std::fill_n(accumulator, taps.source_pixels, A(0));
            for (int64_t n = target; n < target + terms; ++n)
                run.scatter(run_of<A>(taps, b * taps.sample_stride + n * taps.pixels, taps.pixels),
                            static_cast<const E*>(source.data) + plane_offset(source, b, n, c), accumulator);
            run.store_plane(accumulator, taps.source_pixels,
                            static_cast<E*>(destination.data) + plane_offset(destination, b, target, c));
        });
    });
}

void reduce(int dtype, const Shape& shape, const Taps& taps, const Planes& source, void* mean, void* variance,
            int32_t* count, int64_t threads) {
    const Planes out = {nullptr, shape.channels * taps.pixels, 0, taps.pixels};
    with_element(dtype, [&](auto element) {
        using E = decltype(element);
        using A = typename Arithmetic<E>::type;
        const LaneKernels<E>& run = lane_kernels(kernels(element), shape, taps);
        const Blocks blocks(shape, taps, run.lanes);
        const int64_t parts = parts_per_block(blocks.count(), threads, taps.pixels / kPartPixels);
        parallel_for(blocks.count() * parts, threads, [&](int64_t unit, Scratch& scratch) {
            const int64_t block = unit / parts, part = unit % parts;
            const int64_t first = part * taps.pixels / parts, pixels = (part + 1) * taps.pixels / parts - first;
            int64_t offset[kMaxLanes];
            A* interleaved = scratch.get<A>((taps.source_pixels + 3 * pixels) * run.lanes + pixels);
            A* origin = interleaved + taps.source_pixels * run.lanes;
            A* sum = origin + pixels * run.lanes;
            A* squares = sum + pixels * run.lanes;
            int32_t* valid = reinterpret_cast<int32_t*>(squares + pixels * run.lanes);
            std::fill_n(origin, 3 * pixels * run.lanes, A(0));
            std::fill_n(valid, pixels, 0);
            for (int64_t n = 0; n < shape.views; ++n) {
                const int64_t planes = blocks.offsets(block, n, source, offset);
                run.interleave({static_cast<const E*>(source.data), offset, planes}, taps.source_pixels, interleaved);
                const int64_t tap = blocks.sample(block) * taps.sample_stride + n * taps.pixels + first;
                run.accumulate(run_of<A>(taps, tap, pixels), interleaved, origin, sum, squares, valid);
            }
            const int64_t planes = blocks.offsets(block, 0, out, offset);
            run.finish(origin, sum, squares, valid, pixels, first, {static_cast<E*>(mean), offset, planes},
                       {static_cast<E*>(variance), offset, planes}, {count, offset, planes});
        });
    });
}

void reduce_backward(int dtype, const Shape& shape, const Taps& taps, const Planes& source, const void* grad_mean,
                     const void* grad_variance, const void* mean, const int32_t* count, void* grad_source,
                     int64_t threads) {
    with_element(dtype, [&](auto element) {
        using E = decltype(element);
        using A = typename Arithmetic<E>::type;
        const Kernels<E>& run = kernels(element);
        parallel_for(shape.batch * shape.views * shape.channels, threads, [&](int64_t unit, Scratch& scratch) {
            const int64_t c = unit % shape.channels, n = unit / shape.channels % shape.views;
            const int64_t b = unit / shape.channels / shape.views;
            const int64_t slice = (b * shape.channels + c) * taps.pixels;
            A* accumulator = scratch.get<A>(taps.source_pixels);
            std::fill_n(accumulator, taps.source_pixels, A(0));
            run.reduce_backward(run_of<A>(taps, b * taps.sample_stride + n * taps.pixels, taps.pixels),
                                static_cast<const E*>(source.data) + plane_offset(source, b, n, c),
                                static_cast<const E*>(grad_mean) + slice, static_cast<const E*>(grad_variance) + slice,
                                static_cast<const E*>(mean) + slice, count + slice, accumulator);
            run.store_plane(accumulator, taps.source_pixels, static_cast<E*>(grad_source) + unit * taps.source_pixels);
        });
    });
}

}  // namespace spuproj::cpu
