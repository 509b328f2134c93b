#include "driver/calls.hpp"

namespace spuproj::driver {
namespace {

template <class T>
T* data_of(const Tensor& tensor) {
    return static_cast<T*>(tensor.planes.data);
}

// What all calls of a problem share.
struct Setting {
    Problem problem;
    std::vector<ViewGeometry> geometry;
    Shape shape;
    int fraction;             // type of the taps' fractions
    int64_t slice, view;      // pixels
    int64_t sample_geometry;  // views from one sample to the next

    Sampling sampling(bool inverse, bool nearest = false) const {
        const Problem& p = problem;
        const bool doubles = fraction == kFloat64;
        if (inverse) return {p.height, p.width, p.view_height, p.view_width, true, nearest, false, doubles};
        return {p.view_height, p.view_width, p.height, p.width, false, nearest, p.per_sample, doubles};
    }
    int64_t views() const { return static_cast<int64_t>(geometry.size()); }
    // The elements of a result with one value for each tap of each plane.
    Layout stack(int dtype, bool inverse, bool channels_last = false) const {
        return {dtype, shape.batch, shape.views, shape.channels, inverse ? slice : view, channels_last};
    }
    Layout image(int dtype) const { return {dtype, shape.batch, 1, shape.channels, slice}; }
};

Setting setting_of(const Problem& problem, Random& random) {
    Setting setting = {problem, {}, {problem.batch, problem.views, problem.channels}, kFloat32, 0, 0, 0};
    if (problem.dtype == kFloat64) setting.fraction = kFloat64;
    setting.slice = problem.height * problem.width;
    setting.view = problem.view_height * problem.view_width;
    if (problem.per_sample) setting.sample_geometry = problem.views;
    const int64_t views = problem.views * (problem.per_sample ? problem.batch : 1);
    for (int64_t n = 0; n < views; ++n)
        setting.geometry.push_back(
            random_view(random, problem.height, problem.width, problem.view_height, problem.view_width));
    return setting;
}

std::vector<Layout> tap_layouts(const Setting& setting, int64_t taps) {
    return {{kFloat32, 1, setting.views(), 1, taps},  // the indices, of four bytes as well
            {setting.fraction, 1, setting.views(), 1, taps},
            {setting.fraction, 1, setting.views(), 1, taps},
            {kBytes, 1, setting.views(), 1, ceiling(taps, kTapLine)}};
}

cpu::FlatTaps taps_in(const std::vector<Tensor>& memory, const Sampling& sampling, int64_t sample_views) {
    const int64_t pixels = sampling.height * sampling.width;
    return {{data_of<int32_t>(memory[0]), memory[1].planes.data, memory[2].planes.data, pixels, sampling.width,
             sampling.source_height * sampling.source_width, sampling.source_width, sample_views * pixels},
            data_of<bool>(memory[3])};
}

int64_t tiles_of(const Sampling& sampling) {
    return ceiling(sampling.height, cpu::kTileRows) * ceiling(sampling.width, cpu::kTileColumns);
}

cpu::Tiles tiles_in(const std::vector<Tensor>& memory, const Sampling& sampling, int64_t sample_views) {
    return {data_of<int32_t>(memory[0]),
            memory[1].planes.data,
            memory[2].planes.data,
            data_of<cpu::Window>(memory[4]),
            sampling.height,
            sampling.width,
            sampling.source_width,
            sample_views * tiles_of(sampling),
            data_of<bool>(memory[3])};
}

Call build_taps(const Setting& s, bool inverse, bool nearest) {
    const Sampling sampling = s.sampling(inverse, nearest);
    const int64_t pixels = sampling.height * sampling.width;
    return {"taps", s.views() * pixels, tap_layouts(s, pixels),
            [=](int64_t threads, const std::vector<Tensor>& results) {
                cpu::build_taps(threads, s.geometry.data(), s.views(), sampling,
                                taps_in(results, sampling, s.sample_geometry));
            }};
}

Call build_tiles(const Setting& s) {
    const Sampling sampling = s.sampling(true);
    std::vector<Layout> layouts = tap_layouts(s, tiles_of(sampling) * cpu::kTilePixels);
    layouts.push_back({kFloat32, 1, s.views(), tiles_of(sampling), 3});  // windows
    return {"tiles", s.views() * s.slice, layouts, [=](int64_t threads, const std::vector<Tensor>& results) {
                cpu::build_tiles(threads, s.geometry.data(), s.views(), sampling,
                                 tiles_in(results, sampling, s.sample_geometry));
            }};
}

// Taps in memory that lives as long as what captures them.
struct BuiltTaps {
    std::vector<Tensor> memory;
    cpu::FlatTaps taps;
};
BuiltTaps built_taps(const Setting& s, bool inverse, bool nearest = false) {
    BuiltTaps built = {results_of(build_taps(s, inverse, nearest), 1, 0), {}};
    built.taps = taps_in(built.memory, s.sampling(inverse, nearest), s.sample_geometry);
    return built;
}

struct BuiltTiles {
    std::vector<Tensor> memory;
    cpu::Tiles tiles;
};
BuiltTiles built_tiles(const Setting& s) {
    BuiltTiles built = {results_of(build_tiles(s), 1, 0), {}};
    built.tiles = tiles_in(built.memory, s.sampling(true), s.sample_geometry);
    return built;
}

// The planes of an image, which has no axis of views.
Planes for_all_views(Planes planes) {
    planes.view_stride = 0;
    return planes;
}

Call project(const Setting& s, int destination_dtype, Random& random) {
    const BuiltTaps built = built_taps(s, false);
    const Tensor image = random_tensor(s.image(s.problem.dtype), random);
    const Layout layout = s.stack(destination_dtype, false, s.problem.channels_last);
    return {"project", layout.elements(), {layout}, [=](int64_t threads, const std::vector<Tensor>& results) {
                cpu::project(threads, s.problem.dtype, destination_dtype, s.shape, built.taps,
                             for_all_views(image.planes), results[0].planes, 0.5);
            }};
}

Call copy(const Setting& s, Random& random) {
    const BuiltTaps built = built_taps(s, false, true);
    const Tensor image = random_tensor(s.image(s.problem.dtype), random);
    const Layout layout = s.stack(s.problem.dtype, false, s.problem.channels_last);
    const auto size = with_element(s.problem.dtype, [](auto element) { return int64_t{sizeof(element)}; });
    return {"nearest", layout.elements(), {layout}, [=](int64_t threads, const std::vector<Tensor>& results) {
                cpu::copy(threads, size, s.shape, built.taps, for_all_views(image.planes), results[0].planes, 1);
            }};
}

Call unproject(const Setting& s, const BuiltTiles& built, const Tensor& stack) {
    const Layout layout = s.stack(s.problem.dtype, true, s.problem.channels_last);
    return {"unproject", layout.elements(), {layout}, [=](int64_t threads, const std::vector<Tensor>& results) {
                cpu::unproject(threads, s.problem.dtype, s.shape, built.tiles, stack.planes, results[0].planes);
            }};
}

// The adjoint of project, which sums over views, or of unproject.
Call gather_adjoint(const Setting& s, bool inverse, Random& random) {
    const BuiltTaps built = built_taps(s, inverse);
    const Layout read = s.stack(s.problem.dtype, inverse);
    const Tensor stack = random_tensor(read, random);
    const Layout layout = inverse ? s.stack(s.problem.dtype, false) : s.image(s.problem.dtype);
    return {inverse ? "unproject_adjoint" : "project_adjoint",
            read.elements(),
            {layout},
            [=](int64_t threads, const std::vector<Tensor>& results) {
                cpu::gather_adjoint(threads, s.problem.dtype, !inverse, s.shape, built.taps, stack.planes,
                                    results[0].planes);
            }};
}

// Weights of the views; a quarter of them is zero.
Tensor random_weights(const Setting& s, Random& random) {
    const Layout layout = {s.fraction, s.shape.batch, s.shape.views, 1, s.slice};
    const Tensor weights = random_tensor(layout, random, -0.25, 0.75);
    with_element(s.fraction, [&](auto element) {
        auto* const values = data_of<decltype(element)>(weights);
        for (int64_t i = 0; i < layout.elements(); ++i)
            if (load(values[i]) < 0) store(values[i], 0.0);
    });
    return weights;
}

// Without weights, those have no data.
Call reduce(const Setting& s, const BuiltTiles& built, const Tensor& stack, const Tensor& weights) {
    const bool weighted = weights.planes.data != nullptr;
    const Layout moment = s.image(s.problem.dtype), count = s.image(weighted ? s.fraction : int{kFloat32});
    return {weighted ? "reduce_weighted" : "reduce",
            s.stack(kFloat32, true).elements(),
            {moment, moment, count},
            [=](int64_t threads, const std::vector<Tensor>& results) {
                cpu::reduce(threads, s.problem.dtype, s.shape, built.tiles, stack.planes, weights.planes,
                            results[0].planes, results[1].planes, results[2].planes);
            }};
}

Call reduce_backward(const Setting& s, const Call& forward, const Tensor& stack, const Tensor& weights,
                     Random& random) {
    const BuiltTaps built = built_taps(s, true);
    const std::vector<Tensor> moments = results_of(forward, 1, 0);
    const Tensor grad_mean = random_tensor(s.image(s.problem.dtype), random);
    const Tensor grad_variance = random_tensor(s.image(s.problem.dtype), random);
    return {forward.name + "_backward",
            forward.elements,
            {s.stack(s.problem.dtype, false)},
            [=](int64_t threads, const std::vector<Tensor>& results) {
                cpu::reduce_backward(threads, s.problem.dtype, s.shape, built.taps, grad_mean.planes,
                                     grad_variance.planes, stack.planes, moments[0].planes, moments[2].planes,
                                     weights.planes, results[0].planes);
            }};
}

}  // namespace

std::vector<Call> tap_calls(const Problem& problem, uint64_t seed) {
    Random random(seed);
    const Setting s = setting_of(problem, random);
    std::vector<Call> calls = {build_taps(s, false, false), build_taps(s, true, true), build_tiles(s)};
    calls[1].name = "taps_inverse_nearest";
    return calls;
}

std::vector<Call> plane_calls(const Problem& problem, uint64_t seed) {
    Random random(seed);
    const Setting s = setting_of(problem, random);
    const int converted = problem.dtype == kFloat32 ? kBFloat16 : kFloat32;
    const BuiltTiles tiles = built_tiles(s);
    const Tensor stack = random_tensor(s.stack(problem.dtype, false), random), weights = random_weights(s, random);
    std::vector<Call> calls = {
        project(s, problem.dtype, random), project(s, converted, random),    copy(s, random),
        unproject(s, tiles, stack),        gather_adjoint(s, false, random), gather_adjoint(s, true, random)};
    calls[1].name = "project_converted";
    for (const Tensor& each : {Tensor{}, weights}) {
        calls.push_back(reduce(s, tiles, stack, each));
        calls.push_back(reduce_backward(s, calls.back(), stack, each, random));
    }
    return calls;
}

Call call_with_negative_weights(const Problem& problem, uint64_t seed) {
    Random random(seed);
    const Setting s = setting_of(problem, random);
    const Tensor stack = random_tensor(s.stack(problem.dtype, false), random);
    const Layout weights = {s.fraction, problem.batch, problem.views, 1, s.slice};
    return reduce(s, built_tiles(s), stack, random_tensor(weights, random, -1.0, 0.0));
}

std::vector<Tensor> results_of(const Call& call, int64_t threads, char pattern) {
    std::vector<Tensor> results;
    for (const Layout& layout : call.results) results.push_back(tensor(layout, pattern));
    call.run(threads, results);
    return results;
}

}  // namespace spuproj::driver
