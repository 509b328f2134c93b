// Converts Python arguments: integers to addresses, tuples of integers to sizes and strides.
#pragma once

#include <pybind11/pybind11.h>

#include "spuproj/planes.hpp"
#include "spuproj/sampling.hpp"

namespace spuproj::bindings {

// What Python passes for a parameter of type P: for a pointer an address, whose memory the caller keeps alive.
template <class P>
using Given = std::conditional_t<std::is_pointer_v<P>, uintptr_t, P>;

template <class P>
P taken(Given<P> given) {
    if constexpr (std::is_pointer_v<P>)
        return reinterpret_cast<P>(given);  // NOLINT
    else
        return static_cast<P>(given);
}

// Defines a function of the module: positional arguments, addresses for pointers, the GIL released.
template <class Module, class... P>
void define(Module& m, const char* name, void (*function)(P...)) {
    m.def(
        name, [function](Given<P>... given) { function(taken<P>(given)...); },
        pybind11::call_guard<pybind11::gil_scoped_release>());
}

// Makes an aggregate T of its members, of types P.
template <class T, class... P>
T made_of(Given<P>... given) {
    return T{taken<P>(given)...};
}

// Reads a tuple of exactly Count integers; returns false for anything else.
template <size_t Count>
bool read_integers(pybind11::handle object, int64_t (&integers)[Count]) {
    if (!PyTuple_Check(object.ptr()) || PyTuple_GET_SIZE(object.ptr()) != Py_ssize_t{Count}) return false;
    for (size_t i = 0; i < Count; ++i) {
        PyObject* item = PyTuple_GET_ITEM(object.ptr(), static_cast<Py_ssize_t>(i));
        if (!PyLong_Check(item)) return false;
        integers[i] = PyLong_AsLongLong(item);
        if (integers[i] == -1 && PyErr_Occurred() != nullptr) {
            PyErr_Clear();
            return false;
        }
    }
    return true;
}

inline void define_sampling_and_taps(pybind11::module_& m) {
    namespace py = pybind11;
    py::class_<Sampling>(m, "Sampling", py::module_local())
        .def(py::init(&made_of<Sampling, bool, bool, bool, int64_t, int64_t>));
    py::class_<Taps>(m, "Taps", py::module_local())
        .def(py::init(&made_of<Taps, int32_t*, void*, void*, int64_t, int64_t, int64_t, int64_t>), py::arg("index"),
             py::arg("fraction_y"), py::arg("fraction_x"), py::arg("pixels"), py::arg("source_pixels"),
             py::arg("source_width"), py::arg("sample_stride"));
}

}  // namespace spuproj::bindings

namespace pybind11::detail {

// (batch, views, channels)
template <>
struct type_caster<spuproj::Shape> {
    PYBIND11_TYPE_CASTER(spuproj::Shape, const_name("tuple[int, int, int]"));

    bool load(handle object, bool) {
        int64_t sizes[3];
        if (!spuproj::bindings::read_integers(object, sizes)) return false;
        value = {sizes[0], sizes[1], sizes[2]};
        return true;
    }
};

// (address, batch_stride, view_stride, channel_stride, pixel_stride)
template <>
struct type_caster<spuproj::Planes> {
    PYBIND11_TYPE_CASTER(spuproj::Planes, const_name("tuple[int, int, int, int, int]"));

    bool load(handle object, bool) {
        int64_t numbers[5];
        if (!spuproj::bindings::read_integers(object, numbers)) return false;
        value = {reinterpret_cast<void*>(numbers[0]), numbers[1], numbers[2], numbers[3], numbers[4]};  // NOLINT
        return true;
    }
};

}  // namespace pybind11::detail
