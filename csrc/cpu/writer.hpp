// How rows of values reach the tensor that they belong to.
#pragma once

#include "cpu/blocks.hpp"

namespace spuproj::cpu {

// Results of more bytes than a core may hope to keep in its caches are written past them.
inline bool exceeds_cache(int64_t bytes) { return bytes > int64_t(16) << 20; }

// A tensor that is written: its planes, as elements of a type, past the caches where `stream` asks for it.
struct Output {
    int dtype;
    Planes planes;
    bool stream;
};

// Takes values of up to kMaxLanes planes from a kernel, run by run. `offset` is each plane's distance from the tensor's
// beginning, in elements; points without a source get `fill`. Lanes without a plane of their own repeat the last one,
// also in what they write.
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
          direct_(!output.stream && output.dtype == dtype_of(A())),
          in_place_(direct_ && pixel_stride_ == 1),
          write_row_(arithmetic_kernels(A()).write[output.dtype]),
          write_pixels_(arithmetic_kernels(A()).write_pixels[output.dtype]),
          offset_(offset),
          planes_(planes),
          fill_(fill) {
        for (int64_t l = 0; l < kMaxLanes; ++l) rows_[l] = buffer_ + l * kRun;
    }
    Writer(const Writer&) = delete;
    Writer& operator=(const Writer&) = delete;
    ~Writer() {
        if (stream_) active_kernels().end_streaming();
    }

    // How many taps gather may take at once, where the planes hold that many pixels.
    int64_t longest_run() const { return direct_ && (in_place_ || in_block_) ? INT32_MAX : kRun; }

    // The blends of a run of taps, from pixel `first` on.
    void gather(const TapRun<A>& taps, const A* block, int64_t first) {
        if (in_block_) return gather_block(taps, block, first);
        const bool written = kernels_.gather(taps, block, fill_, begin(first, taps.count));
        // The buffer's rows are filled once, and written many times over.
        if (!written && !(filled_ && !in_place_))
            for (int64_t l = 0; l < planes_; ++l) std::fill_n(rows_[l], in_place_ ? count_ : kRun, fill_);
        filled_ = !written;
        end();
    }

    // Where a kernel puts at most kRun pixels from `first` on of each plane: the tensor itself where its rows are like
    // that.
    A* const* begin(int64_t first, int64_t count) {
        first_ = first;
        count_ = count;
        if (in_place_)
            for (int64_t l = 0; l < kMaxLanes; ++l)
                rows_[l] = reinterpret_cast<A*>(to_) + offset_[std::min(l, planes_ - 1)] + first;
        return rows_;
    }

    // To be called when the kernel is done.
    void end() const {
        if (!in_place_) write();
    }

 private:
    // For planes that lie side by side, as a kernel's block does.
    void gather_block(const TapRun<A>& taps, const A* block, int64_t first) {
        char* to = to_ + (offset_[0] + first * pixel_stride_) * size_;
        A* blends = direct_ ? reinterpret_cast<A*>(to) : buffer_;
        const int64_t elements = taps.count * planes_;
        if (!kernels_.gather_block(taps, block, fill_, blends)) std::fill_n(blends, elements, fill_);
        if (direct_) return;
        for_each_run(0, elements, [&](int64_t start, int64_t count) {
            write_row_(blends + start, count, stream_, to + start * size_);
        });
    }

    void write() const {
        for (int64_t l = 0; l < planes_;) {
            char* to = to_ + (offset_[l] + first_ * pixel_stride_) * size_;
            int64_t end = l + 1;
            if (pixel_stride_ == 1) {
                write_row_(rows_[l], count_, stream_, to);
            } else {
                // The channels of one sample lie side by side.
                while (end < planes_ && offset_[end] == offset_[end - 1] + 1) ++end;
                write_pixels_(rows_[l], end - l, count_, pixel_stride_, to);
            }
            l = end;
        }
    }

    const LaneKernels<A>& kernels_;
    char* to_;
    int64_t size_, pixel_stride_;
    bool stream_;
    bool in_block_;  // the tensor's pixels are the pixels of a kernel's block
    bool direct_;    // kernels may write to the tensor
    bool in_place_;  // and its rows are theirs
    void (*write_row_)(const A*, int64_t, bool, void*);
    void (*write_pixels_)(const A*, int64_t, int64_t, int64_t, void*);
    const int64_t* offset_;
    int64_t planes_, first_ = 0, count_ = 0;
    A fill_;
    bool filled_ = false;  // whether the buffer's rows hold nothing else
    A* rows_[kMaxLanes];
    A buffer_[kMaxLanes * kRun];
};

}  // namespace spuproj::cpu
