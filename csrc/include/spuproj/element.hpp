// Element types of tensors, and their conversion to and from the type used for arithmetic.
#pragma once

#include <cstring>
#include <stdexcept>
#include <string>
#include <type_traits>

#include "spuproj/platform.hpp"

#if defined(__CUDACC__)
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#endif

namespace spuproj {

// CODES in Python has the same codes.
enum DType : int { kFloat32, kFloat64, kFloat16, kBFloat16, kDTypes };

struct Float16 {
    uint16_t bits;
};
struct BFloat16 {
    uint16_t bits;
};

// Reinterprets bits as another type of the same size.
template <class To, class From>
SPUPROJ_HD static inline To bits_as(const From& from) {
    static_assert(sizeof(To) == sizeof(From), "bits keep their size");
    To to;
    std::memcpy(&to, &from, sizeof(to));
    return to;
}

template <class E>
using Arithmetic = std::conditional_t<std::is_same_v<E, double>, double, float>;

SPUPROJ_HD static inline float load(const float& e) { return e; }
SPUPROJ_HD static inline double load(const double& e) { return e; }
SPUPROJ_HD static inline float load(const BFloat16& e) { return bits_as<float>(static_cast<uint32_t>(e.bits) << 16); }
SPUPROJ_HD static inline float load(const Float16& e) {
#if defined(__CUDA_ARCH__)
    return __half2float(__ushort_as_half(e.bits));
#else
    const uint32_t sign = static_cast<uint32_t>(e.bits & 0x8000u) << 16;
    const uint32_t magnitude = static_cast<uint32_t>(e.bits & 0x7fffu) << 13;
    // A factor of 2^112 corrects the exponent's bias, also for subnormals; Inf and NaN are handled below.
    const float scaled = bits_as<float>(magnitude) * 5.192296858534828e33f;
    const uint32_t finite = bits_as<uint32_t>(scaled);
    // NaN becomes quiet, as in the hardware's conversion.
    const uint32_t special = magnitude | 0x7f800000u | (magnitude > 0x0f800000u ? 0x400000u : 0u);
    return bits_as<float>(sign | (magnitude >= 0x0f800000u ? special : finite));
#endif
}

template <class E, class A>
SPUPROJ_HD static inline void store(E& e, A value) {
    e = static_cast<E>(value);
}
SPUPROJ_HD static inline void store(BFloat16& e, float value) {
#if defined(__CUDA_ARCH__)
    e.bits = __bfloat16_as_ushort(__float2bfloat16_rn(value));
#else
    const uint32_t bits = bits_as<uint32_t>(value);
    const uint32_t rounded = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
    e.bits = static_cast<uint16_t>(value != value ? (bits >> 16) | 0x40u : rounded);
#endif
}
SPUPROJ_HD static inline void store(Float16& e, float value) {
#if defined(__CUDA_ARCH__)
    e.bits = __half_as_ushort(__float2half_rn(value));
#else
    const uint32_t bits = bits_as<uint32_t>(value);
    const uint32_t sign = (bits >> 16) & 0x8000u;
    const uint32_t magnitude = bits & 0x7fffffffu;
    uint32_t half;
    if (magnitude > 0x7f800000u) {
        half = 0x7e00u | ((magnitude >> 13) & 0x3ffu);  // quiet NaN, payload truncated, as in hardware
    } else if (magnitude >= 0x477ff000u) {
        half = 0x7c00u;  // 65520 and above round to infinity
    } else if (magnitude < 0x38800000u) {
        // Adding 0.5 makes the hardware round the subnormal to a multiple of 2^-24.
        half = bits_as<uint32_t>(bits_as<float>(magnitude) + 0.5f) - 0x3f000000u;
    } else {
        half = (magnitude - 0x38000000u + 0xfffu + ((magnitude >> 13) & 1u)) >> 13;
    }
    e.bits = static_cast<uint16_t>(sign | half);
#endif
}
// Rounds to float first, as torch does.
SPUPROJ_HD static inline void store(BFloat16& e, double value) { store(e, static_cast<float>(value)); }
SPUPROJ_HD static inline void store(Float16& e, double value) { store(e, static_cast<float>(value)); }

// The result of `call` with a value of the element type with this code.
template <class Call>
auto with_element(int dtype, const Call& call) {
    switch (dtype) {
        case kFloat32: return call(float());
        case kFloat64: return call(double());
        case kFloat16: return call(Float16());
        case kBFloat16: return call(BFloat16());
        default: throw std::invalid_argument("dtype must be a code from 0 to 3, got " + std::to_string(dtype));
    }
}

}  // namespace spuproj
