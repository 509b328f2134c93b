"""ViewsInferer with MONAI's inferers, against what is computed view by view and slice by slice."""

from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from monai.data import DataLoader, Dataset, MetaTensor, decollate_batch
from monai.inferers import SimpleInferer, SliceInferer, SlidingWindowInferer, sliding_window_inference
from monai.transforms import Compose, Invertd, LoadImaged, Orientationd, ResizeWithPadOrCropd, SaveImaged
from torch import Tensor, nn
from torch.testing import assert_close

from helpers import noise, refused
from small_views import IMAGE, SIZE, four_views
from spuproj import Views
from spuproj.monai import ViewsInferer
from spuproj.wrapping import blending_weights

MAPS = ("mean", "variance", "entropy", "mutual_information", "count")
AFFINE = torch.tensor([[-2.0, 0, 0, 9], [0, -3, 0, 7], [0, 0, 4, 5], [0, 0, 0, 1]], dtype=torch.float64)
FACTORY = Views.factory("spherical", grid=(2, 2))
ALONG_Z = SliceInferer(roi_size=(-1, -1), spatial_dim=2, sw_batch_size=3)


class Network(nn.Module):
    """A convolution that also looks at the mean of what it is given, so that the window matters; records its inputs."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.convolution = nn.Conv2d(3, 2, 3, padding=1)
        self.seen: list[Tensor] = []

    def forward(self, x: Tensor, factor: float = 1.0) -> Tensor:
        self.seen.append(x)
        found: Tensor = factor * self.convolution(x) + x.mean(dim=(1, 2, 3), keepdim=True)
        return found


def by_hand(views: Views, image: Tensor, predict) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Weighted mean and variance over views one by one, the sum of weights, and each view's probability."""
    weights = blending_weights(views).double()
    members = []
    for number in range(len(views)):
        view = views[number]
        probability = torch.sigmoid(predict(view.project(image)[:, 0]))
        members.append(view.unproject(probability[:, None])[:, 0].double())
    found, weights = torch.stack(members, dim=1), weights[None, :, None]
    count = weights.sum(1).expand_as(found[:, 0])
    mean = (weights * found).sum(1) / count
    variance = (weights * (found - mean[:, None]) ** 2).sum(1) / count
    return mean.nan_to_num(), torch.where(count < 2, torch.nan, variance), count, found


def check(prediction, wanted) -> None:
    mean, variance, count, _ = wanted
    assert_close(prediction.mean.double(), mean, rtol=0, atol=1e-6)
    assert_close(prediction.variance.double(), variance, rtol=0, atol=1e-6, equal_nan=True)
    assert_close(prediction.count.double(), count, rtol=0, atol=1e-5)


@given(st.integers(0, 2**16))
def test_the_maps_are_those_computed_view_by_view(seed):
    network, image = Network(), noise(2, 3, *SIZE, seed=seed)
    with torch.inference_mode():
        check(ViewsInferer(four_views())(image, network), by_hand(four_views(), image, network))


@pytest.mark.parametrize("mode", ["constant", "gaussian"])
def test_windows_slide_over_the_views(mode):
    network = Network()
    settings = {"roi_size": (8, 8), "sw_batch_size": 3, "overlap": 0.5, "mode": mode}

    def predict(view):
        return sliding_window_inference(view, predictor=network, **settings)

    with torch.inference_mode():
        prediction = ViewsInferer(four_views(), SlidingWindowInferer(**settings))(IMAGE, network)
        check(prediction, by_hand(four_views(), IMAGE, predict))
        whole = ViewsInferer(four_views())(IMAGE, network)
    assert not torch.allclose(prediction.mean, whole.mean)


def test_further_arguments_reach_the_network():
    network = Network()
    with torch.inference_mode():
        wanted = by_hand(four_views(), IMAGE, lambda view: network(view, factor=3.0))
        check(ViewsInferer(four_views())(IMAGE, network, factor=3.0), wanted)
        check(ViewsInferer(four_views(), SimpleInferer())(IMAGE, network, 3.0), wanted)


def test_one_inferer_serves_several_networks():
    inferer, first, second = ViewsInferer(four_views()), Network(), nn.Conv2d(3, 1, 1)
    with torch.inference_mode():
        check(inferer(IMAGE, first), by_hand(four_views(), IMAGE, first))
        check(inferer(IMAGE, second), by_hand(four_views(), IMAGE, second))


