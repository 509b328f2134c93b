// Tensors and geometries for the driver: memory of exactly their size, and the same random numbers everywhere.
#pragma once

#include <algorithm>
#include <initializer_list>
#include <memory>
#include <random>
#include <vector>

#include "spuproj/cpu.hpp"

namespace spuproj::driver {

// The standard's distributions differ between libraries; its engine does not.
class Random {
 public:
    explicit Random(uint64_t seed) : engine_(seed) {}

    double between(double low, double high) {
        return low + (high - low) * static_cast<double>(engine_() >> 11) * 0x1p-53;
    }
    int64_t one_of(std::initializer_list<int64_t> values) { return values.begin()[engine_() % values.size()]; }

 private:
    std::mt19937_64 engine_;
};

// Stands for bytes beside the library's element types.
constexpr int kBytes = -1;

struct Layout {
    int dtype;
    int64_t batch, views, channels, pixels;
    bool channels_last = false;

    int64_t elements() const { return batch * views * channels * pixels; }
};

struct Tensor {
    // Exactly as large as the tensor, so that memcheck and AddressSanitizer see an access beyond it.
    std::shared_ptr<std::vector<char>> memory;
    Planes planes;
};

inline Tensor tensor(const Layout& layout, char pattern = 0) {
    const auto size =
        layout.dtype == kBytes ? 1 : with_element(layout.dtype, [](auto element) { return sizeof(element); });
    Tensor made;
    made.memory = std::make_shared<std::vector<char>>(static_cast<size_t>(layout.elements()) * size, pattern);
    const int64_t per_view = layout.channels * layout.pixels;
    made.planes = {made.memory->data(), layout.views * per_view, per_view, layout.pixels, 1};
    if (layout.channels_last) std::swap(made.planes.channel_stride, made.planes.pixel_stride);
    if (layout.channels_last) made.planes.pixel_stride = layout.channels;
    return made;
}

inline Tensor random_tensor(const Layout& layout, Random& random, double low = -1.0, double high = 1.0) {
    const Tensor made = tensor(layout);
    with_element(layout.dtype, [&](auto element) {
        auto* const values = static_cast<decltype(element)*>(made.planes.data);
        for (int64_t i = 0; i < layout.elements(); ++i) store(values[i], random.between(low, high));
    });
    return made;
}

// A view of any profiles, which shows most of the slice in most of the view.
inline ViewGeometry random_view(Random& random, int64_t height, int64_t width, int64_t view_height,
                                int64_t view_width) {
    ViewGeometry view = {};
    const auto larger = static_cast<double>(std::max(height, width));
    view.tangent_y = random.between(0.0, static_cast<double>(height - 1));
    view.tangent_x = random.between(0.0, static_cast<double>(width - 1));
    view.radius = random.between(0.4, 1.5) * larger;
    view.scale = random.between(0.3, 0.9) * static_cast<double>(std::max(view_height, view_width));
    view.pole_y = random.between(0.3, 0.7) * static_cast<double>(view_height - 1);
    view.pole_x = random.between(0.3, 0.7) * static_cast<double>(view_width - 1);
    view.lift = std::floor(random.between(0.0, Profiles::kCount));
    view.chart = std::floor(random.between(0.0, Profiles::kCount));
    view.spacing_y = random.between(0.8, 1.25);
    view.spacing_x = random.between(0.8, 1.25);
    // About the pole and then about an axis in the plane.
    const double turn = random.between(-kPi, kPi), tilt = random.between(-0.5, 0.5);
    const double c = std::cos(turn), s = std::sin(turn), ct = std::cos(tilt), st = std::sin(tilt);
    const double rotation[9] = {c, -s, 0.0, s * ct, c * ct, -st, s * st, c * st, ct};
    std::copy(rotation, rotation + 9, view.rotation);
    return view;
}

}  // namespace spuproj::driver
