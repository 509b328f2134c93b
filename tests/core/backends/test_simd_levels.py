"""Every SIMD level of this processor computes the same bits; SPUPROJ_SIMD picks one."""

import hashlib
import json

import pytest
import torch

from helpers import every_result, noise, random_geometry
from processes.forked import run_forked
from spuproj import Views, functional
from spuproj.backends import cpu

SIZE, VIEW_SIZE = (37, 41), (33, 45)


def digests():
    """Hashes of every op's results, for numbers of planes that use kernels of every width."""
    table = random_geometry(0, SIZE, VIEW_SIZE, "gnomonic", "equidistant", views=3).table()
    found = {}
    for batch, channels in ((1, 1), (1, 4), (2, 9)):
        for op, results in every_result(table, SIZE, VIEW_SIZE, batch, channels).items():
            bits = b"".join(part.numpy().tobytes() for part in results)
            found[f"{op} of {batch} x {channels} planes"] = hashlib.sha256(bits).hexdigest()
        last = functional.project(noise(batch, channels, *SIZE), table, VIEW_SIZE, memory_format=torch.channels_last)
        found[f"{batch} x {channels} channels last"] = hashlib.sha256(last.numpy().tobytes()).hexdigest()
    same = Views.rigid((256, 256))
    for name, image, dtype in (("wide", every_half(), torch.float32), ("half", floats_around_halves(), torch.float16)):
        bits = same.project(image, out_dtype=dtype).view(torch.int16).numpy().tobytes()
        found[f"to {name}"] = hashlib.sha256(bits).hexdigest()
    return found


def every_half():
    return torch.arange(2**16, dtype=torch.int32).to(torch.int16).view(torch.float16).reshape(1, 1, 256, 256)


def floats_around_halves():
    """Every half as a float, the midpoint to the next half, and the floats next to the midpoint."""
    halves = every_half().float()
    middle = (halves + halves.flatten().roll(-1).view_as(halves)) / 2
    ends = (torch.tensor(float("-inf")), torch.tensor(float("inf")))
    return torch.cat([halves, middle, *(torch.nextafter(middle, end) for end in ends)], 1)


@pytest.mark.parametrize("image", [every_half(), floats_around_halves()], ids=["widened", "rounded"])
def test_halves_are_converted_as_torch_does_it(image):
    dtype = torch.float32 if image.dtype == torch.float16 else torch.float16
    converted = Views.rigid((256, 256)).project(image, out_dtype=dtype)[:, 0]
    torch.testing.assert_close(converted, image.to(dtype), rtol=0, atol=0, equal_nan=True)


def test_every_level_gives_the_same_bits():
    script = f"""
import json, runpy
from spuproj.backends import cpu
print(json.dumps([cpu.simd_level(), runpy.run_path({__file__!r})["digests"]()]))
"""
    expected = digests()
    for level in cpu.simd_levels():
        run = run_forked(script, SPUPROJ_SIMD=level)
        assert run.returncode == 0, run.stderr
        assert json.loads(run.stdout) == [level, expected]


UNKNOWN = """
import torch
from spuproj import Views

views, stack = Views.rigid((4, 4)), torch.ones(1, 1, 1, 4, 4)
for call in (
    lambda: views.project(stack[0]),
    lambda: views.project(stack[0].byte(), interpolation="nearest"),
    lambda: views.reduce(stack),
):
    try:
        call()
    except ValueError as error:
        print(error)
"""


def test_an_unknown_level_is_an_error_that_names_the_levels():
    run = run_forked(UNKNOWN, SPUPROJ_SIMD="sse9")
    levels = ", ".join(cpu.simd_levels())
    expected = f"SPUPROJ_SIMD must name a level of this processor ({levels}), got sse9"
    assert run.stdout.splitlines() == [expected] * 3, run.stderr
