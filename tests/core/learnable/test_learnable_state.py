"""State dicts of ``LearnableViews``: how views are placed is part of it."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from helpers import noise
from spuproj import LearnableViews

SIZE = (24, 18)
PLACEMENTS: list[dict[str, Any]] = [
    {},
    {"pose": "turned"},
    {"magnification": 1.7},
    {"fit": "box", "box": (4, 3, 20, 15)},
    {"centered": False},
    {"view_size": (30, 20), "spacing": (2, 1)},
]


def moved(views: LearnableViews) -> LearnableViews:
    with torch.no_grad():
        views.center_logits.add_(0.1)
        views.angle.add_(0.2)
    return views


@pytest.mark.parametrize("placement", PLACEMENTS)
@pytest.mark.parametrize("size", [SIZE, (16, 20)])
def test_a_state_restores_size_and_placement(placement, size):
    saved = moved(LearnableViews(SIZE, grid=(2, 2), **placement))
    loaded = LearnableViews(size, grid=(2, 2))
    loaded.load_state_dict(saved.state_dict())
    assert (loaded.size, loaded.view_size) == (saved.size, saved.view_size)
    x = noise(1, 1, *SIZE)
    assert torch.equal(loaded.project(x), saved.project(x))
    assert torch.equal(loaded.centers, saved.centers)


def test_a_fitted_magnification_is_not_taken_for_a_learned_one():
    state = LearnableViews(SIZE, grid=(2, 2)).state_dict()
    with pytest.raises(ValueError, match="but is of views whose magnification is fitted; give learn= as it was"):
        LearnableViews(SIZE, grid=(2, 2), learn=("magnification",)).load_state_dict(state)


def test_the_state_holds_tensors_alone():
    assert all(isinstance(each, torch.Tensor) for each in LearnableViews(SIZE, grid=(2, 2)).state_dict().values())


@pytest.mark.parametrize("name", ["log_radius", "center_logits", "angle", "log_magnification"])
def test_a_parameter_that_is_no_number_is_an_error(name):
    views = LearnableViews(SIZE, grid=(2, 2), learn=("magnification", "radius"))
    with torch.no_grad():
        getattr(views, name)[0] = float("nan")
    with pytest.raises(ValueError, match=r"must (be|lie|have)|must be finite"):
        views.views()


@pytest.mark.parametrize("learn", ["radius", 3, None])
def test_what_is_learned_is_a_list_of_names(learn):
    with pytest.raises(TypeError, match="learn must be a list of names, any of centers, radius, magnification, angle"):
        LearnableViews(SIZE, grid=(2, 2), learn=learn)


def test_what_is_learned_may_come_from_a_generator():
    views = LearnableViews(SIZE, grid=(2, 2), learn=(name for name in ("radius",)))
    assert [name for name, each in views.named_parameters() if each.requires_grad] == ["log_radius"]


def test_views_made_in_inference_mode_can_be_trained():
    with torch.inference_mode():
        views = LearnableViews(SIZE, grid=(2, 2))
    views.project(noise(1, 1, *SIZE)).square().sum().backward()
    assert views.center_logits.grad.abs().sum() > 0
