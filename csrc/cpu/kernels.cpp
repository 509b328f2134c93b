// Compiled once per SIMD level, with SPUPROJ_LEVEL naming it. Only internal linkage and no standard templates that
// leave code behind in here: a weak symbol built for a newer processor must not replace its baseline twin at link time.
#include "cpu/kernels.hpp"

#include <type_traits>

#include "cpu/vector.hpp"
#include "spuproj/interpolation.hpp"

namespace spuproj::cpu {
namespace {

constexpr int64_t kLineBytes = 64;

// Elements of a vector over interleaved planes.
template <class A, int L>
constexpr int kLaneWidth = L < kWidth<A> ? L : kWidth<A>;

// What an interleaved pixel holds: one or more vectors.
template <class A, int L>
struct Lanes {
    static constexpr int kVectors = L / kLaneWidth<A, L>;
    Vector<A, kLaneWidth<A, L>> part[kVectors];
};

template <class A, int L>
inline Lanes<A, L> load_lanes(const A* from) {
    Lanes<A, L> lanes;
    for (int v = 0; v < lanes.kVectors; ++v)
        lanes.part[v] = load_vector<A, kLaneWidth<A, L>>(from + v * kLaneWidth<A, L>);
    return lanes;
}

template <class A, int L>
inline void store_lanes(A* to, const Lanes<A, L>& lanes) {
    for (int v = 0; v < lanes.kVectors; ++v)
        store_vector<A, kLaneWidth<A, L>>(to + v * kLaneWidth<A, L>, lanes.part[v]);
}

// First vectors of W pixels from each of L rows to W pixels of a block, and the rest likewise, the last ones perhaps
// twice: a square of W x W elements is transposed at a time.
template <class A, int L>
void interleave(const A* const* rows, int64_t count, A* block) {
    constexpr int W = kLaneWidth<A, L>;
    for (int l = 0; l < L; l += W) {
        if (count < W) {
            for (int64_t p = 0; p < count; ++p)
                for (int i = l; i < l + W; ++i) block[p * L + i] = rows[i][p];
            continue;
        }
        for (int64_t next = 0; next < count; next += W) {
            const int64_t p = next + W <= count ? next : count - W;
            Vector<A, W> square[W];
            for (int i = 0; i < W; ++i) square[i] = load_vector<A, W>(rows[l + i] + p);
            transpose<A, W>(square);
            for (int i = 0; i < W; ++i) store_vector<A, W>(block + (p + i) * L + l, square[i]);
        }
    }
}

template <class A, int L>
void deinterleave(const A* block, int64_t count, A* const* rows) {
    constexpr int W = kLaneWidth<A, L>;
    for (int l = 0; l < L; l += W) {
        if (count < W) {
            for (int64_t p = 0; p < count; ++p)
                for (int i = l; i < l + W; ++i) rows[i][p] = block[p * L + i];
            continue;
        }
        for (int64_t next = 0; next < count; next += W) {
            const int64_t p = next + W <= count ? next : count - W;
            Vector<A, W> square[W];
            for (int i = 0; i < W; ++i) square[i] = load_vector<A, W>(block + (p + i) * L + l);
            transpose<A, W>(square);
            for (int i = 0; i < W; ++i) store_vector<A, W>(rows[l + i] + p, square[i]);
        }
    }
}

// The second value is used once: where it lies in memory, it needs no load of its own.
template <class V, class S>
inline V mix(const V& first, const V& second, const S& fraction) {
    return first - fraction * (first - second);
}

inline int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }

// The blend of an ordinary tap, down and then across.
template <class A, int L>
inline Lanes<A, L> blend(const A* above, int64_t width, A y, A x) {
    constexpr int W = kLaneWidth<A, L>;
    const A* below = above + width * L;
    Lanes<A, L> value;
    for (int v = 0; v < value.kVectors; ++v) {
        const auto left = mix(load_vector<A, W>(above + v * W), load_vector<A, W>(below + v * W), y);
        const auto right = mix(load_vector<A, W>(above + L + v * W), load_vector<A, W>(below + L + v * W), y);
        value.part[v] = mix(left, right, x);
    }
    return value;
}

// The same for a tap with a fraction of zero, which touches fewer pixels.
template <class A, int L>
inline Lanes<A, L> blend_exact(const A* pixel, int64_t width, A y, A x) {
    const int64_t down = y > A(0) ? width * L : 0, right = x > A(0) ? L : 0;
    Lanes<A, L> value = load_lanes<A, L>(pixel);
    const Lanes<A, L> below = load_lanes<A, L>(pixel + down), beside = load_lanes<A, L>(pixel + right);
    for (int v = 0; v < value.kVectors; ++v) {
        if (down != 0) value.part[v] = mix(value.part[v], below.part[v], y);
        if (right != 0) value.part[v] = mix(value.part[v], beside.part[v], x);
    }
    return value;
}

template <class A, int L>
inline Lanes<A, L> blend_at(const TapRun<A>& taps, int64_t p, const A* block) {
    const int32_t index = taps.index[p];
    const A y = taps.fraction_y[p], x = taps.fraction_x[p];
    if (index >= 0) return blend<A, L>(block + int64_t(index) * L, taps.width, y, x);
    if (index == -1) return {};
    return blend_exact<A, L>(block + source_index(index) * L, taps.width, y, x);
}

// Whether any of taps [first, last) has a source.
template <class A>
inline bool any_source(const TapRun<A>& taps, int64_t first, int64_t last) {
    int32_t all = -1;
    for (int64_t p = first; p < last; ++p) all &= taps.index[p];
    return all != -1;
}

template <class A>
inline bool any_source(const TapRun<A>& taps) {
    for (int64_t start = 0; start < taps.count; start += kRun)
        if (any_source(taps, start, least(start + kRun, taps.count))) return true;
    return false;
}

// Whether every tap blends four pixels.
template <class A>
inline bool all_blend(const TapRun<A>& taps) {
    int32_t any = 0;
    for (int64_t p = 0; p < taps.count; ++p) any |= taps.index[p];
    return any >= 0;
}

// The blends of taps [start, end) as a block.
template <class A, int L>
inline void blend_each(const TapRun<A>& taps, int64_t start, int64_t end, const A* block, A* blends) {
    for (int64_t p = start; p < end; ++p) store_lanes<A, L>(blends + (p - start) * L, blend_at<A, L>(taps, p, block));
}

// One pixel's planes fill half a register at least: a tap at a time.
template <class A, int L>
bool gather(const TapRun<A>& run, const A* block, A* const* rows) {
    const TapRun<A> taps = run;
    if (!any_source(taps)) return false;
    A values[kRun * L], *to[L];
    for (int64_t start = 0; start < taps.count; start += kRun) {
        const int64_t end = least(start + kRun, taps.count);
        blend_each<A, L>(taps, start, end, block, values);
        for (int l = 0; l < L; ++l) to[l] = rows[l] + start;
        deinterleave<A, L>(values, end - start, to);
    }
    return true;
}

template <class A, int L>
bool gather_block(const TapRun<A>& run, const A* block, A* blends) {
    const TapRun<A> taps = run;
    if (!any_source(taps)) return false;
    blend_each<A, L>(taps, 0, taps.count, block, blends);
    return true;
}

// What a group of taps that are worked on together has in common.
enum class Group {
    kBlend,    // every tap blends four pixels
    kPartial,  // so do some, and the others have no source
    kNone,     // no tap has a source
    kMixed     // anything else
};

template <int W, class A>
inline Group group_at(const TapRun<A>& taps, int64_t start) {
    if (taps.count - start < W) return Group::kMixed;
#if defined(__AVX__)
    if constexpr (W == 8) {
        const Vector<int32_t, 8> index = load_vector<int32_t, 8>(taps.index + start);
        const int marked = sign_bits(index), none = sign_bits(index == -1);
        if (marked == 0) return Group::kBlend;
        if (marked != none) return Group::kMixed;
        return none == 0xff ? Group::kNone : Group::kPartial;
    }
#endif
    int32_t least = taps.index[start], most = least;
    for (int p = 1; p < W; ++p) {
        least = taps.index[start + p] < least ? taps.index[start + p] : least;
        most = taps.index[start + p] > most ? taps.index[start + p] : most;
    }
    if (least >= 0) return Group::kBlend;
    if (least < -1) return Group::kMixed;
    return most >= 0 ? Group::kPartial : Group::kNone;
}

// Which pixel a tap of a group reads; in a partial group those without a source read pixel 0, where others show that
// there are four pixels to blend.
template <bool Partial>
inline int64_t readable(int32_t index) {
    return Partial && index < 0 ? 0 : index;
}

// All ones for the taps of a group that have a source, else zero.
template <class T, int W>
inline Vector<Integer<T>, W> validity(const int32_t* index) {
    return __builtin_convertvector(load_vector<int32_t, W>(index) != -1, Vector<Integer<T>, W>);
}

// The values of those taps, and zero for the others.
template <bool Partial, class T, int W>
inline Vector<T, W> valid_values(const int32_t* index, Vector<T, W> values) {
    if constexpr (!Partial) return values;
    return validity<T, W>(index) ? values : Vector<T, W>{};
}

#if defined(__AVX__)

using Eight = Vector<float, 8>;

// Left pixels of taps K and K + 4 of eight, blended down, and the right ones likewise: each pixel's four planes lie
// beside those of its right neighbour, so that one load takes both.
template <int K>
inline Eight blend_two(const int32_t* index, const float* fraction_y, const float* block, const float* below, Eight x) {
    const auto down = [&](int k) {
        const size_t pixel = static_cast<size_t>(static_cast<uint32_t>(index[k])) * 4;
        return mix(load_vector<float, 8>(block + pixel), load_vector<float, 8>(below + pixel), fraction_y[k]);
    };
    const Eight first = down(K), second = down(K + 4);
    const Eight left = shuffle<float, 8, Swap<8, 4, 0>>(first, second);
    const Eight right = shuffle<float, 8, Swap<8, 4, 1>>(first, second);
    return mix(left, right, shuffle<float, 8, Repeat<float, K>>(x, x));
}

// How far ahead of what is written cache lines are asked for.
constexpr int64_t kAhead = 128;

// Where the blends of eight taps of four planes go: a row of each plane.
struct FourRows {
    float* row[4];

