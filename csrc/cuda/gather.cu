#include "cuda/gather.hpp"
#include "cuda/launch.hpp"

namespace spuproj::cuda {
namespace {

template <class Reading, class D>
void launch_gather(const Queue& queue, const Shape& shape, const Taps& taps, const Planes& source,
                   const Planes& destination) {
    const Chunks chunks = chunks_of(shape, taps.sample_stride, kGatherPlanes);
    const Along along = along_of<D>(destination, shape, taps.pixels);
    launch(queue, Gather<Reading, D>{taps, chunks, source, destination, along},
           shape.views * ceiling(taps.pixels, kSquare), chunks.count());
}

}  // namespace

void gather(const Queue& queue, int dtype, int destination_dtype, const Shape& shape, const Taps& taps,
            const Planes& source, const Planes& destination) {
    with_element(dtype, [&](auto element) {
        with_element(destination_dtype, [&](auto result) {
            launch_gather<Blend<decltype(element)>, decltype(result)>(queue, shape, taps, source, destination);
        });
    });
}

void copy(const Queue& queue, int64_t element_size, const Shape& shape, const Taps& taps, const Planes& source,
          const Planes& destination) {
    switch (element_size) {
        case 1: return launch_gather<Take<uint8_t>, uint8_t>(queue, shape, taps, source, destination);
        case 2: return launch_gather<Take<uint16_t>, uint16_t>(queue, shape, taps, source, destination);
        case 4: return launch_gather<Take<uint32_t>, uint32_t>(queue, shape, taps, source, destination);
        case 8: return launch_gather<Take<uint64_t>, uint64_t>(queue, shape, taps, source, destination);
        default:
            throw std::invalid_argument("element size must be 1, 2, 4 or 8 bytes, got " + std::to_string(element_size));
    }
}

}  // namespace spuproj::cuda
