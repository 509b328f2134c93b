// Calls that have been made before go straight from Python's tensors to a kernel.
#pragma once

#include <pybind11/pybind11.h>

#include <functional>

namespace spuproj::bindings {

using Address = uintptr_t;

constexpr int64_t kMaxTensors = 8;

// A kernel that waits for the addresses of the tensors that it reads, followed by those that it writes.
struct Kernel {
    std::function<void(const Address* tensors, int64_t threads)> run;
};

void define_plans(pybind11::module_& m);

}  // namespace spuproj::bindings