    void ask(int64_t start) const {
        if (start % 16 == 0)
            for (const float* to : row) __builtin_prefetch(to + start + kAhead);
    }
    void put_zeros(int64_t start) const {
        for (float* to : row) store_vector<float, 8>(to + start, Eight{});
    }
    void put(int64_t p, Vector<float, 4> value) const {
        for (int l = 0; l < 4; ++l) row[l][p] = value[l];
    }
    // Taps K and K + 4 in blends[K]; zeros for those without a source where Partial says that there are some.
    template <bool Partial>
    void put_eight(int64_t start, const int32_t* index, Eight (&blends)[4]) const {
        transpose_parts<float, 8, 4>(blends);
        for (int l = 0; l < 4; ++l)
            store_vector<float, 8>(row[l] + start, valid_values<Partial, float, 8>(index, blends[l]));
    }
};

// The same for a block of them.
struct FourPlaneBlock {
    float* pixels;

    void ask(int64_t start) const {
        __builtin_prefetch(pixels + (start + kAhead) * 4);
        __builtin_prefetch(pixels + (start + kAhead) * 4 + 16);
    }
    void put_zeros(int64_t start) const {
        for (int64_t p = start; p < start + 8; p += 2) store_vector<float, 8>(pixels + p * 4, Eight{});
    }
    void put(int64_t p, Vector<float, 4> value) const { store_vector<float, 4>(pixels + p * 4, value); }
    template <bool Partial>
    void put_eight(int64_t start, const int32_t* index, Eight (&blends)[4]) const {
        Vector<float, 4> halves[2];
        for (int k = 0; k < 4; ++k) {
            std::memcpy(halves, &blends[k], sizeof(halves));
            put(start + k, halves[0]);
            put(start + k + 4, halves[1]);
        }
        if constexpr (Partial)
            for (int k = 0; k < 8; ++k)
                if (index[k] < 0) put(start + k, Vector<float, 4>{});
    }
};

// Eight taps that blend four pixels or, in a partial group, perhaps have no source: these read pixel 0, where the
// others show that there are four to blend.
template <bool Partial, class To>
inline void gather_eight(const TapRun<float>& taps, int64_t start, const float* block, const To& to) {
    const float* y = taps.fraction_y + start;
    const Eight x = load_vector<float, 8>(taps.fraction_x + start);
    const int32_t *stored = taps.index + start, *index = stored;
    int32_t readable[8];
    if constexpr (Partial) {
        const auto given = load_vector<int32_t, 8>(stored);
        store_vector<int32_t, 8>(readable, given < 0 ? Vector<int32_t, 8>{} : given);
        index = readable;
    }
    const float* below = block + taps.width * 4;
    Eight blends[4] = {blend_two<0>(index, y, block, below, x), blend_two<1>(index, y, block, below, x),
                       blend_two<2>(index, y, block, below, x), blend_two<3>(index, y, block, below, x)};
    to.template put_eight<Partial>(start, stored, blends);
}

// Four planes where a register holds eight floats: eight taps at a time.
template <class To>
bool gather_narrow(const TapRun<float>& run, const float* block, const To& given) {
    const TapRun<float> taps = run;
    if (!any_source(taps)) return false;
    const To to = given;
    // The next row of points mostly reads one row further down, which may lie beyond the block's end.
    const intptr_t next = reinterpret_cast<intptr_t>(block) + 2 * taps.width * int64_t(4 * sizeof(float));
    for (int64_t start = 0; start < taps.count; start += 8) {
        const Group group = group_at<8>(taps, start);
        if (group == Group::kBlend || group == Group::kPartial) {
            to.ask(start);
            const intptr_t first = next + taps.index[start] * int64_t(4 * sizeof(float));
            __builtin_prefetch(reinterpret_cast<const void*>(first));
            __builtin_prefetch(reinterpret_cast<const void*>(first + kLineBytes));
            group == Group::kBlend ? gather_eight<false>(taps, start, block, to)
                                   : gather_eight<true>(taps, start, block, to);
        } else if (group == Group::kNone) {
            to.put_zeros(start);
        } else {
            for (int64_t p = start; p < start + 8 && p < taps.count; ++p)
                to.put(p, blend_at<float, 4>(taps, p, block).part[0]);
        }
    }
    return true;
}

bool gather_four_rows(const TapRun<float>& taps, const float* block, float* const* rows) {
    return gather_narrow(taps, block, FourRows{{rows[0], rows[1], rows[2], rows[3]}});
}

bool gather_four_plane_block(const TapRun<float>& taps, const float* block, float* blends) {
    return gather_narrow(taps, block, FourPlaneBlock{blends});
}

#endif

inline double pair_at(const float* from) {
    double pair;
    std::memcpy(&pair, from, sizeof(pair));
    return pair;
}

// A register of neighbouring pairs, of which each 128-bit part holds those of taps First, First + 1 of four.
template <bool Partial, int First, int... J>
inline Vector<float> pairs(const float* from, const int32_t* index, std::integer_sequence<int, J...>) {
    const Vector<double> both = {pair_at(from + readable<Partial>(index[J / 2 * 4 + J % 2 + First]))...};
    return bits_as<Vector<float>>(both);
}

// The blends of a vector's worth of taps of one plane.
template <bool Partial>
inline Vector<float> blend_group(const TapRun<float>& taps, int64_t start, const float* plane) {
    constexpr int W = kWidth<float>;
    constexpr std::make_integer_sequence<int, W / 2> half{};
    const int32_t* index = taps.index + start;
    const float* below = plane + taps.width;
    const auto y = load_vector(taps.fraction_y + start), x = load_vector(taps.fraction_x + start);
    const auto a = pairs<Partial, 0>(plane, index, half), b = pairs<Partial, 2>(plane, index, half);
    const auto c = pairs<Partial, 0>(below, index, half), d = pairs<Partial, 2>(below, index, half);
    using Left = Unzip<float, W, 0>;
    using Right = Unzip<float, W, 1>;
    const auto left = mix(shuffle<float, W, Left>(a, b), shuffle<float, W, Left>(c, d), y);
    const auto right = mix(shuffle<float, W, Right>(a, b), shuffle<float, W, Right>(c, d), y);
    return valid_values<Partial, float, W>(index, mix(left, right, x));
}

template <bool Partial>
inline Vector<double> blend_group(const TapRun<double>& taps, int64_t start, const double* plane) {
    Vector<double> value = {};
    for (int p = 0; p < kWidth<double>; ++p) value[p] = blend_at<double, 1>(taps, start + p, plane).part[0][0];
    return value;
}

template <class A>
inline Vector<A> blend_mixed(const TapRun<A>& taps, int64_t start, const A* plane) {
    A values[kWidth<A>] = {};
    for (int64_t p = start; p < start + kWidth<A> && p < taps.count; ++p)
        store_lanes<A, 1>(values + p - start, blend_at<A, 1>(taps, p, plane));
    return load_vector(values);
}

// Any group of a vector's worth; zero where there is no source and beyond the run's end.
template <class A>
inline Vector<A> blend_group_at(const TapRun<A>& taps, int64_t start, const A* plane) {
    switch (group_at<kWidth<A>>(taps, start)) {
        case Group::kBlend: return blend_group<false>(taps, start, plane);
        case Group::kPartial: return blend_group<true>(taps, start, plane);
        case Group::kNone: break;
        case Group::kMixed: return blend_mixed(taps, start, plane);
    }
    return Vector<A>{};
}

// The first `count` of a vector's values, or all of them.
template <class A>
inline void store_values(A* to, Vector<A> values, int64_t count) {
    if (count >= kWidth<A>) return store_vector(to, values);
    for (int64_t p = 0; p < count; ++p) to[p] = values[p];
}

// One plane: a vector's worth of taps at a time.
template <class A>
bool gather_single(const TapRun<A>& run, const A* plane, A* const* rows) {
    const TapRun<A> taps = run;
    if (!any_source(taps)) return false;
    A* row = rows[0];
    for (int64_t start = 0; start < taps.count; start += kWidth<A>)
        store_values(row + start, blend_group_at(taps, start, plane), taps.count - start);
    return true;
}

// Sums are taken of deviations from the first valid value, which is one of the data: no digits are lost to an offset.
template <class V>
struct Moments {
    V origin = {}, sum = {}, squares = {};
};

template <class V, class C>
inline void finish(Moments<V>& moments, const C& share, V& mean, V& variance) {
    const V shift = moments.sum * share;
    const V spread = moments.squares * share - shift * shift;
    mean = moments.origin + shift;
    variance = spread < V{} ? V{} : spread;
}

// Adds the deviations of a pixel's value to its moments.
template <class A, int L>
inline void add_deviations(const Lanes<A, L>& value, const Lanes<A, L>& origin, Lanes<A, L>& sum,
                           Lanes<A, L>& squares) {
    for (int v = 0; v < value.kVectors; ++v) {
        const auto deviation = value.part[v] - origin.part[v];
        sum.part[v] += deviation;
        squares.part[v] += deviation * deviation;
    }
}

// The first value of a pixel.
template <class A, int L>
inline void begin_moments(const Lanes<A, L>& value, int64_t p, A* origin, A* sum, A* squares) {
    Lanes<A, L> zero;
    // Not zero where the value is not finite.
    for (int v = 0; v < value.kVectors; ++v) zero.part[v] = value.part[v] - value.part[v];
    store_lanes<A, L>(origin + p * L, value);
    store_lanes<A, L>(sum + p * L, zero);
    store_lanes<A, L>(squares + p * L, zero);
}

template <class A, int L>
inline Lanes<A, L> blend_ordinary(const TapRun<A>& taps, int64_t p, const A* block) {
    return blend<A, L>(block + int64_t(taps.index[p]) * L, taps.width, taps.fraction_y[p], taps.fraction_x[p]);
}

// Some more views' blends, where every tap blends four pixels.
template <class A, int L, int Views>
inline void accumulate_ordinary(const TapRun<A>* given, const A* const* blocks, const A* origin, A* sum, A* squares) {
    TapRun<A> taps[Views];
    std::memcpy(taps, given, sizeof(taps));
    for (int64_t p = 0; p < taps[0].count; ++p) {
        const Lanes<A, L> first = load_lanes<A, L>(origin + p * L);
        Lanes<A, L> total = load_lanes<A, L>(sum + p * L), powers = load_lanes<A, L>(squares + p * L);
        for (int n = 0; n < Views; ++n)
            add_deviations<A, L>(blend_ordinary<A, L>(taps[n], p, blocks[n]), first, total, powers);
        store_lanes<A, L>(sum + p * L, total);
        store_lanes<A, L>(squares + p * L, powers);
    }
}

// The first views' blends, as long as every tap blends four pixels; returns how many views.
template <class A, int L>
inline int64_t begin_ordinary(const TapRun<A>* taps, const A* const* blocks, int64_t views, A* origin, A* sum,
                              A* squares) {
    int64_t count = 0;
    while (count < views && all_blend(taps[count])) ++count;
    if (count == 0) return 0;
    const TapRun<A> first = taps[0];
    for (int64_t p = 0; p < first.count; ++p)
        begin_moments<A, L>(blend_ordinary<A, L>(first, p, blocks[0]), p, origin, sum, squares);
    int64_t n = 1;
    for (; n + 2 <= count; n += 2) accumulate_ordinary<A, L, 2>(taps + n, blocks + n, origin, sum, squares);
    for (; n < count; ++n) accumulate_ordinary<A, L, 1>(taps + n, blocks + n, origin, sum, squares);
    return count;
}

// One more view's blends, of pixels that have been seen `count` times.
template <class A, int L>
inline void accumulate(TapRun<A> taps, const A* block, A* origin, A* sum, A* squares, int32_t* count) {
    for (int64_t p = 0; p < taps.count; ++p) {
        if (taps.index[p] == -1) continue;
        const Lanes<A, L> value = blend_at<A, L>(taps, p, block);
        if (count[p]++ == 0) {
            begin_moments<A, L>(value, p, origin, sum, squares);
            continue;
        }
        const Lanes<A, L> first = load_lanes<A, L>(origin + p * L);
        Lanes<A, L> total = load_lanes<A, L>(sum + p * L), powers = load_lanes<A, L>(squares + p * L);
        add_deviations<A, L>(value, first, total, powers);
        store_lanes<A, L>(sum + p * L, total);
        store_lanes<A, L>(squares + p * L, powers);
    }
}

template <class A, int L>
void reduce(const TapRun<A>* taps, const A* const* blocks, int64_t views, A* const* mean, A* const* variance,
            int32_t* count) {
    const int64_t pixels = taps[0].count;
    A origin[kRun * L], sum[kRun * L], squares[kRun * L];
    int64_t n = begin_ordinary<A, L>(taps, blocks, views, origin, sum, squares);
    for (int64_t p = 0; p < pixels; ++p) count[p] = static_cast<int32_t>(n);
    for (; n < views; ++n) accumulate<A, L>(taps[n], blocks[n], origin, sum, squares, count);
    for (int64_t p = 0; p < pixels; ++p) {
        Lanes<A, L> average = {}, spread = {};
        if (count[p] > 0) {
            const Lanes<A, L> first = load_lanes<A, L>(origin + p * L), total = load_lanes<A, L>(sum + p * L);
            const Lanes<A, L> powers = load_lanes<A, L>(squares + p * L);
            for (int v = 0; v < first.kVectors; ++v) {
                Moments<Vector<A, kLaneWidth<A, L>>> moments = {first.part[v], total.part[v], powers.part[v]};
                finish(moments, A(1) / static_cast<A>(count[p]), average.part[v], spread.part[v]);
            }
        }
        store_lanes<A, L>(origin + p * L, average);
        store_lanes<A, L>(squares + p * L, spread);
    }
    deinterleave<A, L>(origin, pixels, mean);
    deinterleave<A, L>(squares, pixels, variance);
}

// All ones for the taps of any vector's worth that have a source.
template <class A>
inline Vector<Integer<A>> validity_at(const TapRun<A>& taps, int64_t start) {
    if (taps.count - start >= kWidth<A>) return validity<A, kWidth<A>>(taps.index + start);
    int32_t index[kWidth<A>];
    for (int p = 0; p < kWidth<A>; ++p) index[p] = start + p < taps.count ? taps.index[start + p] : -1;
    return validity<A, kWidth<A>>(index);
}

template <class A>
void reduce_single(const TapRun<A>* taps, const A* const* planes, int64_t views, A* const* mean, A* const* variance,
                   int32_t* count) {
    using V = Vector<A>;
    for (int64_t start = 0; start < taps[0].count; start += kWidth<A>) {
        Moments<V> moments;
        Vector<Integer<A>> seen = {};
        for (int64_t n = 0; n < views; ++n) {
            const auto valid = validity_at(taps[n], start);
            const V value = blend_group_at(taps[n], start, planes[n]);
            moments.origin = valid & (seen == 0) ? value : moments.origin;
            const V deviation = valid ? value - moments.origin : V{};
            moments.sum += deviation;
            moments.squares += deviation * deviation;
            seen -= valid;
        }
        const V share = A(1) / __builtin_convertvector(seen > 0 ? seen : seen + 1, V);
        V average, spread;
        finish(moments, share, average, spread);
        const int64_t left = taps[0].count - start;
        store_values(mean[0] + start, average, left);
        store_values(variance[0] + start, spread, left);
        for (int p = 0; p < kWidth<A> && p < left; ++p) count[start + p] = static_cast<int32_t>(seen[p]);
    }
}

template <class A>
void slope(const A* grad_mean, const A* grad_variance, const A* mean, const int32_t* count, int64_t pixels, A* value) {
    for (int64_t p = 0; p < pixels; ++p) {
        const A gradient = grad_mean[p] + A(2) * grad_variance[p] * (value[p] - mean[p]);
        value[p] = count[p] > 0 ? gradient / static_cast<A>(count[p]) : A(0);
    }
}

template <class E, class A = typename Arithmetic<E>::type>
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

template <class A, class O>
void write(const A* row, int64_t count, bool stream, void* to) {
    const int64_t bytes = count * static_cast<int64_t>(sizeof(O));
    char* out = static_cast<char*>(to);
    // Streaming pays where whole cache lines are written.
    if (!stream || bytes % kLineBytes != 0 || reinterpret_cast<uintptr_t>(to) % kLineBytes != 0)
        return convert_row(row, count, static_cast<O*>(to));
    O converted[kRun];
    const void* from = row;
    if constexpr (!std::is_same_v<A, O>) {
        convert_row(row, count, converted);
        from = converted;
    }
    const char* values = static_cast<const char*>(from);
    for (int64_t at = 0; at < bytes; at += kRegisterBytes) stream_vector(out + at, load_vector(values + at));
}

template <class A, class O>
void write_pixels(const A* rows, int64_t planes, int64_t count, int64_t pixel_stride, void* to) {
    O* pixel = static_cast<O*>(to);
    for (int64_t p = 0; p < count; ++p, pixel += pixel_stride)
        for (int64_t l = 0; l < planes; ++l) store(pixel[l], rows[l * kRun + p]);
}

template <class A, int L>
inline void add(const Lanes<A, L>& value, A weight, A* pixel) {
    Lanes<A, L> sum = load_lanes<A, L>(pixel);
    for (int v = 0; v < sum.kVectors; ++v) sum.part[v] += weight * value.part[v];
    store_lanes<A, L>(pixel, sum);
}

// The four weights of each tap of a run: above left, above right, below left, below right.
template <class A>
struct Weights {
    A corner[4][kRun];
};

template <class A>
inline void weigh(const TapRun<A>& taps, Weights<A>& weights) {
    for (int64_t p = 0; p < taps.count; ++p) {
        const A y = taps.fraction_y[p], x = taps.fraction_x[p];
        weights.corner[0][p] = (A(1) - y) * (A(1) - x);
        weights.corner[1][p] = (A(1) - y) * x;
        weights.corner[2][p] = y * (A(1) - x);
        weights.corner[3][p] = y * x;
    }
}

// Any tap, of which only the part within the band counts.
template <class A, int L>
inline void scatter_within(const TapRun<A>& taps, int64_t p, const Weights<A>& weights, const Lanes<A, L>& value,
                           const Band& band, A* accumulator) {
    if (taps.index[p] == -1) return;
    const bool right = taps.fraction_x[p] > A(0);
    const int rows = taps.fraction_y[p] > A(0) ? 2 : 1;
    for (int row = 0; row < rows; ++row) {
        const int64_t pixel = source_index(taps.index[p]) + row * taps.width;
        if (pixel < band.first || pixel >= band.last) continue;
        A* to = accumulator + (pixel - band.first) * L;
        add<A, L>(value, weights.corner[2 * row][p], to);
        if (right) add<A, L>(value, weights.corner[2 * row + 1][p], to + L);
    }
}

// Taps that follow each other add to the same pixels, and would wait for each other: a run is walked in quarters.
constexpr int64_t kStrides = 4;

template <class A, int L>
void scatter(const TapRun<A>& run, const A* const* rows, const Band& band, A* accumulator) {
    const TapRun<A> taps = run;
    if (!any_source(taps)) return;
    A block[kRun * L];
    interleave<A, L>(rows, taps.count, block);
    Weights<A> weights;
    weigh(taps, weights);
    const int64_t quarter = (taps.count + kStrides - 1) / kStrides;
    const int64_t span = band.last - band.first - taps.width;
    for (int64_t i = 0; i < quarter; ++i) {
        for (int64_t p = i; p < taps.count; p += quarter) {
            const Lanes<A, L> value = load_lanes<A, L>(block + p * L);
            const int64_t pixel = taps.index[p] - band.first;
            if (taps.index[p] < 0 || pixel < 0 || pixel >= span) {
                scatter_within<A, L>(taps, p, weights, value, band, accumulator);
                continue;
            }
            A* above = accumulator + pixel * L;
            A* below = above + taps.width * L;
            add<A, L>(value, weights.corner[0][p], above);
            add<A, L>(value, weights.corner[1][p], above + L);
            add<A, L>(value, weights.corner[2][p], below);
            add<A, L>(value, weights.corner[3][p], below + L);
        }
    }
}

template <class U>
void copy(const int32_t* index, int64_t count, const void* source, int64_t pixel_stride, void* destination) {
    const U* from = static_cast<const U*>(source);
    U* to = static_cast<U*>(destination);
    for (int64_t start = 0; start < count; start += kRun) {
        const int64_t run = least(kRun, count - start);
        // Points without a source read pixel 0, and keep nothing of it: no branch to mispredict.
        int32_t read[kRun];
        U kept[kRun];
        for (int64_t p = 0; p < run; ++p) {
            const int32_t stored = index[start + p];
            read[p] = stored == -1 ? 0 : static_cast<int32_t>(source_index(stored));
            kept[p] = static_cast<U>(stored == -1 ? U(0) : ~U(0));
        }
        for (int64_t p = 0; p < run; ++p) to[(start + p) * pixel_stride] = static_cast<U>(from[read[p]] & kept[p]);
    }
}

template <class A, int L>
constexpr LaneKernels<A> lane_kernels() {
    LaneKernels<A> kernels = {
        L, interleave<A, L>, deinterleave<A, L>, gather<A, L>, gather_block<A, L>, reduce<A, L>, scatter<A, L>};
#if defined(__AVX__)
    if constexpr (std::is_same_v<A, float> && L == 4) {
        kernels.gather = gather_four_rows;
        kernels.gather_block = gather_four_plane_block;
    }
#endif
    return kernels;
}

template <class A>
constexpr ArithmeticKernels<A> arithmetic_kernels() {
    return {{1, interleave<A, 1>, deinterleave<A, 1>, gather_single<A>, nullptr, reduce_single<A>, scatter<A, 1>},
            lane_kernels<A, 4>(),
            lane_kernels<A, kMaxLanes>(),
            slope<A>,
            {write<A, float>, write<A, double>, write<A, Float16>, write<A, BFloat16>},
            {write_pixels<A, float>, write_pixels<A, double>, write_pixels<A, Float16>, write_pixels<A, BFloat16>}};
}

constexpr KernelTable kTable = {arithmetic_kernels<float>(),
                                arithmetic_kernels<double>(),
                                load_row<Float16>,
                                load_row<BFloat16>,
                                copy<uint8_t>,
                                copy<uint16_t>,
                                copy<uint32_t>,
                                copy<uint64_t>,
                                end_streaming};

}  // namespace

#define SPUPROJ_JOIN(a, b) a##b
#define SPUPROJ_TABLE(level) SPUPROJ_JOIN(kernels_, level)
const KernelTable& SPUPROJ_TABLE(SPUPROJ_LEVEL)() { return kTable; }

}  // namespace spuproj::cpu
