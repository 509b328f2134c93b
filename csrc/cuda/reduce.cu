// Mean and variance of each slice pixel over the views that show it, and their gradient.
#include "cuda/launch.hpp"
#include "cuda/plane_table.hpp"
#include "cuda/reading.hpp"
#include "cuda/streaming.hpp"
#include "spuproj/moments.hpp"

namespace spuproj::cuda {
namespace {

// Planes per thread.
constexpr int kReducePlanes = 8;

// The values of a chunk's planes at a valid tap; without branches between them, so that all loads are in flight
// together.
template <class E, bool kAdjacent, class Table>
SPUPROJ_HD static inline void read_planes(const Blend<E, kAdjacent>& blend, const Table& table,
                                          Arithmetic<E> (&values)[kReducePlanes]) {
    if (blend.blends_four) {
        SPUPROJ_UNROLL
        for (int l = 0; l < kReducePlanes; ++l) values[l] = blend.of_four(table.offset[l][0]);
    } else {
        SPUPROJ_UNROLL
        for (int l = 0; l < kReducePlanes; ++l) values[l] = blend.of_fewer(table.offset[l][0]);
    }
}

// A thread computes one pixel of the slice. Count is int32_t, or with weights the arithmetic type.
template <class E, class Count, bool kAdjacent>
struct Reduce {
    static constexpr const char* kName = "reduce";
    static constexpr Tile kTile = {16, 16};
    static constexpr unsigned kResidentThreads = sizeof(E) == 8 ? 512 : 1024;

    using Table = PlaneTable<kReducePlanes, 2>;
    using A = Arithmetic<E>;

    Taps taps;
    Groups groups;
    int64_t views;
    Planes source, weights;
    Planes layout;  // of the three results
    E *mean, *variance;
    Count* count;

    SPUPROJ_HD void locate(Table& table, int64_t chunk, int plane) const {
        table.locate(groups, chunk, plane, {source, layout});
    }

    SPUPROJ_HD void operator()(const Place& place, const Table& table) const {
        const int64_t tap = table.taps_sample * taps.sample_stride + place.pixel;
        const int64_t first_weight = table.taps_sample * weights.batch_stride + place.pixel;
        Moments<A> moments[kReducePlanes] = {};
        Count seen = 0;
        A pivot_weight = A(0);
        StoredTap<A> next(taps, tap);
        for (int64_t n = 0; n < views; ++n) {
            const StoredTap<A> stored = next;
            // Loaded while this view is read.
            if (n + 1 < views) next = StoredTap<A>(taps, tap + (n + 1) * taps.pixels);
            const A share =
                weight_at<Count>(static_cast<const A*>(weights.data), first_weight + n * weights.view_stride);
            if (stored.index != -1 && share >= kSmallestWeight<A>) {
                const E* view = static_cast<const E*>(source.data) + n * source.view_stride;
                const Blend<E, kAdjacent> blend(stored, view, taps.source_width, source.pixel_stride);
                add_view(moments, blend, table, share, seen, pivot_weight);
                seen += static_cast<Count>(share);
            }
        }
        finish_pixel(moments, table, place.pixel, seen);
    }

 private:
    SPUPROJ_HD void add_view(Moments<A> (&moments)[kReducePlanes], const Blend<E, kAdjacent>& blend, const Table& table,
                             A weight, Count seen, A& pivot_weight) const {
        A values[kReducePlanes];
        read_planes(blend, table, values);
        const bool moves = kWeighted<Count> && seen > 0 && weight > kOutweighs<A> * pivot_weight;
        if (moves || seen == 0) pivot_weight = weight;
        SPUPROJ_UNROLL
        for (int l = 0; l < kReducePlanes; ++l) {
            if (moves) move_pivot(moments[l], values[l], static_cast<A>(seen));
            if (seen == 0)
                moments[l] = moments_of(values[l]);
            else
                add(moments[l], values[l], weight);
        }
    }

    SPUPROJ_HD void finish_pixel(const Moments<A> (&moments)[kReducePlanes], const Table& table, int64_t pixel,
                                 Count seen) const {
        const A share = A(1) / static_cast<A>(seen > 0 ? seen : Count(1));
        SPUPROJ_UNROLL
        for (int l = 0; l < kReducePlanes; ++l) {
            if (l >= table.count) break;
            A average = A(0), spread = A(0);
            if (seen > 0) finish(moments[l], share, average, spread);
            const int64_t at = table.offset[l][1] + pixel;
            E average_stored, spread_stored;
            store(average_stored, average);
            store(spread_stored, spread);
            stream(mean + at, average_stored);
            stream(variance + at, spread_stored);
            stream(count + at, seen);
        }
    }
};

// A thread computes one pixel of an unprojected view; the result is the gradient with respect to it.
template <class E, class Count>
struct Slopes {
    static constexpr const char* kName = "slopes";
    static constexpr Tile kTile = {8, 16};
    static constexpr unsigned kResidentThreads = 512;

