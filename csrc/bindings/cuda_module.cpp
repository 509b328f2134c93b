// Python's view of the CUDA library: addresses, sizes and a stream come in, errors go out by name, the GIL is released.
#include <pybind11/pybind11.h>

#include "bindings/arguments.hpp"
#include "spuproj/cuda.hpp"

namespace py = pybind11;
using namespace spuproj;
using bindings::Address;
using bindings::at;

namespace {

using NoGil = py::call_guard<py::gil_scoped_release>;

void define_arguments(py::module_& m) {
    bindings::define_sampling(m);
    bindings::define_taps(m);
    py::class_<cuda::Queue>(m, "Queue", py::module_local())
        .def(py::init([](int device, Address stream) { return cuda::Queue{device, at<void>(stream)}; }),
             py::arg("device"), py::arg("stream"));
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

void define_reduce(py::module_& m) {
    m.def(
        "reduce",
        [](const cuda::Queue& queue, int dtype, const Shape& shape, const Taps& taps, const Planes& source,
           Address mean, Address variance, Address count) {
            cuda::reduce(queue, dtype, shape, taps, source, at<void>(mean), at<void>(variance), at<int32_t>(count));
        },
        py::arg("queue"), py::arg("dtype"), py::arg("shape"), py::arg("taps"), py::arg("source"), py::arg("mean"),
        py::arg("variance"), py::arg("count"), NoGil());
    m.def(
        "slopes",
        [](const cuda::Queue& queue, int dtype, const Shape& shape, const Taps& taps, const Planes& source,
           Address grad_mean, Address grad_variance, Address mean, Address count, Address slopes) {
            cuda::slopes(queue, dtype, shape, taps, source, at<const void>(grad_mean), at<const void>(grad_variance),
                         at<const void>(mean), at<const int32_t>(count), at<void>(slopes));
        },
        py::arg("queue"), py::arg("dtype"), py::arg("shape"), py::arg("taps"), py::arg("source"), py::arg("grad_mean"),
        py::arg("grad_variance"), py::arg("mean"), py::arg("count"), py::arg("slopes"), NoGil());
}

}  // namespace

PYBIND11_MODULE(SPUPROJ_MODULE, m) {
    m.doc() = "spuproj's CUDA kernels; spuproj.backends.cuda is their only caller.";
    static_assert(sizeof(ViewGeometry) == 19 * sizeof(double), "a geometry table has 19 columns");
    define_arguments(m);
    m.def(
        "build_taps",
        [](const cuda::Queue& queue, Address geometry, int64_t count, const Sampling& sampling, int64_t height,
           int64_t width, bool double_precision, const Taps& taps) {
            cuda::build_taps(queue, at<const ViewGeometry>(geometry), count, sampling, height, width, double_precision,
                             taps);
        },
        py::arg("queue"), py::arg("geometry"), py::arg("count"), py::arg("sampling"), py::arg("height"),
        py::arg("width"), py::arg("double_precision"), py::arg("taps"), NoGil());
    m.def("gather", &cuda::gather, py::arg("queue"), py::arg("dtype"), py::arg("destination_dtype"), py::arg("shape"),
          py::arg("taps"), py::arg("source"), py::arg("destination"), py::arg("fill"), NoGil());
    m.def("copy", &cuda::copy, py::arg("queue"), py::arg("element_size"), py::arg("shape"), py::arg("taps"),
          py::arg("source"), py::arg("destination"), py::arg("fill_bits"), NoGil());
    define_reduce(m);
    m.def("gather_adjoint", &cuda::gather_adjoint, py::arg("queue"), py::arg("dtype"), py::arg("shape"),
          py::arg("transpose"), py::arg("source"), py::arg("destination"), py::arg("sum_views"), NoGil());
    m.def("gather_adjoint_atomic", &cuda::gather_adjoint_atomic, py::arg("queue"), py::arg("dtype"), py::arg("shape"),
          py::arg("taps"), py::arg("source"), py::arg("destination"), NoGil());
}
