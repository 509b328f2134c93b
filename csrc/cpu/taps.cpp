#include <limits>

#include "cpu/parallel.hpp"
#include "spuproj/cpu.hpp"

namespace spuproj::cpu {
namespace {

template <class A>
void build(const ViewGeometry* geometry, int64_t count, const Sampling& sampling, int64_t height, int64_t width,
           const Taps& taps, int64_t threads) {
    A* fraction_y = static_cast<A*>(taps.fraction_y);
    A* fraction_x = static_cast<A*>(taps.fraction_x);
    parallel_for(count * height, threads, [&](int64_t unit, Scratch&) {
        for (int64_t column = 0; column < width; ++column) {
            const int64_t p = unit * width + column;
            const Tap tap = tap_at(geometry[unit / height], sampling, unit % height, column);
            taps.index[p] = static_cast<int32_t>(tap.index);
            fraction_y[p] = static_cast<A>(tap.fraction_y);
            fraction_x[p] = static_cast<A>(tap.fraction_x);
        }
    });
}

}  // namespace

void build_taps(const ViewGeometry* geometry, int64_t count, const Sampling& sampling, int64_t height, int64_t width,
                bool double_precision, const Taps& taps, int64_t threads) {
    if (double_precision)
        build<double>(geometry, count, sampling, height, width, taps, threads);
    else
        build<float>(geometry, count, sampling, height, width, taps, threads);
}

void coordinates(const ViewGeometry* geometry, int64_t count, const Sampling& sampling, int64_t height, int64_t width,
                 double* y, double* x, int64_t threads) {
    constexpr double nan = std::numeric_limits<double>::quiet_NaN();
    parallel_for(count * height, threads, [&](int64_t unit, Scratch&) {
        const ViewGeometry& g = geometry[unit / height];
        const double row = static_cast<double>(unit % height);
        for (int64_t column = 0; column < width; ++column) {
            Point p = sampling.inverse ? to_view(g, row, static_cast<double>(column))
                                       : to_slice(g, row, static_cast<double>(column));
            const bool valid =
                p.valid && snap_inside(p.y, sampling.source_height) && snap_inside(p.x, sampling.source_width);
            y[unit * width + column] = valid ? p.y : nan;
            x[unit * width + column] = valid ? p.x : nan;
        }
    });
}

}  // namespace spuproj::cpu
