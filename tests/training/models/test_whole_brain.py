"""Every view of the default method shows the whole brain of every patient, larger than its neighbourhood elsewhere."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from spuproj.training.data.case import brain_box, load_case
from spuproj.training.data.dataset import Cohort, cache_cohort
from spuproj.training.data.readers.case_files import MODALITIES
from spuproj.training.data.readers.registry import case_in
from spuproj.training.fit.train import network_size
from spuproj.training.models.config import ModelConfig, canvas_of, make_views
from spuproj.training.models.method import load_method

pytest_plugins = ["training_fixtures"]


@pytest.fixture(scope="module")
def cached(cohort, tmp_path_factory) -> Cohort:
    return cache_cohort(list(map(case_in, cohort)), MODALITIES, "WT", tmp_path_factory.mktemp("cache"), lambda _: None)


def default_model(cached: Cohort, name: str = "spu") -> ModelConfig:
    method = load_method(name)
    boxes = np.mean([cached.box(case) for case in cached.entries], axis=0)
    return ModelConfig("WT", cached.field, network_size(cached.size, method), tuple(boxes.tolist()), method)


@pytest.mark.parametrize("growth", [0.8, 1.0, 1.2])
def test_each_view_shows_the_whole_brain_of_every_slice(cached, cohort, growth):
    config = default_model(cached)
    config = replace(config, field=(config.field[0] / growth, config.field[1] / growth))
    for folder in cohort:
        case = load_case(folder)
        canvas = canvas_of(config, case)
        brain = torch.from_numpy(canvas.place(case.brain))
        shown = ~torch.isnan(make_views(config, canvas.size).view_coordinates()[0])
        assert int(brain.sum()) == np.count_nonzero(case.brain)
        slices = brain[brain.any(dim=(1, 2))]
        shares = (slices[:, None] & shown).sum(dim=(2, 3)) / slices.sum(dim=(1, 2))[:, None]
        assert shares.min() == 1


def test_every_place_of_the_brain_is_magnified_by_some_view_more_than_by_a_flat_one(cached, cohort):
    config = default_model(cached)
    views = make_views(config, cached.size)
    flat = min(view / side for view, side in zip(config.view_size, cached.size, strict=True))
    magnification = views.magnification().sqrt()
    case = load_case(cohort[1])
    y0, x0, y1, x1 = brain_box(canvas_of(config, case).place(case.brain))
    best = magnification.amax(dim=0)[y0 : y1 + 1, x0 : x1 + 1]
    assert best.min() > flat
    # A view magnifies its own neighbourhood at least twice as much as what lies farthest from it.
    within = magnification[:, y0 : y1 + 1, x0 : x1 + 1].flatten(1)
    assert (within.amax(dim=1) > 2 * within.amin(dim=1)).all()
