// gather for four interleaved planes and registers of at least eight floats: eight taps at a time.
#pragma once

#include "cpu/kernels/gather_lanes.hpp"

#if defined(__AVX__)

namespace spuproj::cpu {
namespace {

using Eight = Vector<float, 8>;
using Four = Vector<float, 4>;

// How many taps ahead their cache lines are prefetched.
constexpr int64_t kAhead = 256;

// Blends of taps K and K + 4. The four planes of a pixel and those of its right neighbour are adjacent: one load reads
// both.
template <int K>
inline Eight blend_pair(const int32_t* index, const float* fraction_y, const float* block, const float* below,
                        Eight x) {
    const auto down = [&](int k) {
        const size_t pixel = static_cast<size_t>(static_cast<uint32_t>(index[k])) * 4;
        return mix(load_vector<float, 8>(block + pixel), load_vector<float, 8>(below + pixel), fraction_y[k]);
    };
    const Eight first = down(K), second = down(K + 4);
    const Eight left = shuffle<float, 8, Swap<8, 4, 0>>(first, second);
    const Eight right = shuffle<float, 8, Swap<8, 4, 1>>(first, second);
    return mix(left, right, shuffle<float, 8, Repeat<float, K>>(x, x));
}

// Destination of blends of four planes: a row for each plane; row(l) is that of plane l.
template <class Row>
struct FourRows {
    Row row;

    void put_fill(int64_t start, float fill) const {
        for (int l = 0; l < 4; ++l) store_vector<float, 8>(row(l) + start, repeated<float, 8>(fill));
    }
    void put(int64_t p, Four value) const {
        for (int l = 0; l < 4; ++l) row(l)[p] = value[l];
    }
    // blends[K] holds taps K and K + 4; if Partial, some of the taps have no source and get `fill`.
    template <bool Partial>
    void put_eight(int64_t start, const int32_t* index, Eight (&blends)[4], float fill) const {
        transpose_parts<float, 8, 4>(blends);
        for (int l = 0; l < 4; ++l)
            store_vector<float, 8>(row(l) + start, filled<Partial, float, 8>(index, blends[l], fill));
    }
};

struct TensorRows {
    float* rows[4];
    float* operator()(int l) const { return rows[l]; }
};
// Four cache lines in a row.
struct Lines {
    float* memory;
    float* operator()(int l) const { return memory + l * kLine<float>; }
};

// Destination of blends of four planes: a block, with streaming stores if Stream.
template <bool Stream>
struct FourPlaneBlock {
    float* pixels;

