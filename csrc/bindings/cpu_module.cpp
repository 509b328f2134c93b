// Python's view of the CPU library: addresses and sizes come in, errors go out by name, the GIL is released.
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include "bindings/plans.hpp"
#include "cpu/simd.hpp"
#include "spuproj/cpu.hpp"

namespace py = pybind11;
using namespace spuproj;

namespace {

using bindings::Address;
using bindings::Kernel;

template <class T>
T* at(Address address) {
    return reinterpret_cast<T*>(address);  // NOLINT: the address of a tensor that the caller keeps alive
}

// Of a tensor's planes, in elements; apart from its address, so that they can be kept from call to call.
struct Strides {
    int64_t batch, view, channel, pixel;
};

Planes planes(Address data, const Strides& strides) {
    return {at<void>(data), strides.batch, strides.view, strides.channel, strides.pixel};
}

}  // namespace

PYBIND11_MODULE(_cpu, m) {
    m.doc() = "spuproj's CPU kernels; spuproj.backends.cpu is their only caller.";
    static_assert(sizeof(ViewGeometry) == 17 * sizeof(double), "a geometry table has 17 columns");

    py::class_<Sampling>(m, "Sampling")
        .def(py::init([](bool inverse, bool nearest, bool border, int64_t source_height, int64_t source_width) {
                 return Sampling{inverse, nearest, border, source_height, source_width};
             }),
             py::arg("inverse"), py::arg("nearest"), py::arg("border"), py::arg("source_height"),
             py::arg("source_width"));
    py::class_<Shape>(m, "Shape")
        .def(py::init([](int64_t batch, int64_t views, int64_t channels) { return Shape{batch, views, channels}; }),
             py::arg("batch"), py::arg("views"), py::arg("channels"));
    py::class_<Strides>(m, "Strides")
        .def(py::init([](int64_t batch, int64_t view, int64_t channel, int64_t pixel) {
                 return Strides{batch, view, channel, pixel};
             }),
             py::arg("batch"), py::arg("view"), py::arg("channel"), py::arg("pixel"));
    py::class_<cpu::Taps>(m, "Taps").def(
        py::init([](Address index, Address fraction_y, Address fraction_x, int64_t pixels, int64_t source_pixels,
                    int64_t source_width, int64_t sample_stride) {
            return cpu::Taps{at<int32_t>(index), at<void>(fraction_y), at<void>(fraction_x), pixels,
                             source_pixels,      source_width,         sample_stride};
        }),
        py::arg("index"), py::arg("fraction_y"), py::arg("fraction_x"), py::arg("pixels"), py::arg("source_pixels"),
        py::arg("source_width"), py::arg("sample_stride"));

    py::class_<cpu::Tiles>(m, "Tiles")
        .def(py::init([](Address index, Address fraction_y, Address fraction_x, Address window, int64_t height,
                         int64_t width, int64_t source_width, int64_t sample_stride) {
                 return cpu::Tiles{at<int32_t>(index),
                                   at<void>(fraction_y),
                                   at<void>(fraction_x),
                                   at<cpu::Window>(window),
                                   height,
                                   width,
                                   source_width,
                                   sample_stride};
             }),
             py::arg("index"), py::arg("fraction_y"), py::arg("fraction_x"), py::arg("window"), py::arg("height"),
             py::arg("width"), py::arg("source_width"), py::arg("sample_stride"));
    static_assert(sizeof(cpu::Window) == 3 * sizeof(int32_t), "a window has 3 columns");
    m.attr("TILE") = py::make_tuple(cpu::kTileRows, cpu::kTileColumns);

    const auto no_gil = py::call_guard<py::gil_scoped_release>();
    m.def(
        "build_taps",
        [](Address geometry, int64_t count, const Sampling& sampling, int64_t height, int64_t width,
           bool double_precision, const cpu::Taps& taps, int64_t threads) {
            cpu::build_taps(at<const ViewGeometry>(geometry), count, sampling, height, width, double_precision, taps,
                            threads);
        },
        py::arg("geometry"), py::arg("count"), py::arg("sampling"), py::arg("height"), py::arg("width"),
        py::arg("double_precision"), py::arg("taps"), py::arg("threads"), no_gil);
    m.def(
        "build_tiles",
        [](Address geometry, int64_t count, const Sampling& sampling, bool double_precision, const cpu::Tiles& tiles,
           int64_t threads) {
            cpu::build_tiles(at<const ViewGeometry>(geometry), count, sampling, double_precision, tiles, threads);
        },
        py::arg("geometry"), py::arg("count"), py::arg("sampling"), py::arg("double_precision"), py::arg("tiles"),
        py::arg("threads"), no_gil);
    m.def(
        "coordinates",
        [](Address geometry, int64_t count, const Sampling& sampling, int64_t height, int64_t width, Address y,
           Address x, int64_t threads) {
            cpu::coordinates(at<const ViewGeometry>(geometry), count, sampling, height, width, at<double>(y),
                             at<double>(x), threads);
        },
        py::arg("geometry"), py::arg("count"), py::arg("sampling"), py::arg("height"), py::arg("width"), py::arg("y"),
        py::arg("x"), py::arg("threads"), no_gil);
    // Each of these gives a kernel that waits for its tensors: sources first, then results.
    m.def(
        "project",
        [](int dtype, int destination_dtype, const Shape& shape, const cpu::Taps& taps, const Strides& source,
           const Strides& destination) {
            return Kernel{[=](const Address* tensors, int64_t threads) {
                cpu::project(dtype, destination_dtype, shape, taps, planes(tensors[0], source),
                             planes(tensors[1], destination), threads);
            }};
        },
        py::arg("dtype"), py::arg("destination_dtype"), py::arg("shape"), py::arg("taps"), py::arg("source"),
        py::arg("destination"));
    m.def(
        "unproject",
        [](int dtype, const Shape& shape, const cpu::Tiles& tiles, const Strides& source, const Strides& destination) {
            return Kernel{[=](const Address* tensors, int64_t threads) {
                cpu::unproject(dtype, shape, tiles, planes(tensors[0], source), planes(tensors[1], destination),
                               threads);
            }};
        },
        py::arg("dtype"), py::arg("shape"), py::arg("tiles"), py::arg("source"), py::arg("destination"));
    m.def(
        "copy",
        [](int64_t element_size, const Shape& shape, const cpu::Taps& taps, const Strides& source,
           const Strides& destination) {
            return Kernel{[=](const Address* tensors, int64_t threads) {
                cpu::copy(element_size, shape, taps, planes(tensors[0], source), planes(tensors[1], destination),
                          threads);
            }};
        },
        py::arg("element_size"), py::arg("shape"), py::arg("taps"), py::arg("source"), py::arg("destination"));
    m.def(
        "scatter",
        [](int dtype, bool sum_views, const Shape& shape, const cpu::Taps& taps, const Strides& source,
           const Strides& destination) {
            return Kernel{[=](const Address* tensors, int64_t threads) {
                cpu::scatter(dtype, shape, taps, planes(tensors[0], source), planes(tensors[1], destination), sum_views,
                             threads);
            }};
        },
        py::arg("dtype"), py::arg("sum_views"), py::arg("shape"), py::arg("taps"), py::arg("source"),
        py::arg("destination"));
    m.def(
        "reduce",
        [](int dtype, const Shape& shape, const cpu::Tiles& tiles, const Strides& source) {
            return Kernel{[=](const Address* tensors, int64_t threads) {
                cpu::reduce(dtype, shape, tiles, planes(tensors[0], source), at<void>(tensors[1]), at<void>(tensors[2]),
                            at<int32_t>(tensors[3]), threads);
            }};
        },
        py::arg("dtype"), py::arg("shape"), py::arg("tiles"), py::arg("source"));
    m.def(
        "reduce_backward",
        [](int dtype, const Shape& shape, const cpu::Taps& taps, const Strides& source) {
            return Kernel{[=](const Address* tensors, int64_t threads) {
                cpu::reduce_backward(dtype, shape, taps, planes(tensors[0], source), at<const void>(tensors[1]),
                                     at<const void>(tensors[2]), at<const void>(tensors[3]),
                                     at<const int32_t>(tensors[4]), at<void>(tensors[5]), threads);
            }};
        },
        py::arg("dtype"), py::arg("shape"), py::arg("taps"), py::arg("source"));
    bindings::define_plans(m);
    m.def(
        "expect_writes", [](Address data, int64_t bytes) { cpu::expect_writes(at<void>(data), bytes); },
        py::arg("data"), py::arg("bytes"));
    m.def("simd_level", &cpu::active_level, "The SIMD level in use.");
    m.def("simd_levels", &cpu::supported_levels, "The SIMD levels of this processor, lowest first.");
}
