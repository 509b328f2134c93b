// Adjoint of gather: each source pixel sums over the points that read it, or each point adds to the pixels it reads.
#include "cuda/launch.hpp"
#include "spuproj/blend.hpp"
#include "spuproj/chunks.hpp"

namespace spuproj::cuda {
namespace {

// Planes per thread; it reads each entry of the transpose once for all of them.
constexpr int kAdjointPlanes = 4;

// An item is one source pixel: of one view, or of the sum over the views.
template <class E>
struct GatherAdjoint {
    using A = Arithmetic<E>;

    Transpose transpose;
    Chunks chunks;
    int64_t terms;  // views that are summed
    Planes source, destination;

    SPUPROJ_HD void operator()(int64_t item, int64_t chunk) const {
        const int64_t target = item / transpose.source_pixels, pixel = item % transpose.source_pixels;
        ChunkPlanes planes(chunks, chunk);
        const int64_t sample = planes.taps_sample();
        const E* from[kAdjointPlanes];
        int64_t to[kAdjointPlanes];
        SPUPROJ_UNROLL
        for (int l = 0; l < kAdjointPlanes; ++l) {
            from[l] = static_cast<const E*>(source.data) + planes.offset(source);
            to[l] = planes.offset(destination);
            if (l + 1 < planes.count()) planes.advance();
        }
        A sums[kAdjointPlanes] = {};
        for (int64_t n = target * terms; n < (target + 1) * terms; ++n) {
            const int64_t view = sample * transpose.sample_views + n;
            const int32_t* start = transpose.start + view * (transpose.source_pixels + 1) + pixel;
            const int64_t first = view * transpose.entries;
            for (int64_t entry = first + start[0]; entry < first + start[1]; ++entry) {
                const int64_t at = n * source.view_stride + transpose.pixel[entry] * source.pixel_stride;
                const A weight = static_cast<const A*>(transpose.weight)[entry];
                SPUPROJ_UNROLL
                for (int l = 0; l < kAdjointPlanes; ++l) sums[l] += weight * load(from[l][at]);
            }
        }
        E* result =
            static_cast<E*>(destination.data) + target * destination.view_stride + pixel * destination.pixel_stride;
        SPUPROJ_UNROLL
        for (int l = 0; l < kAdjointPlanes; ++l)
            if (l < planes.count()) store(result[to[l]], sums[l]);
    }
};

template <class A>
SPUPROJ_HD static inline void add_atomically(A* sum, A term) {
#if defined(__CUDA_ARCH__)
    atomicAdd(sum, term);
#else
    *sum += term;
#endif
}

// An item is one pixel of one view.
template <class E>
struct AtomicAdjoint {
    using A = Arithmetic<E>;

    Taps taps;
    Chunks chunks;
    Planes source, destination;

    SPUPROJ_HD void operator()(int64_t item, int64_t chunk) const {
        ChunkPlanes planes(chunks, chunk);
        const int64_t n = item / taps.pixels, pixel = item % taps.pixels;
        const int64_t tap = planes.taps_sample() * taps.sample_stride + item;
        const int64_t index = source_index(taps.index[tap]);
        if (index == -1) return;
        const CornerWeights<A> weights =
            corner_weights(static_cast<const A*>(taps.fraction_y)[tap], static_cast<const A*>(taps.fraction_x)[tap]);
        const E* view = static_cast<const E*>(source.data) + n * source.view_stride + pixel * source.pixel_stride;
        A* target = static_cast<A*>(destination.data) + n * destination.view_stride;
        for (int l = 0; l < planes.count(); ++l) {
            const A value = load(view[planes.offset(source)]);
            A* plane = target + planes.offset(destination);
            SPUPROJ_UNROLL
            for (int i = 0; i < 4; ++i) {
                // A weight of zero times NaN or Inf must not reach a pixel that the tap does not read.
                const int64_t at = index + i / 2 * taps.source_width + i % 2;
                if (weights.corner[i] > A(0))
                    add_atomically(plane + at * destination.pixel_stride, weights.corner[i] * value);
            }
            planes.advance();
        }
    }
};

}  // namespace

void gather_adjoint(const Queue& queue, int dtype, const Shape& shape, const Transpose& transpose, const Planes& source,
                    const Planes& destination, bool sum_views) {
    const int64_t targets = sum_views ? 1 : shape.views, terms = sum_views ? shape.views : 1;
    with_element(dtype, [&](auto element) {
        const Chunks chunks = chunks_of(shape, transpose.sample_views, kAdjointPlanes);
        launch(queue, GatherAdjoint<decltype(element)>{transpose, chunks, terms, source, destination},
               targets * transpose.source_pixels, chunks.count());
    });
}

void gather_adjoint_atomic(const Queue& queue, int dtype, const Shape& shape, const Taps& taps, const Planes& source,
                           const Planes& destination) {
    with_element(dtype, [&](auto element) {
        const Chunks chunks = chunks_of(shape, taps.sample_stride, kAdjointPlanes);
        launch(queue, AtomicAdjoint<decltype(element)>{taps, chunks, source, destination}, shape.views * taps.pixels,
               chunks.count());
    });
}

}  // namespace spuproj::cuda
