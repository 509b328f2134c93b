// Repeated calls of ops: found by their arguments, and run without returning to Python in between.
#pragma once

#include <pybind11/pybind11.h>

#include <algorithm>
#include <cstring>
#include <functional>
#include <memory>
#include <stdexcept>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "bindings/tensors.hpp"

namespace spuproj::bindings {

constexpr size_t kMostTensors = 8;  // read and written by one kernel

// A kernel with all arguments but the addresses of its tensors and the number of threads.
using Kernel = std::function<void(char* const* addresses, int64_t threads)>;

// Whether two options are the same to a kernel. Python's == is not enough: 0.0 == -0.0, 1 == 1 + 0j, nan != nan.
inline bool same_option(pybind11::handle first, pybind11::handle second) {
    if (Py_TYPE(first.ptr()) != Py_TYPE(second.ptr())) return false;
    if (!PyFloat_CheckExact(first.ptr())) return first.equal(second);
    const double a = PyFloat_AS_DOUBLE(first.ptr()), b = PyFloat_AS_DOUBLE(second.ptr());
    return std::memcmp(&a, &b, sizeof(double)) == 0;
}

// A call that was made, and that is repeated for arguments which differ in the values of the tensors alone.
struct Call {
    pybind11::object op;
    std::vector<std::pair<size_t, Layout>> tensors;            // by position: read by the kernel
    std::vector<std::pair<size_t, pybind11::object>> options;  // by position: the other arguments
    std::vector<std::pair<Layout, pybind11::object>> results;  // and for small results an example, else None
    Kernel kernel;
    int64_t most_threads;
    pybind11::object taps;  // keeps alive what the kernel reads

    // Whether these arguments fit the call; if so, `addresses` are those of the tensors. What the call writes must not
    // overlap what it reads: the op's own check says so.
    bool fits(pybind11::handle other_op, const pybind11::tuple& given, const Span& table, char** addresses) const {
        if (!op.is(other_op) || given.size() != tensors.size() + options.size() + 1) return false;
        char** address = addresses;
        for (const auto& [at, layout] : tensors) {
            dlpack::Tensor tensor;
            if (exchange()->read(PyTuple_GET_ITEM(given.ptr(), at), &tensor) != 0) {
                PyErr_Clear();  // Not a dense tensor, or none at all: the op's own check says so.
                return false;
            }
            if (!(layout == tensor)) return false;
            *address++ = tensor.address();
        }
        return (!results.empty() || writes_apart(table, addresses)) &&
               std::all_of(options.begin(), options.end(), [&](const auto& option) {
                   return same_option(PyTuple_GET_ITEM(given.ptr(), option.first), option.second);
               });
    }

    // Whether the last tensor, into which a call without results writes, lies apart from all others.
    bool writes_apart(const Span& table, char* const* addresses) const {
        const size_t last = tensors.size() - 1;
        const Span written = tensors[last].second.span(addresses[last]);
        for (size_t i = 0; i < last; ++i)
            if (written.overlaps(tensors[i].second.span(addresses[i]))) return false;
        return !written.overlaps(table);
    }

    // Allocates the results, runs the kernel and returns them: None, a tensor or a tuple of tensors.
    pybind11::object make(char** addresses, pybind11::handle empty_like, pybind11::handle thread_count) const {
        pybind11::tuple made(results.size());
        for (size_t i = 0; i < results.size(); ++i) {
            const auto& [layout, small] = results[i];
            pybind11::object result = small.is_none() ? layout.in_block(true) : empty_like(small);
            addresses[tensors.size() + i] = read(result.ptr()).address();
            made[i] = std::move(result);
        }
        {
            const auto threads = std::min(pybind11::cast<int64_t>(thread_count()), most_threads);
            const pybind11::gil_scoped_release release;
            kernel(addresses, threads);
        }
        if (results.empty()) return pybind11::none();
        return results.size() == 1 ? pybind11::object(made[0]) : made;
    }
};

// The calls with one contiguous geometry table, valid until the table's numbers change.
class TableCalls {
 public:
    using List = std::vector<std::shared_ptr<const Call>>;
    using Tables = std::unordered_map<PyObject*, TableCalls*>;

