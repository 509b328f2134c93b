#include "bindings/plans.hpp"

#include <pybind11/stl.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <new>
#include <stdexcept>
#include <string>
#include <unordered_map>
#include <vector>

#include "bindings/dlpack.hpp"

namespace py = pybind11;

namespace spuproj::bindings {
namespace {

// Of the tensors of a call: everything about them that a kernel depends on but the addresses of what is read and
// written.
using Signature = std::vector<int64_t>;

struct Plan {
    Signature signature;
    py::object name, options;
    // The geometry's bytes: its address may have been given to other numbers since.
    std::string table;
    // Weak reference to what the kernel reads beside the tensors.
    py::object taps;
    Kernel kernel;
    int64_t threads;
    // Small tensors like the results, or what makes the results for a source.
    py::object like, empty;
};

struct Tensors {
    dlpack::Tensor of[kMaxTensors];
    int64_t count = 0;
};

void append(Signature& signature, const dlpack::Tensor& tensor) {
    signature.push_back(tensor.dtype.code << 16 | tensor.dtype.bits);
    signature.push_back(tensor.dimensions);
    signature.insert(signature.end(), tensor.shape, tensor.shape + tensor.dimensions);
    signature.insert(signature.end(), tensor.strides, tensor.strides + tensor.dimensions);
}

// False where the options are of no kind that an op takes.
bool hash_of(const Signature& signature, py::handle name, py::handle options, size_t& hash) {
    const Py_hash_t named = PyObject_Hash(name.ptr()), chosen = PyObject_Hash(options.ptr());
    if (named == -1 || chosen == -1) {
        PyErr_Clear();
        return false;
    }
    hash = static_cast<size_t>(named) * 31 + static_cast<size_t>(chosen);
    for (const int64_t value : signature) hash = (hash ^ static_cast<size_t>(value)) * 1099511628211u;
    return true;
}

// What a call of Python's interface has returned.
py::object owned(PyObject* result) {
    if (result == nullptr) throw py::error_already_set();
    return py::reinterpret_steal<py::object>(result);
}

py::object called(py::handle callable) { return owned(PyObject_CallNoArgs(callable.ptr())); }

py::object called(py::handle callable, py::handle argument) {
    return owned(PyObject_CallOneArg(callable.ptr(), argument.ptr()));
}

class Plans {
 public:
    Plans(py::object tensor_type, py::object empty_like, py::object grad_enabled, py::object num_threads,
          py::tuple conditions, std::string unless_variable, size_t limit)
        : tensor_type_(std::move(tensor_type)),
          empty_like_(std::move(empty_like)),
          grad_enabled_(std::move(grad_enabled)),
          num_threads_(std::move(num_threads)),
          conditions_(std::move(conditions)),
          unless_variable_(std::move(unless_variable)),
          limit_(limit) {
        const py::object capsule = py::getattr(tensor_type_, "__dlpack_c_exchange_api__", py::none());
        if (capsule.is_none()) return;
        void* pointer = PyCapsule_GetPointer(capsule.ptr(), "dlpack_exchange_api");
        if (pointer == nullptr) throw py::error_already_set();
        const auto* exchange = static_cast<const dlpack::Exchange*>(pointer);
        if (exchange->header.major == dlpack::kMajorVersion) read_ = exchange->read;
    }

    size_t size() const { return plans_.size(); }

    void keep(const py::str& name, const py::tuple& sources, py::handle geometry, const py::tuple& options,
              py::handle out, py::object taps, Kernel kernel, int64_t threads, py::object like, py::object empty) {
        Tensors tensors;
        dlpack::Tensor table;
        auto plan = std::make_shared<Plan>();
        if (!read_all(sources, geometry, out, tensors, table, plan->signature)) return;
        int64_t numbers = 1;
        for (int32_t i = table.dimensions; i-- > 0; numbers *= table.shape[i])
            if (table.shape[i] != 1 && table.strides[i] != numbers) return;
        plan->name = name;
        plan->options = options;
        plan->table.assign(static_cast<const char*>(table.data), static_cast<size_t>(numbers) * (table.dtype.bits / 8));
        plan->taps = std::move(taps);
        plan->kernel = std::move(kernel);
        plan->threads = threads;
        plan->like = std::move(like);
        plan->empty = std::move(empty);
        size_t hash;
        if (!hash_of(plan->signature, name, options, hash)) return;
        // What is dropped goes when the map is whole again: a tensor's end may let another thread in.
        decltype(plans_) dropped;
        if (plans_.size() >= limit_ && plans_.count(hash) == 0) dropped.swap(plans_);
        plans_[hash].swap(plan);
    }

