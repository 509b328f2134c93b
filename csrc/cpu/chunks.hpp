// Groups the planes of a tensor into chunks whose planes use the same taps.
#pragma once

#include "spuproj/planes.hpp"

namespace spuproj::cpu {

// Chunks of at most `size` planes. If each sample has its own taps, no chunk spans two samples.
struct Chunks {
    int64_t batch, channels, size;
    bool shared;  // all samples use the same taps

    int64_t per_group() const { return ceiling(shared ? batch * channels : channels, size); }
    int64_t count() const { return shared ? per_group() : batch * per_group(); }
    // The sample whose taps the planes of a chunk use.
    int64_t sample(int64_t chunk) const { return shared ? 0 : chunk / per_group(); }
};

static inline Chunks chunks_of(const Shape& shape, int64_t sample_stride, int64_t size) {
    return {shape.batch, shape.channels, size, sample_stride == 0};
}

// Iterates over the planes of one chunk.
class ChunkPlanes {
 public:
    ChunkPlanes(const Chunks& chunks, int64_t chunk) : channels_(chunks.channels) {
        taps_sample_ = chunks.sample(chunk);
        const int64_t first = (chunks.shared ? chunk : chunk % chunks.per_group()) * chunks.size;
        const int64_t left = (chunks.shared ? chunks.batch : 1) * channels_ - first;
        count_ = static_cast<int>(left < chunks.size ? left : chunks.size);
        sample_ = taps_sample_ + first / channels_;
        channel_ = first % channels_;
    }

    int count() const { return count_; }
    int64_t taps_sample() const { return taps_sample_; }
    // Offset of the current plane in a tensor, in elements.
    int64_t offset(const Planes& tensor) const {
        return sample_ * tensor.batch_stride + channel_ * tensor.channel_stride;
    }
    void advance() {
        if (++channel_ < channels_) return;
        channel_ = 0;
        ++sample_;
    }

 private:
    int64_t channels_, sample_, channel_, taps_sample_;
    int count_;
};

}  // namespace spuproj::cpu
