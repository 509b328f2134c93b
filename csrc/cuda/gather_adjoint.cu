#include "cuda/gather_adjoint.hpp"
#include "cuda/launch.hpp"

namespace spuproj::cuda {

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
