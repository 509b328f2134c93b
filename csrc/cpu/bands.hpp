// The rasters that transposed taps add to: blocks in bands of rows that belong to one thread each, so that every pixel
// receives its terms in the same order for any number of threads.
#pragma once

#include "cpu/parallel.hpp"
#include "cpu/writer.hpp"

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

// The accumulated band to the block's planes of view n.
template <class A>
void store_band(const LaneKernels<A>& kernels, const Chunks& blocks, int64_t block, int64_t n, const A* accumulator,
                const Band& band, const Output& output) {
    int64_t to[kMaxLanes];
    const int64_t planes = offsets_of(blocks, block, n, output.planes, to);
    Writer<A> writer(kernels, output, to, planes, A(0));
    for_each_run(band.first, band.last, [&](int64_t first, int64_t count) {
        kernels.deinterleave(accumulator + (first - band.first) * kernels.lanes, count, writer.begin(first, count));
        writer.end();
    });
}

}  // namespace spuproj::cpu
