"""Healthy anatomy that looks like tumour: where it lies, what it looks like, and that its label is 0."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import distance_transform_edt, minimum_filter

from spuproj.training.phantom.anatomy import COARSE, MIDLINE, Tissues, draw_patient, load_atlas
from spuproj.training.phantom.cohort import tissue_fractions
from spuproj.training.phantom.contrast import CONTRASTS, TISSUES, draw_signals
from spuproj.training.phantom.lookalikes import Lookalikes, draw_lookalikes
from spuproj.training.phantom.tumour import Tumour
from spuproj.training.phantom.vessels import COURSES, distance_to

PATIENTS = range(6)


@pytest.fixture(scope="module")
def patients() -> list[tuple[np.ndarray, Tissues, Lookalikes]]:
    drawn = []
    for seed in PATIENTS:
        rng = np.random.default_rng(seed)
        patient = draw_patient(rng)
        tissues = patient.tissues(patient.index, patient.margin)
        drawn.append((patient.index, tissues, draw_lookalikes(rng, COARSE, patient.index, tissues, tissues)))
    return drawn


def mean_place(index: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """The centre of mass, in voxels of the atlas, with x as the distance from the midline."""
    places = index.copy()
    places[0] = np.abs(places[0] - MIDLINE)
    return (places * weights).sum(axis=(1, 2, 3)) / weights.sum()


def test_all_are_fractions(patients):
    for _, _, each in patients:
        for part in (each.vessel, each.choroid, each.gliosis, each.dura, each.fat, each.bone):
            assert part.shape == COARSE.shape
            assert part.min() >= 0
            assert part.max() <= 1


def test_the_choroid_plexus_lies_in_the_fluid_beside_the_midline(patients):
    for index, tissues, each in patients:
        assert (each.choroid <= tissues.csf + 1e-6).all()
        x, y, z = mean_place(index, each.choroid)
        assert (x, y, z) == (pytest.approx(15, abs=6), pytest.approx(110, abs=10), pytest.approx(79, abs=8))


def test_caps_and_lesions_lie_in_tissue_and_far_below_the_surface(patients):
    for _, tissues, each in patients:
        assert (each.gliosis <= 1 - tissues.csf + 1e-6).all()
        depth = distance_transform_edt(tissues.brain) * COARSE.spacing
        if each.gliosis.sum() > 10:
            assert (each.gliosis * depth).sum() / each.gliosis.sum() > 1.3 * depth[tissues.brain].mean()
    assert sum(each.gliosis.sum() > 10 for _, _, each in patients) >= 3


def test_dura_fat_and_bone_are_at_the_border_of_the_brain_mask(patients):
    for _, tissues, each in patients:
        inner = np.zeros_like(tissues.brain)
        inner[4:-4, 4:-4, 4:-4] = minimum_filter(tissues.brain, 9)[4:-4, 4:-4, 4:-4]
        for part in (each.dura, each.fat, each.bone):
            assert part[inner].max() < 0.05
    for name in ("dura", "fat", "bone"):
        assert any(getattr(each, name)[tissues.brain].max() > 0.3 for _, tissues, each in patients)


def test_fractions_of_tissues_sum_to_one_and_the_healthy_has_no_label(patients):
    rng = np.random.default_rng(0)
    for _, tissues, each in patients:
        share = rng.dirichlet(np.ones(6), COARSE.shape).astype(np.float32)
        labels = np.zeros(COARSE.shape, np.uint8)
        tumour = Tumour(share[..., 0], share[..., 1], share[..., 2], share[..., 3], share[..., 4], labels)
        fractions = tissue_fractions(tissues, tumour, each)
        assert fractions.shape == (len(TISSUES), np.count_nonzero(tissues.brain))
        np.testing.assert_allclose(fractions.sum(axis=0), 1, atol=1e-4)
        assert fractions.min() >= -1e-6


def test_they_look_like_tumour_in_the_contrasts_in_which_they_do_in_patients():
    signals = np.mean([draw_signals(np.random.default_rng(seed)) for seed in range(20)], axis=0)
    seen = {name: dict(zip(CONTRASTS, signals[:, place], strict=True)) for place, name in enumerate(TISSUES)}
    assert seen["choroid"]["t1ce"] > 1.3 * seen["grey"]["t1ce"]
    assert seen["vessel"]["t1ce"] > 1.3 * seen["grey"]["t1ce"]
    for contrast in ("t2", "flair"):
        assert seen["gliosis"][contrast] > 1.2 * seen["white"][contrast]
    assert seen["csf"]["flair"] < 0.5 * seen["white"]["flair"] < seen["oedema"]["flair"]
    assert seen["fat"]["t1"] > 1.5 * seen["white"]["t1"]
    assert max(seen["bone"].values()) < 0.3


@pytest.mark.parametrize("kind", COURSES)
def test_vessels_run_through_fluid_or_along_the_border_on_both_sides(kind):
    atlas, course = load_atlas(), distance_to(kind) < 0.5
    fluid = np.clip(1 - atlas.white - atlas.grey, 0, 1)
    assert fluid[course].mean() > 3 * fluid[atlas.depth > 0].mean()
    x = np.nonzero(course)[0] - MIDLINE
    assert np.array_equal(np.sort(x), np.sort(-x))
    assert atlas.depth[course].min() > -3
