"""``wrap`` with ``LearnableViews``: the maps are those of the present views, and gradients reach their parameters."""

import copy

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from helpers import noise, refused
from spuproj import LearnableViews, wrap
from spuproj.wrapping import blending_weights

SIZE = (20, 26)
X = noise(2, 1, *SIZE)
LEARNED = ("centers", "radius", "magnification", "angle")


def network():
    torch.manual_seed(0)
    return nn.Conv2d(1, 2, 3, padding=1)


def views(learn=LEARNED):
    return LearnableViews(SIZE, grid=(2, 2), learn=learn)


def moved(learnable):
    with torch.no_grad():
        for parameter in learnable.parameters():
            parameter += 0.05
    return learnable


def assert_same_maps(found, wanted):
    for one, other in zip(found[:5], wanted[:5], strict=True):
        assert_close(one, other, rtol=0, atol=1e-6, equal_nan=True)


@pytest.mark.parametrize("activation", ["sigmoid", "softmax"])
@pytest.mark.parametrize("chunk", [None, 3])
def test_the_maps_are_those_of_the_present_views_also_after_they_have_moved(activation, chunk):
    learnable = views()
    wrapped = wrap(network(), learnable, activation, chunk=chunk)
    for _ in range(2):
        assert_same_maps(wrapped(X), wrap(network(), learnable.views(), activation)(X))
        moved(learnable)


@pytest.mark.parametrize("name", ["mean", "variance", "entropy", "mutual_information"])
def test_gradients_of_every_map_reach_network_and_geometry(name):
    wrapped = wrap(network(), views())
    getattr(wrapped(X), name).nansum().backward()
    for parameter in wrapped.parameters():
        assert parameter.grad is not None
        assert parameter.grad.isfinite().all()
        assert (parameter.grad != 0).any()


def test_the_gradient_of_the_geometry_is_that_of_project_and_reduce():
    model, one, other = network(), moved(views()), moved(views())
    wrap(model, one)(X).mean.square().sum().backward()
    now = other.with_gradient()
    probability = model(now.project(X).flatten(0, 1)).sigmoid().unflatten(0, (2, 4))
    now.reduce(probability, weights=blending_weights(now))[0].square().sum().backward()
    for found, wanted in zip(one.parameters(), other.parameters(), strict=True):
        assert_close(found.grad, wanted.grad)


def test_a_training_step_moves_both_and_the_state_brings_both_back():
    wrapped = wrap(network(), views())
    assert len(list(wrapped.parameters())) == len(list(network().parameters())) + len(LEARNED)
    optimizer = torch.optim.Adam(wrapped.parameters(), lr=0.05)
    before = copy.deepcopy(wrapped.state_dict())
    wrapped(X).mean.square().sum().backward()
    optimizer.step()
    changed = [name for name, parameter in wrapped.named_parameters() if not torch.equal(parameter, before[name])]
    assert changed == [name for name, _ in wrapped.named_parameters()]
    other = wrap(network(), views())
    other.load_state_dict(wrapped.state_dict())
    assert_same_maps(other(X), wrapped(X))


def test_a_copy_learns_apart_and_another_size_is_refused():
    learnable = views()
    wrapped, wanted = wrap(network(), learnable), wrap(network(), learnable.views())(X)
    copied = copy.deepcopy(wrapped)
    moved(learnable)
    assert_same_maps(copied(X), wanted)
    refused(ValueError, "image must end in the pixel size of these views", lambda: wrapped(X[..., 1:]))


def test_it_compiles_with_a_graph_break():
    torch.compiler.reset()
    wrapped = wrap(network(), views())
    assert_same_maps(torch.compile(wrapped, backend="aot_eager")(X), wrapped(X))
