// Parallel loops on the threads of torch's OpenMP pool, or on threads started for the call.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <exception>
#include <memory>
#include <mutex>
#include <vector>

namespace spuproj::cpu {

// Uninitialised memory of one thread, reused from unit to unit and aligned to cache lines.
class Scratch {
 public:
    template <class T>
    T* get(int64_t count) {
        const size_t lines = (static_cast<size_t>(count) * sizeof(T) + sizeof(Line) - 1) / sizeof(Line);
        if (lines_ < lines) {
            storage_.reset(new Line[lines]);
            lines_ = lines;
        }
        return reinterpret_cast<T*>(storage_.get());
    }

 private:
    struct alignas(64) Line {
        char bytes[64];
    };
    std::unique_ptr<Line[]> storage_;
    size_t lines_ = 0;
};

// Runs work(data), which must not throw, on up to `threads` threads at once.
void run_on_threads(int64_t threads, void (*work)(void*), void* data);

// Calls body(unit, scratch) for every unit in [0, units), on up to `threads` threads, in no particular order.
template <class Body>
void parallel_for(int64_t units, int64_t threads, const Body& body) {
    std::atomic<int64_t> next{0};
    std::exception_ptr failure;
    std::mutex failure_lock;
    auto work = [&] {
        try {
            Scratch scratch;
            for (int64_t unit = next++; unit < units; unit = next++) body(unit, scratch);
        } catch (...) {
            const std::lock_guard<std::mutex> hold(failure_lock);
            failure = std::current_exception();
        }
    };
    run_on_threads(std::min(units, threads), [](void* data) { (*static_cast<decltype(work)*>(data))(); }, &work);
    if (failure) std::rethrow_exception(failure);
}

}  // namespace spuproj::cpu
