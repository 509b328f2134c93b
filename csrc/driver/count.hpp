// Runs kernels one by one under valgrind's callgrind, which counts the instructions of each.
#pragma once

namespace spuproj::driver {

// Prints the compiler and the SIMD level, then the name of each call and for how many elements callgrind has written a
// dump of that name. To be run with --collect-atstart=no.
void count();

}  // namespace spuproj::driver
