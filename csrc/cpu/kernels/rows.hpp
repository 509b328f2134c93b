// Converts elements of a tensor to rows of arithmetic values, and back.
#pragma once

#include <type_traits>

#include "cpu/kernels/table.hpp"
#include "cpu/kernels/vector.hpp"

namespace spuproj::cpu {
namespace {

template <class E, class A = Arithmetic<E>>
void load_row(const E* from, int64_t count, A* row) {
    int64_t p = 0;
#if defined(__F16C__)
    if constexpr (std::is_same_v<E, Float16>)
        for (; p + 8 <= count; p += 8) store_vector<float, 8>(row + p, load_halves(from + p));
#endif
    for (; p < count; ++p) row[p] = load(from[p]);
}

template <class A, class O>
inline void convert_row(const A* row, int64_t count, O* to) {
    int64_t p = 0;
#if defined(__F16C__)
    if constexpr (std::is_same_v<A, float> && std::is_same_v<O, Float16>)
        for (; p + 8 <= count; p += 8) store_halves(to + p, load_vector<float, 8>(row + p));
#endif
    for (; p < count; ++p) store(to[p], row[p]);
}

// Streaming stores are faster only where they write whole cache lines.
inline bool in_lines(const void* to, int64_t nbytes) { return nbytes % kLineBytes == 0 && begins_line(to); }

inline void write_bytes(const void* from, int64_t nbytes, bool stream, void* to) {
    if (!stream || !in_lines(to, nbytes)) {
        std::memcpy(to, from, static_cast<size_t>(nbytes));
        return;
    }
    const char* values = static_cast<const char*>(from);
    char* out = static_cast<char*>(to);
    for (int64_t at = 0; at < nbytes; at += kRegisterBytes) stream_vector(out + at, load_vector(values + at));
}

template <class A, class O>
void write(const A* row, int64_t count, bool stream, void* to) {
    const int64_t nbytes = count * static_cast<int64_t>(sizeof(O));
    if constexpr (std::is_same_v<A, O>) {
        write_bytes(row, nbytes, stream, to);
    } else if (!stream || !in_lines(to, nbytes)) {
        convert_row(row, count, static_cast<O*>(to));
    } else {
        alignas(kLineBytes) O converted[kRun];
        convert_row(row, count, converted);
        write_bytes(converted, nbytes, true, to);
    }
}

template <class A, class O>
void write_pixels(const A* rows, int64_t planes, int64_t count, int64_t pixel_stride, void* to) {
    O* pixel = static_cast<O*>(to);
    for (int64_t p = 0; p < count; ++p, pixel += pixel_stride)
        for (int64_t l = 0; l < planes; ++l) store(pixel[l], rows[l * kRun + p]);
}

}  // namespace
}  // namespace spuproj::cpu
