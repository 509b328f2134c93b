// Stacks of planes: how a tensor's planes lie in memory.
#pragma once

#include <cstdint>

namespace spuproj {

// B x N x C planes; the pixels of each lie pixel_stride apart. Strides count elements.
struct Planes {
    void* data;
    int64_t batch_stride, view_stride, channel_stride, pixel_stride;
};

struct Shape {
    int64_t batch, views, channels;
};

}  // namespace spuproj
