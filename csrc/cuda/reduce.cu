#include "cuda/launch.hpp"
#include "cuda/reduce.hpp"

namespace spuproj::cuda {

void reduce(const Queue& queue, int dtype, const Shape& shape, const Taps& taps, const Planes& source, void* mean,
            void* variance, int32_t* count) {
    const Planes layout = contiguous_planes(nullptr, 1, shape.channels, taps.pixels);
    with_element(dtype, [&](auto element) {
        using E = decltype(element);
        const Chunks chunks = chunks_of(shape, taps.sample_stride, kReducePlanes);
        launch(queue,
               Reduce<E>{taps, chunks, shape.views, source, layout, static_cast<E*>(mean), static_cast<E*>(variance),
                         count},
               taps.pixels, chunks.count());
    });
}

void slopes(const Queue& queue, int dtype, const Shape& shape, const Taps& taps, const Planes& source,
            const void* grad_mean, const void* grad_variance, const void* mean, const int32_t* count, void* slopes) {
    const Planes layout = contiguous_planes(nullptr, 1, shape.channels, taps.pixels);
    with_element(dtype, [&](auto element) {
        using E = decltype(element);
        const Chunks chunks = chunks_of(shape, taps.sample_stride, kReducePlanes);
        launch(queue,
               Slopes<E>{taps, chunks, source, layout, static_cast<const E*>(grad_mean),
                         static_cast<const E*>(grad_variance), static_cast<const E*>(mean), count,
                         contiguous_planes(slopes, shape.views, shape.channels, taps.pixels)},
               shape.views * taps.pixels, chunks.count());
    });
}

}  // namespace spuproj::cuda
