"""The bounds of sampling weights hold for the reference, and are narrow where a view is an ordinary one."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fuzz.calls import reading_of
from fuzz.cases import cases
from helpers import random_geometry
from spuproj import PROFILES, reference


def matrices_of(case, op, table):
    find = reference.unproject_matrices if op == "unproject" else reference.project_matrices
    options = (case.interpolation,) if op == "unproject" else (case.interpolation, case.padding)
    with np.errstate(all="ignore"):
        return find(table, case.size, case.view_size, *options)


@pytest.mark.parametrize("op", ["project", "unproject"])
@given(data=st.data())
def test_weights_of_the_reference_are_within_their_bounds(op, data):
    case = data.draw(cases(empty=False))
    reading = reading_of(case, op)
    for n, table in enumerate(case.tables):
        exact, slack = matrices_of(case, op, table), 4 * np.spacing(1.0)
        assert (reading.least[n] <= exact + slack).all()
        assert (exact <= reading.most[n] * (1 + slack)).all()


@pytest.mark.parametrize("op", ["project", "unproject"])
@given(seed=st.integers(0, 10**6), lift=st.sampled_from(list(PROFILES)), data=st.data())
def test_bounds_of_ordinary_views_are_narrow(op, seed, lift, data):
    case = data.draw(cases(empty=False))
    chart = data.draw(st.sampled_from(("stereographic", "equidistant", "equal_area")))
    table = random_geometry(seed, case.size, case.view_size, lift, chart, views=case.views).table()
    reading = reading_of(type(case)(**{**vars(case), "table": table, "interpolation": "bilinear"}), op)
    apart = np.sort((reading.most - reading.least).max(axis=-1), axis=None)
    assert apart[int(0.9 * (apart.size - 1))] < 1e-9
