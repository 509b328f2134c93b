"""Triton's kernels as the compiler makes them: the interpreter accepts code that the compiler rejects."""

import json

import pytest

from processes.forked import run_forked

pytest.importorskip("triton", minversion="3.5")

# Warnings of Triton about kernels or options are errors, as in the other tests.
START = """
import json, warnings
from core.backends.gpu.triton_without_gpu import *
warnings.simplefilter("error")
"""

COMPILE = """
def calls():
    {calls}
made = {{wanted.name: wanted.compiled({capability}) for wanted in wanted_by(calls)}}
print(json.dumps({{name: [len(asm["cubin"]), products_of_32_bits(asm["ttir"])] for name, asm in made.items()}}))
"""

EXAMINE = """
def made_by(call):
    (kernel,) = wanted_by(call)
    return kernel.compiled()

def stores_of(dtype, layout):
    return stores(made_by(lambda: project(dtype, dtype, 8, layout))["ptx"])

def of_one_batch():
    project(torch.float32, torch.float32, 8)
    BACKEND.unproject_reduce(torch.zeros(3, 2, 8, 7, 13), table_of((9, 11), (7, 13)), (9, 11), "bilinear")

def of_many_batches():
    for batch in (1, 2, 3, 8):
        for channels in (1, 2, 3, 4, 5, 8, 12, 17):
            call_every_op(batch=batch, channels=channels, size=(channels, 2 + batch), view_size=(batch, 16))

of_many_sizes = (
    lambda: call_every_op(),
    lambda: call_every_op(views=1),
    lambda: call_every_op(batch=2, channels=6, size=(16, 32), view_size=(32, 16)),
    lambda: call_every_op(size=(1, 1), view_size=(1, 7), channels=17),
    lambda: call_every_op(change=lambda read: read.mT.contiguous().mT),
    lambda: call_every_op(change=lambda read: read.new_zeros(read.numel() + 1)[1:].view(read.shape)),
)
wrong = made_by(lambda: with_a_product_of_32_bits[1,](torch.zeros(9), 3, 2, enable_fp_fusion=False))
print(json.dumps({
    "products of 32 bits": products_of_32_bits(wrong["ttir"]),
    "planar": [stores_of(dtype, torch.contiguous_format) for dtype in FLOATS],
    "channels last": [stores_of(dtype, torch.channels_last) for dtype in FLOATS],
    "loads": {wanted.kernel.fn.__name__: loads(wanted.compiled()["ptx"]) for wanted in wanted_by(of_one_batch)},
    "many sizes": [sorted(wanted.key for wanted in wanted_by(call)) for call in of_many_sizes],
    "many batches": Counter(wanted.kernel.fn.__name__ for wanted in wanted_by(of_many_batches)),
}))
"""


def run(code, cache):
    finished = run_forked(START + code, TRITON_INTERPRET="0", TRITON_CACHE_DIR=str(cache))
    assert finished.returncode == 0, finished.stderr
    return json.loads(finished.stdout)


def calls_of(dtype):
    if dtype == "integers":
        return "[project(dtype, dtype, channels) for dtype, channels in zip(INTEGERS, (1, 8, 1, 8))]"
    # Results of each other dtype are those of one of the dtypes that are read.
    return f"call_every_op(torch.{dtype}); project(torch.{dtype}, FLOATS[FLOATS.index(torch.{dtype}) - 1])"


@pytest.mark.parametrize(
    ("dtypes", "kernels", "capability"),
    [
        (("float32", "float16"), 16, 90),
        (("float64", "bfloat16"), 18, 90),
        (("bfloat16", "integers"), 14, 80),
    ],
)
def test_every_kernel_compiles_and_multiplies_integers_in_64_bits(dtypes, kernels, capability, tmp_path):
    made = run(COMPILE.format(calls="; ".join(map(calls_of, dtypes)), capability=capability), tmp_path)
    assert len(made) == kernels
    assert all(size > 0 for size, _ in made.values())
    assert {name: found for name, (_, found) in made.items() if found} == {}


@pytest.fixture(scope="module")
def examined(tmp_path_factory):
    return run(EXAMINE, tmp_path_factory.mktemp("triton"))


def test_a_product_of_32_bits_is_found(examined):
    assert len(examined["products of 32 bits"]) == 1


def test_channels_last_results_are_stored_as_vectors_and_planes_pixel_by_pixel(examined):
    # A lane has one pixel of eight planes, so that a warp fills whole lines of each, or of four channels.
    assert examined["planar"] == [{f"st.global.cs.b{bits}": 8} for bits in (32, 64, 16, 16)]
    of_16_bits = {"st.global.cs.v2.b32": 1}
    assert examined["channels last"] == [
        {"st.global.cs.v4.b32": 1}, {"st.global.cs.v2.b64": 2}, of_16_bits, of_16_bits
    ]  # fmt: skip


def test_the_pixels_of_a_blend_are_read_without_conditions(examined):
    # Eight planes of four pixels; under conditions only a tap's index and fractions, in `reduce` also the next view's.
    assert examined["loads"] == {"gather": [3, 32], "reduce": [6, 32]}


def test_sizes_strides_and_addresses_need_no_compilation_of_their_own(examined):
    first, *others = examined["many sizes"]
    assert first
    assert others == [first] * 5


def test_batches_and_channels_need_few_compilations(examined):
    # Of one dtype: 7 shapes of the planes of a program, with and without weights.
    most = {"gather": 8, "reduce": 14, "slopes": 14, "gather_adjoint": 7, "gather_adjoint_atomic": 4}
    assert examined["many batches"] == most
