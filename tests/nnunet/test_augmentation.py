"""Training samples of nnU-Net are seen through views: image and segmentation alike, padding as nnU-Net pads."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from spuproj import Views
from spuproj.nnunet import ViewTransform, make_views, nnUNetTrainerSPU
from spuproj.training.runtime.errors import InputError

SIZE = (40, 36)


def nearest(segmentation: torch.Tensor, views: Views, number: int) -> np.ndarray:
    """A view of a label map, by its coordinates: -1 where the view shows nothing of the slice."""
    y, x = (np.floor(part[number].numpy() + 0.5) for part in views.slice_coordinates())
    inside = (y >= 0) & (y < SIZE[0]) & (x >= 0) & (x < SIZE[1])
    found = np.full(y.shape, -1)
    found[inside] = segmentation.numpy()[y[inside].astype(int), x[inside].astype(int)]
    return found


@pytest.mark.parametrize("seed", range(4))
def test_image_and_segmentation_are_seen_through_the_same_view(seed):
    views = make_views(SIZE)
    transform = ViewTransform(views)
    row, column = torch.meshgrid(torch.arange(40), torch.arange(36), indexing="ij")
    segmentation = (row // 8 + column // 6).to(torch.int16)
    image = torch.stack([row + 1, column + 1]).float()
    torch.manual_seed(seed)
    sample = transform(image=image, segmentation=segmentation[None])
    shown = sample["segmentation"][0]
    (number,) = [each for each in range(len(views)) if np.array_equal(nearest(segmentation, views, each), shown)]
    assert sample["segmentation"].dtype == torch.int16
    # An image of its own coordinates shows where each pixel of the view comes from.
    y, x = (part[number] for part in views.slice_coordinates())
    inner = (y > 1) & (y < 38) & (x > 1) & (x < 34)
    torch.testing.assert_close(sample["image"][0][inner].double() - 1, y[inner], atol=1e-3, rtol=0)
    torch.testing.assert_close(sample["image"][1][inner].double() - 1, x[inner], atol=1e-3, rtol=0)


def test_what_lies_outside_the_slice_is_padding():
    far = Views.zoom(SIZE, centers=[(20, 18)], factor=0.5)
    sample = ViewTransform(far)(image=torch.ones(2, *SIZE), segmentation=torch.ones(1, *SIZE, dtype=torch.int16))
    assert sample["segmentation"].unique().tolist() == [-1, 1]
    assert sample["segmentation"][0, 0].unique().tolist() == [-1]
    assert sample["image"][:, 0].unique().tolist() == [0]


def test_padding_of_nnunet_stays_padding():
    segmentation = torch.zeros(1, *SIZE, dtype=torch.int16)
    segmentation[:, :, :18] = -1
    for number in range(9):
        views = make_views(SIZE)[number : number + 1]
        sample = ViewTransform(views)(image=torch.zeros(1, *SIZE), segmentation=segmentation)
        assert np.array_equal(sample["segmentation"][0], nearest(segmentation[0], views, 0))


def test_all_views_are_drawn():
    transform = ViewTransform(make_views(SIZE))
    image = torch.rand(1, *SIZE)
    drawn = {transform(image=image)["image"].sum().item() for _ in range(200)}
    assert len(drawn) == 9


def test_views_of_another_size_are_refused():
    with pytest.raises(ValueError, match=r"view_size must be the patch's size, \(40, 36\), got \(60, 54\)"):
        ViewTransform(Views.spherical(SIZE, grid=(3, 3), view_size=(60, 54)))


def transforms(patch, scales=None):
    return nnUNetTrainerSPU.get_training_transforms(patch, (-0.1, 0.1), scales, (0, 1), False)


def test_the_trainer_gives_every_scale_of_deep_supervision_the_same_view():
    scales = [[1.0, 1.0], [0.5, 0.5], [0.25, 0.25]]
    augment = transforms(SIZE, scales)
    row = torch.arange(60).div(15, rounding_mode="floor").to(torch.int16)
    sample = augment(image=torch.rand(2, 60, 54), segmentation=row[None, :, None].expand(1, 60, 54).clone())
    assert sample["image"].shape == (2, *SIZE)
    assert [tuple(each.shape) for each in sample["segmentation"]] == [(1, 40, 36), (1, 20, 18), (1, 10, 9)]
    full = sample["segmentation"][0].float()[None]
    for each in sample["segmentation"][1:]:
        smaller = torch.nn.functional.interpolate(full, each.shape[1:], mode="nearest-exact")[0]
        assert torch.equal(each.float(), smaller)
    # What is left of the padding is background, as nnU-Net's loss wants it.
    assert set(full.unique().tolist()) <= {0, 1, 2, 3}


def test_the_view_follows_nnunets_spatial_transform():
    names = [type(each).__name__ for each in transforms(SIZE).transforms]
    assert names[:2] == ["SpatialTransform", "ViewTransform"]
    assert len(names) == len(set(names)) + names.count("RandomTransform") - 1


def test_the_trainer_refuses_a_3d_configuration():
    with pytest.raises(InputError, match=r"nnUNetTrainerSPU must train a 2-D configuration, .* patches of 8 x 16 x 16"):
        transforms((8, 16, 16))


@pytest.mark.parametrize("size", [(192, 192), (192, 160), (128, 320)])
def test_most_of_a_slice_is_seen_at_scales_that_nnunet_trains_with(size):
    views = make_views(size)
    scale = views.magnification().sqrt()
    assert not scale.isnan().any()
    assert scale.max() < 1.3
    assert ((scale > 0.7) & (scale < 1.4)).double().mean() > 5 / 6
