// Torch's tensors, read and made through DLPack's C interface (https://dmlc.github.io/dlpack), without linking to
// torch.
#pragma once

#include <pybind11/pybind11.h>

#include <cstring>
#include <memory>
#include <vector>

#include "cpu/runtime/block_pool.hpp"

namespace spuproj::bindings {

// The structs of DLPack 1, with its order of members, as far as they are used here.
namespace dlpack {

struct Tensor {
    void* data;
    int32_t device_type, device_id;
    int32_t axes;
    uint8_t dtype_code, dtype_bits;
    uint16_t dtype_lanes;
    int64_t* shape;
    int64_t* strides;
    uint64_t byte_offset;

    char* address() const { return static_cast<char*>(data) + byte_offset; }
};

struct ManagedTensor {
    uint32_t major, minor;
    void* owner;
    void (*deleter)(ManagedTensor*);
    uint64_t flags;
    Tensor tensor;
};

struct Exchange {
    uint32_t major, minor;
    Exchange* older;
    void* allocator;
    void* managed_of;
    int (*object_of)(ManagedTensor* given, void** object);
    int (*read)(void* object, Tensor* tensor);
    void* current_stream;
};

}  // namespace dlpack

// DLPack's function table of torch.Tensor; null if this torch has none, or one of another major version.
inline const dlpack::Exchange*& exchange() {
    static const dlpack::Exchange* table = nullptr;
    return table;
}

// Describes a tensor object without owning it; throws Python's error if it is no dense tensor.
inline dlpack::Tensor read(PyObject* object) {
    dlpack::Tensor tensor;
    if (exchange()->read(object, &tensor) != 0) throw pybind11::error_already_set();
    return tensor;
}

// The memory in which the elements of a tensor lie.
struct Span {
    const char *first, *end;

    bool overlaps(const Span& other) const { return first < other.end && other.first < end; }
};

// Shape, strides and dtype of a tensor.
class Layout {
 public:
    explicit Layout(const dlpack::Tensor& tensor) : tensor_(tensor), sizes_(tensor.shape, tensor.shape + tensor.axes) {
        sizes_.insert(sizes_.end(), tensor.strides, tensor.strides + tensor.axes);
    }

    bool operator==(const dlpack::Tensor& other) const {
        const size_t nbytes = sizeof(int64_t) * axes();
        return other.axes == tensor_.axes && other.dtype_code == tensor_.dtype_code &&
               other.dtype_bits == tensor_.dtype_bits && other.device_type == tensor_.device_type &&
               std::memcmp(other.shape, sizes_.data(), nbytes) == 0 &&
               std::memcmp(other.strides, sizes_.data() + axes(), nbytes) == 0;
    }

    // Bytes of the elements, without gaps.
    size_t nbytes() const {
        size_t nbytes = tensor_.dtype_bits / 8;
        for (size_t axis = 0; axis < axes(); ++axis) nbytes *= static_cast<size_t>(sizes_[axis]);
        return nbytes;
    }

    // Where the elements of a tensor of this layout lie, with the gaps between them.
    Span span(const char* address) const {
        int64_t reach = 1;
        for (size_t axis = 0; axis < axes(); ++axis) reach += (sizes_[axis] - 1) * sizes_[axes() + axis];
        return {address, address + reach * (tensor_.dtype_bits / 8)};
    }

    // An uninitialised tensor of this layout in a block of the pool, which is given back when the tensor is freed.
    pybind11::object in_block(bool keep) const {
        struct Managed : dlpack::ManagedTensor {
            std::vector<int64_t> sizes;
        };
        auto managed = std::make_unique<Managed>();
        managed->sizes = sizes_;
        managed->major = 1;
        managed->tensor = tensor_;
        managed->tensor.data = cpu::block_pool().take(nbytes(), keep ? cpu::Content::kResult : cpu::Content::kTaps);
        managed->tensor.shape = managed->sizes.data();
        managed->tensor.strides = managed->sizes.data() + axes();
        managed->deleter = [](dlpack::ManagedTensor* self) {
            cpu::block_pool().give_back(self->tensor.data);
            delete static_cast<Managed*>(self);
        };
        void* object = nullptr;
        // Torch owns the block from here on, also where it fails: it then has called the deleter.
        if (exchange()->object_of(managed.release(), &object) != 0) throw pybind11::error_already_set();
        return pybind11::reinterpret_steal<pybind11::object>(static_cast<PyObject*>(object));
    }

 private:
    size_t axes() const { return static_cast<size_t>(tensor_.axes); }

    dlpack::Tensor tensor_{};
    std::vector<int64_t> sizes_;  // shape, then strides
};

}  // namespace spuproj::bindings
