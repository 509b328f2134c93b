// The planes that project reads, interleaved once for all views.
#pragma once

#include "cpu/blocks.hpp"
#include "cpu/parallel.hpp"

namespace spuproj::cpu {

// A unit of work: enough to pay for its start, few enough to keep several threads busy with one view.
constexpr int64_t kUnitPixels = 256 * kRun;

// Blocks of the source, so many at a time that every thread has its own.
template <class E, class A = typename Arithmetic<E>::type>
class SourceBlocks {
 public:
    SourceBlocks(const LaneKernels<A>& kernels, const Chunks& blocks, int64_t pixels, const Planes& source,
                 int64_t threads)
        : kernels_(kernels), blocks_(blocks), source_(source), pixels_(pixels) {
        in_place_ = std::is_same_v<E, A> && kernels.lanes == 1;
        at_once_ = std::min(blocks.count(), std::max<int64_t>(1, threads));
        if (!in_place_) interleaved_ = storage_.get<A>(at_once_ * pixels_ * kernels.lanes);
    }

    int64_t at_once() const { return at_once_; }

    // Interleaves the blocks [first, last), at most at_once() of them.
    void load(int64_t first, int64_t last, int64_t threads) {
        if (in_place_) return;
        const int64_t parts = ceiling(pixels_, kUnitPixels);
        parallel_for((last - first) * parts, threads, [&](int64_t unit, Scratch&) {
            const int64_t block = first + unit / parts, start = unit % parts * kUnitPixels;
            int64_t offset[kMaxLanes];
            const int64_t planes = offsets_of(blocks_, block, 0, source_, offset);
            load_block<E>(kernels_, {static_cast<const E*>(source_.data), offset, planes}, start,
                          std::min(pixels_, start + kUnitPixels), at(block) + start * kernels_.lanes);
        });
    }

    // The block as the kernels read it.
    const A* read(int64_t block) const {
        if (!in_place_) return at(block);
        int64_t offset[kMaxLanes];
        offsets_of(blocks_, block, 0, source_, offset);
        return static_cast<const A*>(source_.data) + offset[0];
    }

 private:
    A* at(int64_t block) const { return interleaved_ + block % at_once_ * pixels_ * kernels_.lanes; }

    const LaneKernels<A>& kernels_;
    const Chunks& blocks_;
    const Planes& source_;
    int64_t pixels_, at_once_;
    bool in_place_;
    Scratch storage_;
    A* interleaved_ = nullptr;
};

}  // namespace spuproj::cpu
