"""Models, views and activations that ``wrap`` cannot take, each refused in words."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from helpers import noise
from spuproj import LearnableViews, Views, wrap

SIZE = (16, 12)
VIEWS = Views.spherical(SIZE, grid=(2, 2))


class Model(nn.Module):
    """Returns what a function makes of its views."""

    def __init__(self, make: Callable[[Tensor], Any]) -> None:
        super().__init__()
        self.make = make

    def forward(self, x: Tensor) -> Any:
        return self.make(x)


@pytest.mark.parametrize(
    ("make", "activation", "error", "message"),
    [
        (lambda x: x, "softmax", ValueError, "the model must return at least two classes for activation='softmax'"),
        (lambda x: (x > 0).long(), "sigmoid", TypeError, "of a floating-point dtype, got torch.int64; a map of labels"),
        (lambda x: x > 0, None, TypeError, "of a floating-point dtype, got torch.bool; a map of labels"),
        (lambda x: x.to(torch.complex64), "sigmoid", TypeError, "of a floating-point dtype, got torch.complex64"),
        (lambda _: None, "sigmoid", TypeError, "the model must return a tensor, or something that holds one, got None"),
        (lambda _: 3, "sigmoid", TypeError, "the model must return a tensor, or something that holds one, got 3"),
    ],
)
def test_an_output_that_is_no_map_of_logits_is_refused(make, activation, error, message):
    with pytest.raises(error, match=re.escape(message)):
        wrap(Model(make), VIEWS, activation)(noise(1, 1, *SIZE))


@pytest.mark.parametrize("beyond", [-0.002, 0.002])
def test_probabilities_beyond_either_end_by_more_than_rounding_are_refused(beyond):
    x = noise(1, 1, *SIZE)
    with pytest.raises(ValueError, match=re.escape("probabilities must lie in [0, 1], got values from")):
        wrap(Model(lambda views: (views > 0) + beyond), VIEWS, None)(x)
    found = wrap(Model(lambda views: (views > 0) + beyond / 10), VIEWS, None)(x)
    assert torch.equal(
        found.mean, wrap(Model(lambda views: ((views > 0) + beyond / 10).clamp(0, 1)), VIEWS, None)(x).mean
    )


@pytest.mark.parametrize("model", [None, "unet", 3])
def test_a_model_must_be_callable(model):
    with pytest.raises(TypeError, match="model must be a network or another function"):
        wrap(model, VIEWS)


@pytest.mark.parametrize("activation", [nn.Sigmoid, 3, ["sigmoid"]])
def test_an_activation_must_be_a_name_or_a_function(activation):
    with pytest.raises(TypeError, match="activation must be sigmoid or softmax, a function of tensors, or None"):
        wrap(nn.Identity(), VIEWS, activation)


@pytest.mark.parametrize(
    ("activation", "error", "message"),
    [
        (lambda t: t[..., :5].sigmoid(), ValueError, r"the activation must return \[M, K, h, w\] of the size of the"),
        (lambda t: t.sigmoid().mean(0, keepdim=True), ValueError, "got the shape .1, 1, .*interpolate"),
        (lambda t: t.sigmoid()[:, 0], ValueError, r"add an axis of channels, with unsqueeze\(1\)"),
        (lambda t: t.sigmoid()[:, None], ValueError, "choose one of its maps"),
        (lambda t: t > 0, TypeError, "the activation must return logits or probabilities of a floating-point dtype"),
        (lambda t: (t > 0).long(), TypeError, "a map of labels has no uncertainty"),
        (lambda t: (t.sigmoid(),), TypeError, "the activation must return a tensor, got tuple"),
        (lambda t: t.detach().numpy(), TypeError, "the activation must return a tensor, got ndarray"),
    ],
)
def test_an_activation_that_returns_no_maps_of_the_views_is_refused(activation, error, message):
    with pytest.raises(error, match=message):
        wrap(nn.Conv2d(1, 1, 1), VIEWS, activation)(noise(2, 1, *SIZE))


def test_an_activation_in_half_precision_gives_maps_in_float32():
    maps = wrap(nn.Identity(), VIEWS, lambda t: t.sigmoid().half())(noise(1, 1, *SIZE))
    assert {part.dtype for part in maps[:5]} == {torch.float32}


def test_whole_numbers_of_numpy_are_taken_as_chunk_and_output():
    wrapped: Any = wrap
    x = noise(1, 1, *SIZE)
    found = wrapped(lambda t: (t, t + 1), VIEWS, output=np.int64(1), chunk=np.int32(2))(x)
    assert torch.equal(found.mean, wrapped(lambda t: t + 1, VIEWS, chunk=2)(x).mean)


def test_an_activation_may_be_a_module():
    x = noise(1, 1, *SIZE)
    found, wanted = wrap(nn.Identity(), VIEWS, nn.Sigmoid())(x), wrap(nn.Identity(), VIEWS)(x)
    assert torch.equal(found.mean, wanted.mean)


def test_whether_members_are_returned_is_a_bool():
    with pytest.raises(TypeError, match="members must be True or False, got 'no'"):
        wrap(nn.Identity(), VIEWS, members="no")  # type: ignore[arg-type]


def test_views_with_a_gradient_are_refused():
    with pytest.raises(ValueError, match="views must have no gradient, since they are copied; to learn"):
        wrap(nn.Identity(), LearnableViews(SIZE, grid=(2, 2)).with_gradient())
