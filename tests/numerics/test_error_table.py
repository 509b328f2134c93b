"""The largest errors that ``docs/reliability.md`` lists hold, for every op, dtype and SIMD level of this processor."""

import pytest

from numerics.error_table import DTYPES, FULL, committed, measured, measured_at
from numerics.exact import needs_extended
from spuproj.backends import cpu

pytestmark = needs_extended


def within(errors, level):
    # All levels give the same bits, so those of a processor that did not measure the table keep the same bounds.
    bounds = committed().get(level, committed()["baseline"])
    assert set(errors) == set(bounds)
    assert [
        f"{op} of {dtype}: {errors[op][dtype]:.3f} > {bounds[op][dtype]}"
        for op in errors
        for dtype in DTYPES
        if errors[op][dtype] > bounds[op][dtype]
    ] == []


def test_no_error_of_a_few_geometries_is_larger_than_the_table_says():
    within(measured(range(9)), cpu.simd_level())


@pytest.mark.slow
@pytest.mark.parametrize("level", cpu.simd_levels())
def test_no_error_at_any_level_is_larger_than_the_table_says(level):
    within(measured_at(level, FULL), level)
