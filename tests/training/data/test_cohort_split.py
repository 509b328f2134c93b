"""The cases that validate where no split is given: drawn by patient, never on both sides."""

from __future__ import annotations

import random
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spuproj.training.data.dataset import Cohort
from spuproj.training.runtime.errors import InputError


def cohort(patients, without=()):
    """A cohort of cases, given the patient of each; cases in ``without`` do not show the target."""
    entries: Any = {name: [SimpleNamespace(positive=name not in without)] for name in patients}
    return Cohort({}, entries, (8, 8), (8.0, 8.0), patients)


@given(
    visits=st.lists(st.integers(1, 4), min_size=3, max_size=12),
    held_out=st.integers(1, 5),
    seed=st.integers(0, 100),
    data=st.data(),
)
def test_a_patients_visits_are_on_one_side_and_both_sides_have_the_target(visits, held_out, seed, data):
    patients = {f"p{number}_{visit}": f"p{number}" for number, count in enumerate(visits) for visit in range(count)}
    without = data.draw(
        st.sets(st.sampled_from(sorted(name for name in patients if patients[name] not in ("p0", "p1"))))
    )
    try:
        training, validation = cohort(patients, without).split(held_out, seed)
    except InputError:
        # A patient must be left to train on.
        assert held_out > len(patients) - max(visits)
        return
    assert sorted([*training, *validation]) == sorted(patients)
    sides = [{patients[name] for name in side} for side in (training, validation)]
    assert sides[0] & sides[1] == set()
    assert all(set(side) - without for side in (training, validation))
    assert len(validation) >= held_out


def test_more_cases_than_can_validate_are_refused():
    found = set[object]()
    for seed in range(20):
        try:
            found.add(len(cohort({"a_1": "a", "a_2": "a", "b": "b", "c": "c"}).split(3, seed)[1]))
        except InputError as error:
            found.add(str(error))
    words = "validation must leave a patient with some of the target to train on, got 3 of 4 cases of 3 patients"
    assert found == {3, words}


def test_with_one_visit_each_the_number_of_cases_is_exact():
    patients = {f"p{number}": f"p{number}" for number in range(10)}
    for seed in range(5):
        shuffled = sorted(patients)
        random.Random(seed).shuffle(shuffled)
        training, validation = cohort(patients).split(3, seed)
        assert set(validation) == {shuffled[0], *shuffled[2:4]}
        assert len(training) == 7


def test_two_visits_of_one_patient_are_not_two_patients_with_the_target():
    patients = {"a_1": "a", "a_2": "a", "b": "b"}
    with pytest.raises(
        InputError, match=r"at least two cases must hold some of the target, .* of different patients, got 1"
    ):
        cohort(patients, without=("b",)).split(1, 0)
