// project and unproject, and their copying form for nearest interpolation: every point reads through its tap.
#include "cuda/launch.hpp"
#include "cuda/plane_table.hpp"
#include "cuda/reading.hpp"
#include "cuda/streaming.hpp"

namespace spuproj::cuda {
namespace {

// Planes whose loads a thread has in flight together; neighbouring channels of a channels-last result are stored as
// one.
constexpr int kGroup = 4;

// Planes per thread, which reads its tap once for all of them.
constexpr int kGatherPlanes = 32;

// A thread computes one pixel of a view, so a warp reads neighbouring pixels of a plane and stores neighbouring ones.
// kPacked: the channels of a pixel are stored as packs.
template <class Reading, class D, bool kPacked>
struct Gather {
    static constexpr const char* kName = "gather";
    static constexpr Tile kTile = {4, 32};
    static constexpr unsigned kResidentThreads = 1024;

    using Table = PlaneTable<kGatherPlanes, 2>;
    using E = typename Reading::Element;
    using Value = typename Reading::Value;

    Taps taps;
    Groups groups;
    Planes source, destination;
    Value fill;  // of points without a source

    SPUPROJ_HD void locate(Table& table, int64_t chunk, int plane) const {
        table.locate(groups, chunk, plane, {source, destination});
    }

    SPUPROJ_HD void operator()(const Place& place, const Table& table) const {
        const int64_t tap = table.taps_sample * taps.sample_stride + place.view * taps.pixels + place.pixel;
        const E* view = static_cast<const E*>(source.data) + place.view * source.view_stride;
        const Reading reading(taps, tap, view, source.pixel_stride);
        D* to = static_cast<D*>(destination.data) + place.view * destination.view_stride +
                place.pixel * destination.pixel_stride;
        for (int first = 0; first < table.count; first += kGroup) {
            Pack<D, kGroup> values;
            read_group(reading, &table.offset[first], values);
            if constexpr (kPacked) {
                stream(reinterpret_cast<Pack<D, kGroup>*>(to + table.offset[first][1]), values);
            } else {
                SPUPROJ_UNROLL
                for (int l = 0; l < kGroup; ++l)
                    if (first + l < table.count) stream(to + table.offset[first + l][1], values.at[l]);
            }
        }
    }

 private:
    SPUPROJ_HD void read_group(const Reading& reading, const int64_t (*offset)[2], Pack<D, kGroup>& values) const {
        if (reading.blends_four) {
            SPUPROJ_UNROLL
            for (int l = 0; l < kGroup; ++l) store(values.at[l], reading.of_four(offset[l][0]));
        } else if (reading.valid) {
            SPUPROJ_UNROLL
            for (int l = 0; l < kGroup; ++l) store(values.at[l], reading.of_fewer(offset[l][0]));
        } else {
            SPUPROJ_UNROLL
            for (int l = 0; l < kGroup; ++l) store(values.at[l], fill);
        }
    }
};

template <class Reading, class D>
void launch_gather(void* stream, const Shape& shape, const Taps& taps, const Planes& source, const Planes& destination,
                   typename Reading::Value fill) {
    const Groups groups = groups_of(shape, taps.sample_stride == 0);
    const auto run = [&](auto packed) {
        using Element = Gather<Reading, D, decltype(packed)::value>;
        launch(stream, Element{taps, groups, source, destination, fill},
               Raster{taps.pixels, taps.width, shape.views, groups.chunks_of<typename Element::Table>()});
    };
    stores_packs<D, kGroup>(destination, shape) ? run(std::true_type()) : run(std::false_type());
}

}  // namespace

void gather(void* stream, int dtype, int destination_dtype, const Shape& shape, const Taps& taps, const Planes& source,
            const Planes& destination, double fill) {
    with_element(dtype, [&](auto element) {
        using E = decltype(element);
        const auto value = static_cast<Arithmetic<E>>(fill);
        with_element(destination_dtype, [&](auto result) {
            using D = decltype(result);
            if constexpr (std::is_same_v<E, D>) {
                if (source.pixel_stride == 1)
                    return launch_gather<Blend<E, true>, D>(stream, shape, taps, source, destination, value);
            }
            launch_gather<Blend<E, false>, D>(stream, shape, taps, source, destination, value);
        });
    });
}

void copy(void* stream, int64_t element_size, const Shape& shape, const Taps& taps, const Planes& source,
          const Planes& destination, uint64_t fill_bits) {
    const auto run = [&](auto element) {
        using E = decltype(element);
        launch_gather<CopyElement<E>, E>(stream, shape, taps, source, destination, static_cast<E>(fill_bits));
    };
    switch (element_size) {
        case 1: return run(uint8_t());
        case 2: return run(uint16_t());
        case 4: return run(uint32_t());
        case 8: return run(uint64_t());
        default:
            throw std::invalid_argument("element size must be 1, 2, 4 or 8 bytes, got " + std::to_string(element_size));
    }
}

}  // namespace spuproj::cuda
