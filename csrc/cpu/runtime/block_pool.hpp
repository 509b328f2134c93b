// Memory of large results on the CPU, and of kernels while they run: kept when it is freed, and given to the next one.
#pragma once

#include <cstddef>
#include <mutex>
#include <vector>

namespace spuproj::cpu {

// What memory is taken for.
enum class Content { kResult, kTaps, kKernel };

// Blocks of large pages. New memory costs as much as a kernel, since the system clears every page of it.
class BlockPool {
 public:
    // Returns at least nbytes of uninitialised memory, aligned to a large page: the free block used last of which they
    // fill at least half, else a new block. One of taps is freed when it is given back. One of a kernel counts as used
    // longest ago, so that it displaces no results; a null pointer if the limit is too small to keep it.
    void* take(size_t nbytes, Content content);

    // Takes back what take() has returned, from any thread.
    void give_back(void* address);

    // Limits the bytes of all blocks, used or not. Blocks used longest ago are dropped first, those in use once unused.
    void set_limit(size_t nbytes);

    // Frees the blocks that are not in use.
    void drop_unused();

    // Bytes of the blocks that are kept, used or not.
    size_t kept();

    // Held while the process forks, so that the child gets the pool in a consistent state.
    std::mutex lock;

 private:
    struct Block {
        char* address;
        size_t nbytes;
        bool keep, used;
    };

    void drop_beyond(size_t nbytes);

    std::vector<Block> blocks_;  // in the order of their last use
    size_t limit_ = 0;
};

// The pool of this process.
BlockPool& block_pool();

}  // namespace spuproj::cpu
