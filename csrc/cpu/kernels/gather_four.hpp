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

// Eight taps from `start` on that blend four pixels or, if Partial, have no source; their blends go to `at`.
template <bool Partial, class To>
inline void gather_eight(const TapRun<float>& taps, int64_t start, const float* block, float fill, const To& to,
                         int64_t at) {
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
    to.template put_eight<Partial>(at, stored, blends, fill);
}

// At most eight taps of any kind.
template <class To>
inline void gather_group(const TapRun<float>& taps, int64_t start, const float* block, float fill, const To& to,
                         int64_t at) {
    const Group group = group_at<8>(taps, start);
    if (group == Group::kBlend || group == Group::kPartial) {
        // Prefetches one row further down, for the next row of points; an integer, as that may be past the block's end.
        const intptr_t next =
            reinterpret_cast<intptr_t>(block) + (taps.index[start] + 2 * taps.width) * int64_t(4 * sizeof(float));
        __builtin_prefetch(reinterpret_cast<const void*>(next));
        __builtin_prefetch(reinterpret_cast<const void*>(next + kLineBytes));
        group == Group::kBlend ? gather_eight<false>(taps, start, block, fill, to, at)
                               : gather_eight<true>(taps, start, block, fill, to, at);
    } else if (group == Group::kNone) {
        to.put_fill(at, fill);
    } else {
        for (int64_t p = start; p < start + 8 && p < taps.count; ++p)
            to.put(at + p - start, blend_at<float, 4>(taps, p, block, fill).part[0]);
    }
}

inline void prefetch_taps(const TapRun<float>& taps, int64_t first) {
    __builtin_prefetch(taps.index + first);
    __builtin_prefetch(taps.fraction_y + first);
    __builtin_prefetch(taps.fraction_x + first);
}

// The taps from `start` on.
template <class To>
inline void gather_groups(const TapRun<float>& taps, int64_t start, const float* block, float fill, const To& to) {
    for (; start < taps.count; start += 8) {
        if (start % kLine<float> == 0) prefetch_taps(taps, start + kAhead);
        gather_group(taps, start, block, fill, to, start);
    }
}

void gather_four_rows(const TapRun<float>& run, const float* block, float fill, float* const* rows, bool stream) {
    const TapRun<float> taps = run;
    const FourRows<TensorRows> to{{{rows[0], rows[1], rows[2], rows[3]}}};
    const int used = different_rows<4>(rows);
    for (int l = 0; l < used; ++l) stream = stream && begins_line(to.row(l));
    int64_t start = 0;
    // A whole line of each row at a time: streaming stores of parts of several lines in turn are slow.
    if (stream) {
        alignas(kLineBytes) float memory[4 * kLine<float>];
        const FourRows<Lines> lines{{memory}};
        for (; start + kLine<float> <= taps.count; start += kLine<float>) {
            prefetch_taps(taps, start + kAhead);
            gather_group(taps, start, block, fill, lines, 0);
            gather_group(taps, start + 8, block, fill, lines, 8);
            for (int l = 0; l < used; ++l)
                for (int half = 0; half < kLine<float>; half += 8)
                    stream_vector<float, 8>(to.row(l) + start + half, load_vector<float, 8>(lines.row(l) + half));
        }
    }
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
