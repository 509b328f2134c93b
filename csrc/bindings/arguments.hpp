// How Python's arguments become those of the libraries: addresses as integers, sizes and strides as plain tuples.
#pragma once

#include <pybind11/pybind11.h>

#include "spuproj/planes.hpp"
#include "spuproj/sampling.hpp"

namespace spuproj::bindings {

using Address = uintptr_t;

template <class T>
T* at(Address address) {
    return reinterpret_cast<T*>(address);  // NOLINT: the address of a tensor that the caller keeps alive
}

// Reads a tuple of exactly so many integers; false for anything else.
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

inline void define_sampling(pybind11::module_& m) {
    namespace py = pybind11;
    py::class_<Sampling>(m, "Sampling", py::module_local())
        .def(py::init([](bool inverse, bool nearest, bool border, int64_t source_height, int64_t source_width) {
                 return Sampling{inverse, nearest, border, source_height, source_width};
             }),
             py::arg("inverse"), py::arg("nearest"), py::arg("border"), py::arg("source_height"),
             py::arg("source_width"));
}

inline void define_taps(pybind11::module_& m) {
    namespace py = pybind11;
    py::class_<Taps>(m, "Taps", py::module_local())
        .def(py::init([](Address index, Address fraction_y, Address fraction_x, int64_t pixels, int64_t source_pixels,
                         int64_t source_width, int64_t sample_stride) {
                 return Taps{at<int32_t>(index), at<void>(fraction_y), at<void>(fraction_x), pixels,
                             source_pixels,      source_width,         sample_stride};
             }),
             py::arg("index"), py::arg("fraction_y"), py::arg("fraction_x"), py::arg("pixels"),
             py::arg("source_pixels"), py::arg("source_width"), py::arg("sample_stride"));
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
        const auto address = static_cast<spuproj::bindings::Address>(numbers[0]);
        value = {spuproj::bindings::at<void>(address), numbers[1], numbers[2], numbers[3], numbers[4]};
        return true;
    }
};

}  // namespace pybind11::detail
