#include "cpu/runtime/parallel.hpp"

#include <thread>

#if defined(__linux__)
#include <dlfcn.h>
#include <pthread.h>
#endif

namespace spuproj::cpu {
namespace {

using Pool = void (*)(void (*)(void*), void*, unsigned, unsigned);

#if defined(__linux__)
std::atomic<bool> forked{false};
// Registered when the library is loaded: the process may start its OpenMP pool, and fork, before our first call.
[[maybe_unused]] const int watching_forks = pthread_atfork(nullptr, nullptr, [] { forked = true; });

// The OpenMP pool that the process has, through torch: a second one would compete with its idle threads, which spin.
// A forked child has the pool without its threads, and would wait for ever if it used it.
Pool host_pool() {
    static const Pool pool = reinterpret_cast<Pool>(dlsym(RTLD_DEFAULT, "GOMP_parallel"));
    return forked ? nullptr : pool;
}
#else
Pool host_pool() { return nullptr; }
#endif

}  // namespace

void run_on_threads(int64_t threads, void (*work)(void*), void* data) {
    if (threads <= 1) return work(data);
    if (const Pool pool = host_pool()) return pool(work, data, static_cast<unsigned>(threads), 0);
    std::vector<std::thread> helpers;
    try {
        for (int64_t i = 1; i < threads; ++i) helpers.emplace_back(work, data);
    } catch (...) {
        // The system has no more threads or memory: those that were started do the work.
    }
    work(data);
    for (std::thread& helper : helpers) helper.join();
}

}  // namespace spuproj::cpu
