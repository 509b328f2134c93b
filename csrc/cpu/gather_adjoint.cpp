// Adjoints of project and unproject, and the gradient of reduce, whose last step is one. The destination is cut into
// bands of rows; one thread computes a band, so that a pixel's terms are added in the same order for any number of
// threads.
#include <array>

#include "cpu/runtime/parallel.hpp"
#include "cpu/writer.hpp"

namespace spuproj::cpu {
namespace {

using Offsets = std::array<int64_t, kMaxLanes>;

// destination[b, n, c] = T[b, n]^T values[b, n, c]; with sum_views, destination[b, c] is their sum over n.
// begin_view(block, n, scratch) returns a function that loads a run of values: load(run, first, loaded, rows) points
// rows to the values from pixel `first` on, possibly in `loaded`.
template <class A, class BeginView>
void add_transposed(const LaneKernels<A>& kernels, const Chunks& blocks, int64_t views, bool sum_views,
                    const FlatTaps& taps, int dtype, const Planes& destination, int64_t scratch_pixels, int64_t threads,
                    const BeginView& begin_view) {
    const int64_t targets = sum_views ? 1 : views, terms = sum_views ? views : 1;
    const Output output = output_of(dtype, destination, blocks.batch * targets * blocks.channels * taps.source_pixels);
    // Enough bands to give every thread a unit of work.
    const int64_t width = taps.source_width, height = taps.source_pixels / width;
    const int64_t bands = std::max<int64_t>(1, std::min(height, ceiling(threads, blocks.count() * targets)));
    parallel_for(blocks.count() * targets * bands, threads, [&](int64_t unit, Scratch& scratch) {
        const int64_t target = unit / bands % targets, block = unit / bands / targets, top = unit % bands;
        const Band band = {top * height / bands * width, (top + 1) * height / bands * width};
        const int64_t elements = (band.last - band.first) * kernels.lanes;
        A* accumulator = scratch.get<A>(elements + scratch_pixels * kernels.lanes);
        std::fill_n(accumulator, elements, A(0));
        for (int64_t n = target; n < target + terms; ++n) {
            const auto load = begin_view(block, n, accumulator + elements);
            const int64_t view = view_of(taps, blocks.sample(block), n);
            for_each_run(0, taps.pixels, [&](int64_t first, int64_t count) {
                A loaded[kMaxLanes * kRun];
                const A* rows[kMaxLanes];
                const TapRun<A> run = view_run<A>(taps, view, first, count);
                if (!any_source(run)) return;
                load(run, first, loaded, rows);
                kernels.gather_adjoint(run, rows, band, accumulator);
            });
        }
        int64_t to[kMaxLanes];
        const int64_t planes = offsets_of(blocks, block, target, output.planes, to);
        RowWriter<A> writer(output, to, planes);
        for_each_run(band.first, band.last, [&](int64_t first, int64_t count) {
            kernels.deinterleave(accumulator + (first - band.first) * kernels.lanes, count, writer.begin(first, count));
            writer.end();
        });
    });
}

}  // namespace

void gather_adjoint(int64_t threads, int dtype, bool sum_views, const Shape& shape, const FlatTaps& taps,
                    const Planes& source, const Planes& destination) {
    with_element(dtype, [&](auto element) {
        using E = decltype(element);
        using A = Arithmetic<E>;
        const LaneKernels<A>& kernels = lane_kernels<A>(sharing_planes(shape, taps.sample_stride));
        const Chunks blocks = chunks_of(shape, taps.sample_stride, kernels.lanes);
        const auto begin_view = [&](int64_t block, int64_t n, A*) {
            Offsets from;
            const int64_t planes = offsets_of(blocks, block, n, source, from.data());
            return [=, &kernels, &source](const TapRun<A>& run, int64_t first, A* loaded, const A** rows) {
                load_rows<E>({static_cast<const E*>(source.data), from.data(), planes}, kernels.lanes, first, run.count,
                             loaded, rows);
            };
        };
        add_transposed(kernels, blocks, shape.views, sum_views, taps, dtype, destination, 0, threads, begin_view);
    });
}

void reduce_backward(int64_t threads, int dtype, const Shape& shape, const FlatTaps& taps, const Planes& grad_mean,
                     const Planes& grad_variance, const Planes& source, const Planes& mean, const Planes& count,
                     const Planes& weights, const Planes& grad_source) {
    with_element(dtype, [&](auto element) {
        using E = decltype(element);
        using A = Arithmetic<E>;
        // Zero if all samples share both taps and weights.
        const int64_t distance = taps.sample_stride + weights.batch_stride;
        const LaneKernels<A>& kernels = plane_kernels<A>(sharing_planes(shape, distance));
        const Chunks blocks = chunks_of(shape, distance, kernels.lanes);
        const auto begin_view = [&](int64_t block, int64_t n, A* view) {
            Offsets from, slice;
            const int64_t planes = offsets_of(blocks, block, n, source, from.data());
            offsets_of(blocks, block, 0, mean, slice.data());
            load_block<E>(kernels, {static_cast<const E*>(source.data), from.data(), planes}, 0, taps.source_pixels,
                          view);
            const int64_t sample = blocks.sample(block);
            return [=, &kernels, &weights](const TapRun<A>& run, int64_t first, A* loaded, const A** rows) {
                A* values[kMaxLanes];
                for (int64_t l = 0; l < kMaxLanes; ++l) values[l] = loaded + l * kRun;
                kernels.gather(run, view, A(0), values, false);
                for (int64_t l = 0; l < planes; ++l) {
                    A converted[3][kRun];
                    const A* moments[3];
                    const void* const tensors[3] = {grad_mean.data, grad_variance.data, mean.data};
                    for (int i = 0; i < 3; ++i)
                        load_rows<E>({static_cast<const E*>(tensors[i]), slice.data() + l, 1}, 1, first, run.count,
                                     converted[i], &moments[i]);
                    const auto slopes = [&](auto kernel, const auto* counts) {
                        kernel(moments[0], moments[1], moments[2], weights_of<A>(weights, sample, n, first),
                               counts + slice[static_cast<size_t>(l)] + first, run.count, values[l]);
                    };
                    if (weights.data != nullptr)
                        slopes(arithmetic_kernels(A()).slopes_weighted, static_cast<const A*>(count.data));
                    else
                        slopes(arithmetic_kernels(A()).slopes, static_cast<const int32_t*>(count.data));
                }
                for (int64_t l = 0; l < kernels.lanes; ++l) rows[l] = values[std::min(l, planes - 1)];
            };
        };
        add_transposed(kernels, blocks, shape.views, false, taps, dtype, grad_source, taps.source_pixels, threads,
                       begin_view);
    });
}

}  // namespace spuproj::cpu
