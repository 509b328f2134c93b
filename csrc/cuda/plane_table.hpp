// Where the planes of a chunk lie in a kernel's tensors: the threads of a block work it out once, together.
#pragma once

#include <stdexcept>
#include <string>

#include "spuproj/planes.hpp"

namespace spuproj::cuda {

// The planes of a tensor in groups that share their taps: all of them, or those of each sample. A chunk is a part of
// one group. Counts have 32 bits, which divide much faster than 64.
struct Groups {
    uint32_t number, planes, channels;

    template <class Table>
    int64_t chunks_of() const {
        return number * ceiling(planes, Table::kPlanes);
    }
};

static inline Groups groups_of(const Shape& shape, bool shared_taps) {
    const int64_t planes = shape.batch * shape.channels;
    if (planes > INT32_MAX)
        throw std::runtime_error("one call must have at most 2^31 - 1 planes, got " + std::to_string(planes) +
                                 "; pass fewer samples at a time");
    const auto channels = static_cast<uint32_t>(shape.channels);
    return shared_taps ? Groups{1, static_cast<uint32_t>(planes), channels}
                       : Groups{static_cast<uint32_t>(shape.batch), channels, channels};
}

// At most kMostPlanes planes of kTensors tensors.
template <int kMostPlanes, int kTensors>
struct PlaneTable {
    static constexpr int kPlanes = kMostPlanes;

    // In elements. Past the last plane that one again, so that loads need no branch.
    int64_t offset[kPlanes][kTensors];
    int64_t taps_sample;  // whose taps the planes use
    int count;

    // Fills the row of one plane, 0 to kPlanes - 1.
    SPUPROJ_HD void locate(const Groups& groups, int64_t chunk, int plane, const Planes (&tensors)[kTensors]) {
        const uint32_t in_group = (groups.planes + kPlanes - 1) / kPlanes, at = static_cast<uint32_t>(chunk);
        const uint32_t group = groups.number == 1 ? 0 : at / in_group;
        const uint32_t first = (at - group * in_group) * kPlanes, left = groups.planes - first;
        const uint32_t planes = left < kPlanes ? left : kPlanes, last = planes - 1;
        if (plane == 0) {
            taps_sample = group;
            count = static_cast<int>(planes);
        }
        const uint32_t index = first + (static_cast<uint32_t>(plane) < last ? static_cast<uint32_t>(plane) : last);
        const uint32_t sample = index / groups.channels, channel = index - sample * groups.channels;
        SPUPROJ_UNROLL
        for (int i = 0; i < kTensors; ++i)
            offset[plane][i] = int64_t{group + sample} * tensors[i].batch_stride + channel * tensors[i].channel_stride;
    }
};

}  // namespace spuproj::cuda
