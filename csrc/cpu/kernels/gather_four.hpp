// gather for four interleaved planes and registers of at least eight floats: eight taps at a time.
#pragma once

#include "cpu/kernels/gather_lanes.hpp"

#if defined(__AVX__)

namespace spuproj::cpu {
namespace {

using Eight = Vector<float, 8>;
using Four = Vector<float, 4>;

// How many pixels ahead of the writes cache lines are prefetched.
constexpr int64_t kAhead = 128;

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

// Destination of blends of four planes: a row for each plane.
struct FourRows {
    float* row[4];

    void prefetch(int64_t start) const {
        if (start % 16 == 0)
            for (const float* to : row) __builtin_prefetch(to + start + kAhead);
    }
    void put_fill(int64_t start, float fill) const {
        for (float* to : row) store_vector<float, 8>(to + start, repeated<float, 8>(fill));
    }
    void put(int64_t p, Four value) const {
        for (int l = 0; l < 4; ++l) row[l][p] = value[l];
    }
    // blends[K] holds taps K and K + 4; if Partial, some of the taps have no source and get `fill`.
    template <bool Partial>
    void put_eight(int64_t start, const int32_t* index, Eight (&blends)[4], float fill) const {
        transpose_parts<float, 8, 4>(blends);
        for (int l = 0; l < 4; ++l)
            store_vector<float, 8>(row[l] + start, filled<Partial, float, 8>(index, blends[l], fill));
    }
};

// Destination of blends of four planes: a block.
struct FourPlaneBlock {
    float* pixels;

    void prefetch(int64_t start) const {
        __builtin_prefetch(pixels + (start + kAhead) * 4);
        __builtin_prefetch(pixels + (start + kAhead) * 4 + 16);
    }
    void put_fill(int64_t start, float fill) const {
        for (int64_t p = start; p < start + 8; p += 2) store_vector<float, 8>(pixels + p * 4, repeated<float, 8>(fill));
    }
    void put(int64_t p, Four value) const { store_vector<float, 4>(pixels + p * 4, value); }
    template <bool Partial>
    void put_eight(int64_t start, const int32_t* index, Eight (&blends)[4], float fill) const {
        Four halves[2];
        for (int k = 0; k < 4; ++k) {
            std::memcpy(halves, &blends[k], sizeof(halves));
            put(start + k, halves[0]);
            put(start + k + 4, halves[1]);
        }
        if constexpr (Partial)
            for (int k = 0; k < 8; ++k)
                if (index[k] < 0) put(start + k, repeated<float, 4>(fill));
    }
};

// Eight taps that blend four pixels or, if Partial, have no source.
template <bool Partial, class To>
inline void gather_eight(const TapRun<float>& taps, int64_t start, const float* block, float fill, const To& to) {
    const float* y = taps.fraction_y + start;
    const Eight x = load_vector<float, 8>(taps.fraction_x + start);
    const int32_t *stored = taps.index + start, *index = stored;
    int32_t pixels[8];
    if constexpr (Partial) {
        // As in readable(): taps without a source read pixel 0.
        const auto given = load_vector<int32_t, 8>(stored);
        store_vector<int32_t, 8>(pixels, given < 0 ? Vector<int32_t, 8>{} : given);
        index = pixels;
    }
    const float* below = block + taps.width * 4;
    Eight blends[4] = {blend_pair<0>(index, y, block, below, x), blend_pair<1>(index, y, block, below, x),
                       blend_pair<2>(index, y, block, below, x), blend_pair<3>(index, y, block, below, x)};
    to.template put_eight<Partial>(start, stored, blends, fill);
}

template <class To>
bool gather_four(const TapRun<float>& run, const float* block, float fill, const To& given) {
    const TapRun<float> taps = run;
    if (!any_source(taps)) return false;
    const To to = given;
    // Prefetches one row further down, for the next row of points; an integer, as that may be past the block's end.
    const intptr_t next = reinterpret_cast<intptr_t>(block) + 2 * taps.width * int64_t(4 * sizeof(float));
    for (int64_t start = 0; start < taps.count; start += 8) {
        const Group group = group_at<8>(taps, start);
        if (group == Group::kBlend || group == Group::kPartial) {
            to.prefetch(start);
            const intptr_t first = next + taps.index[start] * int64_t(4 * sizeof(float));
            __builtin_prefetch(reinterpret_cast<const void*>(first));
            __builtin_prefetch(reinterpret_cast<const void*>(first + kLineBytes));
            group == Group::kBlend ? gather_eight<false>(taps, start, block, fill, to)
                                   : gather_eight<true>(taps, start, block, fill, to);
        } else if (group == Group::kNone) {
            to.put_fill(start, fill);
        } else {
            for (int64_t p = start; p < start + 8 && p < taps.count; ++p)
                to.put(p, blend_at<float, 4>(taps, p, block, fill).part[0]);
        }
    }
    return true;
}

bool gather_four_rows(const TapRun<float>& taps, const float* block, float fill, float* const* rows) {
    return gather_four(taps, block, fill, FourRows{{rows[0], rows[1], rows[2], rows[3]}});
}

bool gather_four_plane_block(const TapRun<float>& taps, const float* block, float fill, float* blends) {
    return gather_four(taps, block, fill, FourPlaneBlock{blends});
}

}  // namespace
}  // namespace spuproj::cpu

#endif
