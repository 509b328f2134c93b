// Parallel loops on the threads of torch's OpenMP pool, or on threads started for the call.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <exception>
#include <mutex>
#include <new>

#include "cpu/runtime/block_pool.hpp"

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#endif

namespace spuproj::cpu {

// Uninitialised memory of one thread, reused from unit to unit and aligned to cache lines. If it is large, a block of
// the pool: its large pages spare most of the processor's address translation.
class Scratch {
 public:
    Scratch() = default;
    Scratch(const Scratch&) = delete;
    Scratch& operator=(const Scratch&) = delete;
    ~Scratch() { release(); }

    template <class T>
    T* get(int64_t count) {
        const size_t nbytes = static_cast<size_t>(count) * sizeof(T);
        if (nbytes_ < nbytes) {
            release();
            void* const block = nbytes >= kPooled ? block_pool().take(nbytes, Content::kKernel) : nullptr;
            pooled_ = block != nullptr;
            memory_ = static_cast<char*>(pooled_ ? block : operator new(nbytes, kLine));
            nbytes_ = nbytes;
        }
        allow(nbytes);
        return reinterpret_cast<T*>(memory_);
    }

 private:
    static constexpr std::align_val_t kLine{64};

    static constexpr size_t kPooled = size_t{1} << 18;

    void release() {
        allow(nbytes_);
        pooled_ ? block_pool().give_back(memory_) : operator delete(memory_, kLine);
        memory_ = nullptr;
        nbytes_ = 0;
        pooled_ = false;
    }

    // For AddressSanitizer, which would not see an access beyond what was asked for but within what is there.
    void allow([[maybe_unused]] size_t nbytes) {
#if defined(__SANITIZE_ADDRESS__)
        __asan_unpoison_memory_region(memory_, nbytes_);
        __asan_poison_memory_region(memory_ + nbytes, nbytes_ - nbytes);
#endif
    }

    char* memory_ = nullptr;
    size_t nbytes_ = 0;
    bool pooled_ = false;
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
