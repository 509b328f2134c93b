"""Images and stacks with and without batch and channels; volumes and other shapes are refused with advice."""

import re

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.testing import assert_close

from helpers import noise
from small_views import IMAGE, SIZE, VIEW_SIZE, four_views, per_sample
from spuproj import Views

VIEWS = four_views()


OWN = per_sample()


@pytest.mark.parametrize("views", [VIEWS, Views.rigid(SIZE, view_size=VIEW_SIZE)], ids=["four_views", "one_view"])
@pytest.mark.parametrize("kind", [lambda tensor: tensor, torch.Tensor.numpy], ids=["tensor", "array"])
@settings(max_examples=10, derandomize=True)
@given(batch=st.integers(1, 3), channels=st.integers(1, 3))
def test_every_rank_gives_the_part_of_the_full_result(views, kind, batch, channels):
    image = noise(batch, channels, *SIZE)
    full = views.project(image)
    assert full.shape == (batch, len(views), channels, *VIEW_SIZE)
    for given_image, wanted in ((image, full), (image[0], full[0]), (image[0, 0], full[0, :, 0])):
        np.testing.assert_array_equal(views.project(kind(given_image)), wanted)
    slices, moments = views.unproject(full), views.reduce(full)
    for at in ((), (0,), (0, slice(None), 0)):
        part = full[at]
        np.testing.assert_array_equal(views.unproject(kind(part)), slices[at])
        for result, whole in zip(views.reduce(kind(part)), moments, strict=True):
            np.testing.assert_array_equal(result, whole[at[:1] + (0,) * (len(at) == 3)])


@pytest.mark.parametrize("at", [(0,), (0, 0)], ids=["no_batch", "no_batch_no_channels"])
def test_gradients_of_lower_ranks_have_their_rank(at):
    image = IMAGE.clone().requires_grad_()
    part = IMAGE[at].clone().requires_grad_()
    VIEWS.project(image)[(0, slice(None), 0) if len(at) == 2 else at].square().sum().backward()
    VIEWS.project(part).square().sum().backward()
    assert part.grad.shape == part.shape
    assert_close(part.grad, image.grad[at])


@pytest.mark.parametrize("rank", [2, 3, 4])
def test_out_has_the_rank_of_the_result(rank):
    image = IMAGE[(0,) * (4 - rank)]
    wanted = VIEWS.project(image)
    out = torch.full_like(wanted, float("nan"))
    for _ in range(2):
        assert VIEWS.project(image, out=out) is out
        assert torch.equal(out, wanted)


@pytest.mark.parametrize("rank", [2, 3])
def test_the_wrong_rank_of_out_is_told_with_the_shape_that_was_given(rank):
    out = torch.empty(1, 4, 3, *VIEW_SIZE)
    with pytest.raises(ValueError, match=re.escape("out must")) as caught:
        VIEWS.project(IMAGE[(0,) * (4 - rank)], out=out)
    assert str(tuple(out.shape)) in str(caught.value)


def test_per_sample_views_of_one_sample_take_an_image_without_batch():
    own = OWN.pick([0, 0])
    one = Views.from_table(own.geometry[:1], SIZE, VIEW_SIZE)
    assert torch.equal(one.project(IMAGE[0]), one.project(IMAGE[:1])[0])
    with pytest.raises(ValueError, match="geometry must have one entry per sample of image, 1, got 2"):
        own.project(IMAGE[0])


@pytest.mark.parametrize("shape", [(0, 3), (2, 0), (0,)], ids=str)
@pytest.mark.parametrize("kind", [torch.zeros, np.zeros])
def test_empty_images_and_stacks_give_results_of_the_right_shape(shape, kind):
    *batch, channels = shape
    kwargs = {"dtype": torch.float32} if kind is torch.zeros else {"dtype": "float32"}
    result = VIEWS.project(kind((*shape, *SIZE), **kwargs), fill=3)
    assert tuple(result.shape) == (*batch, 4, channels, *VIEW_SIZE)
    mean, _, count = VIEWS.reduce(kind((*batch, 4, channels, *VIEW_SIZE), **kwargs))
    assert tuple(mean.shape) == tuple(count.shape) == (*batch, channels, *SIZE)


@pytest.mark.parametrize("shape", [(), (16,), (1, 1, 1, *SIZE)], ids=str)
@pytest.mark.parametrize("kind", [torch.zeros, np.zeros])
def test_other_ranks_of_images_are_refused_with_the_ones_that_go(shape, kind):
    with pytest.raises(ValueError, match=re.escape("[H, W] or [C, H, W] or [B, C, H, W], got the shape")):
        VIEWS.project(kind(shape))


@pytest.mark.parametrize("method", ["unproject", "reduce"])
@pytest.mark.parametrize("shape", [VIEW_SIZE, (1, 1, 4, 3, *VIEW_SIZE)], ids=str)
@pytest.mark.parametrize("kind", [torch.zeros, np.zeros])
def test_other_ranks_of_stacks_are_refused_with_the_ones_that_go(method, shape, kind):
    message = f"stack must have the axes [N, h, w] or [N, C, h, w] or [B, N, C, h, w], got the shape {shape}"
    with pytest.raises(ValueError, match=re.escape(message)):
        getattr(VIEWS, method)(kind(shape))


@pytest.mark.parametrize("shape", [(3, *SIZE, 5), (*SIZE, 5), (2, 3, *SIZE, 5), (1, *SIZE, 16)], ids=str)
@pytest.mark.parametrize("kind", [torch.zeros, np.zeros], ids=["tensor", "array"])
def test_a_volume_is_refused_with_advice(shape, kind):
    with pytest.raises(ValueError, match=r"volume.*image\.movedim\(-1, 0\)") as caught:
        VIEWS.project(kind(shape))
    assert str(shape) in str(caught.value)


def test_what_the_message_about_volumes_advises_works():
    volume = noise(3, *SIZE, 5)
    stack = VIEWS.project(volume.movedim(-1, 0))
    assert stack.shape == (5, 4, 3, *VIEW_SIZE)
    for d in range(5):
        assert torch.equal(stack[d], VIEWS.project(volume[..., d]))
    with pytest.raises(ValueError, match=r"volume.*stack\.movedim\(-1, 0\)"):
        VIEWS.reduce(stack.movedim(0, -1))
