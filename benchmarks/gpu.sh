#!/usr/bin/env bash
# On a machine with an NVIDIA GPU; no network is needed. Each command builds and installs the package first, unless it is
# installed from the same files already, and takes less than 500 s.
#
#     benchmarks/gpu.sh test              the tests, with the GPU
#     benchmarks/gpu.sh sanitize          every CUDA kernel under compute-sanitizer: memory that is out of bounds or not set
#     benchmarks/gpu.sh bench [FOLDER]    the benchmark; FOLDER (bench where it is not given) gets a JSON file and a picture
#
# Needs Python with torch (CUDA), triton, pybind11, scikit-build-core, hatch-fancy-pypi-readme, cmake, ninja, pytest,
# pytest-xdist, hypothesis, scipy, matplotlib, typer, rich and safetensors; nvcc. Tests, peers of the benchmark and the
# network's training step that need other packages are left out by name where those are missing. PYTHON names the
# interpreter (python3 where it is not set); PYTHONPATH may name a folder with further packages.
set -uo pipefail
cd "$(dirname "$0")/.."
python=${PYTHON:-python3}
# The source folder has no compiled modules: it must not hide what is installed.
export PYTHONSAFEPATH=1
stamp=build/gpu.installed
failed=()

step() {
    local name=$1 limit=$2 start=$SECONDS
    shift 2
    echo "== $name"
    timeout --kill-after=10 "$limit" "$@"
    local status=$?
    [ $status -eq 0 ] || failed+=("$name (exit status $status)")
    echo "== $name: $((SECONDS - start)) s"
    return $status
}

# One number for the interpreter, for all files that an installation is made from, and for what is installed: the record
# of its files and their hashes. Fails where the CUDA kernels do not import.
state() {
    local record show="from importlib.metadata import distribution; print(distribution('spuproj').read_text('RECORD'))"
    record=$("$python" -c "import spuproj._cuda; $show" 2> /dev/null) || return
    {
        command -v "$python"
        echo "$record"
        find CMakeLists.txt pyproject.toml cmake csrc spuproj training benchmarks spuproj_cli -type f \
            ! -path '*/__pycache__/*' ! -path benchmarks/gpu.sh ! -path 'benchmarks/results/*' -exec sha256sum {} + |
            LC_ALL=C sort
    } | sha256sum
}

build() {
    local now
    if now=$(state) && [ "$now" = "$(cat $stamp 2> /dev/null)" ]; then
        echo "== build: installed from the same files already"
    else
        step build 90 "$python" -m pip install --quiet --no-build-isolation --no-deps --force-reinstall \
            --config-settings=cmake.define.SPUPROJ_CUDA=ON --config-settings=cmake.define.SPUPROJ_CUDA_HOST=ON \
            --config-settings=cmake.define.CMAKE_CUDA_ARCHITECTURES=native . || return
        mkdir -p build
        state > $stamp
    fi
    step info 60 "$python" -m spuproj info
}

# torch's own allocator would hide what lies beyond a tensor, and that memory is new.
sanitize() {
    step "$1" 160 env PYTORCH_NO_CUDA_MEMORY_CACHING=1 compute-sanitizer --tool "$@" --error-exitcode 1 \
        --target-processes all "$python" -m pytest -q -k cuda tests/core/backends/gpu/test_gpu_kernels.py
}

run() {
    case $1 in
        test) step tests 320 "$python" -m pytest -q -n 12 --dist loadgroup -m "not slow" tests/core tests/benchmarks ;;
        sanitize)
            # Calls of the CUDA API that fail are errors in spuproj; some of torch's may fail.
            sanitize memcheck --report-api-errors no
            sanitize initcheck
            ;;
        bench) step benchmark 320 "$python" -m spuproj.benchmarks --out "${2:-bench}" --force ;;
    esac
}

case ${1:-} in
    test | sanitize | bench) ;;
    *)
        echo "usage: benchmarks/gpu.sh test | sanitize | bench [FOLDER]" >&2
        exit 2
        ;;
esac
if [ "$1" = sanitize ] && ! command -v compute-sanitizer > /dev/null; then
    echo "error: compute-sanitizer is not installed; it comes with CUDA's toolkit" >&2
    exit 1
fi
"$python" -c "import torch; assert torch.cuda.is_available(), 'torch sees no GPU'" || exit 1
build && run "$@"
if [ ${#failed[@]} -gt 0 ]; then
    printf 'failed: %s\n' "${failed[@]}" >&2
    exit 1
fi
echo "$1: all passed in $SECONDS s"
