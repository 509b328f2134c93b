"""RandViewd in MONAI's pipelines: what it shows, how it is inverted, and where it runs."""

import math
import pickle
import warnings
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from monai.data import CacheDataset, DataLoader, Dataset, MetaTensor, ThreadDataLoader, decollate_batch, set_track_meta
from monai.transforms import Compose, Flipd, Invertd, Orientationd, RandAffined, RandFlipd
from torch.testing import assert_close

from helpers import noise, refused
from small_views import four_views
from spuproj import Views
from spuproj.monai import RandViewd

SIZE = (12, 16)
VIEWS = Views.spherical(SIZE, grid=(2, 2), radius=8.0)
KEYS = ["image", "label"]
MODES = ["bilinear", "nearest"]
AFFINE = torch.tensor([[-2.0, 0, 0, 9], [0, -3, 0, 7], [0, 0, 4, 5], [0, 0, 0, 1]], dtype=torch.float64)
seeds = st.integers(0, 2**32 - 1)


def sample(*shape: int, seed: int = 0) -> dict[str, MetaTensor]:
    """An image and labels of a spatial shape, with an affine and a file's name."""
    image = noise(2, *shape, seed=seed)
    label = (noise(1, *shape, seed=seed + 1) > 0).to(torch.uint8) * 3
    return {
        key: MetaTensor(data, affine=AFFINE, meta={"filename_or_obj": "patient.nii.gz"})
        for key, data in (("image", image), ("label", label))
    }


def view_drawn(data: dict[str, MetaTensor], key: str = "image") -> int:
    return int(data[key].applied_operations[-1]["extra_info"]["view"])


def plain(data: MetaTensor) -> torch.Tensor:
    return data.as_subclass(torch.Tensor)


@given(seeds)
def test_image_and_label_are_shown_through_the_same_view(seed):
    data = sample(*SIZE)
    shown = RandViewd(KEYS, VIEWS, 1.0, MODES, [-1.0, 7]).set_random_state(seed)(data)
    view = VIEWS[view_drawn(shown)]
    assert view_drawn(shown, "label") == view_drawn(shown)
    assert torch.equal(plain(shown["image"]), view.project(plain(data["image"]), fill=-1.0)[0])
    labels = view.project(plain(data["label"]), interpolation="nearest", fill=7)[0]
    assert shown["label"].dtype == torch.uint8
    assert torch.equal(plain(shown["label"]), labels)


@given(seeds)
def test_the_same_seed_gives_the_same_views(seed):
    transform = RandViewd(KEYS, VIEWS, prob=0.5, mode=MODES)

    def series() -> list[torch.Tensor]:
        transform.set_random_state(seed)
        return [plain(transform(sample(*SIZE))["image"]) for _ in range(4)]

    assert all(torch.equal(first, second) for first, second in zip(series(), series(), strict=True))


def test_every_view_is_drawn_about_equally_often_and_only_as_often_as_asked_for():
    transform = RandViewd("label", VIEWS, prob=0.25, mode="nearest").set_random_state(0)
    drawn = [transform({"label": sample(*SIZE)["label"]}) for _ in range(800)]
    shown = [view_drawn(each, "label") for each in drawn if each["label"].applied_operations[-1]["do_transforms"]]
    assert abs(len(shown) - 200) < 50
    assert all(abs(count - 50) < 25 for count in np.bincount(shown, minlength=4))


def test_without_a_view_the_data_stays_as_it_is():
    data = sample(*SIZE)
    shown = RandViewd(KEYS, VIEWS, prob=0.0)(data)
    for key in KEYS:
        assert torch.equal(plain(shown[key]), plain(data[key]))


@given(seeds)
def test_the_inverse_maps_each_pixel_back_and_restores_the_affine(seed):
    pipeline = Compose([RandViewd(KEYS, VIEWS, 1.0, MODES)]).set_random_state(seed)
    data = sample(*SIZE)
    shown = pipeline(data)
    view = VIEWS[view_drawn(shown)]
    back = pipeline.inverse(shown)
    assert torch.equal(plain(back["image"]), view.unproject(plain(shown["image"])[None])[0])
    assert torch.equal(plain(back["label"]), view.unproject(plain(shown["label"])[None], interpolation="nearest")[0])
    for key in KEYS:
        assert back[key].dtype == data[key].dtype
        assert torch.equal(back[key].affine, AFFINE)
        assert back[key].meta["filename_or_obj"] == "patient.nii.gz"
        assert back[key].applied_operations == []


def test_rotations_by_a_right_angle_come_back_without_loss():
    data = sample(12, 12)
    pipeline = Compose([RandViewd(KEYS, Views.rigid((12, 12), degrees=[90, 180, 270]), 1.0, MODES)])
    back = pipeline.inverse(pipeline(data))
    for key in KEYS:
        assert_close(plain(back[key]), plain(data[key]))