def test_activation_output_chunk_and_members_are_those_of_wrap():
    network = Network()
    inferer = ViewsInferer(four_views(), None, lambda x: torch.sigmoid(x), "out", 3, True)
    with torch.inference_mode():
        prediction = inferer(IMAGE, lambda views: {"other": views, "out": network(views)})
        wanted = by_hand(four_views(), IMAGE, Network())
    assert max(len(each) for each in network.seen) == 3
    mean, _, _, members = wanted
    assert_close(prediction.mean.double(), mean, rtol=0, atol=1e-6)
    shown = ~torch.isnan(four_views().view_coordinates()[0])[None, :, None].expand_as(members)
    assert_close(prediction.members.double()[shown], members[shown], rtol=0, atol=1e-6)


def test_gradients_reach_the_network_and_the_input():
    network, image = Network(), MetaTensor(IMAGE.clone()).requires_grad_()
    ViewsInferer(four_views())(image, network).mean.sum().backward()
    assert network.convolution.weight.grad.abs().sum() > 0
    assert image.grad.abs().sum() > 0


def test_maps_keep_the_affine_and_the_network_sees_plain_tensors():
    network = Network()
    image = MetaTensor(IMAGE.clone(), affine=AFFINE, meta={"filename_or_obj": "patient.nii.gz"})
    with torch.inference_mode():
        prediction = ViewsInferer(four_views(), members=True)(image, network)
    assert {type(seen) for seen in network.seen} == {Tensor}
    for name in MAPS:
        found = getattr(prediction, name)
        assert isinstance(found, MetaTensor)
        assert torch.equal(found.affine, AFFINE)
        assert found.meta["filename_or_obj"] == "patient.nii.gz"
    assert type(prediction.members) is Tensor


@pytest.mark.parametrize("spatial_dim", [0, 1, 2])
def test_a_volume_is_predicted_slice_by_slice(spatial_dim):
    volume = MetaTensor(noise(2, 3, 9, 11, 13), affine=AFFINE)
    slices = SliceInferer(roi_size=(-1, -1), spatial_dim=spatial_dim, sw_batch_size=4)
    network = Network()
    alone = ViewsInferer(FACTORY, members=True)
    with torch.inference_mode():
        prediction = ViewsInferer(FACTORY, members=True, slice_inferer=slices)(volume, network)
        for number in range(volume.shape[2 + spatial_dim]):
            wanted = alone(volume.as_subclass(Tensor).select(2 + spatial_dim, number), network)
            for name in MAPS:
                found = getattr(prediction, name).as_subclass(Tensor).select(2 + spatial_dim, number)
                assert_close(found, getattr(wanted, name), equal_nan=True)
            assert_close(prediction.members.select(3 + spatial_dim, number), wanted.members, equal_nan=True)
    assert prediction.variance.shape == (2, 2, 9, 11, 13)
    assert prediction.members.shape == (2, 4, 2, 9, 11, 13)
    assert all(torch.equal(getattr(prediction, name).affine, AFFINE) for name in MAPS)


def test_where_fewer_than_two_views_look_a_volume_has_no_variance_either():
    views = Views.zoom((9, 11), centers=[(2, 2), (6, 8)])
    volume = noise(1, 3, 9, 11, 4)
    with torch.inference_mode():
        prediction = ViewsInferer(views, slice_inferer=ALONG_Z)(volume, Network())
    unknown = prediction.count < 2
    assert unknown.any()
    assert torch.equal(prediction.variance.isnan(), unknown)


def test_a_volume_without_a_slice_inferer_is_refused():
    with pytest.raises(ValueError, match=r"slice_inferer=SliceInferer\(roi_size=\(-1, -1\), spatial_dim=2\)"):
        ViewsInferer(FACTORY)(noise(1, 3, 9, 11, 13), Network())


