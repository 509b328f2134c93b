// Work sharing. Threads live for one call only: nothing survives into a forked child, no second OpenMP runtime.
#pragma once

#include <atomic>
#include <cstdint>
#include <exception>
#include <mutex>
#include <thread>
#include <vector>

namespace spuproj::cpu {

// A worker's memory, kept from unit to unit.
class Scratch {
 public:
    template <class T>
    T* get(int64_t count) {
        const size_t words = (static_cast<size_t>(count) * sizeof(T) + sizeof(double) - 1) / sizeof(double);
        if (storage_.size() < words) storage_.resize(words);
        return reinterpret_cast<T*>(storage_.data());
    }

 private:
    std::vector<double> storage_;
};

// Calls body(unit, scratch) for every unit in [0, units), on up to `threads` threads, in no particular order.
template <class Body>
void parallel_for(int64_t units, int64_t threads, const Body& body) {
    std::atomic<int64_t> next{0};
    std::exception_ptr failure;
    std::mutex failure_lock;
    const auto work = [&] {
        try {
            Scratch scratch;
            for (int64_t unit = next++; unit < units; unit = next++) body(unit, scratch);
        } catch (...) {
            const std::lock_guard<std::mutex> hold(failure_lock);
            failure = std::current_exception();
        }
    };
    std::vector<std::thread> helpers;
    try {
        for (int64_t i = 1; i < threads && i < units; ++i) helpers.emplace_back(work);
    } catch (...) {
        // The system gives no more threads or memory: the ones there are do the work.
    }
    work();
    for (std::thread& helper : helpers) helper.join();
    if (failure) std::rethrow_exception(failure);
}

}  // namespace spuproj::cpu
