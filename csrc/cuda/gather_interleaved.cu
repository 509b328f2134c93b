// project of 16-bit elements: the planes of a chunk are laid side by side first, then one load reads a pixel of eight.
#include "cuda/launch.hpp"
#include "cuda/plane_table.hpp"
#include "cuda/reading.hpp"
#include "cuda/streaming.hpp"

namespace spuproj::cuda {
namespace {

// Planes stored together in a channels-last result: 8 bytes.
constexpr int kStored = 4;

template <class E>
using Side = Pack<E, kSide>;

// A thread lays one pixel of kSide planes side by side: sides[chunk, pixel].
template <class E>
struct Interleave {
    static constexpr const char* kName = "interleave";
    static constexpr Tile kTile = {4, 32};
    static constexpr unsigned kResidentThreads = 1024;

    using Table = PlaneTable<kSide, 1>;

    Groups groups;
    Planes source;
    Side<E>* sides;
    int64_t pixels;

    SPUPROJ_HD void locate(Table& table, int64_t chunk, int plane) const {
        table.locate(groups, chunk, plane, {source});
    }

    SPUPROJ_HD void operator()(const Place& place, const Table& table) const {
        const E* from = static_cast<const E*>(source.data) + place.pixel * source.pixel_stride;
        Side<E> side;
        SPUPROJ_UNROLL
        for (int l = 0; l < kSide; ++l) side.at[l] = from[table.offset[l][0]];
        sides[place.chunk * pixels + place.pixel] = side;
    }
};

// A thread computes one pixel of a view, of kSides times kSide planes.
template <class E, bool kPacked>
struct GatherInterleaved {
    static constexpr const char* kName = "gather_interleaved";
    static constexpr Tile kTile = {4, 32};
    static constexpr unsigned kResidentThreads = 1024;
    static constexpr int kSides = 4;

    using Table = PlaneTable<kSides * kSide, 1>;
    using A = Arithmetic<E>;

    Taps taps;
    Groups groups;
    const Side<E>* sides;
    Planes destination;
    A fill;  // of points without a source

    SPUPROJ_HD void locate(Table& table, int64_t chunk, int plane) const {
        table.locate(groups, chunk, plane, {destination});
    }

    SPUPROJ_HD void operator()(const Place& place, const Table& table) const {
        const StoredTap<A> tap(taps, place.view * taps.pixels + place.pixel);
        const Side<E>* from = sides + place.chunk * kSides * taps.source_pixels + tap.pixel();
        E* to = static_cast<E*>(destination.data) + place.view * destination.view_stride +
                place.pixel * destination.pixel_stride;
        for (int first = 0; first < table.count; first += kSide) {
            Side<E> values;
            SPUPROJ_UNROLL
            for (int l = 0; l < kSide; ++l) store(values.at[l], fill);
            if (tap.index != -1) blend(tap, from, values);
            store_side(values, to, table, first);
            from += taps.source_pixels;
        }
    }

 private:
    SPUPROJ_HD void blend(const StoredTap<A>& tap, const Side<E>* from, Side<E>& values) const {
        // Where a fraction is zero the neighbour on that side is not read.
        const int64_t right = tap.fraction_x > A(0) ? 1 : 0, down = tap.fraction_y > A(0) ? taps.source_width : 0;
        const Side<E> a = from[0], b = from[right], c = from[down], d = from[down + right];
        SPUPROJ_UNROLL
        for (int l = 0; l < kSide; ++l)
            store(values.at[l], bilinear_if_positive(load(a.at[l]), load(b.at[l]), load(c.at[l]), load(d.at[l]),
                                                     tap.fraction_y, tap.fraction_x));
    }

    SPUPROJ_HD void store_side(const Side<E>& values, E* to, const Table& table, int first) const {
        if constexpr (kPacked) {
            SPUPROJ_UNROLL
            for (int l = 0; l < kSide; l += kStored)
                if (first + l < table.count)
                    stream(reinterpret_cast<Pack<E, kStored>*>(to + table.offset[first + l][0]),
                           reinterpret_cast<const Pack<E, kStored>*>(&values)[l / kStored]);
        } else {
            SPUPROJ_UNROLL
            for (int l = 0; l < kSide; ++l)
                if (first + l < table.count) stream(to + table.offset[first + l][0], values.at[l]);
        }
    }
};

}  // namespace

void gather_interleaved(void* stream, int dtype, const Shape& shape, const Taps& taps, const Planes& source,
                        const Planes& destination, double fill, void* scratch) {
    const Groups groups = groups_of(shape, true);
    with_element(dtype, [&](auto element) {
        using E = decltype(element);
        if constexpr (sizeof(E) != 2) {
            throw std::invalid_argument("elements must have 16 bits, got " + std::to_string(8 * sizeof(E)));
        } else {
            auto* sides = static_cast<Side<E>*>(scratch);
            launch(stream, Interleave<E>{groups, source, sides, taps.source_pixels},
                   Raster{taps.source_pixels, taps.source_width, 1, groups.chunks_of<typename Interleave<E>::Table>()});
            const auto run = [&](auto packed) {
                using Element = GatherInterleaved<E, decltype(packed)::value>;
                launch(stream, Element{taps, groups, sides, destination, static_cast<float>(fill)},
                       Raster{taps.pixels, taps.width, shape.views, groups.chunks_of<typename Element::Table>()});
            };
            stores_packs<E, kStored>(destination, shape) ? run(std::true_type()) : run(std::false_type());
        }
    });
}

}  // namespace spuproj::cuda
