// Python's view of the CPU library: addresses and sizes come in, errors go out by name, the GIL is released.
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include "bindings/arguments.hpp"
#include "cpu/simd.hpp"
#include "spuproj/cpu.hpp"

namespace py = pybind11;
using namespace spuproj;

namespace {

template <class... P>
py::tuple names_of(ProfileList<P...>) {
    return py::make_tuple(P::kName...);
}

}  // namespace

PYBIND11_MODULE(_cpu, m) {
    m.doc() = "spuproj's CPU kernels; spuproj.backends.cpu is their only caller.";
    static_assert(sizeof(ViewGeometry) == 19 * sizeof(double), "a geometry table has 19 columns");
    static_assert(sizeof(cpu::Window) == 3 * sizeof(int32_t), "a window has 3 columns");
    m.attr("TILE") = py::make_tuple(cpu::kTileRows, cpu::kTileColumns);
    m.attr("PROFILES") = names_of(Profiles());
    bindings::define_sampling_and_taps(m);
    py::class_<cpu::Tiles>(m, "Tiles", py::module_local())
        .def(py::init(&bindings::made_of<cpu::Tiles, int32_t*, void*, void*, cpu::Window*, int64_t, int64_t, int64_t,
                                         int64_t>),
             py::arg("index"), py::arg("fraction_y"), py::arg("fraction_x"), py::arg("window"), py::arg("height"),
             py::arg("width"), py::arg("source_width"), py::arg("sample_stride"));
    bindings::define(m, "build_taps", &cpu::build_taps);
    bindings::define(m, "build_tiles", &cpu::build_tiles);
    bindings::define(m, "coordinates", &cpu::coordinates);
    bindings::define(m, "project", &cpu::project);
    bindings::define(m, "copy", &cpu::copy);
    bindings::define(m, "unproject", &cpu::unproject);
    bindings::define(m, "gather_adjoint", &cpu::gather_adjoint);
    bindings::define(m, "reduce", &cpu::reduce);
    bindings::define(m, "reduce_backward", &cpu::reduce_backward);
    m.def("simd_level", &cpu::active_level, "The SIMD level in use.");
    m.def("simd_levels", &cpu::supported_levels, "The SIMD levels of this processor, lowest first.");
}
