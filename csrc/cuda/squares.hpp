// Squares of results: kSquare pixels of kSquare planes, stored together along either.
#pragma once

#include "spuproj/cuda.hpp"

namespace spuproj::cuda {

constexpr int kSquare = 4;

// Consecutive elements that one instruction moves.
template <class D>
struct alignas(sizeof(D) * kSquare < 16 ? sizeof(D) * kSquare : 16) Pack {
    D at[kSquare];
};

enum class Along { kPixels, kPlanes, kNeither };

// Along what all squares of a destination can be stored.
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

}  // namespace spuproj::cuda
