// Parallel loops on the threads of torch's OpenMP pool, or on threads started for the call.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <exception>
#include <memory>
#include <mutex>
#include <vector>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#endif

namespace spuproj::cpu {

// Uninitialised memory of one thread, reused from unit to unit and aligned to cache lines.
class Scratch {
 public:
    template <class T>
    T* get(int64_t count) {
        const size_t nbytes = static_cast<size_t>(count) * sizeof(T);
        const size_t lines = (nbytes + sizeof(Line) - 1) / sizeof(Line);
        if (lines_ < lines) {
            storage_.reset(new Line[lines]);
            lines_ = lines;
        }
        forbid_beyond(nbytes);
        return reinterpret_cast<T*>(storage_.get());
    }

 private:
    struct alignas(64) Line {
        char bytes[64];
    };

    // For AddressSanitizer, which would not see an access beyond what was asked for but within what is there.
    void forbid_beyond([[maybe_unused]] size_t nbytes) {
#if defined(__SANITIZE_ADDRESS__)
        __asan_unpoison_memory_region(storage_.get(), lines_ * sizeof(Line));
        __asan_poison_memory_region(reinterpret_cast<char*>(storage_.get()) + nbytes, lines_ * sizeof(Line) - nbytes);
#endif
    }

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
