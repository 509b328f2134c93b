// project and unproject, and their copying form for nearest interpolation: every point reads through its tap.
#include "cuda/launch.hpp"
#include "cuda/reading.hpp"
#include "spuproj/chunks.hpp"

namespace spuproj::cuda {
namespace {

// A thread computes squares of kSquare pixels of kSquare planes, and stores them by rows or by columns.
constexpr int kSquare = 4;

// Consecutive elements that one instruction stores.
template <class D>
struct alignas(sizeof(D) * kSquare < 16 ? sizeof(D) * kSquare : 16) Pack {
    D at[kSquare];
};

enum class Along { kPixels, kPlanes, kNeither };

// The direction in which all squares of a destination can be stored in packs.
template <class D>
Along along_of(const Planes& planes, const Shape& shape, int64_t pixels) {
    const bool aligned = reinterpret_cast<uintptr_t>(planes.data) % alignof(Pack<D>) == 0 &&
                         planes.batch_stride % kSquare == 0 && planes.view_stride % kSquare == 0;
    if (aligned && planes.pixel_stride == 1 && pixels % kSquare == 0 && planes.channel_stride % kSquare == 0)
        return Along::kPixels;
    if (aligned && planes.channel_stride == 1 && shape.channels % kSquare == 0 && planes.pixel_stride % kSquare == 0)
        return Along::kPlanes;
    return Along::kNeither;
}

template <class D, class V>
struct Square {
    V values[kSquare][kSquare];  // [plane][pixel]
    D* to[kSquare];              // each plane's first pixel

    SPUPROJ_HD void store_pixels(int planes) const {
        SPUPROJ_UNROLL
        for (int l = 0; l < kSquare; ++l) {
            Pack<D> pack;
            SPUPROJ_UNROLL
            for (int i = 0; i < kSquare; ++i) store(pack.at[i], values[l][i]);
            if (l < planes) *reinterpret_cast<Pack<D>*>(to[l]) = pack;
        }
    }

    SPUPROJ_HD void store_planes(int pixels, int64_t pixel_stride) const {
        SPUPROJ_UNROLL
        for (int i = 0; i < kSquare; ++i) {
            Pack<D> pack;
            SPUPROJ_UNROLL
            for (int l = 0; l < kSquare; ++l) store(pack.at[l], values[l][i]);
            if (i < pixels) *reinterpret_cast<Pack<D>*>(to[0] + i * pixel_stride) = pack;
        }
    }

    SPUPROJ_HD void store_singly(int planes, int pixels, int64_t pixel_stride) const {
        SPUPROJ_UNROLL
        for (int l = 0; l < kSquare; ++l) {
            SPUPROJ_UNROLL
            for (int i = 0; i < kSquare; ++i) {
                if (l < planes && i < pixels) store(to[l][i * pixel_stride], values[l][i]);
            }
        }
    }
};

// Planes per thread; it reads each tap once for all of them.
constexpr int64_t kGatherPlanes = 16;

// An item is kSquare consecutive pixels of one view.
template <class Reading, class D>
struct Gather {
    Taps taps;
    Chunks chunks;
    Planes source, destination;
    typename Reading::Value fill;  // of points without a source
    Along along;

    SPUPROJ_HD void operator()(int64_t item, int64_t chunk) const {
        const int64_t items_per_view = ceiling(taps.pixels, kSquare);
        const int64_t n = item / items_per_view, pixel = item % items_per_view * kSquare;
        const int pixels = static_cast<int>(taps.pixels - pixel < kSquare ? taps.pixels - pixel : kSquare);
        const ChunkPlanes planes(chunks, chunk);
        const int64_t tap = planes.taps_sample() * taps.sample_stride + n * taps.pixels + pixel;
        const Reading readings[kSquare] = {reading(tap, 0, pixels), reading(tap, 1, pixels), reading(tap, 2, pixels),
                                           reading(tap, 3, pixels)};
        gather(readings, planes, n, pixel, pixels);
    }

 private:
    // Past the last pixel the first one is read again.
    SPUPROJ_HD Reading reading(int64_t tap, int i, int pixels) const {
        return Reading(taps, tap + (i < pixels ? i : 0), source.pixel_stride);
    }

    SPUPROJ_HD void gather(const Reading (&readings)[kSquare], ChunkPlanes planes, int64_t n, int64_t pixel,
                           int pixels) const {
        using E = typename Reading::Element;
        const E* from = static_cast<const E*>(source.data) + n * source.view_stride;
        D* to = static_cast<D*>(destination.data) + n * destination.view_stride + pixel * destination.pixel_stride;
        for (int left = planes.count(); left > 0; left -= kSquare) {
            Square<D, typename Reading::Value> square;
            SPUPROJ_UNROLL
            for (int l = 0; l < kSquare; ++l) {
                const E* plane = from + planes.offset(source);
                square.to[l] = to + planes.offset(destination);
                SPUPROJ_UNROLL
                for (int i = 0; i < kSquare; ++i) {
                    // Read unconditionally: with a branch the loads would not overlap.
                    const typename Reading::Value value = readings[i](plane);
                    square.values[l][i] = readings[i].valid ? value : fill;
                }
                // Past the last plane it is read again.
                if (l + 1 < left) planes.advance();
            }
            if (along == Along::kPixels) {
                square.store_pixels(left);
            } else if (along == Along::kPlanes) {
                square.store_planes(pixels, destination.pixel_stride);
            } else {
                square.store_singly(left, pixels, destination.pixel_stride);
            }
        }
    }
};

template <class Reading, class D>
void launch_gather(const Queue& queue, const Shape& shape, const Taps& taps, const Planes& source,
                   const Planes& destination, typename Reading::Value fill) {
    const Chunks chunks = chunks_of(shape, taps.sample_stride, kGatherPlanes);
    const Along along = along_of<D>(destination, shape, taps.pixels);
    launch(queue, Gather<Reading, D>{taps, chunks, source, destination, fill, along},
           shape.views * ceiling(taps.pixels, kSquare), chunks.count());
}

}  // namespace

void gather(const Queue& queue, int dtype, int destination_dtype, const Shape& shape, const Taps& taps,
            const Planes& source, const Planes& destination, double fill) {
    with_element(dtype, [&](auto element) {
        using Reading = Blend<decltype(element)>;
        with_element(destination_dtype, [&](auto result) {
            launch_gather<Reading, decltype(result)>(queue, shape, taps, source, destination,
                                                     static_cast<typename Reading::Value>(fill));
        });
    });
}

void copy(const Queue& queue, int64_t element_size, const Shape& shape, const Taps& taps, const Planes& source,
          const Planes& destination, uint64_t fill_bits) {
    const auto run = [&](auto element) {
        using E = decltype(element);
        launch_gather<CopyElement<E>, E>(queue, shape, taps, source, destination, static_cast<E>(fill_bits));
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
