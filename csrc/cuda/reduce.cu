#include "cuda/launch.hpp"
#include "cuda/reduce.hpp"

namespace spuproj::cuda {
namespace {

// Contiguous [B, N, C] planes of so many pixels.
Planes contiguous(const Shape& shape, int64_t views, int64_t pixels, void* data) {
    return {data, views * shape.channels * pixels, shape.channels * pixels, pixels, 1};
}

}  // namespace

void reduce(const Queue& queue, int dtype, const Shape& shape, const Taps& taps, const Planes& source, void* mean,
            void* variance, int32_t* count) {
    with_element(dtype, [&](auto element) {
        using E = decltype(element);
        const Chunks chunks = chunks_of(shape, taps.sample_stride, kReducePlanes);
        launch(queue,
               Reduce<E>{taps, chunks, shape.views, source, contiguous(shape, 1, taps.pixels, nullptr),
                         static_cast<E*>(mean), static_cast<E*>(variance), count},
               taps.pixels, chunks.count());
    });
}

void slopes(const Queue& queue, int dtype, const Shape& shape, const Taps& taps, const Planes& source,
            const void* grad_mean, const void* grad_variance, const void* mean, const int32_t* count, void* slopes) {
    with_element(dtype, [&](auto element) {
        using E = decltype(element);
        const Chunks chunks = chunks_of(shape, taps.sample_stride, kReducePlanes);
        launch(queue,
               Slopes<E>{taps, chunks, source, contiguous(shape, 1, taps.pixels, nullptr),
                         static_cast<const E*>(grad_mean), static_cast<const E*>(grad_variance),
                         static_cast<const E*>(mean), count, contiguous(shape, shape.views, taps.pixels, slopes)},
               shape.views * taps.pixels, chunks.count());
    });
}

}  // namespace spuproj::cuda
