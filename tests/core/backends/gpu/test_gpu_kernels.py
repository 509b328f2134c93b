"""Every GPU kernel once, on small tensors of odd sizes: short enough to run under compute-sanitizer."""

import pytest
import torch
from torch.testing import assert_close

from backends_under_test import BACKENDS
from helpers import noise, random_geometry

SIZE, VIEW_SIZE = (9, 11), (7, 13)
SHARED = random_geometry(0, SIZE, VIEW_SIZE, "gnomonic", "equidistant", views=3).table()
PER_SAMPLE = torch.stack(
    [random_geometry(seed, SIZE, VIEW_SIZE, "equal_area", "gnomonic", views=3).table() for seed in range(3)]
)
WEIGHTS = (noise(3, 3, *SIZE, seed=2).abs() - 0.3).clamp(min=0)
DTYPES = (torch.float32, torch.float64, torch.float16, torch.bfloat16)
NAMES = [name for name in BACKENDS if name.startswith(("cuda", "triton"))]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("table", [SHARED, PER_SAMPLE], ids=["shared", "per_sample"])
def test_every_kernel_of_a_dtype(name, dtype, table):
    def results(backend):
        image, stack = noise(3, 5, *SIZE, dtype=dtype), noise(3, 3, 5, *VIEW_SIZE, dtype=dtype)
        mean, variance, count = backend.unproject_reduce(stack, table, SIZE, "bilinear")
        weighted = backend.unproject_reduce(stack, table, SIZE, "bilinear", WEIGHTS)
        return (
            *(
                backend.project(image, table, VIEW_SIZE, "bilinear", "constant", 0, to, memory_format)
                for to in DTYPES
                for memory_format in (torch.contiguous_format, torch.channels_last)
            ),
            backend.project(image, table, VIEW_SIZE, "nearest", "border", 0, None, None),
            backend.project_adjoint(stack, table, SIZE, "bilinear", "constant"),
            backend.unproject(stack, table, SIZE, "bilinear"),
            backend.unproject_adjoint(backend.unproject(stack, table, SIZE, "bilinear"), table, VIEW_SIZE, "bilinear"),
            mean,
            variance,
            count,
            backend.unproject_reduce_backward(mean, variance, stack, table, mean, count, "bilinear"),
            *weighted,
            backend.unproject_reduce_backward(mean, variance, stack, table, *weighted[::2], "bilinear", WEIGHTS),
        )

    tolerance = {torch.float64: 1e-9, torch.float32: 1e-5}.get(dtype, 2e-2)
    assert_close(results(BACKENDS[name]), results(BACKENDS["torch"]), rtol=tolerance, atol=tolerance)


@pytest.mark.skipif("cuda-on-cpu" not in NAMES, reason="on a GPU the CUDA kernels do not run on the CPU")
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("channels", [1, 4, 5, 16])
@pytest.mark.parametrize("table", [SHARED, PER_SAMPLE], ids=["shared", "per_sample"])
def test_project_unproject_and_reduce_have_the_bits_of_the_cpu_kernels(dtype, channels, table):
    image, stack = noise(3, channels, *SIZE, dtype=dtype), noise(3, 3, channels, *VIEW_SIZE, dtype=dtype)
    cpu, cuda = (
        (
            backend.project(image, table, VIEW_SIZE, "bilinear", "constant", -0.75),
            backend.project(image, table, VIEW_SIZE, "bilinear", "border"),
            backend.unproject(stack, table, SIZE, "bilinear"),
            *backend.unproject_reduce(stack, table, SIZE, "bilinear"),
            *backend.unproject_reduce(stack, table, SIZE, "bilinear", WEIGHTS[0]),
            *backend.unproject_reduce(stack, table, SIZE, "bilinear", WEIGHTS),
        )
        for backend in (BACKENDS["cpu"], BACKENDS["cuda-on-cpu"])
    )
    assert [torch.equal(a, b) for a, b in zip(cpu, cuda, strict=True)] == [True] * 12


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("dtype", [torch.uint8, torch.int16, torch.int32, torch.int64], ids=str)
def test_every_copy(name, dtype):
    image = (100 * noise(3, 5, *SIZE)).abs().to(dtype)
    seen = [
        BACKENDS[each].project(image, SHARED, VIEW_SIZE, "nearest", "constant", 0, None, None)
        for each in (name, "torch")
    ]
    assert torch.equal(*seen)
