// The CPU library without Python: what sanitizers, memcheck and callgrind run.
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <string>

#include "driver/count.hpp"
#include "driver/exercise.hpp"

int main(int argc, char** argv) {
    const std::string task = argc > 1 ? argv[1] : "";
    try {
        if (task == "exercise" && argc == 4) {
            spuproj::driver::exercise(std::atoll(argv[2]), std::atoll(argv[3]));
        } else if (task == "count" && argc == 2) {
            spuproj::driver::count();
        } else {
            std::fprintf(stderr, "usage: spuproj_driver exercise FIRST LAST | spuproj_driver count\n");
            return 2;
        }
    } catch (const std::exception& error) {
        std::fprintf(stderr, "error: %s\n", error.what());
        return 1;
    }
    return 0;
}
