// Writes rows with streaming stores, which are fast only if they write whole cache lines.
#pragma once

#include "cpu/kernels/table.hpp"
#include "cpu/kernels/vector.hpp"

namespace spuproj::cpu {
namespace {

inline bool begins_line(const void* address) { return reinterpret_cast<uintptr_t>(address) % kLineBytes == 0; }

// Whether LineWriter may and should write a row of so many elements: a short one has few whole lines.
template <class A>
inline bool worth_lines(const A* row, int64_t count) {
    return begins_line(row) || (count > kRun && reinterpret_cast<uintptr_t>(row) % sizeof(A) == 0);
}

// The number of rows up to the last plane's, which the others repeat.
template <int R, class A>
inline int different_rows(A* const* rows) {
    int different = 1;
    while (different < R && rows[different] != rows[different - 1]) ++different;
    return different;
}

// Takes R rows in pieces of at most kRun elements. What does not fill a line yet waits for the next piece. Rows that
// repeat the last plane's are not written again.
template <class A, int R>
class LineWriter {
 public:
    explicit LineWriter(A* const* rows) {
        for (int r = 0; r < R; ++r) {
            before_[r] = static_cast<int64_t>(reinterpret_cast<uintptr_t>(rows[r]) % kLineBytes / sizeof(A));
            held_[r] = before_[r];
            to_[r] = rows[r] - before_[r];
        }
        rows_ = different_rows<R>(rows);
    }

    // Where to put the next piece of a row.
    A* piece(int r) { return lines_[r] + held_[r]; }

    // Takes the pieces, of `count` elements each.
    void write(int64_t count) {
        for (int r = 0; r < rows_; ++r) {
            if (held_[r] == 0 && count == kRun) {
                stream(r, 0, kRun);
                to_[r] += kRun;
            } else {
                write_lines(r, held_[r] + count);
            }
        }
    }

    // Writes what is left of each row.
    void finish() const {
        for (int r = 0; r < rows_; ++r) copy(r, before_[r], held_[r]);
    }

 private:
    void stream(int r, int64_t first, int64_t last) const {
        for (int64_t i = first; i < last; i += kWidth<A>) stream_vector(to_[r] + i, load_vector(lines_[r] + i));
    }
    void copy(int r, int64_t first, int64_t last) const {
        for (int64_t i = first; i < last; ++i) to_[r][i] = lines_[r][i];
    }
    void write_lines(int r, int64_t elements) {
        const int64_t whole = elements / kLine<A> * kLine<A>;
        held_[r] = elements - whole;
        if (whole == 0) return;
        const int64_t first = before_[r] > 0 ? kLine<A> : 0;
        copy(r, before_[r], first);
        stream(r, first, whole);
        before_[r] = 0;
        to_[r] += whole;
        if (held_[r] > 0) std::memcpy(lines_[r], lines_[r] + whole, kLineBytes);
    }

    alignas(kLineBytes) A lines_[R][kRun + kLine<A>];
    A* to_[R];           // where the first of these lines belongs
    int64_t before_[R];  // elements of this line before the row's first
    int64_t held_[R];    // elements held, and those before
    int rows_;           // up to the last plane's
};

}  // namespace
}  // namespace spuproj::cpu
