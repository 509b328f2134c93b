#include "cuda/gather.hpp"
#include "cuda/launch.hpp"

namespace spuproj::cuda {
namespace {

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
        launch_gather<Take<E>, E>(queue, shape, taps, source, destination, static_cast<E>(fill_bits));
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