# LoadImage registers a reader that says so where pydicom is installed without a GPU.
@pytest.mark.filterwarnings("ignore:NvImgCodecPydicomReader:UserWarning")
def test_a_pipeline_from_file_to_file(tmp_path: Path):
    """Reoriented and padded, predicted, inverted and saved: the maps lie on the grid of the file."""
    voxels = noise(9, 11, 5).numpy()
    affine = np.array([[-2.0, 0, 0, 9], [0, 0, 3, 7], [0, 4, 0, 5], [0, 0, 0, 1]])  # its second axis runs up
    nib.save(nib.Nifti1Image(voxels, affine), tmp_path / "patient.nii.gz")
    pre = Compose(
        [
            LoadImaged("image", ensure_channel_first=True),
            Orientationd("image", axcodes="PLS", labels=None),
            ResizeWithPadOrCropd("image", (8, 12, 11)),
        ]
    )
    network = nn.Conv2d(1, 1, 3, padding=1)
    inferer = ViewsInferer(FACTORY, slice_inferer=ALONG_Z)
    post = Compose(
        [
            Invertd(["mean", "variance"], pre, orig_keys="image", nearest_interp=False),
            SaveImaged("mean", output_dir=tmp_path, output_postfix="mean", separate_folder=False, print_log=False),
            SaveImaged("variance", output_dir=tmp_path, output_postfix="var", separate_folder=False, print_log=False),
        ]
    )
    with torch.inference_mode():
        for batch in DataLoader(Dataset([{"image": tmp_path / "patient.nii.gz"}], pre), batch_size=1):
            prediction = inferer(batch["image"], network)
            for each in decollate_batch({**batch, "mean": prediction.mean, "variance": prediction.variance}):
                post(each)
        upright = torch.from_numpy(voxels).permute(2, 0, 1).flip(0)  # [P, L, S]
        padded = nn.functional.pad(upright, (0, 0, 1, 2, 1, 2))
        wanted = ViewsInferer(FACTORY)(padded.permute(2, 0, 1)[:, None], network)
    for name, values in (("mean", wanted.mean), ("var", wanted.variance)):
        saved = nib.Nifti1Image.from_filename(tmp_path / f"patient_{name}.nii.gz")
        assert np.allclose(saved.affine, affine)
        back = values[:, 0].permute(1, 2, 0)[1:6, 1:10].flip(0).permute(1, 2, 0)
        assert_close(torch.from_numpy(saved.get_fdata(dtype=np.float32)), back, equal_nan=True)


@pytest.mark.parametrize("roi", [(10, 10), (-1, 12), (100, 100), (SIZE[0], -1), SIZE])
def test_windows_of_slices_are_refused_and_whole_slices_are_not(roi):
    volume = noise(1, 2, *SIZE, 3)
    inferer = ViewsInferer(Views.factory("zoom", grid=(2, 2)), slice_inferer=SliceInferer(roi_size=roi, spatial_dim=2))
    network = nn.Conv2d(2, 1, 1)
    if roi in ((SIZE[0], -1), SIZE):
        assert inferer(volume, network).mean.shape == (1, 1, *SIZE, 3)
    else:
        refused(ValueError, "slice_inferer must take whole slices, here", lambda: inferer(volume, network))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_maps_of_a_volume_in_half_precision_are_float32_as_those_of_its_slices(dtype):
    volume = noise(1, 2, *SIZE, 3).to(dtype)
    network = nn.Conv2d(2, 1, 1).to(dtype)
    views = Views.rigid(SIZE, degrees=[-10, 0, 10])
    found = ViewsInferer(views, slice_inferer=SliceInferer(roi_size=(-1, -1), spatial_dim=2))(volume, network)
    wanted = ViewsInferer(views)(volume[..., 1], network)
    assert found.variance.dtype == torch.float32
    assert_close(found.variance[..., 1], wanted.variance, rtol=0, atol=0, equal_nan=True)


ANY = Views.rigid(SIZE)
SLICES = SliceInferer(roi_size=(-1, -1), spatial_dim=2)
MADE: Any = ViewsInferer
WRONG = {
    "inferer": (lambda: MADE(ANY, "sliding"), TypeError, "inferer must be an inferer of MONAI"),
    "inferer's class": (lambda: MADE(ANY, SimpleInferer), TypeError, "inferer must be an inferer of MONAI"),
    "swapped": (lambda: MADE(ANY, SLICES), TypeError, "inferer must not be a SliceInferer, which goes to"),
    "slice_inferer": (lambda: MADE(ANY, slice_inferer=SimpleInferer()), TypeError, "must be a SliceInferer"),
    "array": (lambda: MADE(ANY)(np.ones((1, 2, *SIZE)), nn.Identity()), TypeError, "inputs must be a torch"),
    "axes": (lambda: MADE(ANY)(noise(2, *SIZE), nn.Identity()), ValueError, "inputs must have the axes [B, C,"),
    "six axes": (lambda: MADE(ANY)(noise(1, 1, 1, 2, 3, 4), nn.Identity()), ValueError, "must have the axes"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_is_no_inferer_or_input_is_refused_in_words(case):
    call, kind, words = WRONG[case]
    refused(kind, words, call)
