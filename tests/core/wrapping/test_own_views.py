"""A wrapped network has views of its own, and weights that belong to them, whatever happens to those that it got."""

import copy

import pytest
import torch
from torch import nn

from spuproj import Views, wrap

IMAGE = torch.rand(1, 1, 32, 24, generator=torch.Generator().manual_seed(0))


def network():
    torch.manual_seed(0)
    return nn.Conv2d(1, 1, 3, padding=1).eval()


def rotations():
    return Views.rigid((32, 24), degrees=[-15, 0, 15], flips=["none", "horizontal"])


def windows():
    return Views.zoom((32, 24), grid=(3, 2))


def same(one, other):
    return all(torch.equal(a.nan_to_num(-1), b.nan_to_num(-1)) for a, b in zip(one[:5], other[:5], strict=True))


@pytest.mark.parametrize(
    "change",
    [
        lambda views: views.load_state_dict(windows().state_dict()),
        lambda views: views.geometry.copy_(windows().geometry),
        lambda views: views.to("meta"),
        lambda views: views.geometry.zero_(),
    ],
    ids=["load_state_dict", "copy_", "to", "zero_"],
)
def test_what_happens_to_the_views_that_were_given_changes_nothing(change):
    views = rotations()
    wrapped = wrap(network(), views)
    expected = wrapped(IMAGE)
    change(views)
    assert same(wrapped(IMAGE), expected)


def test_what_happens_to_the_wrapped_network_does_not_touch_the_views_that_were_given():
    views = rotations()
    wrapped = wrap(network(), views)
    wrapped.load_state_dict(wrap(network(), windows()).state_dict())
    wrapped.to("meta")
    assert torch.equal(views.geometry, rotations().geometry)


def test_a_loaded_state_brings_the_weights_of_its_views():
    wrapped, other = wrap(network(), rotations()), wrap(network(), windows())
    wrapped.load_state_dict(other.state_dict())
    assert same(wrapped(IMAGE), other(IMAGE))


def test_a_state_holds_what_the_network_and_the_views_have_and_no_weights_of_pixels():
    wrapped = wrap(network(), rotations())
    parts = {"model": network(), "look.views": rotations()}
    assert set(wrapped.state_dict()) == {
        f"{part}.{key}" for part, module in parts.items() for key in module.state_dict()
    }


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_weights_keep_their_digits_where_the_network_changes_its_dtype(dtype):
    image = IMAGE.to(dtype)
    expected = wrap(copy.deepcopy(network()).to(dtype), rotations())(image)
    assert same(wrap(network(), rotations()).to(dtype)(image), expected)
    back = wrap(network(), rotations()).to(dtype).float()(IMAGE)
    assert torch.equal(back.count, wrap(network(), rotations())(IMAGE).count)


def test_a_call_on_the_meta_device_leaves_the_views_where_they_are():
    wrapped = wrap(nn.Identity(), rotations())
    expected = wrapped(IMAGE)
    assert wrapped(torch.empty(1, 1, 32, 24, device="meta")).mean.shape == (1, 1, 32, 24)
    assert same(wrapped(IMAGE), expected)


def factory():
    return Views.factory("spherical", grid=(2, 2))


def inferer():
    pytest.importorskip("monai")
    from spuproj.monai import ViewsInferer

    infer = ViewsInferer(factory())
    return lambda image: infer(image, network())


def views_of_size():
    make = factory()
    return lambda image: make((32, 24)).reduce(make((32, 24)).project(image))


@pytest.mark.parametrize(
    "make",
    [
        lambda: wrap(network(), factory()),
        lambda: wrap(network(), factory()((32, 24))),
        inferer,
        views_of_size,
    ],
    ids=["wrap", "wrap of views", "inferer", "factory"],
)
def test_what_was_first_used_in_inference_mode_can_be_trained_through(make):
    used, fresh = make(), make()
    with torch.inference_mode():
        used(IMAGE)
    grads = []
    for each in (used, fresh):
        leaf = IMAGE.clone().requires_grad_()
        each(leaf)[0].sum().backward()
        grads.append(leaf.grad)
    assert torch.equal(*grads)
    assert grads[0].abs().sum() > 0


def test_a_state_loaded_in_inference_mode_can_be_trained_through():
    wrapped = wrap(network(), rotations())
    with torch.inference_mode():
        wrapped.load_state_dict(wrap(network(), windows()).state_dict())
    leaf = IMAGE.clone().requires_grad_()
    wrapped(leaf).mean.sum().backward()
    assert leaf.grad.abs().sum() > 0
