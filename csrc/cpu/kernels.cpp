// Compiled once per SIMD level, with SPUPROJ_LEVEL naming it. Only internal linkage and no standard templates in
// here: a weak symbol built for a newer processor must not replace its baseline twin at link time.
#include "cpu/kernels.hpp"

#include "spuproj/interpolation.hpp"

#if defined(_MSC_VER)
#define SPUPROJ_RESTRICT __restrict
#else
#define SPUPROJ_RESTRICT __restrict__
#endif

namespace spuproj::cpu {
namespace {

// Pixels that are blended before they are written out plane by plane.
constexpr int64_t kRun = 64;

template <int64_t L, class E, class A = typename Arithmetic<E>::type>
void interleave(const PlaneSet<const E>& source, int64_t count, A* SPUPROJ_RESTRICT block) {
    for (int64_t start = 0; start < count; start += kRun) {
        const int64_t end = start + kRun < count ? start + kRun : count;
        for (int64_t l = 0; l < L; ++l) {
            // Lanes without a plane of their own repeat the last one.
            const E* plane = source.base + source.offset[l < source.planes ? l : source.planes - 1];
            for (int64_t p = start; p < end; ++p) block[p * L + l] = load(plane[p]);
        }
    }
}

// values[l] = the tap's blend of every lane; false, and zeros, where the point has no source.
template <int64_t L, class A>
inline bool blend(const TapRun<A>& taps, int64_t p, const A* block, A* SPUPROJ_RESTRICT values) {
    const int64_t index = taps.index[p];
    if (index < 0) {
        for (int64_t l = 0; l < L; ++l) values[l] = A(0);
        return false;
    }
    const A fraction_y = taps.fraction_y[p], fraction_x = taps.fraction_x[p];
    const A* upper = block + index * L;
    const A* lower = upper + (fraction_y > A(0) ? taps.width : 0) * L;
    const int64_t right = fraction_x > A(0) ? L : 0;
    for (int64_t l = 0; l < L; ++l) {
        const A top = lerp(upper[l], upper[right + l], fraction_x);
        const A bottom = lerp(lower[l], lower[right + l], fraction_x);
        values[l] = lerp(top, bottom, fraction_y);
    }
    return true;
}

template <int64_t L, class E, class A = typename Arithmetic<E>::type>
void gather(const TapRun<A>& taps, const A* block, const PlaneSet<E>& destination) {
    A values[kRun * L];
    for (int64_t start = 0; start < taps.count; start += kRun) {
        const int64_t run = start + kRun < taps.count ? kRun : taps.count - start;
        for (int64_t p = 0; p < run; ++p) blend<L>(taps, start + p, block, values + p * L);
        for (int64_t l = 0; l < destination.planes; ++l) {
            E* SPUPROJ_RESTRICT plane = destination.base + destination.offset[l] + start;
            for (int64_t p = 0; p < run; ++p) store(plane[p], values[p * L + l]);
        }
    }
}

// Sums are taken of deviations from the first valid value, which is one of the data: no digits are lost to an offset.
template <int64_t L, class A>
void accumulate(const TapRun<A>& taps, const A* block, A* SPUPROJ_RESTRICT origin, A* SPUPROJ_RESTRICT sum,
                A* SPUPROJ_RESTRICT squares, int32_t* SPUPROJ_RESTRICT count) {
    A values[L];
    for (int64_t p = 0; p < taps.count; ++p) {
        if (!blend<L>(taps, p, block, values)) continue;
        if (count[p]++ == 0)
            for (int64_t l = 0; l < L; ++l) origin[p * L + l] = values[l];
        // Through locals, which alias nothing: the loops become vector code.
        A sums[L], powers[L];
        for (int64_t l = 0; l < L; ++l) values[l] -= origin[p * L + l];
        for (int64_t l = 0; l < L; ++l) sums[l] = sum[p * L + l] + values[l];
        for (int64_t l = 0; l < L; ++l) powers[l] = squares[p * L + l] + values[l] * values[l];
        for (int64_t l = 0; l < L; ++l) sum[p * L + l] = sums[l];
        for (int64_t l = 0; l < L; ++l) squares[p * L + l] = powers[l];
    }
}

template <int64_t L, class E, class A = typename Arithmetic<E>::type>
void finish(const A* origin, const A* sum, const A* squares, const int32_t* count, int64_t pixels, int64_t first,
            const PlaneSet<E>& means, const PlaneSet<E>& variances, const PlaneSet<int32_t>& counts) {
    for (int64_t l = 0; l < means.planes; ++l) {
        E* SPUPROJ_RESTRICT mean_plane = means.base + means.offset[l] + first;
        E* SPUPROJ_RESTRICT variance_plane = variances.base + variances.offset[l] + first;
        int32_t* SPUPROJ_RESTRICT count_plane = counts.base + counts.offset[l] + first;
        for (int64_t p = 0; p < pixels; ++p) {
            const A share = A(1) / static_cast<A>(count[p] > 0 ? count[p] : 1);
            const A shift = sum[p * L + l] * share;
            const A variance = squares[p * L + l] * share - shift * shift;
            store(mean_plane[p], origin[p * L + l] + shift);
            store(variance_plane[p], variance < A(0) ? A(0) : variance);
            count_plane[p] = count[p];
        }
    }
}

template <class A>
inline void spread(const TapRun<A>& taps, int64_t p, A value, A* accumulator) {
    const int64_t index = taps.index[p];
    const A fraction_y = taps.fraction_y[p], fraction_x = taps.fraction_x[p];
    A* upper = accumulator + index;
    const A top = value * (A(1) - fraction_y), bottom = value * fraction_y;
    upper[0] += top * (A(1) - fraction_x);
    if (fraction_x > A(0)) upper[1] += top * fraction_x;
    if (!(fraction_y > A(0))) return;
    A* lower = upper + taps.width;
    lower[0] += bottom * (A(1) - fraction_x);
    if (fraction_x > A(0)) lower[1] += bottom * fraction_x;
}

template <class E, class A = typename Arithmetic<E>::type>
void scatter(const TapRun<A>& taps, const E* source, A* accumulator) {
    for (int64_t p = 0; p < taps.count; ++p)
        if (taps.index[p] >= 0) spread<A>(taps, p, load(source[p]), accumulator);
}

template <class E, class A = typename Arithmetic<E>::type>
A read(const TapRun<A>& taps, int64_t p, const E* source) {
    const E* upper = source + taps.index[p];
    const E* lower = upper + (taps.fraction_y[p] > A(0) ? taps.width : 0);
    const int64_t right = taps.fraction_x[p] > A(0) ? 1 : 0;
    const A top = lerp<A>(load(upper[0]), load(upper[right]), taps.fraction_x[p]);
    const A bottom = lerp<A>(load(lower[0]), load(lower[right]), taps.fraction_x[p]);
    return lerp<A>(top, bottom, taps.fraction_y[p]);
}

template <class E, class A = typename Arithmetic<E>::type>
void reduce_backward(const TapRun<A>& taps, const E* source, const E* grad_mean, const E* grad_variance, const E* mean,
                     const int32_t* count, A* accumulator) {
    for (int64_t p = 0; p < taps.count; ++p) {
        if (taps.index[p] < 0) continue;
        const A deviation = read<E>(taps, p, source) - load(mean[p]);
        const A gradient = load(grad_mean[p]) + A(2) * load(grad_variance[p]) * deviation;
        spread<A>(taps, p, gradient / static_cast<A>(count[p]), accumulator);
    }
}

template <class E, class A = typename Arithmetic<E>::type>
void store_plane(const A* accumulator, int64_t count, E* destination) {
    for (int64_t p = 0; p < count; ++p) store(destination[p], accumulator[p]);
}

template <class U>
void copy(const int32_t* index, int64_t count, const void* source, void* destination) {
    const U* from = static_cast<const U*>(source);
    U* to = static_cast<U*>(destination);
    for (int64_t p = 0; p < count; ++p) to[p] = index[p] < 0 ? U(0) : from[index[p]];
}

template <int64_t L, class E>
constexpr LaneKernels<E> lane_kernels() {
    return {L, interleave<L, E>, gather<L, E>, accumulate<L, typename Arithmetic<E>::type>, finish<L, E>};
}

template <class E>
constexpr Kernels<E> kernels_of() {
    return {lane_kernels<1, E>(), lane_kernels<4, E>(), lane_kernels<kMaxLanes, E>(),
            scatter<E>,           reduce_backward<E>,   store_plane<E>};
}

constexpr KernelTable kTable = {kernels_of<float>(),    kernels_of<double>(), kernels_of<Float16>(),
                                kernels_of<BFloat16>(), copy<uint8_t>,        copy<uint16_t>,
                                copy<uint32_t>,         copy<uint64_t>};

}  // namespace

#define SPUPROJ_JOIN(a, b) a##b
#define SPUPROJ_TABLE(level) SPUPROJ_JOIN(kernels_, level)
const KernelTable& SPUPROJ_TABLE(SPUPROJ_LEVEL)() { return kTable; }

}  // namespace spuproj::cpu
