"""Inference through views: the reduction against a loop over views, and each view's own probability."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.stats import entropy as scipy_entropy
from torch.testing import assert_close

from helpers import noise
from spuproj import reference
from spuproj.training.data.canvas import Canvas
from spuproj.training.data.case import brain_box, load_case
from spuproj.training.data.volumes.grid import Grid
from spuproj.training.inference.case_prediction import predict_case, view_probabilities
from spuproj.training.models.config import ModelConfig, canvas_of, make_views
from spuproj.training.models.method import Method
from spuproj.training.models.network import make_network
from spuproj.training.models.run import load_run
from spuproj.training.models.view_sets import Spherical, Zoom
from spuproj.training.runtime.errors import InputError
from spuproj.wrapping import blending_weights, reduce_views

pytest_plugins = ["training_fixtures"]
pytestmark = pytest.mark.usefixtures("one_thread")


def test_mean_and_variance_are_those_of_a_loop_over_views():
    method = Method("own", Spherical(grid=(2, 3), magnification=2.0), channels=(2, 4))
    config = ModelConfig("WT", (12.0, 10.0), (16, 16), (0.2, 0.2, 0.8, 0.8), method, modalities=("t1",))
    network, views, image = make_network(config).eval().double(), make_views(config, (12, 10)), noise(2, 1, 12, 10)
    for parameter in network.parameters():
        parameter.data = noise(*parameter.shape, dtype=torch.float64)
    probabilities, entropies, shown = [], [], []
    for row in views.geometry.numpy():
        view = reference.project(image.double().numpy(), row[None], (16, 16))[:, 0]
        probability = torch.sigmoid(network(torch.from_numpy(view))).detach().numpy()
        probabilities.append(reference.unproject(probability[:, None], row[None], (12, 10))[:, 0])
        own = np.clip(probabilities[-1], 0, 1)
        entropies.append(scipy_entropy([own, 1 - own], axis=0))
        valid = np.isfinite(reference.view_coordinates(row[None], (12, 10), (16, 16))[0])
        shown.append(np.broadcast_to(valid, probabilities[-1].shape))
    values = np.ma.array(probabilities, mask=~np.array(shown))
    weights = blending_weights(views)
    with torch.inference_mode():
        found = reduce_views(views, view_probabilities(network.float(), views, image), weights)
    each = weights.numpy()[:, None, None] * np.array(shown)
    count = each.sum(axis=0)
    assert (count < 2).any()
    assert (count >= 2).mean() > 0.2
    mean = (each * values.filled(0)).sum(axis=0) / np.maximum(count, 1e-9)
    variance = (each * (values.filled(0) - mean) ** 2).sum(axis=0) / np.maximum(count, 1e-9)
    expected = (each * np.array(entropies)).sum(axis=0) / np.maximum(count, 1e-9)
    assert np.ptp(mean) > 0.1
    whole = scipy_entropy(np.stack([mean, 1 - mean]), axis=0)
    variance, shared = (np.where(count >= 2, each, np.nan) for each in (variance, np.maximum(whole - expected, 0)))
    for one, wanted in zip(found[:4], (mean, variance, whole, shared), strict=True):
        assert_close(one, torch.from_numpy(wanted).float(), rtol=0, atol=1e-5, equal_nan=True)


def test_every_slice_with_brain_is_reported_once(cohort, models):
    case = load_case(cohort[1])
    notes: list[str] = []
    predict_case(*load_run(models["WT"]), case, notes.append)
    assert notes == [f"slice {index}" for index in np.flatnonzero(case.brain.any(axis=(1, 2)))]


def test_members_are_those_of_each_view_alone(cohort, models):
    config, network = load_run(models["WT"])
    case = load_case(cohort[1])
    members = predict_case(config, network, case, lambda _: None, members=True).members
    views = make_views(config, (30, 30))
    with torch.inference_mode():
        alone = views[3].unproject(view_probabilities(network, views[3], torch.from_numpy(case.image)))[:, 0]
    np.testing.assert_allclose(np.nan_to_num(members[:, 3]), alone[:, 0].numpy() * case.brain, atol=1e-6)


def test_members_that_nobody_asks_for_are_not_kept(cohort, models):
    assert predict_case(*load_run(models["WT"]), load_case(cohort[1]), lambda _: None).members is None


@pytest.mark.parametrize(("before", "after"), [((3, 5), (4, 1)), ((-2, 0), (0, -3)), ((2, -1), (1, 6))])
def test_slices_of_another_field_of_view_give_the_same_maps(cohort, models, before, after):
    config, network = load_run(models["WT"])
    case = load_case(cohort[1])
    height, width = case.brain.shape[1:]
    y0, x0, y1, x1 = brain_box(case.brain)
    box = (y0 / (height - 1), x0 / (width - 1), y1 / (height - 1), x1 / (width - 1))
    config = replace(config, box=box)
    padded = (height + before[0] + after[0], width + before[1] + after[1])
    canvas = Canvas(padded, before)
    other = replace(case, image=canvas.place(case.image), brain=canvas.place(case.brain))
    assert np.count_nonzero(other.brain) == np.count_nonzero(case.brain)
    wanted = predict_case(config, network, case, lambda _: None, members=True)
    found = predict_case(config, network, other, lambda _: None, members=True)
    assert np.ptp(wanted.probability[case.brain]) > 0.1
    for name in ("probability", "segmentation", "variance", "entropy", "mutual_information"):
        np.testing.assert_array_equal(getattr(found, name), canvas.place(getattr(wanted, name)), err_msg=name)
    np.testing.assert_array_equal(found.members, canvas.place(wanted.members, np.nan))


def test_a_brain_a_little_larger_than_the_field_of_view_is_shown_whole(cohort, models):
    config, network = load_run(models["WT"])
    case = load_case(cohort[1])
    y0, x0, y1, x1 = brain_box(case.brain)
    small = replace(config, field=(8.0 * (y1 - y0 - 1), 8.0 * (x1 - x0 - 1)))
    canvas = canvas_of(small, case)
    assert canvas.size == (y1 - y0 + 1, x1 - x0 + 1)
    assert np.count_nonzero(canvas.place(case.brain)) == np.count_nonzero(case.brain)
    assert not torch.isnan(make_views(small, canvas.size).view_coordinates()[0]).any()
    assert np.isfinite(predict_case(small, network, case, lambda _: None).probability).all()


def test_a_brain_much_larger_than_the_field_of_view_is_refused(cohort, models):
    config, network = load_run(models["WT"])
    case = load_case(cohort[1])
    y0, _, y1, _ = brain_box(case.brain)
    pixels = (y1 - y0) // 2
    small = replace(config, field=(8.0 * pixels, 240.0))
    with pytest.raises(InputError, match=rf"Phantom_002 must have a brain of at most {int(1.25 * pixels)} x 30 pixels"):
        predict_case(small, network, case, lambda _: None)


def test_the_field_of_view_is_in_millimetres_along_each_side(cohort, models):
    config, _ = load_run(models["WT"])
    case = load_case(cohort[1])
    narrow = replace(case, grid=Grid(case.grid.shape, case.grid.affine @ np.diag([0.5, 1, 1, 1])))
    height, width = canvas_of(config, case).size
    assert canvas_of(config, narrow).size == (height, 2 * width)


def test_pixels_so_small_that_the_field_of_view_would_not_fit_memory_are_refused(cohort, models):
    config, network = load_run(models["WT"])
    case = load_case(cohort[1])
    tiny = replace(case, grid=Grid(case.grid.shape, case.grid.affine @ np.diag([1e-3, 1e-3, 1e-3, 1])))
    with pytest.raises(InputError, match=r"pixels have 0\.008 x 0\.008 mm; correct the voxel size in the header"):
        predict_case(config, network, tiny, lambda _: None)


def zooms(config: ModelConfig) -> ModelConfig:
    """The model with views that each show a part of the slice."""
    return replace(config, method=replace(config.method, views=Zoom(grid=(3, 3))))


def test_what_fewer_than_two_views_see_has_no_variance_but_a_probability(cohort, models):
    config, network = load_run(models["WT"])
    config, case = zooms(config), load_case(cohort[1])
    found = predict_case(config, network, case, lambda _: None)
    count = blending_weights(make_views(config, (30, 30))).sum(dim=0).numpy()
    alone = case.brain & (count < 2)
    assert 0 < np.count_nonzero(alone) < np.count_nonzero(case.brain)
    np.testing.assert_array_equal(np.isnan(found.variance), alone)
    np.testing.assert_array_equal(np.isnan(found.interpolation), alone)
    np.testing.assert_array_equal(np.isnan(found.mutual_information), alone)
    for name in ("probability", "entropy"):
        assert np.isfinite(getattr(found, name)).all()
    assert (found.probability[alone] > 0).all()
    assert not np.any(found.variance[~case.brain])


def test_a_network_that_returns_nan_is_refused(cohort, models):
    config, network = load_run(models["WT"])
    case = load_case(cohort[1])

    class Overflows(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return network(x) * torch.nan

    with pytest.raises(InputError, match="Phantom_002, WT: the model's probabilities must be numbers, but are NaN at"):
        predict_case(config, Overflows(), case, lambda _: None)


def test_the_interpolation_is_that_of_the_segmentation_in_the_same_views(cohort, models):
    config, network = load_run(models["WT"])
    case = load_case(cohort[1])
    found = predict_case(config, network, case, lambda _: None)
    views = make_views(config, (30, 30))
    stack = views.project(torch.from_numpy(found.segmentation[:, None].astype(np.float32)))
    expected = views.reduce(stack, weights=blending_weights(views))[1][:, 0].numpy() * case.brain
    np.testing.assert_allclose(
        np.nan_to_num(found.interpolation), np.where(np.isnan(found.variance), 0, expected), atol=1e-6
    )
    assert 0 < np.nanmax(found.interpolation) <= 0.25


def test_no_seam_lies_along_the_end_of_a_view():
    size, method = (96, 96), Method("own", Spherical(grid=(3, 3), magnification=1.6), channels=(2, 4))
    config = ModelConfig("WT", (96.0, 96.0), size, (0.0, 0.0, 1.0, 1.0), method)
    views = make_views(config, size)
    # Each view is of another opinion: a step lies wherever one ends, unless it fades out.
    opinions = torch.linspace(0.2, 0.8, 9)[:, None, None, None].expand(9, 1, *size)[None]
    hard, soft = (
        reduce_views(views, opinions, weights)[0][0, 0].numpy()
        for weights in ((~torch.isnan(views.view_coordinates()[0])).float(), blending_weights(views))
    )
    steps = [max(np.abs(np.diff(each, axis=axis)).max() for axis in (0, 1)) for each in (hard, soft)]
    assert steps[1] < 0.6 * steps[0]
