// Stores of results, which no kernel reads again: the caches give them up first, and keep the source planes.
#pragma once

#include "spuproj/planes.hpp"

namespace spuproj::cuda {

// Consecutive elements that one instruction stores, or two for elements of 8 bytes.
template <class D, int kCount>
struct alignas(sizeof(D) * kCount < 16 ? sizeof(D) * kCount : 16) Pack {
    D at[kCount];
};

// Whether a destination's channels lie in aligned packs.
template <class D, int kCount>
bool stores_packs(const Planes& planes, const Shape& shape) {
    return planes.channel_stride == 1 && shape.channels % kCount == 0 && planes.pixel_stride % kCount == 0 &&
           planes.batch_stride % kCount == 0 && planes.view_stride % kCount == 0 &&
           reinterpret_cast<uintptr_t>(planes.data) % alignof(Pack<D, kCount>) == 0;
}

template <class T>
SPUPROJ_HD static inline void stream(T* to, const T& value) {
#if defined(__CUDA_ARCH__)
    if constexpr (sizeof(T) == 1) {
        __stcs(reinterpret_cast<unsigned char*>(to), *reinterpret_cast<const unsigned char*>(&value));
    } else if constexpr (sizeof(T) == 2) {
        __stcs(reinterpret_cast<unsigned short*>(to), *reinterpret_cast<const unsigned short*>(&value));
    } else if constexpr (sizeof(T) == 4) {
        __stcs(reinterpret_cast<unsigned int*>(to), *reinterpret_cast<const unsigned int*>(&value));
    } else if constexpr (sizeof(T) == 8) {
        __stcs(reinterpret_cast<uint2*>(to), *reinterpret_cast<const uint2*>(&value));
    } else {
        SPUPROJ_UNROLL
        for (int i = 0; i < static_cast<int>(sizeof(T) / 16); ++i)
            __stcs(reinterpret_cast<uint4*>(to) + i, reinterpret_cast<const uint4*>(&value)[i]);
    }
#else
    *to = value;
#endif
}

}  // namespace spuproj::cuda
