// Calls of every kernel of the CPU library on random tensors.
#pragma once

#include <functional>
#include <string>

#include "driver/tensors.hpp"

namespace spuproj::driver {

struct Problem {
    int64_t batch, views, channels;
    int64_t height, width, view_height, view_width;
    int dtype;
    bool per_sample = false;     // each sample has its own geometry
    bool channels_last = false;  // of what is written
};

struct Call {
    std::string name;
    int64_t elements;             // values of all taps that it reads or writes, over all planes
    std::vector<Layout> results;  // of what it writes
    std::function<void(int64_t threads, const std::vector<Tensor>& results)> run;
};

// Those that compute taps, and those that read them.
std::vector<Call> tap_calls(const Problem& problem, uint64_t seed);
std::vector<Call> plane_calls(const Problem& problem, uint64_t seed);

// A call of reduce that throws std::invalid_argument.
Call call_with_negative_weights(const Problem& problem, uint64_t seed);

// Results of a call in new memory, which holds `pattern` before.
std::vector<Tensor> results_of(const Call& call, int64_t threads, char pattern);

}  // namespace spuproj::driver