@pytest.mark.parametrize("nearest", [True, False])
def test_invertd_maps_a_prediction_back(nearest):
    pipeline = Compose([RandViewd(KEYS, four_views(), 1.0, MODES)])
    shown = pipeline(sample(*SIZE))
    prediction = noise(3, *four_views().view_size)
    back = Invertd("pred", pipeline, orig_keys="image", nearest_interp=nearest)
    inverted = back({**shown, "pred": MetaTensor(prediction)})
    wanted = four_views()[view_drawn(shown)].unproject(
        prediction[None], interpolation="nearest" if nearest else "bilinear"
    )
    assert torch.equal(plain(inverted["pred"]), wanted[0])
    assert torch.equal(inverted["pred"].affine, AFFINE)


def test_the_inverse_in_a_pipeline_with_other_random_transforms():
    square = Views.rigid((16, 16), degrees=[90, 180, 270])
    pipeline = Compose(
        [
            Orientationd(KEYS, axcodes="PLS", labels=None),
            RandFlipd(KEYS, prob=1.0, spatial_axis=1),
            RandViewd(KEYS, square, 1.0, MODES, spatial_dim=2),
            RandFlipd(KEYS, prob=1.0, spatial_axis=0),
        ]
    ).set_random_state(3)
    data = sample(16, 16, 5)
    back = pipeline.inverse(pipeline(data))
    for key in KEYS:
        assert_close(plain(back[key]), plain(data[key]))
        assert_close(back[key].affine, AFFINE)


@pytest.mark.parametrize("spatial_dim", [0, 1, 2])
def test_all_slices_of_a_volume_are_shown_through_the_same_view(spatial_dim):
    shape = [*SIZE]
    shape.insert(spatial_dim, 5)
    data = sample(*shape)
    pipeline = Compose([RandViewd(KEYS, four_views(), 1.0, MODES, spatial_dim=spatial_dim)])
    shown = pipeline(data)
    view, axis = four_views()[view_drawn(shown)], spatial_dim + 1
    for number in range(5):
        slice_shown = view.project(plain(data["image"]).select(axis, number))[0]
        assert torch.equal(plain(shown["image"]).select(axis, number), slice_shown)
    back = plain(pipeline.inverse(shown)["image"])
    assert back.shape == data["image"].shape
    assert torch.equal(back.select(axis, 4), view.unproject(slice_shown[None])[0])


@pytest.mark.parametrize(
    ("shape", "spatial_dim", "remedy"),
    [((12, 16, 5), None, "spatial_dim=2"), ((12, 16), 2, "leave spatial_dim out"), ((16,), None, "channel first")],
)
def test_data_with_another_number_of_axes_is_refused(shape, spatial_dim, remedy):
    with pytest.raises(ValueError, match=remedy):
        RandViewd("image", VIEWS, 1.0, spatial_dim=spatial_dim)({"image": noise(2, *shape)})


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"spatial_dim": 3}, "spatial_dim must be 0, 1, 2 or None, got 3"),
        ({"mode": "bicubic"}, "mode must be one of bilinear, nearest, got 'bicubic'"),
        ({"views": VIEWS.pick([0, 1])}, "views must be the same for all samples, got a batch of 2"),
    ],
)
def test_bad_arguments_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        RandViewd("image", **{"views": VIEWS, **arguments})


def test_labels_are_not_interpolated_by_mistake():
    with pytest.raises(TypeError, match="nearest"):
        RandViewd(KEYS, VIEWS, 1.0)(sample(*SIZE))


@pytest.mark.parametrize("make", [Views.factory("spherical", grid=(1, 2)), partial(Views.spherical, grid=(1, 2))])
def test_views_are_made_for_the_size_that_comes(make):
    pipeline = Compose([RandViewd("image", pickle.loads(pickle.dumps(make)), 1.0)])
    for size in ((12, 16), (9, 7)):
        data = {"image": sample(*size)["image"]}
        shown = pipeline(data)
        view = Views.spherical(size, grid=(1, 2))[view_drawn(shown)]
        assert torch.equal(plain(shown["image"]), view.project(plain(data["image"]))[0])
        assert torch.equal(plain(pipeline.inverse(shown)["image"]), view.unproject(plain(shown["image"])[None])[0])


def test_missing_keys_are_skipped_only_where_they_may_be_missing():
    data = {"image": noise(1, *SIZE)}
    assert set(RandViewd(KEYS, VIEWS, 1.0, MODES, allow_missing_keys=True)(data)) == {"image"}
    assert RandViewd("other", VIEWS, 1.0, allow_missing_keys=True)(data) == data
    with pytest.raises(KeyError, match="label"):
        RandViewd(KEYS, VIEWS, 1.0, MODES)(data)


