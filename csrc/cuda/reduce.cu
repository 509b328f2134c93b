// Mean and variance of each slice pixel over the views that show it, and their gradient.
#include "cuda/launch.hpp"
#include "cuda/reading.hpp"
#include "spuproj/chunks.hpp"
#include "spuproj/moments.hpp"

namespace spuproj::cuda {
namespace {

// Planes per thread.
constexpr int kReducePlanes = 4;

// An item is one pixel of the slice. Count is int32_t, or with weights the arithmetic type.
template <class E, class Count>
struct Reduce {
    using A = Arithmetic<E>;

    Taps taps;
    Chunks chunks;
    int64_t views;
    Planes source, weights;
    Planes layout;  // of the three results
    E *mean, *variance;
    Count* count;

    SPUPROJ_HD void operator()(int64_t item, int64_t chunk) const {
        ChunkPlanes planes(chunks, chunk);
        const int64_t tap = planes.taps_sample() * taps.sample_stride + item;
        int64_t from[kReducePlanes], to[kReducePlanes];
        SPUPROJ_UNROLL
        for (int l = 0; l < kReducePlanes; ++l) {
            from[l] = planes.offset(source);
            to[l] = planes.offset(layout) + item;
            if (l + 1 < planes.count()) planes.advance();
        }
        const int64_t first_weight = planes.taps_sample() * weights.batch_stride + item;
        Moments<A> moments[kReducePlanes] = {};
        Count seen = 0;
        for (int64_t n = 0; n < views; ++n) {
            const Blend<E> blend(taps, tap + n * taps.pixels, source.pixel_stride);
            const A weight =
                weight_at<Count>(static_cast<const A*>(weights.data), first_weight + n * weights.view_stride);
            if (!blend.valid || !(weight >= kSmallestWeight<A>)) continue;
            const E* view = static_cast<const E*>(source.data) + n * source.view_stride;
            SPUPROJ_UNROLL
            for (int l = 0; l < kReducePlanes; ++l) {
                if (l >= planes.count()) break;
                const A value = blend(view + from[l]);
                if (seen == 0)
                    moments[l] = moments_of(value);
                else
                    add(moments[l], value, weight);
            }
            seen += static_cast<Count>(weight);
        }
        SPUPROJ_UNROLL
        for (int l = 0; l < kReducePlanes; ++l) {
            if (l >= planes.count()) break;
            A average = A(0), spread = A(0);
            if (seen > 0) finish(moments[l], A(1) / static_cast<A>(seen), average, spread);
            store(mean[to[l]], average);
            store(variance[to[l]], spread);
            count[to[l]] = seen;
        }
    }
};

// An item is one pixel of one unprojected view; the result is the gradient with respect to it.
template <class E, class Count>
struct Slopes {
    using A = Arithmetic<E>;

    Taps taps;
    Chunks chunks;
    Planes source, weights;
    Planes layout;  // of the gradients, the mean and the count
    const E *grad_mean, *grad_variance, *mean;
    const Count* count;
    Planes slopes;

    SPUPROJ_HD void operator()(int64_t item, int64_t chunk) const {
        ChunkPlanes planes(chunks, chunk);
        const int64_t n = item / taps.pixels, pixel = item % taps.pixels;
        const int64_t tap = planes.taps_sample() * taps.sample_stride + item;
        const Blend<E> blend(taps, tap, source.pixel_stride);
        const E* view = static_cast<const E*>(source.data) + n * source.view_stride;
        const int64_t first_weight = planes.taps_sample() * weights.batch_stride + pixel;
        const A weight = weight_at<Count>(static_cast<const A*>(weights.data), first_weight + n * weights.view_stride);
        A* result = static_cast<A*>(slopes.data) + n * slopes.view_stride + pixel;
        for (int l = 0; l < planes.count(); ++l) {
            const int64_t at = planes.offset(layout) + pixel;
            result[planes.offset(slopes)] = blend.valid
                                                ? slope(load(grad_mean[at]), load(grad_variance[at]), load(mean[at]),
                                                        weight, count[at], blend(view + planes.offset(source)))
                                                : A(0);
            planes.advance();
        }
    }
};

}  // namespace

void reduce(const Queue& queue, int dtype, const Shape& shape, const Taps& taps, const Planes& source,
            const Planes& weights, const Planes& mean, const Planes& variance, const Planes& count) {
    with_element(dtype, [&](auto element) {
        using E = decltype(element);
        const Chunks chunks = chunks_of(shape, taps.sample_stride + weights.batch_stride, kReducePlanes);
        const auto run = [&](auto* counts) {
            using Count = std::remove_pointer_t<decltype(counts)>;
            launch(queue,
                   Reduce<E, Count>{taps, chunks, shape.views, source, weights, mean, static_cast<E*>(mean.data),
                                    static_cast<E*>(variance.data), counts},
                   taps.pixels, chunks.count());
        };
        weights.data != nullptr ? run(static_cast<Arithmetic<E>*>(count.data)) : run(static_cast<int32_t*>(count.data));
    });
}

void slopes(const Queue& queue, int dtype, const Shape& shape, const Taps& taps, const Planes& source,
            const Planes& weights, const Planes& grad_mean, const Planes& grad_variance, const Planes& mean,
            const Planes& count, const Planes& slopes) {
    with_element(dtype, [&](auto element) {
        using E = decltype(element);
        const Chunks chunks = chunks_of(shape, taps.sample_stride + weights.batch_stride, kReducePlanes);
        const auto run = [&](const auto* counts) {
            using Count = std::remove_const_t<std::remove_pointer_t<decltype(counts)>>;
            launch(queue,
                   Slopes<E, Count>{taps, chunks, source, weights, mean, static_cast<const E*>(grad_mean.data),
                                    static_cast<const E*>(grad_variance.data), static_cast<const E*>(mean.data), counts,
                                    slopes},
                   shape.views * taps.pixels, chunks.count());
        };
        weights.data != nullptr ? run(static_cast<const Arithmetic<E>*>(count.data))
                                : run(static_cast<const int32_t*>(count.data));
    });
}

}  // namespace spuproj::cuda
