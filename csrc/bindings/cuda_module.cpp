// Python's view of the CUDA library: addresses, sizes and a stream come in, errors go out by name, the GIL is released.
#include <pybind11/pybind11.h>

#include "spuproj/cuda.hpp"

namespace py = pybind11;
using namespace spuproj;

namespace {

using Address = uintptr_t;

template <class T>
T* at(Address address) {
    return reinterpret_cast<T*>(address);  // NOLINT: the address of a tensor that the caller keeps alive
}

void define_arguments(py::module_& m) {
    py::class_<cuda::Queue>(m, "Queue", py::module_local())
        .def(py::init([](int device, Address stream) { return cuda::Queue{device, at<void>(stream)}; }),
             py::arg("device"), py::arg("stream"));
    py::class_<Sampling>(m, "Sampling", py::module_local())
        .def(py::init([](bool inverse, bool nearest, bool border, int64_t source_height, int64_t source_width) {
                 return Sampling{inverse, nearest, border, source_height, source_width};
             }),
             py::arg("inverse"), py::arg("nearest"), py::arg("border"), py::arg("source_height"),
             py::arg("source_width"));
    py::class_<Shape>(m, "Shape", py::module_local())
        .def(py::init([](int64_t batch, int64_t views, int64_t channels) { return Shape{batch, views, channels}; }),
             py::arg("batch"), py::arg("views"), py::arg("channels"));
    py::class_<Planes>(m, "Planes", py::module_local())
        .def(py::init([](Address data, int64_t batch, int64_t view, int64_t channel, int64_t pixel) {
                 return Planes{at<void>(data), batch, view, channel, pixel};
             }),
             py::arg("data"), py::arg("batch"), py::arg("view"), py::arg("channel"), py::arg("pixel"));
    py::class_<cuda::Taps>(m, "Taps", py::module_local())
        .def(py::init([](Address index, Address fraction_y, Address fraction_x, int64_t pixels, int64_t source_width,
                         int64_t sample_stride) {
                 return cuda::Taps{at<int32_t>(index), at<void>(fraction_y), at<void>(fraction_x), pixels,
                                   source_width,       sample_stride};
             }),
             py::arg("index"), py::arg("fraction_y"), py::arg("fraction_x"), py::arg("pixels"), py::arg("source_width"),
             py::arg("sample_stride"));
    py::class_<cuda::Transpose>(m, "Transpose", py::module_local())
        .def(py::init([](Address start, Address pixel, Address weight, int64_t entries, int64_t source_pixels,
                         int64_t sample_views) {
                 return cuda::Transpose{at<const int32_t>(start),
                                        at<const int32_t>(pixel),
                                        at<const void>(weight),
                                        entries,
                                        source_pixels,
                                        sample_views};
             }),
             py::arg("start"), py::arg("pixel"), py::arg("weight"), py::arg("entries"), py::arg("source_pixels"),
             py::arg("sample_views"));
}

}  // namespace

PYBIND11_MODULE(SPUPROJ_MODULE, m) {
    m.doc() = "spuproj's CUDA kernels; spuproj.backends.cuda is their only caller.";
    static_assert(sizeof(ViewGeometry) == 17 * sizeof(double), "a geometry table has 17 columns");
    define_arguments(m);

    const auto no_gil = py::call_guard<py::gil_scoped_release>();
    m.def(
        "build_taps",
        [](const cuda::Queue& queue, Address geometry, int64_t count, const Sampling& sampling, int64_t height,
           int64_t width, bool double_precision, const cuda::Taps& taps) {
            cuda::build_taps(queue, at<const ViewGeometry>(geometry), count, sampling, height, width, double_precision,
                             taps);
        },
        py::arg("queue"), py::arg("geometry"), py::arg("count"), py::arg("sampling"), py::arg("height"),
        py::arg("width"), py::arg("double_precision"), py::arg("taps"), no_gil);
    m.def("gather", &cuda::gather, py::arg("queue"), py::arg("dtype"), py::arg("destination_dtype"), py::arg("shape"),
          py::arg("taps"), py::arg("source"), py::arg("destination"), no_gil);
    m.def("copy", &cuda::copy, py::arg("queue"), py::arg("element_size"), py::arg("shape"), py::arg("taps"),
          py::arg("source"), py::arg("destination"), no_gil);
    m.def(
        "reduce",
        [](const cuda::Queue& queue, int dtype, const Shape& shape, const cuda::Taps& taps, const Planes& source,
           Address mean, Address variance, Address count) {
            cuda::reduce(queue, dtype, shape, taps, source, at<void>(mean), at<void>(variance), at<int32_t>(count));
        },
        py::arg("queue"), py::arg("dtype"), py::arg("shape"), py::arg("taps"), py::arg("source"), py::arg("mean"),
        py::arg("variance"), py::arg("count"), no_gil);
    m.def(
        "slopes",
        [](const cuda::Queue& queue, int dtype, const Shape& shape, const cuda::Taps& taps, const Planes& source,
           Address grad_mean, Address grad_variance, Address mean, Address count, Address slopes) {
            cuda::slopes(queue, dtype, shape, taps, source, at<const void>(grad_mean), at<const void>(grad_variance),
                         at<const void>(mean), at<const int32_t>(count), at<void>(slopes));
        },
        py::arg("queue"), py::arg("dtype"), py::arg("shape"), py::arg("taps"), py::arg("source"), py::arg("grad_mean"),
        py::arg("grad_variance"), py::arg("mean"), py::arg("count"), py::arg("slopes"), no_gil);
    m.def("collect", &cuda::collect, py::arg("queue"), py::arg("dtype"), py::arg("shape"), py::arg("transpose"),
          py::arg("source"), py::arg("destination"), py::arg("sum_views"), no_gil);
    m.def("scatter", &cuda::scatter, py::arg("queue"), py::arg("dtype"), py::arg("shape"), py::arg("taps"),
          py::arg("source"), py::arg("destination"), no_gil);
}
