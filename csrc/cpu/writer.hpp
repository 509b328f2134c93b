// Writes rows that kernels compute to tensors of any element type and layout.
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

// Whether a tensor's elements are of the arithmetic type.
template <class A>
bool is_arithmetic(int dtype) {
    return dtype == (std::is_same_v<A, float> ? kFloat32 : kFloat64);
}

// Rows of up to kMaxLanes planes, for kernels to write runs of at most kRun pixels to: in the tensor itself where its
// layout allows, else in a buffer that `end` writes to the tensor. `offset` holds the planes' distances from the
// beginning of the tensor, in elements. Lanes beyond the last plane repeat it, also when they write.
template <class A>
class RowWriter {
 public:
    RowWriter(const Output& output, const int64_t* offset, int64_t planes)
        : to_(static_cast<char*>(output.planes.data)),
          size_(element_size(output.dtype)),
          pixel_stride_(output.planes.pixel_stride),
          stream_(output.stream),
          in_place_(pixel_stride_ == 1 && is_arithmetic<A>(output.dtype)),
          write_row_(arithmetic_kernels(A()).write[output.dtype]),
          write_pixels_(arithmetic_kernels(A()).write_pixels[output.dtype]),
          offset_(offset),
          planes_(planes) {
        for (int64_t l = 0; l < kMaxLanes; ++l) buffer_rows_[l] = buffer_ + l * kRun;
    }
    RowWriter(const RowWriter&) = delete;
    RowWriter& operator=(const RowWriter&) = delete;
    ~RowWriter() {
        if (stream_) active_kernels().end_streaming();
    }

    // Whether kernels may write to the rows of the tensor itself.
    bool in_place() const { return in_place_; }

    // Those rows from pixel `first` on.
    A* const* tensor_rows(int64_t first) {
        for (int64_t l = 0; l < kMaxLanes; ++l)
            tensor_rows_[l] = reinterpret_cast<A*>(to_) + offset_[std::min(l, planes_ - 1)] + first;
        return tensor_rows_;
    }

    // Rows for a kernel without streaming stores to write pixels [first, first + count) to.
    A* const* begin(int64_t first, int64_t count) {
        first_ = first;
        count_ = count;
        buffered_ = !in_place_ || (stream_ && begins_lines(first));
        return buffered_ ? buffer_rows_ : tensor_rows(first);
    }

    // To be called after the kernel.
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
    // Whether all planes begin with a cache line at pixel `first`.
    bool begins_lines(int64_t first) const {
        return std::all_of(offset_, offset_ + planes_, [&](int64_t offset) {
            return reinterpret_cast<uintptr_t>(to_ + (offset + first) * size_) % 64 == 0;
        });
    }

    char* to_;
    int64_t size_, pixel_stride_;
    bool stream_, in_place_;
    void (*write_row_)(const A*, int64_t, bool, void*);
    void (*write_pixels_)(const A*, int64_t, int64_t, int64_t, void*);
    const int64_t* offset_;
    int64_t planes_, first_ = 0, count_ = 0;
    bool buffered_ = false;  // whether the current rows are those of the buffer
    A *buffer_rows_[kMaxLanes], *tensor_rows_[kMaxLanes];
    alignas(64) A buffer_[kMaxLanes * kRun];
};

}  // namespace spuproj::cpu
