"""``.ci/wheel/check_sass.py``: each rule is broken by some code, told from a listing that keeps all of them."""

from __future__ import annotations

import importlib.util
import shutil

import pytest

from helpers import ROOT

pytestmark = pytest.mark.skipif(shutil.which("c++filt") is None, reason="names are read by c++filt")

_spec = importlib.util.spec_from_file_location("check_sass", ROOT / ".ci/wheel/check_sass.py")
check_sass = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(check_sass)

PLANES = "Gather<Blend<float, true>, float, false>"
CHANNELS = "Gather<Blend<float, true>, float, true>"
BUDGET = {PLANES: {"planes": 4, "loads": 3, "instructions": 2.5}}

# A loop from 0x10 to 0xb0 with two ways: three loads and two sums, or one load.
LOOP = """
    S2R R0, SR_TID.X
    ISETP.NE.AND P1, PT, R0, RZ, PT
@!P1 BRA 0x90
    LDG.E R4, desc[UR4][R2.64]
    LDG.E R5, desc[UR4][R2.64+0x4]
    LDG.E R6, desc[UR4][R2.64+0x8]
    FADD R4, R4, R5
    FADD R4, R4, R6
    BRA 0xa0
    LDG.E R4, desc[UR4][R2.64]
    STG.E.EF desc[UR4][R8.64], R4
@!P0 BRA 0x10
    EXIT
    BRA 0xd0
"""


def function(kernel: str, code: str) -> str:
    """A function as cuobjdump lists it."""
    packed = {PLANES: 0, CHANNELS: 1}[kernel]
    symbol = f"_ZN7spuproj4cuda3runINS0_12_GLOBAL__N_16GatherINS2_5BlendIfLb1EEEfLb{packed}EEEEEvT_jlll"
    lines = [f"        /*{16 * at:04x}*/  {line} ;  /* 0x0 */" for at, line in enumerate(code.strip().splitlines())]
    return "\n".join((f"\t\tFunction : {symbol}", *lines, ""))


def faults(code: str = LOOP, kernel: str = PLANES) -> str:
    return "\n".join(check_sass.faults(function(kernel, code), {kernel: BUDGET[PLANES]}))


def test_a_kernel_within_its_budget_has_no_faults():
    assert faults() == ""


def test_a_store_that_stays_in_the_caches_is_a_fault():
    assert "must store past the caches (STG.E.EF), got STG.E at 0xa0" in faults(LOOP.replace("STG.E.EF", "STG.E"))


@pytest.mark.parametrize(("kernel", "right"), [(PLANES, "STG.E.EF"), (CHANNELS, "STG.E.EF.128")])
def test_a_store_is_one_element_of_a_plane_or_four_channels(kernel, right):
    for store in ("STG.E.EF", "STG.E.EF.64", "STG.E.EF.128", "STG.E.EF.U16"):
        found = faults(LOOP.replace("STG.E.EF", store), kernel)
        assert ("bytes a lane" in found) == (store != right), store


def test_a_kernel_that_stores_nothing_is_a_fault():
    assert "must store something" in faults(LOOP.replace("STG.E.EF desc[UR4][R8.64], R4", "NOP"))


def test_arithmetic_between_the_loads_is_a_fault():
    swapped = LOOP.replace("    LDG.E R6, desc[UR4][R2.64+0x8]\n    FADD R4, R4, R5", "FADD R4, R4, R5\nLDG.E R6, [R2]")
    assert "must have 3 loads in flight together, got 2" in faults(swapped)


def test_an_address_that_was_loaded_is_a_use():
    assert "got 1" in faults(LOOP.replace("R2.64+0x4", "R4.64"))


def test_a_wide_load_fills_the_registers_behind_its_first():
    wide = LOOP.replace("LDG.E R5, desc[UR4][R2.64+0x4]", "LDG.E.128 R12, desc[UR4][R2.64]").replace(
        "R4, R6", "R4, R15"
    )
    assert faults(wide) == ""
    assert "got 2" in faults(wide.replace("LDG.E R6, desc[UR4][R2.64+0x8]", "FADD R6, R6, R15"))


def test_instructions_are_those_of_the_way_that_loads_most():
    # 10 of the 11 in the loop: all but the other way's load.
    assert "at most 2.4 instructions a plane, got 2.5" in "\n".join(
        check_sass.faults(function(PLANES, LOOP), {PLANES: {"planes": 4, "loads": 3, "instructions": 2.4}})
    )


def test_a_kernel_with_a_budget_must_exist():
    assert check_sass.faults(function(PLANES, LOOP), {CHANNELS: BUDGET[PLANES]}) == [
        f"{CHANNELS} must be compiled, but it is not among the 1 kernels"
    ]


def test_every_kernel_of_a_listing_is_found_by_its_name():
    assert list(check_sass.kernels(function(PLANES, LOOP) + function(CHANNELS, LOOP))) == [PLANES, CHANNELS]
