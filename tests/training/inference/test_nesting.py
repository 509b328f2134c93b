"""Targets that lie in one another: what is predicted of them never contradicts the label map."""

from __future__ import annotations

from dataclasses import replace
from itertools import permutations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spuproj.training.data.labels import SCHEMES, TARGETS, LabelScheme, own_scheme
from spuproj.training.inference.case_prediction import CasePrediction
from spuproj.training.inference.nesting import directly_inside, including, inner_first
from spuproj.training.inference.outputs import merged_labels

SHAPE = (2, 3, 4)
GLIOMA = SCHEMES["brats2020"]
OWN = own_scheme({"cyst": (3,), "solid": (1, 2), "lesion": (1, 2, 3), "same": (3, 2, 1), "all": (1, 2, 3, 4)})


def drawn(rng: np.random.Generator, views: int = 3, members: bool = True) -> CasePrediction:
    """Maps of random members, as ``predict_case`` makes them."""
    each = rng.uniform(size=(SHAPE[0], views, *SHAPE[1:])).astype(np.float32)
    mean = each.mean(axis=1)
    maps = rng.uniform(size=(2, *SHAPE)).astype(np.float32)
    return CasePrediction(mean, mean > 0.5, each.var(axis=1), maps[0], maps[1], each if members else None)


def nested(predictions: dict[str, CasePrediction], scheme: LabelScheme) -> dict[str, CasePrediction]:
    order, done = inner_first(list(predictions), scheme), {}
    for target in order:
        done[target] = predictions[target]
        for inner in directly_inside(target, order, scheme):
            done[target] = including(done[target], done[inner])
    return done


@given(
    st.integers(0, 2**32),
    st.sampled_from(sorted(name for name, scheme in SCHEMES.items() if set(TARGETS) <= set(scheme.targets))),
)
def test_every_target_of_the_label_map_is_its_own_segmentation(seed, name):
    rng, scheme = np.random.default_rng(seed), SCHEMES[name]
    done = nested({target: drawn(rng) for target in ("WT", "ET", "TC")}, scheme)
    labels = merged_labels(done, scheme)
    for target, prediction in done.items():
        np.testing.assert_array_equal(scheme.mask(labels, target), prediction.segmentation)


@given(st.integers(0, 2**32))
def test_the_outer_target_is_the_most_probable_of_those_in_it_and_its_uncertainty_follows(seed):
    rng = np.random.default_rng(seed)
    predictions = {target: drawn(rng) for target in ("ET", "TC", "WT")}
    whole = nested(predictions, GLIOMA)["WT"]
    stacked = {
        name: np.stack([getattr(each, name) for each in predictions.values()])
        for name in ("probability", "variance", "entropy", "mutual_information")
    }
    best = stacked["probability"].argmax(axis=0)[None]
    for name, values in stacked.items():
        np.testing.assert_array_equal(getattr(whole, name), np.take_along_axis(values, best, axis=0)[0])
    np.testing.assert_array_equal(whole.segmentation, whole.probability > 0.5)
    assert whole.members is not None
    np.testing.assert_allclose(whole.members.mean(axis=1), whole.probability, rtol=1e-6)
    np.testing.assert_allclose(whole.members.var(axis=1), whole.variance, atol=1e-7)


def test_a_segmentation_is_of_either_target_and_the_interpolation_of_the_more_probable_one():
    """With Otsu's threshold, an inner target may be segmented where the outer one is more probable, but is not."""
    outer, inner = (drawn(np.random.default_rng(seed)) for seed in range(2))
    outer, inner = (
        replace(each, segmentation=each.probability > limit, interpolation=np.float32(0.5) * each.variance)
        for each, limit in ((outer, 0.7), (inner, 0.3))
    )
    found, more = including(outer, inner), inner.probability > outer.probability
    assert (inner.segmentation & ~outer.segmentation & ~more).any()
    np.testing.assert_array_equal(found.segmentation, (outer.probability > 0.7) | (inner.probability > 0.3))
    np.testing.assert_array_equal(found.interpolation, np.where(more, inner.variance, outer.variance) / 2)


def test_where_nothing_contradicts_nothing_changes():
    outer, inner = drawn(np.random.default_rng(0)), drawn(np.random.default_rng(1))
    less = outer.probability * np.float32(0.5)
    less[0] = outer.probability[0]
    inner = replace(inner, probability=less, segmentation=np.zeros(SHAPE, bool))
    both = including(outer, inner)
    for name in ("probability", "segmentation", "variance", "entropy", "mutual_information", "members"):
        np.testing.assert_array_equal(getattr(both, name), getattr(outer, name))


def test_models_of_different_numbers_of_views_keep_all_members():
    outer, inner = drawn(np.random.default_rng(0), views=2), drawn(np.random.default_rng(1), views=5)
    for one, other in ((outer, inner), (inner, outer)):
        both = including(one, other)
        assert both.members is not None
        assert both.members.shape == (2, 5, 3, 4)
        np.testing.assert_allclose(np.nanmean(both.members, axis=1), both.probability, rtol=1e-6)


def test_members_that_one_target_does_not_have_are_not_made_up():
    rng = np.random.default_rng(0)
    assert including(drawn(rng, members=False), drawn(rng)).members is None
    assert including(drawn(rng), drawn(rng, members=False)).members is None


@pytest.mark.parametrize("order", list(permutations(("ET", "TC", "WT"))))
def test_the_inner_targets_come_first_whatever_the_order(order):
    assert inner_first(order, GLIOMA) == ["ET", "TC", "WT"]


@pytest.mark.parametrize(
    ("target", "inside"),
    [("all", ["lesion", "same"]), ("lesion", ["cyst", "solid"]), ("solid", []), ("cyst", []), ("unknown", [])],
)
def test_own_targets_lie_in_others_by_their_labels(target, inside):
    assert directly_inside(target, [*OWN.targets, "unknown"], OWN) == inside
    assert "unknown" in inner_first([*OWN.targets, "unknown"], OWN)


def test_a_voxel_takes_a_missing_variance_with_the_entropy_that_replaces_it():
    outer, inner = drawn(np.random.default_rng(0)), drawn(np.random.default_rng(1))
    inner.variance[0] = np.nan
    both, more = including(outer, inner), inner.probability > outer.probability
    assert more[0].any()
    np.testing.assert_array_equal(np.isnan(both.variance[0]), more[0])
    np.testing.assert_array_equal(both.entropy[0][more[0]], inner.entropy[0][more[0]])
