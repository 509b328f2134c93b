// The rasters that transposed taps add to: blocks in bands of rows that belong to one thread each, so that every pixel
// receives its terms in the same order for any number of threads.
#pragma once

#include "cpu/blocks.hpp"
#include "cpu/parallel.hpp"

namespace spuproj::cpu {

// As many bands of whole rows as give every thread a unit of work.
class Bands {
 public:
    Bands(const Taps& taps, int64_t units, int64_t threads)
        : width_(taps.source_width),
          height_(taps.source_pixels / taps.source_width),
          count_(std::max<int64_t>(1, std::min(height_, ceiling(threads, units)))) {}

    int64_t count() const { return count_; }
    Band at(int64_t band) const { return {band * height_ / count_ * width_, (band + 1) * height_ / count_ * width_}; }

 private:
    int64_t width_, height_, count_;
};

inline int64_t pixels_of(const Band& band) { return band.last - band.first; }

// The accumulated band to planes of the destination.
template <class E, class A>
void store_band(const LaneKernels<A>& kernels, const A* accumulator, const Band& band, int dtype,
                const PlaneSet<E>& destination) {
    for_each_run(band.first, band.last, [&](int64_t first, int64_t count) {
        A values[kMaxLanes * kRun], *rows[kMaxLanes];
        for (int64_t l = 0; l < kMaxLanes; ++l) rows[l] = values + l * kRun;
        kernels.deinterleave(accumulator + (first - band.first) * kernels.lanes, count, rows);
        for (int64_t l = 0; l < destination.planes; ++l)
            arithmetic_kernels(A()).write[dtype](rows[l], count, false,
                                                 destination.base + destination.offset[l] + first);
    });
}

}  // namespace spuproj::cpu