    TableCalls(std::shared_ptr<Tables> tables, pybind11::handle table)
        : tables_(std::move(tables)), table_(table.ptr()), layout_(read(table_)) {
        numbers_.assign(read(table_).address(), layout_.nbytes());
        (*tables_)[table_] = this;
    }
    TableCalls(const TableCalls&) = delete;
    TableCalls& operator=(const TableCalls&) = delete;
    ~TableCalls() {
        const auto mine = tables_->find(table_);
        if (mine != tables_->end() && mine->second == this) tables_->erase(mine);
    }

    // Where the table lies.
    Span span() const { return layout_.span(read(table_).address()); }

    bool unchanged() const {
        const dlpack::Tensor table = read(table_);
        return layout_ == table && std::memcmp(table.address(), numbers_.data(), numbers_.size()) == 0;
    }

    // Keeps a call with these arguments. Its kernel reads all tensors among them but the table.
    void keep(pybind11::object op, size_t table_at, const pybind11::tuple& given,
              const std::vector<std::pair<pybind11::object, pybind11::object>>& results, const Kernel& kernel,
              int64_t most_threads, pybind11::object taps) {
        auto call = std::make_shared<Call>();
        call->op = std::move(op);
        for (size_t at = 0; at < given.size(); ++at) {
            dlpack::Tensor tensor;
            const bool is_tensor = exchange()->read(PyTuple_GET_ITEM(given.ptr(), at), &tensor) == 0;
            if (!is_tensor) PyErr_Clear();
            if (is_tensor && at != table_at) call->tensors.emplace_back(at, Layout(tensor));
            if (!is_tensor) call->options.emplace_back(at, given[at]);
        }
        for (const auto& [result, small] : results) call->results.emplace_back(Layout(read(result.ptr())), small);
        if (call->tensors.size() + call->results.size() > kMostTensors)
            throw std::invalid_argument("a call must have at most " + std::to_string(kMostTensors) + " tensors");
        call->kernel = kernel;
        call->most_threads = most_threads;
        call->taps = std::move(taps);
        auto longer = std::make_shared<List>(*calls_);
        longer->push_back(std::move(call));
        calls_ = std::move(longer);
    }
    void clear() { calls_ = std::make_shared<const List>(); }

    // The list stays as it is while it is held: calls that are kept or dropped meanwhile make a new one.
    std::shared_ptr<const List> calls() const { return calls_; }

 private:
    std::shared_ptr<const List> calls_ = std::make_shared<const List>();
    std::shared_ptr<Tables> tables_;
    PyObject* table_;
    Layout layout_;
    std::string numbers_;
};

// All calls that can be repeated, by geometry table.
class Calls {
 public:
    Calls(pybind11::object empty_like, pybind11::object thread_count)
        : empty_like_(std::move(empty_like)), thread_count_(std::move(thread_count)) {}

    std::unique_ptr<TableCalls> of_table(pybind11::handle table) const {
        return std::make_unique<TableCalls>(tables_, table);
    }

    // Repeats the call with these arguments and returns its results; NotImplemented if there is none.
    pybind11::object repeat(pybind11::handle op, size_t table_at, const pybind11::tuple& given) const {
        const auto found = tables_->find(PyTuple_GET_ITEM(given.ptr(), table_at));
        if (found != tables_->end() && found->second->unchanged()) {
            const Span memory = found->second->span();
            char* addresses[kMostTensors];
            // Held, as the table's calls may be dropped while one runs, or by a garbage collection in between.
            const auto calls = found->second->calls();
            for (const auto& call : *calls)
                if (call->fits(op, given, memory, addresses)) return call->make(addresses, empty_like_, thread_count_);
        }
        return pybind11::reinterpret_borrow<pybind11::object>(Py_NotImplemented);
    }

 private:
    std::shared_ptr<TableCalls::Tables> tables_ = std::make_shared<TableCalls::Tables>();
    pybind11::object empty_like_, thread_count_;
};

}  // namespace spuproj::bindings
