// Writes what kernels compute to tensors of any element type and layout.
#pragma once

#include "cpu/blocks.hpp"

namespace spuproj::cpu {

// Whether a result is written with streaming stores, past the caches. Other stores first read each line that they
// write, and displace lines of the caches, many of which must then be written to memory.
inline bool use_streaming(int64_t bytes) { return bytes >= int64_t(1) << 20; }

// A tensor to write: its element type, its planes, and whether to use streaming stores.
struct Output {
    int dtype;
    Planes planes;
    bool stream;
};

inline Output output_of(int dtype, const Planes& planes, int64_t elements) {
    return {dtype, planes, use_streaming(elements * element_size(dtype))};
}

// Writes values of up to kMaxLanes planes, run by run. `offset` holds the planes' distances from the beginning of the
// tensor, in elements; points without a source get `fill`. Lanes beyond the last plane repeat it, also when they write.
template <class A>
class Writer {
 public:
    Writer(const LaneKernels<A>& kernels, const Output& output, const int64_t* offset, int64_t planes, A fill)
        : kernels_(kernels),
          to_(static_cast<char*>(output.planes.data)),
          size_(element_size(output.dtype)),
          pixel_stride_(output.planes.pixel_stride),
          stream_(output.stream),
          in_block_(planes > 1 && planes == kernels.lanes && planes == pixel_stride_ &&
                    offset[planes - 1] == offset[0] + planes - 1),
          direct_(output.dtype == (std::is_same_v<A, float> ? kFloat32 : kFloat64)),
          in_rows_(direct_ && pixel_stride_ == 1),
          write_row_(arithmetic_kernels(A()).write[output.dtype]),
          write_pixels_(arithmetic_kernels(A()).write_pixels[output.dtype]),
          offset_(offset),
          planes_(planes),
          fill_(fill) {
        for (int64_t l = 0; l < kMaxLanes; ++l) buffer_rows_[l] = buffer_ + l * kRun;
    }
    Writer(const Writer&) = delete;
    Writer& operator=(const Writer&) = delete;
    ~Writer() {
        if (stream_) active_kernels().end_streaming();
    }

    // The most taps that gather can take at once: any number if kernels write to the tensor itself.
    int64_t longest_run() const { return in_rows_ || (direct_ && in_block_) ? INT32_MAX : kRun; }

    // Blends a run of taps and writes the values from pixel `first` on.
    void gather(const TapRun<A>& taps, const A* block, int64_t first) {
        if (in_block_) return gather_block(taps, block, first);
        if (in_rows_) return kernels_.gather(taps, block, fill_, tensor_rows(first), stream_);
        // A buffer that already holds `fill` alone is not filled again.
        const bool empty = !any_source(taps);
        A* const* rows = begin(first, taps.count);
        if (!empty || !filled_) kernels_.gather(taps, block, fill_, rows, false);
        filled_ = empty && taps.count == kRun;
        end();
    }

    // Rows for a kernel without streaming stores to write at most kRun pixels of each plane to, from `first` on: in the
    // tensor or in the buffer.
    A* const* begin(int64_t first, int64_t count) {
        first_ = first;
        count_ = count;
        buffered_ = !in_rows_ || (stream_ && begins_lines(first));
        return buffered_ ? buffer_rows_ : tensor_rows(first);
    }

    // To be called after the kernel; writes the buffer to the tensor.
    void end() const {
        if (!buffered_) return;
        for (int64_t l = 0; l < planes_;) {
            char* to = to_ + (offset_[l] + first_ * pixel_stride_) * size_;
            int64_t end = l + 1;
            if (pixel_stride_ == 1) {
                write_row_(buffer_rows_[l], count_, stream_, to);
            } else {
                // Channels-last: adjacent channels of a sample are written together.
                while (end < planes_ && offset_[end] == offset_[end - 1] + 1) ++end;
                write_pixels_(buffer_rows_[l], end - l, count_, pixel_stride_, to);
            }
            l = end;
        }
    }

 private:
    // The tensor's rows from pixel `first` on.
    A* const* tensor_rows(int64_t first) {
        for (int64_t l = 0; l < kMaxLanes; ++l)
            tensor_rows_[l] = reinterpret_cast<A*>(to_) + offset_[std::min(l, planes_ - 1)] + first;
        return tensor_rows_;
    }

    // Whether all planes begin with a cache line at pixel `first`.
    bool begins_lines(int64_t first) const {
        return std::all_of(offset_, offset_ + planes_, [&](int64_t offset) {
            return reinterpret_cast<uintptr_t>(to_ + (offset + first) * size_) % 64 == 0;
        });
    }

    // For a channels-last tensor whose pixels have the layout of a kernel's block.
    void gather_block(const TapRun<A>& taps, const A* block, int64_t first) {
        char* to = to_ + (offset_[0] + first * pixel_stride_) * size_;
        if (direct_) return kernels_.gather_block(taps, block, fill_, reinterpret_cast<A*>(to), stream_);
        kernels_.gather_block(taps, block, fill_, buffer_, false);
        for_each_run(0, taps.count * planes_, [&](int64_t start, int64_t count) {
            write_row_(buffer_ + start, count, stream_, to + start * size_);
        });
    }

    const LaneKernels<A>& kernels_;
    char* to_;
    int64_t size_, pixel_stride_;
    bool stream_;
    bool in_block_;  // the tensor has the layout of a kernel's block
    bool direct_;    // the tensor's elements are of the arithmetic type
    bool in_rows_;   // kernels may write rows to the tensor
    void (*write_row_)(const A*, int64_t, bool, void*);
    void (*write_pixels_)(const A*, int64_t, int64_t, int64_t, void*);
    const int64_t* offset_;
    int64_t planes_, first_ = 0, count_ = 0;
    A fill_;
    bool filled_ = false;    // whether the buffer holds `fill` alone
    bool buffered_ = false;  // whether the current rows are those of the buffer
    A *buffer_rows_[kMaxLanes], *tensor_rows_[kMaxLanes];
    alignas(64) A buffer_[kMaxLanes * kRun];
};

}  // namespace spuproj::cpu