    // The result of a planned call, or None.
    py::object call(py::handle name, py::handle sources, py::handle geometry, py::handle options, py::handle out) {
        if (plans_.empty() || std::getenv(unless_variable_.c_str()) != nullptr || !calm()) return py::none();
        Tensors tensors;
        dlpack::Tensor table;
        Signature signature;
        signature.reserve(64);
        if (!read_all(py::reinterpret_borrow<py::tuple>(sources), geometry, out, tensors, table, signature))
            return py::none();
        size_t hash;
        if (!hash_of(signature, name, options, hash)) return py::none();
        const auto found = plans_.find(hash);
        if (found == plans_.end()) return py::none();
        const std::shared_ptr<Plan> plan = found->second;
        if (plan->signature != signature || !plan->name.equal(name) || !plan->options.equal(options) ||
            std::memcmp(table.data, plan->table.data(), plan->table.size()) != 0)
            return py::none();
        const py::object taps = called(plan->taps);
        if (taps.is_none()) return py::none();
        py::object results = out.is_none() ? new_results(*plan, py::reinterpret_borrow<py::tuple>(sources)[0])
                                           : py::reinterpret_borrow<py::object>(out);
        run(*plan, tensors, results);
        return results;
    }

 private:
    // Whether nothing but the tensors could give the dispatcher something to do.
    bool calm() const {
        for (const py::handle condition : conditions_) {
            PyObject* const* pair = PySequence_Fast_ITEMS(condition.ptr());
            if (called(pair[0]).ptr() != pair[1]) return false;
        }
        return true;
    }

    // Whether the tensor stands for the negative of what lies in memory.
    bool negated(py::handle tensor) const {
        return owned(PyObject_CallMethodNoArgs(tensor.ptr(), is_neg_.ptr())).ptr() == Py_True;
    }

    // Reads a tensor that lies in plain memory of the CPU; false for any other, which is the dispatcher's to handle.
    bool read(py::handle object, dlpack::Tensor& tensor) const {
        if (read_ == nullptr || reinterpret_cast<PyObject*>(Py_TYPE(object.ptr())) != tensor_type_.ptr()) return false;
        if (read_(object.ptr(), &tensor) != 0) {
            PyErr_Clear();
            return false;
        }
        if (tensor.device.type != dlpack::kCPU || tensor.data == nullptr || tensor.byte_offset != 0) return false;
        if (tensor.dimensions > 0 && tensor.strides == nullptr) return false;
        return owned(PyObject_GetAttr(object.ptr(), requires_grad_.ptr())).ptr() != Py_True ||
               called(grad_enabled_).ptr() != Py_True;
    }

    // The tensors' addresses, sources first, and the call's signature.
    bool read_all(const py::tuple& sources, py::handle geometry, py::handle out, Tensors& tensors,
                  dlpack::Tensor& table, Signature& signature) const {
        if (!read(geometry, table)) return false;
        signature.push_back(static_cast<int64_t>(reinterpret_cast<Address>(table.data)));
        append(signature, table);
        for (const py::handle source : sources) {
            if (tensors.count == kMaxTensors || !read(source, tensors.of[tensors.count]) || negated(source))
                return false;
            append(signature, tensors.of[tensors.count++]);
        }
        if (out.is_none()) return true;
        dlpack::Tensor result;
        if (!read(out, result) || negated(out)) return false;
        append(signature, result);
        return true;
    }

    py::object new_results(const Plan& plan, py::handle source) const {
        if (plan.like.is_none()) return called(plan.empty, source);
        const auto like = py::reinterpret_borrow<py::tuple>(plan.like);
        if (like.size() == 1) return called(empty_like_, like[0]);
        py::tuple results(like.size());
        for (size_t i = 0; i < like.size(); ++i) results[i] = called(empty_like_, like[i]);
        return results;
    }

