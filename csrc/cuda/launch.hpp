// Calls element(place, table) for every pixel of a raster, for all views and chunks of planes: in a CUDA kernel, or, if
// compiled for the CPU, in a loop.
#pragma once

#include <algorithm>

#include "spuproj/cuda.hpp"

#if defined(__CUDACC__)
#include <cuda_runtime.h>
#endif

namespace spuproj::cuda {

// What a kernel computes: pixels in rows of a width, of each view, for each chunk of planes.
struct Raster {
    int64_t pixels, width, views, chunks;
};

// A block computes a tile of a view: its warps read neighbouring source rows, which the first-level cache keeps.
struct Tile {
    unsigned height, width;
};

// The work of one thread.
struct Place {
    int64_t chunk, view, row, column, pixel;
};

// The Table of an element that needs none.
struct NoTable {
    static constexpr int kPlanes = 0;
};

#if defined(__CUDACC__)

template <class Element>
constexpr unsigned kThreads = Element::kTile.height * Element::kTile.width;

// An element names itself (kName), tells the tile of a block (kTile), how many threads a multiprocessor must hold at
// least (kResidentThreads) and where the planes of a chunk lie (Table, locate), and computes one pixel of them
// (operator()).
// Blocks run in the order of the tiles, then the views, then the chunks, so that a chunk's source planes stay in the
// second-level cache until all views have read them.
template <class Element>
__global__ void __launch_bounds__(kThreads<Element>, Element::kResidentThreads / kThreads<Element>)
    run(const __grid_constant__ Element element, const unsigned tiles_across, const int64_t pixels, const int64_t width,
        const int64_t first_chunk) {
    __shared__ typename Element::Table table;
    const int64_t chunk = first_chunk + blockIdx.z;
    if constexpr (Element::Table::kPlanes > 0) {
        if (threadIdx.x < Element::Table::kPlanes) element.locate(table, chunk, static_cast<int>(threadIdx.x));
        __syncthreads();
    }
    constexpr Tile tile = Element::kTile;
    const unsigned down = blockIdx.x / tiles_across, across = blockIdx.x - down * tiles_across;
    const int64_t row = int64_t{down} * tile.height + threadIdx.x / tile.width;
    const int64_t column = int64_t{across} * tile.width + threadIdx.x % tile.width;
    const int64_t pixel = row * width + column;
    if (column < width && pixel < pixels) element(Place{chunk, blockIdx.y, row, column, pixel}, table);
}

inline void check(cudaError_t error, const char* kernel) {
    if (error == cudaSuccess) return;
    int device = -1;
    cudaGetDevice(&device);
    throw std::runtime_error(std::string("the CUDA kernel ") + kernel + " could not be started on cuda:" +
                             std::to_string(device) + ": " + cudaGetErrorString(error));
}

// Queues the work on a stream of the current device.
template <class Element>
void launch(void* stream, const Element& element, const Raster& raster) {
    constexpr int64_t kMostViews = 65535, kMostChunks = 65535;  // sizes of a grid
    const int64_t across = ceiling(raster.width, Element::kTile.width);
    const int64_t tiles = across * ceiling(raster.pixels / raster.width, Element::kTile.height);
    if (raster.views > kMostViews)
        throw std::runtime_error("one call must have at most " + std::to_string(kMostViews) + " views, got " +
                                 std::to_string(raster.views));
    for (int64_t first = 0; first < raster.chunks; first += kMostChunks) {
        const dim3 grid(static_cast<unsigned>(tiles), static_cast<unsigned>(raster.views),
                        static_cast<unsigned>(std::min(raster.chunks - first, kMostChunks)));
        run<<<grid, kThreads<Element>, 0, static_cast<cudaStream_t>(stream)>>>(element, static_cast<unsigned>(across),
                                                                               raster.pixels, raster.width, first);
        check(cudaGetLastError(), Element::kName);
    }
}

#else

template <class Element>
void launch(void*, const Element& element, const Raster& raster) {
    for (int64_t chunk = 0; chunk < raster.chunks; ++chunk) {
        typename Element::Table table;
        if constexpr (Element::Table::kPlanes > 0)
            for (int plane = 0; plane < Element::Table::kPlanes; ++plane) element.locate(table, chunk, plane);
        for (int64_t view = 0; view < raster.views; ++view)
            for (int64_t pixel = 0; pixel < raster.pixels; ++pixel)
                element(Place{chunk, view, pixel / raster.width, pixel % raster.width, pixel}, table);
    }
}

#endif

}  // namespace spuproj::cuda