    void put_fill(int64_t start, float fill) const {
        for (int64_t p = start; p < start + 8; ++p) put(p, repeated<float, 4>(fill));
    }
    void put(int64_t p, Four value) const {
        Stream ? stream_vector<float, 4>(pixels + p * 4, value) : store_vector<float, 4>(pixels + p * 4, value);
    }
    template <bool Partial>
    void put_eight(int64_t start, const int32_t* index, Eight (&blends)[4], float fill) const {
        Four halves[4][2];
        std::memcpy(halves, blends, sizeof(halves));
        for (int k = 0; k < 8; ++k) {
            const bool none = Partial && index[k] < 0;
            put(start + k, none ? repeated<float, 4>(fill) : halves[k % 4][k / 4]);
        }
    }
};

// Blends of the eight taps from `start` on, which blend four pixels; if Partial, some have no source and read pixel 0.
template <bool Partial>
inline void blend_eight(const TapRun<float>& taps, int64_t start, const float* block, Eight (&blends)[4]) {
    const float* y = taps.fraction_y + start;
    const Eight x = load_vector<float, 8>(taps.fraction_x + start);
    const int32_t* index = taps.index + start;
    int32_t pixels[8];
    if constexpr (Partial) {
        // As in readable().
        const auto given = load_vector<int32_t, 8>(index);
        store_vector<int32_t, 8>(pixels, given < 0 ? Vector<int32_t, 8>{} : given);
        index = pixels;
    }
    const float* below = block + taps.width * 4;
    blends[0] = blend_pair<0>(index, y, block, below, x);
    blends[1] = blend_pair<1>(index, y, block, below, x);
    blends[2] = blend_pair<2>(index, y, block, below, x);
    blends[3] = blend_pair<3>(index, y, block, below, x);
}

// Prefetches the lines that taps from `first` on read one row further down, for the next row of points.
SPUPROJ_PREFETCH prefetch_below(const TapRun<float>& taps, int64_t first, int lines, const float* block) {
    // An integer, as that may be past the block's end.
    const intptr_t next =
        reinterpret_cast<intptr_t>(block) + (taps.index[first] + 2 * taps.width) * int64_t(4 * sizeof(float));
    for (int line = 0; line < lines; ++line)
        __builtin_prefetch(reinterpret_cast<const void*>(next + line * kLineBytes));
}

// At most eight taps of any kind.
template <class To>
inline void gather_group(const TapRun<float>& taps, int64_t start, const float* block, float fill, const To& to,
                         int64_t at) {
    const Group group = group_at<8>(taps, start);
    if (group == Group::kBlend || group == Group::kPartial) {
        prefetch_below(taps, start, 2, block);
        Eight blends[4];
        if (group == Group::kBlend) {
            blend_eight<false>(taps, start, block, blends);
            to.template put_eight<false>(at, taps.index + start, blends, fill);
        } else {
            blend_eight<true>(taps, start, block, blends);
            to.template put_eight<true>(at, taps.index + start, blends, fill);
        }
    } else if (group == Group::kNone) {
        to.put_fill(at, fill);
    } else {
        for (int64_t p = start; p < start + 8 && p < taps.count; ++p)
            to.put(at + p - start, blend_at<float, 4>(taps, p, block, fill).part[0]);
    }
}

// Prefetches the line of taps that begins with tap `first`, unless it is known to have no source.
SPUPROJ_PREFETCH prefetch_line(const TapRun<float>& taps, int64_t first) {
    if (first < taps.count && !taps.has_source[first / kTapLine]) return;
    __builtin_prefetch(taps.index + first);
    __builtin_prefetch(taps.fraction_y + first);
    __builtin_prefetch(taps.fraction_x + first);
}

// The taps from `start` on.
template <class To>
inline void gather_groups(const TapRun<float>& taps, int64_t start, const float* block, float fill, const To& to) {
    for (; start < taps.count; start += 8) {
        if (start % kTapLine == 0) prefetch_line(taps, start + kAhead);
        if (!taps.has_source[start / kTapLine] && start + 8 <= taps.count)
            to.put_fill(start, fill);
        else
            gather_group(taps, start, block, fill, to, start);
    }
}

// The taps of a whole cache line of each row, with streaming stores. Sixteen taps at a time, so that they stay in
// registers, make the loop above slower.
inline void stream_line(const TapRun<float>& taps, int64_t start, const float* block, float fill,
                        const FourRows<TensorRows>& to, int used) {
    prefetch_line(taps, start + kAhead);
    const auto put = [&](int l, Eight left, Eight right) {
        stream_vector<float, 8>(to.row(l) + start, left);
        stream_vector<float, 8>(to.row(l) + start + 8, right);
    };
    const int32_t* index = taps.index + start;
    if (!taps.has_source[start / kTapLine]) {
        const Eight none = repeated<float, 8>(fill);
        for (int l = 0; l < used; ++l) put(l, none, none);
    } else if (sign_bits(load_vector<int32_t, 8>(index) | load_vector<int32_t, 8>(index + 8)) == 0) {
        prefetch_below(taps, start, 4, block);
        Eight blends[2][4];
        for (int half = 0; half < 2; ++half) {
            blend_eight<false>(taps, start + half * 8, block, blends[half]);
            transpose_parts<float, 8, 4>(blends[half]);
        }
        for (int l = 0; l < used; ++l) put(l, blends[0][l], blends[1][l]);
    } else {
        // Streaming stores of parts of several lines in turn are slow.
        alignas(kLineBytes) float memory[4 * kLine<float>];
        const FourRows<Lines> lines{{memory}};
        gather_group(taps, start, block, fill, lines, 0);
        gather_group(taps, start + 8, block, fill, lines, 8);
        for (int l = 0; l < used; ++l)
            put(l, load_vector<float, 8>(lines.row(l)), load_vector<float, 8>(lines.row(l) + 8));
    }
}

void gather_four_rows(const TapRun<float>& run, const float* block, float fill, float* const* rows, bool stream) {
    const TapRun<float> taps = run;
    const FourRows<TensorRows> to{{{rows[0], rows[1], rows[2], rows[3]}}};
    const int used = different_rows<4>(rows);
    for (int l = 0; l < used; ++l) stream = stream && begins_line(to.row(l));
    int64_t start = 0;
    if (stream)
        for (; start + kTapLine <= taps.count; start += kTapLine) stream_line(taps, start, block, fill, to, used);
    gather_groups(taps, start, block, fill, to);
}

void gather_four_plane_block(const TapRun<float>& run, const float* block, float fill, float* blends, bool stream) {
    const TapRun<float> taps = run;
    if (stream && begins_line(blends))
        gather_groups(taps, 0, block, fill, FourPlaneBlock<true>{blends});
    else
        gather_groups(taps, 0, block, fill, FourPlaneBlock<false>{blends});
}

}  // namespace
}  // namespace spuproj::cpu

#endif
