// Python's view of the CPU library: addresses and sizes come in, errors go out by name, the GIL is released.
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <tuple>

#include "bindings/arguments.hpp"
#include "bindings/calls.hpp"
#include "cpu/runtime/simd.hpp"
#include "spuproj/cpu.hpp"

namespace py = pybind11;
using namespace spuproj;

namespace {

// What Python gives for a parameter when it makes a kernel: for planes their strides, as `run` adds the addresses, or
// None where the kernel can do without.
template <class P>
using Bound = std::conditional_t<std::is_same_v<P, Planes>, std::optional<std::array<int64_t, 4>>, bindings::Given<P>>;

template <class P>
P placed(const Bound<P>& bound, char* const*& addresses) {
    if constexpr (std::is_same_v<P, Planes>)
        return bound ? Planes{*addresses++, (*bound)[0], (*bound)[1], (*bound)[2], (*bound)[3]} : Planes{};
    else
        return bindings::taken<P>(bound);
}

// Defines a function that makes a kernel: with everything but addresses, in the order of the planes, and threads.
template <class... P>
void define_kernel(py::module_& m, const char* name, void (*function)(int64_t threads, P...)) {
    m.def(name, [function](const Bound<std::decay_t<P>>&... bound) {
        return bindings::Kernel([=](char* const* addresses, int64_t threads) {
            // Braces, since the order in which arguments in parentheses are evaluated is not defined.
            using Arguments = std::tuple<int64_t, std::decay_t<P>...>;
            std::apply(function, Arguments{threads, placed<std::decay_t<P>>(bound, addresses)...});
        });
    });
}

void define_kernels(py::module_& m) {
    py::class_<bindings::Kernel>(m, "Kernel", py::module_local());
    m.def("run", [](const bindings::Kernel& kernel, const std::vector<uintptr_t>& addresses, int64_t threads) {
        std::vector<char*> pointers;
        for (const uintptr_t address : addresses) pointers.push_back(reinterpret_cast<char*>(address));  // NOLINT
        const py::gil_scoped_release release;
        kernel(pointers.data(), threads);
    });
    define_kernel(m, "project", &cpu::project);
    define_kernel(m, "copy", &cpu::copy);
    define_kernel(m, "unproject", &cpu::unproject);
    define_kernel(m, "gather_adjoint", &cpu::gather_adjoint);
    define_kernel(m, "reduce", &cpu::reduce);
    define_kernel(m, "reduce_backward", &cpu::reduce_backward);
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
        .def("__len__", [](const TableCalls& self) { return self.calls()->size(); })
        .def("clear", &TableCalls::clear)
        .def("keep", &TableCalls::keep);
    py::class_<Calls>(m, "Calls", py::module_local())
        .def(py::init<py::object, py::object>())
        .def("of_table", &Calls::of_table)
        .def("repeat", &Calls::repeat);
}

}  // namespace

// Not declared as free of the GIL: kept calls have no other lock. A free-threaded Python turns it on at the import.
PYBIND11_MODULE(_cpu, m) {
    m.doc() = "spuproj's CPU kernels; spuproj.backends.cpu is their only caller.";
    static_assert(sizeof(ViewGeometry) == 19 * sizeof(double), "a geometry table has 19 columns");
    static_assert(sizeof(cpu::Window) == 3 * sizeof(int32_t), "a window has 3 columns");
    m.attr("TILE") = py::make_tuple(cpu::kTileRows, cpu::kTileColumns);
    m.attr("TAP_LINE") = kTapLine;
    bindings::define_sampling(m);
    py::class_<cpu::FlatTaps>(m, "FlatTaps", py::module_local())
        .def(py::init(&bindings::made_of<cpu::FlatTaps, int32_t*, void*, void*, int64_t, int64_t, int64_t, int64_t,
                                         int64_t, bool*>));
    py::class_<cpu::Tiles>(m, "Tiles", py::module_local())
        .def(py::init(&bindings::made_of<cpu::Tiles, int32_t*, void*, void*, cpu::Window*, int64_t, int64_t, int64_t,
                                         int64_t, bool*>));
    bindings::define(m, "build_taps", &cpu::build_taps);
    bindings::define(m, "build_tiles", &cpu::build_tiles);
    define_kernels(m);
    define_calls(m);
    m.def("simd_level", &cpu::active_level, "The SIMD level in use.");
    m.def("simd_levels", &cpu::supported_levels, "The SIMD levels of this processor, lowest first.");
}
