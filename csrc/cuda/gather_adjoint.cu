// Adjoint of gather: each source pixel sums over the points that read it, or each point adds to the pixels it reads.
#include "cuda/launch.hpp"
#include "cuda/plane_table.hpp"
#include "spuproj/blend.hpp"

namespace spuproj::cuda {
namespace {

// Planes per thread; it reads each entry of the transpose once for all of them.
constexpr int kAdjointPlanes = 8;

// A thread computes one source pixel: of one view, or of the sum over the views.
template <class E>
struct GatherAdjoint {
    static constexpr const char* kName = "gather_adjoint";
    static constexpr Tile kTile = {8, 16};
    static constexpr unsigned kResidentThreads = 1024;

    using Table = PlaneTable<kAdjointPlanes, 2>;
    using A = Arithmetic<E>;

    Transpose transpose;
    Groups groups;
    int64_t terms;  // views that are summed
    Planes source, destination;

    SPUPROJ_HD void locate(Table& table, int64_t chunk, int plane) const {
        table.locate(groups, chunk, plane, {source, destination});
    }

    SPUPROJ_HD void operator()(const Place& place, const Table& table) const {
        A sums[kAdjointPlanes] = {};
        const int64_t rows = transpose.source_pixels + 1, first = place.view * terms;
        const int32_t* start =
            transpose.start + (table.taps_sample * transpose.sample_views + first) * rows + place.pixel;
        int32_t next = start[0], next_end = start[1];
        for (int64_t n = first; n < first + terms; ++n) {
            const int32_t entry = next, end = next_end;
            start += rows;
            // Loaded while this view is read.
            if (n + 1 < first + terms) {
                next = start[0];
                next_end = start[1];
            }
            add_view(sums, table, n, entry, end);
        }
        E* result = static_cast<E*>(destination.data) + place.view * destination.view_stride +
                    place.pixel * destination.pixel_stride;
        SPUPROJ_UNROLL
        for (int l = 0; l < kAdjointPlanes; ++l)
            if (l < table.count) store(result[table.offset[l][1]], sums[l]);
    }

 private:
    // Adds the entries from `entry` to before `end` of one view.
    SPUPROJ_HD void add_view(A (&sums)[kAdjointPlanes], const Table& table, int64_t n, int32_t entry,
                             int32_t end) const {
        if (entry >= end) return;
        const int64_t view = table.taps_sample * transpose.sample_views + n;
        const E* from = static_cast<const E*>(source.data) + n * source.view_stride;
        const int32_t* pixel = transpose.pixel + view * transpose.entries;
        const A* weight = static_cast<const A*>(transpose.weight) + view * transpose.entries;
        int32_t next_pixel = pixel[entry];
        A next_weight = weight[entry];
        // Rows have about two entries: unrolled, most steps would belong to the remainder.
#if defined(__CUDA_ARCH__)
#pragma unroll 1
#endif
        while (entry < end) {
            const E* read = from + next_pixel * source.pixel_stride;
            const A share = next_weight;
            if (++entry < end) {
                next_pixel = pixel[entry];
                next_weight = weight[entry];
            }
            A values[kAdjointPlanes];
            SPUPROJ_UNROLL
            for (int l = 0; l < kAdjointPlanes; ++l) values[l] = load(read[table.offset[l][0]]);
            SPUPROJ_UNROLL
            for (int l = 0; l < kAdjointPlanes; ++l) sums[l] += share * values[l];
        }
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

// A thread adds one pixel of one view to the pixels that it reads.
template <class E>
struct AtomicAdjoint {
    static constexpr const char* kName = "gather_adjoint_atomic";
    static constexpr Tile kTile = {8, 16};
    static constexpr unsigned kResidentThreads = 512;

    using Table = PlaneTable<kAdjointPlanes, 2>;
    using A = Arithmetic<E>;

    Taps taps;
    Groups groups;
    Planes source, destination;

    SPUPROJ_HD void locate(Table& table, int64_t chunk, int plane) const {
        table.locate(groups, chunk, plane, {source, destination});
    }

    SPUPROJ_HD void operator()(const Place& place, const Table& table) const {
        const int64_t n = place.view, pixel = place.pixel;
        const int64_t tap = table.taps_sample * taps.sample_stride + n * taps.pixels + pixel;
        const int64_t index = source_index(taps.index[tap]);
        if (index == -1) return;
        const CornerWeights<A> weights =
            corner_weights(static_cast<const A*>(taps.fraction_y)[tap], static_cast<const A*>(taps.fraction_x)[tap]);
        const E* view = static_cast<const E*>(source.data) + n * source.view_stride + pixel * source.pixel_stride;
        A* target = static_cast<A*>(destination.data) + n * destination.view_stride;
        for (int l = 0; l < table.count; ++l) {
            const A value = load(view[table.offset[l][0]]);
            A* plane = target + table.offset[l][1];
            SPUPROJ_UNROLL
            for (int i = 0; i < 4; ++i) {
                // A weight of zero times NaN or Inf must not reach a pixel that the tap does not read.
                const int64_t at = index + i / 2 * taps.source_width + i % 2;
                if (weights.corner[i] > A(0))
                    add_atomically(plane + at * destination.pixel_stride, weights.corner[i] * value);
            }
        }
    }
};

}  // namespace

void gather_adjoint(void* stream, int dtype, const Shape& shape, const Transpose& transpose, const Planes& source,
                    const Planes& destination, bool sum_views) {
    const int64_t targets = sum_views ? 1 : shape.views, terms = sum_views ? shape.views : 1;
    with_element(dtype, [&](auto element) {
        using Element = GatherAdjoint<decltype(element)>;
        const Groups groups = groups_of(shape, transpose.sample_views == 0);
        launch(stream, Element{transpose, groups, terms, source, destination},
               Raster{transpose.source_pixels, transpose.source_width, targets,
                      groups.chunks_of<typename Element::Table>()});
    });
}

void gather_adjoint_atomic(void* stream, int dtype, const Shape& shape, const Taps& taps, const Planes& source,
                           const Planes& destination) {
    with_element(dtype, [&](auto element) {
        using Element = AtomicAdjoint<decltype(element)>;
        const Groups groups = groups_of(shape, taps.sample_stride == 0);
        launch(stream, Element{taps, groups, source, destination},
               Raster{taps.pixels, taps.width, shape.views, groups.chunks_of<typename Element::Table>()});
    });
}

}  // namespace spuproj::cuda
