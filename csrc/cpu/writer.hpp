// How rows of values reach the tensor that they belong to.
#pragma once

#include "cpu/blocks.hpp"

namespace spuproj::cpu {

// Results of more bytes than a core may hope to keep in its caches are written past them.
inline bool exceeds_cache(int64_t bytes) { return bytes > int64_t(16) << 20; }

template <class A>
class Writer {
 public:
    Writer(int dtype, const Planes& planes, bool stream)
        : to_(static_cast<char*>(planes.data)),
          size_(element_size(dtype)),
          pixel_stride_(planes.pixel_stride),
          stream_(stream),
          row_(arithmetic_kernels(A()).write[dtype]),
          pixels_(arithmetic_kernels(A()).write_pixels[dtype]) {}

    // Writes pixels [first, first + count) of the planes at these offsets.
    void write(const A* rows, int64_t first, int64_t count, const int64_t* offset, int64_t planes) const {
        for (int64_t l = 0; l < planes;) {
            char* to = to_ + (offset[l] + first * pixel_stride_) * size_;
            int64_t end = l + 1;
            if (pixel_stride_ == 1) {
                row_(rows + l * kRun, count, stream_, to);
            } else {
                // The channels of one sample lie side by side.
                while (end < planes && offset[end] == offset[end - 1] + 1) ++end;
                write_pixels(rows + l * kRun, end - l, count, to);
            }
            l = end;
        }
    }

    // To be called by each thread after its last write.
    void end() const {
        if (stream_) active_kernels().end_streaming();
    }

 private:
    void write_pixels(const A* rows, int64_t channels, int64_t count, char* to) const {
        const LaneKernels<A>& four = arithmetic_kernels(A()).narrow;
        if (channels != four.lanes || channels != pixel_stride_) {
            pixels_(rows, channels, count, pixel_stride_, to);
            return;
        }
        const A* channel[] = {rows, rows + kRun, rows + 2 * kRun, rows + 3 * kRun};
        A block[4 * kRun];
        four.interleave(channel, count, block);
        for_each_run(0, channels * count, [&](int64_t start, int64_t elements) {
            row_(block + start, elements, stream_, to + start * size_);
        });
    }

    char* to_;
    int64_t size_, pixel_stride_;
    bool stream_;
    void (*row_)(const A*, int64_t, bool, void*);
    void (*pixels_)(const A*, int64_t, int64_t, int64_t, void*);
};

// Rows of zeros, which are written many times over and cleared once.
template <class A>
class ZeroableRows {
 public:
    A* data() { return rows_; }
    // Says whether the kernel that was given `data` has written values; where it has not, they become zero.
    void settle(bool written) {
        if (!written && !zero_) std::fill_n(rows_, kMaxLanes * kRun, A(0));
        zero_ = !written;
    }

 private:
    A rows_[kMaxLanes * kRun];
    bool zero_ = false;
};

}  // namespace spuproj::cpu
