"""Every SIMD level of this processor computes the same bits; SPUPROJ_SIMD picks one."""

import hashlib
import json

import pytest

from helpers import every_result, random_geometry, run_python
from spuproj import _cpu

SIZE, VIEW_SIZE = (37, 41), (33, 45)


def digests():
    """A hash of what each op gives, for plane counts that take every width of kernel and both precisions."""
    table = random_geometry(0, SIZE, VIEW_SIZE, "gnomonic", "equidistant", views=3).table()
    found = {}
    for batch, channels in ((1, 1), (1, 4), (2, 9)):
        for op, results in every_result(table, SIZE, VIEW_SIZE, batch, channels).items():
            bits = b"".join(part.numpy().tobytes() for part in results)
            found[f"{op} of {batch} x {channels} planes"] = hashlib.sha256(bits).hexdigest()
    return found


def run_level(level):
    return run_python(
        "import json, test_simd_levels; print(json.dumps(test_simd_levels.digests()))", SPUPROJ_SIMD=level
    )


def test_every_level_gives_the_same_bits():
    expected = digests()
    for level in _cpu.simd_levels():
        run = run_level(level)
        assert run.returncode == 0, run.stderr
        assert json.loads(run.stdout) == expected, level


def test_the_variable_chooses_the_level():
    run = run_python("from spuproj import _cpu; print(_cpu.simd_level())", SPUPROJ_SIMD="baseline")
    assert run.stdout == "baseline\n"


def test_without_the_variable_the_highest_level_runs():
    run = run_python("from spuproj import _cpu; print(_cpu.simd_level())", SPUPROJ_SIMD="")
    assert run.stdout.strip() == _cpu.simd_levels()[-1]


@pytest.mark.parametrize(
    "call",
    [
        "Views.rigid((4, 4)).project(torch.ones(1, 1, 4, 4))",
        "Views.rigid((4, 4)).project(torch.ones(1, 1, 4, 4, dtype=torch.uint8), interpolation='nearest')",
        "Views.rigid((4, 4)).reduce(torch.ones(1, 1, 1, 4, 4))",
    ],
)
def test_an_unknown_level_is_an_error_that_names_the_levels(call):
    run = run_python(f"import torch\nfrom spuproj import Views\n{call}", SPUPROJ_SIMD="sse9")
    levels = ", ".join(_cpu.simd_levels())
    message = f"ValueError: SPUPROJ_SIMD must name a level of this processor ({levels}), got sse9"
    assert run.stderr.strip().splitlines()[-1] == message
