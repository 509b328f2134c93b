"""``wrap`` under the transforms of ``torch.func``: vmap over slices, and over the weights of an ensemble."""

import copy

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from helpers import noise
from spuproj import Views, wrap

SIZE = (20, 26)
VIEWS = Views.zoom(SIZE, centers=[(5, 5), (6, 12), (9, 11)], factor=1.3)
X = noise(3, 2, 2, *SIZE)


def network():
    return nn.Sequential(nn.Conv2d(2, 3, 3, padding=1), nn.Sigmoid())


@pytest.mark.parametrize(
    "views", [VIEWS, VIEWS.portable(), Views.factory("rigid", degrees=[0, 20])], ids=["views", "portable", "factory"]
)
@pytest.mark.parametrize("chunk", [None, 4])
def test_vmap_gives_the_maps_of_each_batch(views, chunk):
    wrapped = wrap(network(), views, None, chunk=chunk)
    found = torch.vmap(lambda batch: wrapped(batch)[:5])(X)
    for each, wanted in zip(found, wrapped(X.flatten(0, 1)), strict=False):
        assert_close(each.flatten(0, 1), wanted, rtol=0, atol=1e-6, equal_nan=True)


def test_with_members_vmap_gives_a_whole_prediction():
    wrapped = wrap(network(), VIEWS, None, members=True)
    found, wanted = torch.vmap(wrapped)(X), wrapped(X.flatten(0, 1))
    assert_close(found.members.flatten(0, 1), wanted.members, rtol=0, atol=1e-6, equal_nan=True)


def test_vmap_over_the_weights_of_an_ensemble_gives_the_maps_of_each_network():
    networks = [network() for _ in range(2)]
    models = [wrap(each, VIEWS, None, members=True) for each in networks]
    with torch.no_grad():
        networks[1][0].bias += 1
    state = torch.func.stack_module_state(models)
    base = copy.deepcopy(models[0])
    found = torch.vmap(lambda *state: torch.func.functional_call(base, state, (X[0],)))(*state)
    for number, model in enumerate(models):
        assert_close(found.mean[number], model(X[0]).mean)
