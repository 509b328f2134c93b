// Vectors as wide as the registers of the SIMD level, through the vector extensions of GCC and Clang.
// Like all of cpu/kernels, included by level.cpp alone, once per SIMD level: everything has internal linkage.
#pragma once

#include <utility>

#include "spuproj/element.hpp"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace spuproj::cpu {
namespace {

#if defined(__AVX512F__)
constexpr int kRegisterBytes = 64;
#elif defined(__AVX__)
constexpr int kRegisterBytes = 32;
#else
constexpr int kRegisterBytes = 16;
#endif

// Of a cache line.
constexpr int64_t kLineBytes = 64;
template <class T>
constexpr int64_t kLine = kLineBytes / static_cast<int64_t>(sizeof(T));

template <class T>
constexpr int kWidth = kRegisterBytes / static_cast<int>(sizeof(T));

template <class T, int W>
struct VectorOf {
    typedef T type __attribute__((vector_size(sizeof(T) * W)));
    typedef T unaligned __attribute__((vector_size(sizeof(T) * W), aligned(alignof(T)), may_alias));
};
template <class T, int W = kWidth<T>>
using Vector = typename VectorOf<T, W>::type;

// The integer type of the same size, which comparisons of vectors return.
template <class T>
using Integer = std::conditional_t<sizeof(T) == sizeof(int32_t), int32_t, int64_t>;

template <class T, int W = kWidth<T>>
inline Vector<T, W> load_vector(const T* from) {
    return *reinterpret_cast<const typename VectorOf<T, W>::unaligned*>(from);
}

template <class T, int W = kWidth<T>>
inline void store_vector(T* to, Vector<T, W> value) {
    *reinterpret_cast<typename VectorOf<T, W>::unaligned*>(to) = value;
}

template <class T, int W>
inline Vector<T, W> repeated(T value) {
    return value - Vector<T, W>{};
}

// Streaming store, which bypasses the caches; the address must be aligned to the vector's size.
template <class T, int W = kWidth<T>>
inline void stream_vector(T* to, Vector<T, W> value) {
    [[maybe_unused]] const auto address = reinterpret_cast<float*>(to);
#if defined(__AVX512F__)
    if constexpr (sizeof(value) == 64) return _mm512_stream_ps(address, reinterpret_cast<__m512>(value));
#endif
#if defined(__AVX__)
    if constexpr (sizeof(value) == 32) return _mm256_stream_ps(address, reinterpret_cast<__m256>(value));
#endif
#if defined(__x86_64__)
    if constexpr (sizeof(value) == 16) return _mm_stream_ps(address, reinterpret_cast<__m128>(value));
#endif
    store_vector<T, W>(to, value);
}

inline bool begins_line(const void* address) { return reinterpret_cast<uintptr_t>(address) % kLineBytes == 0; }

// Fence after streaming stores, which are not ordered with other stores.
inline void end_streaming() {
#if defined(__x86_64__)
    _mm_sfence();
#endif
}

#if defined(__AVX__)
// The sign bits of eight integers.
inline int sign_bits(Vector<int32_t, 8> values) { return _mm256_movemask_ps(reinterpret_cast<__m256>(values)); }
#endif

#if defined(__F16C__)
inline Vector<float, 8> load_halves(const Float16* from) {
    return reinterpret_cast<Vector<float, 8>>(_mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(from))));
}

inline void store_halves(Float16* to, Vector<float, 8> values) {
    constexpr int nearest = _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC;
    _mm_storeu_si128(reinterpret_cast<__m128i*>(to), _mm256_cvtps_ph(reinterpret_cast<__m256>(values), nearest));
}
#endif

// Elements I of a and b, counted through both.
template <class T, int W, int... I>
inline Vector<T, W> shuffle(Vector<T, W> a, Vector<T, W> b, std::integer_sequence<int, I...>) {
#if defined(__clang__)
    return __builtin_shufflevector(a, b, I...);
#else
    return __builtin_shuffle(a, b, Vector<Integer<T>, W>{I...});
#endif
}

template <class Pick, int... J>
constexpr auto picked(std::integer_sequence<int, J...>) {
    return std::integer_sequence<int, Pick::at(J)...>{};
}
template <class T, int W, class Pick>
inline Vector<T, W> shuffle(Vector<T, W> a, Vector<T, W> b) {
    return shuffle<T, W>(a, b, picked<Pick>(std::make_integer_sequence<int, W>{}));
}

// Elements of one 128-bit part of a register; most shuffle instructions do not cross parts.
template <class T>
constexpr int kPart = 16 / static_cast<int>(sizeof(T));

// Interleaves the lower (Half = 0) or upper halves of each part of a and b.
template <class T, int W, int Half>
struct Zip {
    static constexpr int at(int j) {
        const int part = j / kPart<T> * kPart<T>, k = j % kPart<T>;
        return (k % 2) * W + part + Half * kPart<T> / 2 + k / 2;
    }
};
// Half of a transposition of 2 x 2 blocks of Block elements: Half = 0 gives the upper row, 1 the lower one.
template <int W, int Block, int Half>
struct Swap {
    static constexpr int at(int j) {
        const bool low = (j & Block) == 0;
        if (Half == 0) return low ? j : W + j - Block;
        return low ? j + Block : W + j;
    }
};
// The first (Half = 0) or second elements of the pairs of a and b; in each part, those of a come before those of b.
template <class T, int W, int Half>
struct Unzip {
    static constexpr int at(int j) {
        const int part = j / kPart<T> * kPart<T>, k = j % kPart<T>, half = kPart<T> / 2;
        return k < half ? part + 2 * k + Half : W + part + 2 * (k - half) + Half;
    }
};

// Broadcasts element K of each part within the part.
template <class T, int K>
struct Repeat {
    static constexpr int at(int j) { return j / kPart<T> * kPart<T> + K; }
};

template <class T, int W, int Block>
inline void swap_blocks(Vector<T, W> (&rows)[W]) {
    if constexpr (Block >= kPart<T>) {
        for (int i = 0; i < W; ++i) {
            if (i & Block) continue;
            const Vector<T, W> upper = rows[i], lower = rows[i + Block];
            rows[i] = shuffle<T, W, Swap<W, Block, 0>>(upper, lower);
            rows[i + Block] = shuffle<T, W, Swap<W, Block, 1>>(upper, lower);
        }
        swap_blocks<T, W, Block / 2>(rows);
    }
}

// Transposes P rows within every 128-bit part.
template <class T, int W, int P>
inline void transpose_parts(Vector<T, W>* rows) {
    for (int turn = P; turn > 1; turn /= 2) {
        Vector<T, W> next[P];
        for (int k = 0; k < P / 2; ++k) {
            next[2 * k] = shuffle<T, W, Zip<T, W, 0>>(rows[k], rows[k + P / 2]);
            next[2 * k + 1] = shuffle<T, W, Zip<T, W, 1>>(rows[k], rows[k + P / 2]);
        }
        for (int i = 0; i < P; ++i) rows[i] = next[i];
    }
}

// Transposes a square of W rows.
template <class T, int W>
inline void transpose(Vector<T, W> (&rows)[W]) {
    if constexpr (W > 1) {
        swap_blocks<T, W, W / 2>(rows);
        constexpr int P = W < kPart<T> ? W : kPart<T>;
        for (int group = 0; group < W; group += P) transpose_parts<T, W, P>(rows + group);
    }
}

}  // namespace
}  // namespace spuproj::cpu
