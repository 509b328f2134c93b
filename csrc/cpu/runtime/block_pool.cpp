#include "cpu/runtime/block_pool.hpp"

#include <algorithm>
#include <cstdint>
#include <new>

#if defined(_WIN32)
#include <malloc.h>
#else
#include <pthread.h>
#include <sys/mman.h>
#endif

namespace spuproj::cpu {
namespace {

constexpr size_t kLargePage = size_t{1} << 21;

#if defined(_WIN32)
char* allocate(size_t nbytes) { return static_cast<char*>(_aligned_malloc(nbytes, kLargePage)); }
void release(char* address, size_t) { _aligned_free(address); }
#else
// Maps one large page more than needed, so that the block can start at a large page, and unmaps what is around it.
char* allocate(size_t nbytes) {
    const size_t mapped = nbytes + kLargePage;
    void* mapping = mmap(nullptr, mapped, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (mapping == MAP_FAILED) return nullptr;
    char* first = static_cast<char*>(mapping);
    const size_t before = (kLargePage - reinterpret_cast<uintptr_t>(first) % kLargePage) % kLargePage;
    if (before > 0) munmap(first, before);
    munmap(first + before + nbytes, mapped - before - nbytes);
#if defined(MADV_HUGEPAGE)
    madvise(first + before, nbytes, MADV_HUGEPAGE);
#endif
    return first + before;
}
void release(char* address, size_t nbytes) { munmap(address, nbytes); }
#endif

}  // namespace

void* BlockPool::take(size_t nbytes, Content content) {
    const std::lock_guard<std::mutex> hold(lock);
    const size_t pages = (nbytes + kLargePage - 1) / kLargePage * kLargePage;
    // One that exceeds the limit by itself displaces nothing.
    const bool keep = content != Content::kTaps && pages <= limit_;
    if (content == Content::kKernel && !keep) return nullptr;
    const auto fits = [&](const Block& block) {
        return keep && !block.used && pages <= block.nbytes && block.nbytes <= 2 * pages;
    };
    const auto last = std::find_if(blocks_.rbegin(), blocks_.rend(), fits);
    if (last != blocks_.rend()) {
        std::rotate(last.base() - 1, last.base(), blocks_.end());
        blocks_.back().used = true;
    } else {
        char* address = allocate(pages);
        if (address == nullptr) throw std::bad_alloc();
        blocks_.push_back({address, pages, keep, true});
    }
    void* const given = blocks_.back().address;
    if (content == Content::kKernel) std::rotate(blocks_.begin(), blocks_.end() - 1, blocks_.end());
    drop_beyond(limit_);
    return given;
}

void BlockPool::give_back(void* address) {
    const std::lock_guard<std::mutex> hold(lock);
    const auto found =
        std::find_if(blocks_.begin(), blocks_.end(), [&](const Block& block) { return block.address == address; });
    found->used = false;
    if (found->keep) return;
    release(found->address, found->nbytes);
    blocks_.erase(found);
}

void BlockPool::set_limit(size_t nbytes) {
    const std::lock_guard<std::mutex> hold(lock);
    limit_ = nbytes;
    drop_beyond(nbytes);
}

void BlockPool::drop_unused() {
    const std::lock_guard<std::mutex> hold(lock);
    const auto unused = [](const Block& block) { return !block.used; };
    for (const Block& block : blocks_)
        if (unused(block)) release(block.address, block.nbytes);
    blocks_.erase(std::remove_if(blocks_.begin(), blocks_.end(), unused), blocks_.end());
}

size_t BlockPool::kept() {
    const std::lock_guard<std::mutex> hold(lock);
    size_t total = 0;
    for (const Block& block : blocks_) total += block.keep ? block.nbytes : 0;
    return total;
}

void BlockPool::drop_beyond(size_t nbytes) {
    size_t total = 0;
    // From the most recently used block on: those beyond the limit were used longest ago.
    for (auto block = blocks_.rbegin(); block != blocks_.rend(); ++block) {
        total += block->keep ? block->nbytes : 0;
        block->keep = block->keep && total <= nbytes;
        if (!block->keep && !block->used) release(block->address, block->nbytes);
    }
    const auto released = [](const Block& block) { return !block.keep && !block.used; };
    blocks_.erase(std::remove_if(blocks_.begin(), blocks_.end(), released), blocks_.end());
}

BlockPool& block_pool() {
    static BlockPool* const pool = [] {
        auto* made = new BlockPool;  // Never destroyed: tensors may die after the statics.
#if !defined(_WIN32)
        pthread_atfork([] { block_pool().lock.lock(); }, [] { block_pool().lock.unlock(); },
                       [] { block_pool().lock.unlock(); });
#endif
        return made;
    }();
    return *pool;
}

}  // namespace spuproj::cpu
