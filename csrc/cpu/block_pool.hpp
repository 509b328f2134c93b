// Memory of large results on the CPU: kept when a result is freed, and given to the next one.
#pragma once

#include <cstddef>
#include <mutex>
#include <vector>

namespace spuproj::cpu {

// Blocks of large pages. New memory costs as much as a kernel, since the system clears every page of it.
class BlockPool {
 public:
    // At least so much memory, uninitialised, at the start of a large page: the unused block that was used last and is
    // filled by half at least, else a new one. A block that is not to be kept is freed by give_back.
    void* take(size_t nbytes, bool keep);

    // Takes back what take() has given. Any thread may call it.
    void give_back(void* address);

    // Keeps at most so many bytes, used or not; the blocks used longest ago go first. Blocks in use are freed later.
    void set_limit(size_t nbytes);

    // Frees the blocks that are not in use.
    void drop_unused();

    // Bytes of the blocks that are kept, used or not.
    size_t kept();

    // Held while the process forks, so that the child finds the pool whole.
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