def test_arrays_and_untracked_tensors_are_taken():
    image = noise(1, *SIZE)
    wanted = plain(RandViewd("image", VIEWS, 1.0).set_random_state(1)({"image": image})["image"])
    array = RandViewd("image", VIEWS, 1.0).set_random_state(1)({"image": image.numpy()})["image"]
    assert torch.equal(plain(array), wanted)
    set_track_meta(False)
    try:
        untracked = RandViewd("image", VIEWS, 1.0).set_random_state(1)({"image": image})["image"]
    finally:
        set_track_meta(True)
    assert type(untracked) is torch.Tensor
    assert torch.equal(untracked, wanted)


def inverted_batches(loader, pipeline: Compose) -> list[dict[Any, Any]]:
    """What comes out of a loader, with a prediction that is the image seen, mapped back."""
    back = Invertd("pred", pipeline, orig_keys="image", nearest_interp=False)
    batches = [{**batch, "pred": batch["image"] * 1} for batch in loader]
    return [back(each) for batch in batches for each in decollate_batch(batch)]


@pytest.mark.parametrize("kind", ["workers", "threads", "cache"])
def test_samples_from_loaders_are_inverted(kind):
    pipeline = Compose([Flipd(KEYS, spatial_axis=[0, 1]), RandViewd(KEYS, VIEWS, 1.0, MODES)])
    data = [sample(*SIZE, seed=seed) for seed in range(4)]
    dataset = CacheDataset(data, pipeline, progress=False) if kind == "cache" else Dataset(data, pipeline)
    with warnings.catch_warnings():
        # Workers are started by "fork" in a process that has threads.
        warnings.simplefilter("ignore", DeprecationWarning)
        if kind == "threads":
            found = inverted_batches(ThreadDataLoader(dataset, batch_size=2, num_workers=0), pipeline)
        else:
            workers = 2 if kind == "workers" else 0
            found = inverted_batches(DataLoader(dataset, batch_size=2, num_workers=workers), pipeline)
    for each, given_sample in zip(found, data, strict=True):
        view = VIEWS[view_drawn(each)]
        wanted = view.unproject(view.project(plain(given_sample["image"]).flip(-1, -2)))[0].flip(-1, -2)
        assert_close(plain(each["pred"]), wanted)
        assert_close(each["pred"].affine, AFFINE)


def test_it_is_pickled_with_its_state():
    transform = RandViewd(KEYS, VIEWS, 1.0, MODES).set_random_state(5)
    other = pickle.loads(pickle.dumps(transform))
    for key in KEYS:
        assert torch.equal(plain(transform(sample(*SIZE))[key]), plain(other(sample(*SIZE))[key]))


def test_pending_transforms_of_a_lazy_pipeline_are_applied_before_the_view():
    pipeline = Compose([RandFlipd("image", prob=1.0, spatial_axis=1), RandViewd("image", VIEWS, 1.0)], lazy=True)
    data = {"image": sample(*SIZE)["image"]}
    shown = pipeline(data)
    assert_close(plain(shown["image"]), VIEWS[view_drawn(shown)].project(plain(data["image"]).flip(-1))[0])


def test_an_affine_transform_before_it_is_kept_at_inversion():
    pipeline = Compose([RandAffined("image", prob=1.0, rotate_range=0.3), RandViewd("image", VIEWS, 1.0)])
    shown = pipeline.set_random_state(2)({"image": sample(*SIZE)["image"]})
    assert not torch.allclose(shown["image"].affine, AFFINE)
    assert_close(pipeline.inverse(shown)["image"].affine, AFFINE)


MADE: Any = RandViewd
ANY = Views.rigid((8, 8))
WRONG = {
    "no views": (lambda: MADE(KEYS, None), TypeError, "views must be Views, or a function of the size"),
    "the class": (lambda: MADE(KEYS, Views), TypeError, "views must be Views, or a function of the size"),
    "a list": (lambda: MADE(KEYS, [ANY]), TypeError, "views must be Views, or a function of the"),
    "portable": (lambda: MADE(KEYS, ANY.portable()), TypeError, "views must be Views, or a"),
    "prob": (lambda: MADE(KEYS, ANY, 1.5), ValueError, "prob must lie in [0, 1], got 1.5"),
    "prob NaN": (
        lambda: MADE(KEYS, ANY, math.nan),
        ValueError,
        "prob must lie in [0, 1], got nan",
    ),
    "prob text": (lambda: MADE(KEYS, ANY, "a"), TypeError, "prob must be a number, got 'a'"),
    "modes": (
        lambda: MADE(KEYS, ANY, mode=["nearest"] * 3),
        ValueError,
        "mode must be one for all keys or one for each",
    ),
    "fills": (
        lambda: MADE(KEYS, ANY, fill=[0, 1, 2]),
        ValueError,
        "fill must be one for all keys or one for each",
    ),
    "fill": (lambda: MADE(KEYS, ANY, fill="a"), TypeError, "fill must be a number, got 'a'"),
    "axis": (lambda: MADE(KEYS, ANY, spatial_dim=True), ValueError, "spatial_dim must be 0, 1, 2"),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_arguments_are_refused_when_it_is_made(case):
    call, kind, words = WRONG[case]
    refused(kind, words, call)