    using Table = PlaneTable<kReducePlanes, 3>;
    using A = Arithmetic<E>;

    Taps taps;
    Groups groups;
    Planes source, weights;
    Planes layout;  // of the gradients, the mean and the count
    const E *grad_mean, *grad_variance, *mean;
    const Count* count;
    Planes slopes;

    SPUPROJ_HD void locate(Table& table, int64_t chunk, int plane) const {
        table.locate(groups, chunk, plane, {source, layout, slopes});
    }

    SPUPROJ_HD void operator()(const Place& place, const Table& table) const {
        const int64_t n = place.view, pixel = place.pixel;
        const int64_t tap = table.taps_sample * taps.sample_stride + n * taps.pixels + pixel;
        const E* view = static_cast<const E*>(source.data) + n * source.view_stride;
        const Blend<E, false> blend(taps, tap, view, source.pixel_stride);
        const int64_t first_weight = table.taps_sample * weights.batch_stride + pixel;
        const A weight = weight_at<Count>(static_cast<const A*>(weights.data), first_weight + n * weights.view_stride);
        A values[kReducePlanes] = {};
        if (blend.valid) read_planes(blend, table, values);
        A* result = static_cast<A*>(slopes.data) + n * slopes.view_stride + pixel;
        SPUPROJ_UNROLL
        for (int l = 0; l < kReducePlanes; ++l) {
            if (l >= table.count) break;
            const int64_t at = table.offset[l][1] + pixel;
            A gradient = A(0);
            if (blend.valid)
                gradient =
                    slope(load(grad_mean[at]), load(grad_variance[at]), load(mean[at]), weight, count[at], values[l]);
            result[table.offset[l][2]] = gradient;
        }
    }
};

}  // namespace

void reduce(void* stream, int dtype, const Shape& shape, const Taps& taps, const Planes& source, const Planes& weights,
            const Planes& mean, const Planes& variance, const Planes& count) {
    with_element(dtype, [&](auto element) {
        using E = decltype(element);
        const Groups groups = groups_of(shape, taps.sample_stride + weights.batch_stride == 0);
        const auto run = [&](auto* counts) {
            using Count = std::remove_pointer_t<decltype(counts)>;
            const auto run_as = [&](auto adjacent) {
                using Element = Reduce<E, Count, decltype(adjacent)::value>;
                launch(stream,
                       Element{taps, groups, shape.views, source, weights, mean, static_cast<E*>(mean.data),
                               static_cast<E*>(variance.data), counts},
                       Raster{taps.pixels, taps.width, 1, groups.chunks_of<typename Element::Table>()});
            };
            source.pixel_stride == 1 ? run_as(std::true_type()) : run_as(std::false_type());
        };
        weights.data != nullptr ? run(static_cast<Arithmetic<E>*>(count.data)) : run(static_cast<int32_t*>(count.data));
    });
}

void slopes(void* stream, int dtype, const Shape& shape, const Taps& taps, const Planes& source, const Planes& weights,
            const Planes& grad_mean, const Planes& grad_variance, const Planes& mean, const Planes& count,
            const Planes& slopes) {
    with_element(dtype, [&](auto element) {
        using E = decltype(element);
        const Groups groups = groups_of(shape, taps.sample_stride + weights.batch_stride == 0);
        const auto run = [&](const auto* counts) {
            using Count = std::remove_const_t<std::remove_pointer_t<decltype(counts)>>;
            using Element = Slopes<E, Count>;
            launch(stream,
                   Element{taps, groups, source, weights, mean, static_cast<const E*>(grad_mean.data),
                           static_cast<const E*>(grad_variance.data), static_cast<const E*>(mean.data), counts, slopes},
                   Raster{taps.pixels, taps.width, shape.views, groups.chunks_of<typename Element::Table>()});
        };
        weights.data != nullptr ? run(static_cast<const Arithmetic<E>*>(count.data))
                                : run(static_cast<const int32_t*>(count.data));
    });
}

}  // namespace spuproj::cuda
