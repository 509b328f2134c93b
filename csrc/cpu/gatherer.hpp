// Blends runs of taps and writes them to tensors of any element type and layout.
#pragma once

#include "cpu/writer.hpp"

namespace spuproj::cpu {

// For up to kMaxLanes planes of one tensor, as in RowWriter; points without a source get `fill`.
template <class A>
class Gatherer {
 public:
    Gatherer(const LaneKernels<A>& kernels, const Output& output, const int64_t* offset, int64_t planes, A fill)
        : kernels_(kernels),
          output_(output),
          offset_(offset),
          planes_(planes),
          fill_(fill),
          rows_(output, offset, planes),
          target_(target()) {}

    // The most taps that can be gathered at once: any number if kernels write to the tensor itself.
    int64_t longest_run() const { return target_ == kTensorRows || target_ == kTensorBlock ? INT32_MAX : kRun; }

    // Blends a run of taps and writes the values from pixel `first` on.
    void gather(const TapRun<A>& taps, const A* block, int64_t first) {
        switch (target_) {
            case kTensorRows: return kernels_.gather(taps, block, fill_, rows_.tensor_rows(first), output_.stream);
            case kTensorBlock:
                return kernels_.gather_block(taps, block, fill_, reinterpret_cast<A*>(pixel(first)), output_.stream);
            case kConvertedBlock: return gather_converted(taps, block, first);
            case kBufferedRows: return gather_buffered(taps, block, first);
        }
    }

 private:
    // Where kernels write: to the tensor itself, to a block that is then converted, or to the rows of a RowWriter.
    enum Target { kTensorRows, kTensorBlock, kConvertedBlock, kBufferedRows };

    Target target() const {
        // Channels-last, with as many channels as a block of the kernels has.
        const bool is_block = planes_ > 1 && planes_ == kernels_.lanes && planes_ == output_.planes.pixel_stride &&
                              offset_[planes_ - 1] == offset_[0] + planes_ - 1;
        if (is_block) return is_arithmetic<A>(output_.dtype) ? kTensorBlock : kConvertedBlock;
        return rows_.in_place() ? kTensorRows : kBufferedRows;
    }

    // The address of a pixel of the first plane.
    char* pixel(int64_t number) const {
        const int64_t element = offset_[0] + number * output_.planes.pixel_stride;
        return static_cast<char*>(output_.planes.data) + element * element_size(output_.dtype);
    }

    void gather_converted(const TapRun<A>& taps, const A* block, int64_t first) {
        const int64_t size = element_size(output_.dtype);
        char* const to = pixel(first);
        kernels_.gather_block(taps, block, fill_, converted_, false);
        for_each_run(0, taps.count * planes_, [&](int64_t start, int64_t count) {
            arithmetic_kernels(A()).write[output_.dtype](converted_ + start, count, output_.stream, to + start * size);
        });
    }

    void gather_buffered(const TapRun<A>& taps, const A* block, int64_t first) {
        // A buffer that already holds `fill` alone is not filled again.
        const bool empty = !any_source(taps);
        A* const* rows = rows_.begin(first, taps.count);
        if (!empty || !filled_) kernels_.gather(taps, block, fill_, rows, false);
        filled_ = empty && taps.count == kRun;
        rows_.end();
    }

    const LaneKernels<A>& kernels_;
    const Output& output_;
    const int64_t* offset_;
    int64_t planes_;
    A fill_;
    RowWriter<A> rows_;
    Target target_;
    bool filled_ = false;  // whether the buffer holds `fill` alone
    alignas(64) A converted_[kMaxLanes * kRun];
};

}  // namespace spuproj::cpu
