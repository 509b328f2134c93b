// The mean and variance of a slice pixel over the views that show it, and their gradient.
#pragma once

#include "cuda/chunks.hpp"
#include "cuda/reading.hpp"

namespace spuproj::cuda {

// Planes that a thread reduces at a time.
constexpr int kReducePlanes = 4;

// Sums of deviations from the first value, which keep the variance's digits where the values lie far from zero.
template <class A>
struct Moments {
    A origin, sum, squares;

    SPUPROJ_HD void begin(A value) {
        origin = value;
        // NaN and Inf must reach both results.
        sum = squares = value - value;
    }
    SPUPROJ_HD void add(A value) {
        const A deviation = value - origin;
        sum += deviation;
        squares += deviation * deviation;
    }
    SPUPROJ_HD A mean(int count) const { return origin + sum / static_cast<A>(count); }
    SPUPROJ_HD A variance(int count) const {
        const A shift = sum / static_cast<A>(count);
        const A spread = squares / static_cast<A>(count) - shift * shift;
        return spread < A(0) ? A(0) : spread;
    }
};

// An item is one pixel of the slice.
template <class E>
struct Reduce {
    using A = typename Arithmetic<E>::type;

    Taps taps;
    Chunks chunks;
    int64_t views;
    Planes source;
    Planes moments;  // the layout of the three results
    E *mean, *variance;
    int32_t* count;

    SPUPROJ_HD void operator()(int64_t item, int64_t chunk) const {
        ChunkPlanes planes(chunks, chunk);
        const int64_t tap = planes.taps_sample() * taps.sample_stride + item;
        int64_t from[kReducePlanes], to[kReducePlanes];
        SPUPROJ_UNROLL
        for (int l = 0; l < kReducePlanes; ++l) {
            from[l] = planes.offset(source);
            to[l] = planes.offset(moments) + item;
            if (l + 1 < planes.count()) planes.advance();
        }
        Moments<A> sums[kReducePlanes] = {};
        int seen = 0;
        for (int64_t n = 0; n < views; ++n) {
            const Blend<E> blend(taps, tap + n * taps.pixels, source.pixel_stride);
            if (!blend.valid) continue;
            const E* view = static_cast<const E*>(source.data) + n * source.view_stride;
            SPUPROJ_UNROLL
            for (int l = 0; l < kReducePlanes; ++l) {
                if (l >= planes.count()) break;
                const A value = blend(view + from[l]);
                if (seen == 0)
                    sums[l].begin(value);
                else
                    sums[l].add(value);
            }
            ++seen;
        }
        SPUPROJ_UNROLL
        for (int l = 0; l < kReducePlanes; ++l) {
            if (l >= planes.count()) break;
            store(mean[to[l]], seen > 0 ? sums[l].mean(seen) : A(0));
            store(variance[to[l]], seen > 0 ? sums[l].variance(seen) : A(0));
            count[to[l]] = seen;
        }
    }
};

// An item is one pixel of one view's slice; the result is the gradient that it receives.
template <class E>
struct Slopes {
    using A = typename Arithmetic<E>::type;

    Taps taps;
    Chunks chunks;
    Planes source;
    Planes moments;  // the layout of the gradients, the mean and the count
    const E *grad_mean, *grad_variance, *mean;
    const int32_t* count;
    Planes slopes;

    SPUPROJ_HD void operator()(int64_t item, int64_t chunk) const {
        ChunkPlanes planes(chunks, chunk);
        const int64_t n = item / taps.pixels, pixel = item % taps.pixels;
        const int64_t tap = planes.taps_sample() * taps.sample_stride + item;
        const Blend<E> blend(taps, tap, source.pixel_stride);
        const E* view = static_cast<const E*>(source.data) + n * source.view_stride;
        A* result = static_cast<A*>(slopes.data) + n * slopes.view_stride + pixel;
        for (int l = 0; l < planes.count(); ++l) {
            const int64_t at = planes.offset(moments) + pixel;
            A slope = A(0);
            if (blend.valid) {
                const A deviation = blend(view + planes.offset(source)) - load(mean[at]);
                const A gradient = load(grad_mean[at]) + A(2) * load(grad_variance[at]) * deviation;
                slope = gradient / static_cast<A>(count[at] < 1 ? 1 : count[at]);
            }
            result[planes.offset(slopes)] = slope;
            planes.advance();
        }
    }
};

}  // namespace spuproj::cuda
