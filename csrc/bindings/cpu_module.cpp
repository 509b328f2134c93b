// Python's view of the CPU library: addresses and sizes come in, errors go out by name, the GIL is released.
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include "bindings/arguments.hpp"
#include "cpu/simd.hpp"
#include "spuproj/cpu.hpp"

namespace py = pybind11;
using namespace spuproj;
using bindings::Address;
using bindings::at;

namespace {

using NoGil = py::call_guard<py::gil_scoped_release>;

template <class... P>
py::tuple names_of(ProfileList<P...>) {
    return py::make_tuple(P::kName...);
}

void define_arguments(py::module_& m) {
    bindings::define_sampling(m);
    bindings::define_taps(m);
    py::class_<cpu::Tiles>(m, "Tiles", py::module_local())
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
    m.attr("PROFILES") = names_of(Profiles());
}

void define_geometry(py::module_& m) {
    static_assert(sizeof(ViewGeometry) == 19 * sizeof(double), "a geometry table has 19 columns");
    m.def(
        "build_taps",
        [](Address geometry, int64_t count, const Sampling& sampling, int64_t height, int64_t width,
           bool double_precision, const Taps& taps, int64_t threads) {
            cpu::build_taps(at<const ViewGeometry>(geometry), count, sampling, height, width, double_precision, taps,
                            threads);
        },
        py::arg("geometry"), py::arg("count"), py::arg("sampling"), py::arg("height"), py::arg("width"),
        py::arg("double_precision"), py::arg("taps"), py::arg("threads"), NoGil());
    m.def(
        "build_tiles",
        [](Address geometry, int64_t count, const Sampling& sampling, bool double_precision, const cpu::Tiles& tiles,
           int64_t threads) {
            cpu::build_tiles(at<const ViewGeometry>(geometry), count, sampling, double_precision, tiles, threads);
        },
        py::arg("geometry"), py::arg("count"), py::arg("sampling"), py::arg("double_precision"), py::arg("tiles"),
        py::arg("threads"), NoGil());
    m.def(
        "coordinates",
        [](Address geometry, int64_t count, const Sampling& sampling, int64_t height, int64_t width, Address y,
           Address x, int64_t threads) {
            cpu::coordinates(at<const ViewGeometry>(geometry), count, sampling, height, width, at<double>(y),
                             at<double>(x), threads);
        },
        py::arg("geometry"), py::arg("count"), py::arg("sampling"), py::arg("height"), py::arg("width"), py::arg("y"),
        py::arg("x"), py::arg("threads"), NoGil());
}

void define_gathers(py::module_& m) {
    m.def("project", &cpu::project, py::arg("dtype"), py::arg("destination_dtype"), py::arg("shape"), py::arg("taps"),
          py::arg("source"), py::arg("destination"), py::arg("fill"), py::arg("threads"), NoGil());
    m.def("copy", &cpu::copy, py::arg("element_size"), py::arg("shape"), py::arg("taps"), py::arg("source"),
          py::arg("destination"), py::arg("fill_bits"), py::arg("threads"), NoGil());
    m.def("unproject", &cpu::unproject, py::arg("dtype"), py::arg("shape"), py::arg("tiles"), py::arg("source"),
          py::arg("destination"), py::arg("threads"), NoGil());
    m.def("gather_adjoint", &cpu::gather_adjoint, py::arg("dtype"), py::arg("sum_views"), py::arg("shape"),
          py::arg("taps"), py::arg("source"), py::arg("destination"), py::arg("threads"), NoGil());
}

void define_reduce(py::module_& m) {
    m.def(
        "reduce",
        [](int dtype, const Shape& shape, const cpu::Tiles& tiles, const Planes& source, Address mean, Address variance,
           Address count, int64_t threads) {
            cpu::reduce(dtype, shape, tiles, source, at<void>(mean), at<void>(variance), at<int32_t>(count), threads);
        },
        py::arg("dtype"), py::arg("shape"), py::arg("tiles"), py::arg("source"), py::arg("mean"), py::arg("variance"),
        py::arg("count"), py::arg("threads"), NoGil());
    m.def(
        "reduce_backward",
        [](int dtype, const Shape& shape, const Taps& taps, const Planes& source, Address grad_mean,
           Address grad_variance, Address mean, Address count, Address grad_source, int64_t threads) {
            cpu::reduce_backward(dtype, shape, taps, source, at<const void>(grad_mean), at<const void>(grad_variance),
                                 at<const void>(mean), at<const int32_t>(count), at<void>(grad_source), threads);
        },
        py::arg("dtype"), py::arg("shape"), py::arg("taps"), py::arg("source"), py::arg("grad_mean"),
        py::arg("grad_variance"), py::arg("mean"), py::arg("count"), py::arg("grad_source"), py::arg("threads"),
        NoGil());
}

}  // namespace

PYBIND11_MODULE(_cpu, m) {
    m.doc() = "spuproj's CPU kernels; spuproj.backends.cpu is their only caller.";
    define_arguments(m);
    define_geometry(m);
    define_gathers(m);
    define_reduce(m);
    m.def("simd_level", &cpu::active_level, "The SIMD level in use.");
    m.def("simd_levels", &cpu::supported_levels, "The SIMD levels of this processor, lowest first.");
}
