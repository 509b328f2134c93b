// Memory layout of the planes of a tensor.
#pragma once

#include "spuproj/platform.hpp"

namespace spuproj {

struct Shape {
    int64_t batch, views, channels;
};

// B x N x C planes of pixels. Strides count elements. All members are zero for planes that a kernel does without.
struct Planes {
    void* data;
    int64_t batch_stride, view_stride, channel_stride, pixel_stride;
};

SPUPROJ_HD static inline int64_t ceiling(int64_t count, int64_t divisor) { return (count + divisor - 1) / divisor; }

}  // namespace spuproj
