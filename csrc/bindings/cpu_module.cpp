// Python's view of the CPU library: addresses and sizes come in, errors go out by name, the GIL is released.
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <array>

#include "bindings/arguments.hpp"
#include "bindings/calls.hpp"
#include "cpu/runtime/simd.hpp"
#include "spuproj/cpu.hpp"

namespace py = pybind11;
using namespace spuproj;

namespace {

using Strides = std::array<int64_t, 4>;  // batch, view, channel, pixel

Planes planes(char* address, const Strides& strides) {
    return {address, strides[0], strides[1], strides[2], strides[3]};
}

// The kernels as Python makes them: with everything but addresses and threads, which `run` adds.
void define_kernels(py::module_& m) {
    py::class_<bindings::Kernel>(m, "Kernel", py::module_local());
    m.def("run", [](const bindings::Kernel& kernel, const std::vector<uintptr_t>& addresses, int64_t threads) {
        std::vector<char*> pointers;
        for (const uintptr_t address : addresses) pointers.push_back(reinterpret_cast<char*>(address));  // NOLINT
        const py::gil_scoped_release release;
        kernel(pointers.data(), threads);
    });
    m.def("project", [](int dtype, int result_dtype, Shape shape, Taps taps, Strides source, Strides result,
                        double fill) {
        return bindings::Kernel([=](char* const* at, int64_t threads) {
            cpu::project(dtype, result_dtype, shape, taps, planes(at[0], source), planes(at[1], result), fill, threads);
        });
    });
    m.def("copy", [](int64_t element_size, Shape shape, Taps taps, Strides source, Strides result, uint64_t fill_bits) {
        return bindings::Kernel([=](char* const* at, int64_t threads) {
            cpu::copy(element_size, shape, taps, planes(at[0], source), planes(at[1], result), fill_bits, threads);
        });
    });
    m.def("unproject", [](int dtype, Shape shape, cpu::Tiles tiles, Strides source, Strides result) {
        return bindings::Kernel([=](char* const* at, int64_t threads) {
            cpu::unproject(dtype, shape, tiles, planes(at[0], source), planes(at[1], result), threads);
        });
    });
    m.def("gather_adjoint", [](int dtype, bool sum_views, Shape shape, Taps taps, Strides source, Strides result) {
        return bindings::Kernel([=](char* const* at, int64_t threads) {
            cpu::gather_adjoint(dtype, sum_views, shape, taps, planes(at[0], source), planes(at[1], result), threads);
        });
    });
    m.def("reduce", [](int dtype, Shape shape, cpu::Tiles tiles, Strides source) {
        return bindings::Kernel([=](char* const* at, int64_t threads) {
            auto* count = reinterpret_cast<int32_t*>(at[3]);  // NOLINT
            cpu::reduce(dtype, shape, tiles, planes(at[0], source), at[1], at[2], count, threads);
        });
    });
    // Addresses: grad_mean, grad_variance, source, mean, count, grad_source.
    m.def("reduce_backward", [](int dtype, Shape shape, Taps taps, Strides source) {
        return bindings::Kernel([=](char* const* at, int64_t threads) {
            auto* count = reinterpret_cast<const int32_t*>(at[4]);  // NOLINT
            cpu::reduce_backward(dtype, shape, taps, planes(at[2], source), at[0], at[1], at[3], count, at[5], threads);
        });
    });
}

void define_calls(py::module_& m) {
    using bindings::Calls, bindings::TableCalls, bindings::exchange;
    m.def("set_exchange", [](py::handle capsule) {
        if (!PyCapsule_IsValid(capsule.ptr(), "dlpack_exchange_api")) return false;
        const auto* table = py::reinterpret_borrow<py::capsule>(capsule).get_pointer<bindings::dlpack::Exchange>();
        exchange() = table->major == 1 && table->read != nullptr ? table : nullptr;
        return exchange() != nullptr;
    });
    m.def("in_block",
          [](py::handle like, bool keep) { return bindings::Layout(bindings::read(like.ptr())).in_block(keep); });
    m.def("set_block_limit", [](size_t nbytes) { cpu::block_pool().set_limit(nbytes); });
    m.def("drop_unused_blocks", [] { cpu::block_pool().drop_unused(); });
    m.def("kept_bytes", [] { return cpu::block_pool().kept(); });
    py::class_<TableCalls>(m, "TableCalls", py::module_local())
        .def("__len__", [](const TableCalls& self) { return self.calls.size(); })
        .def("clear", [](TableCalls& self) { std::exchange(self.calls, {}); })
        .def("keep", &TableCalls::keep);
    py::class_<Calls>(m, "Calls", py::module_local())
        .def(py::init<py::object, py::object>())
        .def("of_table", &Calls::of_table)
        .def("repeat", &Calls::repeat);
}

}  // namespace

PYBIND11_MODULE(_cpu, m) {
    m.doc() = "spuproj's CPU kernels; spuproj.backends.cpu is their only caller.";
    static_assert(sizeof(ViewGeometry) == 19 * sizeof(double), "a geometry table has 19 columns");
    static_assert(sizeof(cpu::Window) == 3 * sizeof(int32_t), "a window has 3 columns");
    m.attr("TILE") = py::make_tuple(cpu::kTileRows, cpu::kTileColumns);
    bindings::define_sampling_and_taps(m);
    py::class_<cpu::Tiles>(m, "Tiles", py::module_local())
        .def(py::init(&bindings::made_of<cpu::Tiles, int32_t*, void*, void*, cpu::Window*, int64_t, int64_t, int64_t,
                                         int64_t>),
             py::arg("index"), py::arg("fraction_y"), py::arg("fraction_x"), py::arg("window"), py::arg("height"),
             py::arg("width"), py::arg("source_width"), py::arg("sample_stride"));
    bindings::define(m, "build_taps", &cpu::build_taps);
    bindings::define(m, "build_tiles", &cpu::build_tiles);
    define_kernels(m);
    define_calls(m);
    m.def("simd_level", &cpu::active_level, "The SIMD level in use.");
    m.def("simd_levels", &cpu::supported_levels, "The SIMD levels of this processor, lowest first.");
}
