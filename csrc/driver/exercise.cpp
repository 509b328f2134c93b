#include "driver/exercise.hpp"

#include <atomic>
#include <cstdio>
#include <thread>

#include "cpu/runtime/block_pool.hpp"
#include "cpu/runtime/parallel.hpp"
#include "driver/calls.hpp"

namespace spuproj::driver {
namespace {

constexpr int kCallers = 3;

Problem problem_of(int64_t number) {
    if (number == 0) return {2, 5, 4, 256, 256, 200, 576, kFloat32};
    Random random(static_cast<uint64_t>(number));
    const auto size = [&] { return random.one_of({1, 2, 3, 5, 15, 16, 17, 31, 63, 64, 65, 66, 130}); };
    Problem problem = {random.one_of({1, 2, 3}),
                       random.one_of({1, 2, 5}),
                       random.one_of({1, 2, 3, 4, 5, 9, 16, 17}),
                       size(),
                       size(),
                       size(),
                       size(),
                       static_cast<int>(random.one_of({0, 1, 2, 3}))};
    problem.per_sample = random.one_of({0, 1}) == 1;
    problem.channels_last = random.one_of({0, 1}) == 1;
    return problem;
}

void print(int64_t number, const Problem& p) {
    std::printf("problem %lld: %lld x %lld x %lld planes of %lld x %lld, views of %lld x %lld, dtype %d%s%s\n",
                static_cast<long long>(number), static_cast<long long>(p.batch), static_cast<long long>(p.views),
                static_cast<long long>(p.channels), static_cast<long long>(p.height), static_cast<long long>(p.width),
                static_cast<long long>(p.view_height), static_cast<long long>(p.view_width), p.dtype,
                p.per_sample ? ", a geometry per sample" : "", p.channels_last ? ", channels last" : "");
    std::fflush(stdout);
}

bool same_bits(const std::vector<Tensor>& first, const std::vector<Tensor>& second) {
    return std::equal(first.begin(), first.end(), second.begin(), second.end(),
                      [](const Tensor& a, const Tensor& b) { return *a.memory == *b.memory; });
}

// From several threads at once, each of which asks for two, as Python threads do.
void run_at_once(const Call& call, const std::vector<Tensor>& expected) {
    std::atomic<bool> same{true};
    std::vector<std::thread> callers;
    for (int i = 0; i < kCallers; ++i)
        callers.emplace_back([&] {
            if (!same_bits(results_of(call, 2, 3), expected)) same = false;
        });
    for (std::thread& caller : callers) caller.join();
    if (!same) throw std::logic_error(call.name + " must give the same bits when called from several threads at once");
}

void run(const Call& call) {
    const std::vector<Tensor> expected = results_of(call, 1, 1);
    if (!same_bits(results_of(call, 4, 2), expected))
        throw std::logic_error(call.name + " must write all of its result, with the same bits from 1 and 4 threads");
    run_at_once(call, expected);
}

// Several threads take blocks of memory and give them back while the pool's limit changes.
void share_blocks() {
    cpu::BlockPool& pool = cpu::block_pool();
    std::vector<std::thread> takers;
    for (int i = 0; i < kCallers; ++i)
        takers.emplace_back([&pool, i] {
            for (size_t round = 1; round < 20; ++round) {
                const size_t nbytes = (round % 4 + static_cast<size_t>(i)) << 20;
                char* const block = static_cast<char*>(pool.take(nbytes + 1, static_cast<cpu::Content>(round % 3)));
                if (block == nullptr) continue;  // a kernel's that would not be kept
                block[0] = block[nbytes] = static_cast<char>(round);
                pool.give_back(block);
                pool.set_limit(round % 5 << 22);
            }
        });
    for (std::thread& taker : takers) taker.join();
    pool.drop_unused();
    if (pool.kept() != 0) throw std::logic_error("the pool must keep no block once all are given back and dropped");
}

// Errors that the threads find reach the caller: that a weight is negative, and what their work throws.
void refuse() {
    const Call call = call_with_negative_weights({3, 2, 1, 70, 40, 33, 35, kFloat32}, 1);
    try {
        results_of(call, 4, 0);
    } catch (const std::invalid_argument&) {
        try {
            cpu::parallel_for(100, 4, [](int64_t unit, cpu::Scratch&) {
                if (unit % 3 == 2) throw std::out_of_range("unit");
            });
        } catch (const std::out_of_range&) {
            return;
        }
    }
    throw std::logic_error("an error in the threads must reach the caller");
}

}  // namespace

void exercise(int64_t first, int64_t last) {
    for (int64_t number = first; number < last; ++number) {
        const Problem problem = problem_of(number);
        print(number, problem);
        const auto seed = static_cast<uint64_t>(number);
        // Kernels take temporary memory from the pool where it may keep something.
        cpu::block_pool().set_limit(number % 2 == 0 ? size_t{64} << 20 : 0);
        for (const Call& call : tap_calls(problem, seed)) run(call);
        for (const Call& call : plane_calls(problem, seed)) run(call);
    }
    share_blocks();
    refuse();
}

}  // namespace spuproj::driver
