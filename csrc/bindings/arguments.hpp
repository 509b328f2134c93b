// Converts Python arguments: integers to addresses, tuples of integers to sizes and strides.
#pragma once

#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <array>
#include <optional>

#include "spuproj/planes.hpp"
#include "spuproj/sampling.hpp"

namespace spuproj::bindings {

// What Python passes for a parameter of type P: for a pointer an address, whose memory the caller keeps alive; for a
// shape (batch, views, channels); for planes (address, batch stride, view stride, channel stride, pixel stride), or
// None where the kernel can do without.
template <class P>
using Given = std::conditional_t<
    std::is_pointer_v<P>, uintptr_t,
    std::conditional_t<std::is_same_v<P, Shape>, std::array<int64_t, 3>,
                       std::conditional_t<std::is_same_v<P, Planes>, std::optional<std::array<int64_t, 5>>, P>>>;

template <class P>
P taken(const Given<P>& given) {
    if constexpr (std::is_pointer_v<P>)
        return reinterpret_cast<P>(given);  // NOLINT
    else if constexpr (std::is_same_v<P, Shape>)
        return {given[0], given[1], given[2]};
    else if constexpr (std::is_same_v<P, Planes>)
        return given ? Planes{reinterpret_cast<void*>((*given)[0]), (*given)[1], (*given)[2], (*given)[3],  // NOLINT
                              (*given)[4]}
                     : Planes{};
    else
        return given;
}

// Defines a function of the module: positional arguments, addresses for pointers, the GIL released.
template <class Module, class... P>
void define(Module& m, const char* name, void (*function)(P...)) {
    m.def(
        name, [function](const Given<std::decay_t<P>>&... given) { function(taken<std::decay_t<P>>(given)...); },
        pybind11::call_guard<pybind11::gil_scoped_release>());
}

// Makes an aggregate T of its members, of types P.
template <class T, class... P>
T made_of(Given<P>... given) {
    return T{taken<P>(given)...};
}

inline void define_sampling(pybind11::module_& m) {
    namespace py = pybind11;
    py::class_<Sampling>(m, "Sampling", py::module_local())
        .def(py::init(&made_of<Sampling, int64_t, int64_t, int64_t, int64_t, bool, bool, bool, bool>));
}

}  // namespace spuproj::bindings
