"""Every Triton kernel compiles for every dtype: the interpreter accepts code that the compiler rejects."""

import pytest

from helpers import run_python

pytest.importorskip("triton")

COMPILE = """
import inspect
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from spuproj.backends import triton_kernels as kernels

TAPS = ("index", "fraction_y", "fraction_x")
CONSTANTS = {{"chunk_planes": 4, "block_pixels": 256}}


def compiled(kernel, pointers, sizes, **constants):
    constants = {{**CONSTANTS, **constants}}
    if sizes == "ones":
        # Triton makes a constant of an argument that is 1.
        names = inspect.signature(kernel.fn).parameters
        constants.update({{name: 1 for name in names if name not in pointers and name not in constants}})
    signature = {{
        name: "constexpr" if name in constants else pointers.get(name, sizes)
        for name in inspect.signature(kernel.fn).parameters
    }}
    return triton.compile(ASTSource(kernel, signature, constants), target=GPUTarget("cuda", {architecture}, 32))


def each(element, fraction):
    taps = dict(zip(TAPS, ("*i32", fraction, fraction)))
    planes = {{"source": element, "destination": element}}
    moments = {{"mean": element, "variance": element, "count": "*i32"}}
    gradients = {{**moments, "grad_mean": element, "grad_variance": element, "slopes": fraction}}
    entries = {{"start": "*i32", "entry_pixel": "*i32", "entry_weight": fraction}}
    yield kernels.gather, {{**taps, **planes}}, {{"copies": False}}
    for count, weighted in (("*i32", False), (fraction, True)):
        weights = {{"weights": fraction if weighted else element, "count": count}}
        yield kernels.reduce, {{**taps, **planes, **moments, **weights}}, {{"weighted": weighted}}
        yield kernels.slopes, {{**taps, **planes, **gradients, **weights}}, {{"weighted": weighted}}
    yield kernels.gather_adjoint, {{**entries, **planes}}, {{}}
    yield kernels.gather_adjoint_atomic, {{**taps, "source": element, "destination": fraction}}, {{}}


made = []
for element in ("fp32", "fp64", "fp16", "bf16"):
    for kernel, pointers, constants in each("*" + element, "*fp64" if element == "fp64" else "*fp32"):
        for sizes in ("i32", "i64", "ones") if element == "fp32" else ("i32",):
            made.append(compiled(kernel, pointers, sizes, **constants))
for element in ("*u8", "*i16", "*i32", "*i64"):
    pointers = {{**dict(zip(TAPS, ("*i32", "*fp32", "*fp32"))), "source": element, "destination": element}}
    made.append(compiled(kernels.gather, pointers, "i32", copies=True))
assert all(len(kernel.asm["cubin"]) > 0 for kernel in made)
print(len(made))
"""


@pytest.mark.parametrize("architecture", [80, 90])
def test_every_kernel_compiles(architecture, tmp_path):
    environment = {"TRITON_INTERPRET": "0", "TRITON_CACHE_DIR": str(tmp_path)}
    run = run_python(COMPILE.format(architecture=architecture), **environment)
    assert run.stdout == "46\n", run.stderr
