// Python bindings of the CUDA library: take addresses, sizes and a stream, release the GIL, raise C++ exceptions.
#include <pybind11/pybind11.h>

#include "bindings/arguments.hpp"
#include "spuproj/cuda.hpp"

namespace py = pybind11;
using namespace spuproj;

PYBIND11_MODULE(SPUPROJ_MODULE, m) {
    m.doc() = "spuproj's CUDA kernels; spuproj.backends.cuda is their only caller.";
    static_assert(sizeof(ViewGeometry) == 19 * sizeof(double), "a geometry table has 19 columns");
    bindings::define_sampling(m);
    py::class_<Taps>(m, "Taps", py::module_local())
        .def(py::init(&bindings::made_of<Taps, int32_t*, void*, void*, int64_t, int64_t, int64_t, int64_t, int64_t>));
    py::class_<cuda::Transpose>(m, "Transpose", py::module_local())
        .def(py::init(&bindings::made_of<cuda::Transpose, const int32_t*, const int32_t*, const void*, int64_t, int64_t,
                                         int64_t, int64_t>));
    m.attr("SIDE") = cuda::kSide;
    m.def("problem", &cuda::problem);
    bindings::define(m, "build_taps", &cuda::build_taps);
    bindings::define(m, "gather", &cuda::gather);
    bindings::define(m, "gather_interleaved", &cuda::gather_interleaved);
    bindings::define(m, "copy", &cuda::copy);
    bindings::define(m, "reduce", &cuda::reduce);
    bindings::define(m, "slopes", &cuda::slopes);
    bindings::define(m, "gather_adjoint", &cuda::gather_adjoint);
    bindings::define(m, "gather_adjoint_atomic", &cuda::gather_adjoint_atomic);
}