    void run(const Plan& plan, Tensors& tensors, const py::object& results) const {
        const auto add = [&](py::handle result) {
            if (tensors.count == kMaxTensors) throw std::length_error("a call has too many tensors");
            if (read_(result.ptr(), &tensors.of[tensors.count]) != 0) throw py::error_already_set();
            ++tensors.count;
        };
        if (PyTuple_Check(results.ptr()))
            for (const py::handle result : py::reinterpret_borrow<py::tuple>(results)) add(result);
        else
            add(results);
        Address addresses[kMaxTensors];
        for (int64_t i = 0; i < tensors.count; ++i) addresses[i] = reinterpret_cast<Address>(tensors.of[i].data);
        // Work that is not worth a second thread is done before Python would switch to another.
        if (plan.threads == 1) return plan.kernel.run(addresses, 1);
        const int64_t threads = std::min(plan.threads, called(num_threads_).cast<int64_t>());
        const py::gil_scoped_release no_gil;
        plan.kernel.run(addresses, threads);
    }

    const py::str is_neg_{"is_neg"}, requires_grad_{"requires_grad"};
    py::object tensor_type_, empty_like_, grad_enabled_, num_threads_;
    py::tuple conditions_;
    std::string unless_variable_;
    size_t limit_;
    int (*read_)(void*, dlpack::Tensor*) = nullptr;
    std::unordered_map<size_t, std::shared_ptr<Plan>> plans_;
};

// Plans.call as Python sees it: without the argument handling of pybind11, which takes longer than the call.
PyObject* call(PyObject* capsule, PyObject* const* arguments, Py_ssize_t count) {
    if (count != 5 || !PyTuple_Check(arguments[1])) {
        PyErr_SetString(PyExc_TypeError, "call takes (name, sources, geometry, options, out), sources being a tuple");
        return nullptr;
    }
    try {
        auto* plans = static_cast<Plans*>(PyCapsule_GetPointer(capsule, nullptr));
        return plans->call(arguments[0], arguments[1], arguments[2], arguments[3], arguments[4]).release().ptr();
    } catch (py::error_already_set& error) {
        error.restore();
    } catch (const std::bad_alloc&) {
        PyErr_NoMemory();
    } catch (const std::exception& error) {
        PyErr_SetString(PyExc_RuntimeError, error.what());
    }
    return nullptr;
}

PyMethodDef call_method = {"call", reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(call)), METH_FASTCALL,
                           "call(name, sources, geometry, options, out): the results of a planned call, or None."};

}  // namespace

void define_plans(py::module_& m) {
    py::class_<Kernel>(m, "Kernel")
        .def(
            "__call__",
            [](const Kernel& kernel, const std::vector<Address>& tensors, int64_t threads) {
                const py::gil_scoped_release no_gil;
                kernel.run(tensors.data(), threads);
            },
            py::arg("tensors"), py::arg("threads"));
    py::class_<Plans>(m, "Plans")
        .def(py::init<py::object, py::object, py::object, py::object, py::tuple, std::string, size_t>(),
             py::arg("tensor_type"), py::arg("empty_like"), py::arg("grad_enabled"), py::arg("num_threads"),
             py::arg("conditions"), py::arg("unless_variable"), py::arg("limit"))
        .def("__len__", &Plans::size)
        .def("keep", &Plans::keep, py::arg("name"), py::arg("sources"), py::arg("geometry"), py::arg("options"),
             py::arg("out"), py::arg("taps"), py::arg("kernel"), py::arg("threads"), py::arg("like"), py::arg("empty"))
        .def_property_readonly("call", [](const py::object& plans) {
            // The capsule's context is the object, which thus outlives its functions.
            auto* pointer = plans.cast<Plans*>();
            PyObject* capsule = PyCapsule_New(
                pointer, nullptr, [](PyObject* own) { Py_XDECREF(static_cast<PyObject*>(PyCapsule_GetContext(own))); });
            const py::object self = owned(capsule);
            PyCapsule_SetContext(capsule, plans.inc_ref().ptr());
            return owned(PyCFunction_New(&call_method, capsule));
        });
}

}  // namespace spuproj::bindings
