"""The error of projecting a real slice and bringing its views back."""

import pytest
import torch
from nilearn.datasets import load_mni152_template

from spuproj import Views


@pytest.fixture(scope="module")
def brain():
    """The middle axial slice of the MNI152 T1 template, in the middle of 240 x 240 pixels."""
    voxels = torch.from_numpy(load_mni152_template(resolution=1).get_fdata(dtype="float32"))
    plane = voxels[:, :, voxels.shape[2] // 2]
    image = torch.zeros(1, 1, 240, 240)
    top, left = (240 - plane.shape[0]) // 2, (240 - plane.shape[1]) // 2
    image[0, 0, top : top + plane.shape[0], left : left + plane.shape[1]] = plane
    return image


def relative_error(brain, back):
    return ((back - brain).square().mean().sqrt() / brain.std()).item()


def spherical_round_trip(brain, **options):
    views = Views.spherical((240, 240), grid=(3, 3), **options)
    mean, _, count = views.reduce(views.project(brain))
    assert (count == 9).all()
    return relative_error(brain, mean)


def test_nine_spherical_views_give_the_slice_back(brain):
    error = spherical_round_trip(brain)
    print(f"round trip through 3 x 3 spherical views: RMS error {error:.4f} of the slice's standard deviation")
    assert error < 0.06


def test_a_finer_view_gives_more_of_the_slice_back(brain):
    same, double = spherical_round_trip(brain), spherical_round_trip(brain, view_size=(480, 480))
    print(f"RMS error {same:.4f} on 240 x 240 view pixels, {double:.4f} on 480 x 480")
    assert double < 0.7 * same


def test_a_smaller_sphere_keeps_its_centre_better_and_the_rest_worse(brain):
    center, far = (slice(110, 130), slice(110, 130)), (slice(30, 210), slice(30, 60))
    errors = []
    for radius in (240, 120, 60, 30):
        views = Views.spherical((240, 240), [(119.5, 119.5)], radius=radius)
        back = views.unproject(views.project(brain))[:, 0]
        errors.append([relative_error(brain[..., y, x], back[..., y, x]) for y, x in (center, far)])
        print(f"radius {radius}: RMS error {errors[-1][0]:.4f} about the centre, {errors[-1][1]:.4f} at the margin")
    about_centre, at_margin = zip(*errors, strict=True)
    assert list(about_centre) == sorted(about_centre, reverse=True)
    assert list(at_margin) == sorted(at_margin)


def test_a_zoom_by_two_onto_the_pixels_of_the_slice_loses_nothing_it_shows(brain):
    views = Views.zoom((240, 240), [(120, 120), (80, 150)], factor=2.0, view_size=(241, 241))
    back = views.unproject(views.project(brain))
    shown = ~torch.isnan(views.view_coordinates()[0])
    assert shown.sum(dim=(1, 2)).tolist() == [121 * 121] * 2
    error = (back[0, :, 0] - brain[0, 0])[shown].abs().max().item()
    print(f"zoom by 2 and back: largest error {error:.1e}")
    assert error < 1e-6
