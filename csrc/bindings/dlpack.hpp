// The part of DLPack's binary interface, version 1, through which a tensor's memory is read without a Python call.
// https://dmlc.github.io/dlpack/latest/c_api.html
#pragma once

#include <cstdint>

namespace spuproj::dlpack {

constexpr uint32_t kMajorVersion = 1;
constexpr int32_t kCPU = 1;

struct Device {
    int32_t type, id;
};

struct DataType {
    uint8_t code, bits;
    uint16_t lanes;
};

struct Tensor {
    void* data;
    Device device;
    int32_t dimensions;
    DataType dtype;
    int64_t* shape;
    int64_t* strides;
    uint64_t byte_offset;
};

struct ExchangeHeader {
    uint32_t major, minor;
    ExchangeHeader* older;
};

// What a tensor class has as __dlpack_c_exchange_api__, a capsule of the name "dlpack_exchange_api".
struct Exchange {
    ExchangeHeader header;
    void (*unused[3])();
    // Fills in a tensor that lives as long as the Python object; 0, or -1 with a Python error. May be missing.
    int (*read)(void* object, Tensor* tensor);
    void (*unused_stream)();
};

}  // namespace spuproj::dlpack
