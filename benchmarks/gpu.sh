#!/usr/bin/env bash
# On a machine with an NVIDIA GPU, without network: builds in place, runs the tests on the device, looks for memory faults
# and races, and measures. Leaves one JSON file and one picture.
#
#     benchmarks/gpu.sh [FOLDER]      the folder of the results; bench where it is not given
#
# Needs Python with torch (CUDA), triton, pybind11, scikit-build-core, cmake, ninja, pytest, pytest-xdist, hypothesis,
# scipy, matplotlib, typer and rich; nvcc; a compute-sanitizer and cupy where these are to take part.
set -uo pipefail
cd "$(dirname "$0")/.."
out=${1:-bench}
python=${PYTHON:-python3}
# The source folder has no compiled modules: it must not hide what is installed.
export PYTHONSAFEPATH=1
failed=()

step() {
    local name=$1 seconds=$2
    shift 2
    echo "== $name"
    local start=$SECONDS
    timeout "$seconds" "$@" || failed+=("$name")
    echo "== $name: $((SECONDS - start)) s"
}

sanitize() {
    if ! command -v compute-sanitizer > /dev/null; then
        echo "compute-sanitizer is not installed: $1 was not run"
        return
    fi
    # Every kernel once; torch's own allocator would hide what lies beyond a tensor.
    step "$1" 100 env PYTORCH_NO_CUDA_MEMORY_CACHING=1 compute-sanitizer --tool "$1" --error-exitcode 1 \
        --target-processes all "$python" -m pytest -q -p no:xdist -k cuda tests/test_gpu_kernels.py
}

"$python" -c "import torch; assert torch.cuda.is_available(), 'torch sees no GPU'" || exit 1
step build 200 "$python" -m pip install --quiet --no-build-isolation --no-deps --force-reinstall \
    --config-settings=cmake.define.SPUPROJ_CUDA=ON --config-settings=cmake.define.CMAKE_CUDA_ARCHITECTURES=native .
"$python" -m spuproj
step tests 240 "$python" -m pytest -q -n 8 -m "not slow" tests
sanitize memcheck
sanitize racecheck
share=()
if percent=$(timeout 60 "$python" -m spuproj.benchmarks.training step-share); then
    share=(--training-share "$percent")
else
    echo "projection's share of a training step was not measured: it needs the packages of spuproj[training]"
fi
step benchmark 180 "$python" -m spuproj.benchmarks --out "$out" "${share[@]}" --force

if [ ${#failed[@]} -gt 0 ]; then
    echo "failed: ${failed[*]}"
    exit 1
fi
echo "all passed in $SECONDS s"
