"""The figure of views: what is drawn where, for every kind of image and of views."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from matplotlib.contour import QuadContourSet
from matplotlib.figure import Figure

from helpers import error_cases, noise, refused
from processes.forked import run_forked
from spuproj import Views
from spuproj.plotting.figure import grey_range, pole_points

SIZE = (20, 24)
VIEWS = Views.spherical(SIZE, grid=(2, 2), view_size=(24, 26))


def drawn(figure: Figure) -> dict[str, np.ndarray]:
    """The pixels under each title, NaN where none are shown."""
    return {
        axis.get_title(): np.ma.filled(axis.get_images()[0].get_array().astype(float), np.nan)
        for axis in figure.axes
        if axis.get_images()
    }


def numbers(figure: Figure) -> dict[str, tuple[float, float]]:
    """The texts on the slice with their (y, x)."""
    return {text.get_text(): text.get_position()[::-1] for text in figure.axes[0].texts}


def lines(figure: Figure, number: int) -> list[np.ndarray]:
    """Points ``[n, (u, v)]`` of the rows of the slice that are drawn over a view."""
    rows = next(item for item in figure.axes[number].collections if isinstance(item, QuadContourSet))
    return [points for path in rows.get_paths() if len(points := np.asarray(path.vertices))]


def test_every_view_is_drawn_under_its_number_as_project_gives_it():
    image = noise(*SIZE)
    pictures = drawn(VIEWS.plot(image))
    assert list(pictures) == ["slice", "view 1", "view 2", "view 3", "view 4"]
    np.testing.assert_array_equal(pictures["slice"], image)
    hidden = torch.isnan(VIEWS.slice_coordinates()[0])
    expected = torch.where(hidden, torch.nan, VIEWS.project(image))
    np.testing.assert_array_equal(list(pictures.values())[1:], expected)


def test_numbers_stand_on_the_centres():
    centers = [[5.0, 6.0], [12.0, 20.0]]
    views = Views.spherical(SIZE, centers)
    np.testing.assert_allclose(pole_points(views.geometry), centers, atol=1e-9)
    shown = numbers(views.plot())
    np.testing.assert_allclose(list(shown.values()), centers, atol=1e-9)
    assert list(shown) == ["1", "2"]


def test_views_of_one_centre_share_a_place():
    rigid = Views.rigid(SIZE, degrees=[-10, 0, 10])
    assert list(numbers(rigid.plot())) == ["1 to 3"]
    zooms = Views.zoom(SIZE, [[5, 5], [9, 9], [5, 5]])
    assert list(numbers(zooms.plot())) == ["1, 3", "2"]
    zooms = Views.zoom(SIZE, [[5, 5], [5, 5], [9, 9], [5, 5]])
    assert list(numbers(zooms.plot())) == ["1, 2, 4", "3"]


def test_the_slices_rows_are_bent_on_a_sphere_and_straight_in_a_zoom():
    heights = [np.ptp(line[:, 1]) for line in lines(Views.zoom(SIZE, [[9, 11]], factor=1.5).plot(), 1)]
    assert max(heights) < 1e-6
    assert max(np.ptp(line[:, 1]) for line in lines(VIEWS.plot(), 1)) > 1


def test_the_lines_over_a_view_are_those_of_the_slice():
    figure = VIEWS.plot()
    y = VIEWS.slice_coordinates()[0][0].numpy()
    rows = np.linspace(0, SIZE[0] - 1, 12)
    for points in lines(figure, 1):
        at = np.rint(points).astype(int)
        # A line is at most a pixel from the place where its value is looked up, and a pixel spans up to two rows.
        values = y[at[:, 1], at[:, 0]]
        assert np.nanmin(np.abs(np.nanmedian(values) - rows)) < 2


@pytest.mark.parametrize("flip", ["horizontal", "vertical", "both"])
def test_the_pattern_without_an_image_shows_flips(flip):
    plain, flipped = list(drawn(Views.rigid(SIZE, flips=["none", flip]).plot()).values())[1:]
    assert np.abs(plain - flipped).mean() > 0.01


@pytest.mark.parametrize("shape", [SIZE, (3, *SIZE), (2, 3, *SIZE)])
@pytest.mark.parametrize("kind", ["tensor", "array"])
def test_one_channel_of_one_sample_is_drawn(shape, kind):
    image = noise(*shape)
    last = {"sample": 1 if len(shape) == 4 else 0, "channel": 2 if len(shape) > 2 else 0}
    figure = VIEWS.plot(image if kind == "tensor" else image.numpy(), **last)
    np.testing.assert_array_equal(drawn(figure)["slice"], image.reshape(-1, *SIZE)[-1])


@pytest.mark.parametrize("dtype", [torch.bool, torch.uint8, torch.int64, torch.bfloat16, torch.float64])
def test_images_of_any_real_dtype_are_drawn(dtype):
    image = (noise(*SIZE) > 0).to(dtype)
    np.testing.assert_array_equal(drawn(VIEWS.plot(image))["slice"], image.float())


def test_an_image_with_a_gradient_is_drawn():
    assert len(VIEWS.plot(noise(*SIZE).requires_grad_()).axes) == 5


def test_a_sample_has_its_own_views():
    views = Views.spherical(SIZE, [[[5.0, 6.0]], [[12.0, 20.0]]])
    image = noise(2, 1, *SIZE)
    np.testing.assert_allclose(list(numbers(views.plot(image, sample=1)).values()), [[12, 20]], atol=1e-9)
    np.testing.assert_array_equal(drawn(views.plot(image, sample=1))["slice"], image[1, 0])
    np.testing.assert_array_equal(drawn(views.plot(image[:1], sample=1))["slice"], image[0, 0])


@error_cases(
    ("channel", ValueError, "channel must lie in [0, 2], got 3", lambda: VIEWS.plot(noise(3, *SIZE), channel=3)),
    (
        "text",
        TypeError,
        "channel must be a whole number, got 'a'",
        lambda: VIEWS.plot(noise(3, *SIZE), channel="a"),  # type: ignore[arg-type]
    ),
    ("sample", ValueError, "sample must lie in [0, 1], got -1", lambda: VIEWS.plot(noise(2, 1, *SIZE), sample=-1)),
    ("complex", TypeError, "image must hold real numbers, got torch.c", lambda: VIEWS.plot(noise(*SIZE) * 1j)),
    ("size", ValueError, "image must end in the pixel size of these views", lambda: VIEWS.plot(noise(7, 7))),
    (
        "list",
        TypeError,
        "image must be a torch tensor or a NumPy array",
        lambda: VIEWS.plot([[1.0]]),  # type: ignore[arg-type]
    ),
)
def test_what_cannot_be_drawn_is_refused(error, message, call):
    refused(error, message, call)


def test_views_of_samples_have_no_others():
    views = Views.spherical(SIZE, [[[5.0, 6.0]], [[12.0, 20.0]]])
    refused(ValueError, "sample must lie in [0, 1], got 2", lambda: views.plot(sample=2))


def test_the_slice_keeps_its_proportions():
    views = Views.spherical(SIZE, grid=(1, 1), spacing=(3, 1))
    assert views.plot().axes[0].get_aspect() == 3


@pytest.mark.parametrize("value", [0.0, 7.0, -3.0, np.nan])
def test_a_constant_slice_is_drawn(value, tmp_path):
    VIEWS.plot(np.full(SIZE, value, np.float32)).savefig(tmp_path / "views.png")
    assert (tmp_path / "views.png").stat().st_size > 0


@pytest.mark.parametrize(
    ("corner", "limits"), [(0.0, (0.0, 199.005)), (500.0, (2.99, 199.005)), (np.nan, (2.99, 199.005))]
)
def test_black_and_white_are_percentiles_without_the_background_unless_that_is_darker(corner, limits):
    """Of 1 to 200: the 1st percentile is 1 + 0.01 * 199, the 99.5th 1 + 0.995 * 199."""
    plane = np.full((2, 200), corner, np.float32)
    plane[1] = np.arange(1, 201)
    np.testing.assert_allclose(grey_range(plane), limits)


def test_values_that_are_not_finite_leave_the_contrast_alone():
    image = noise(*SIZE)
    whole = VIEWS.plot(image).axes[0].get_images()[0].get_clim()
    image[10, 12], image[10, 13] = torch.nan, torch.inf
    np.testing.assert_allclose(VIEWS.plot(image).axes[0].get_images()[0].get_clim(), whole, atol=0.05)


def test_places_that_are_left_over_are_empty():
    figure = VIEWS[:3].plot()
    assert [axis.axison for axis in figure.axes] == [False] * 5
    assert list(drawn(figure)) == ["slice", "view 1", "view 2", "view 3"]


def test_a_view_of_a_single_row_is_drawn():
    views = Views.spherical(SIZE, grid=(1, 1), magnification=1.0, view_size=(1, 24))
    assert len(views.plot().axes) == 2


def test_a_notebook_shows_the_figure_as_it_is():
    assert VIEWS.plot()._repr_png_().startswith(b"\x89PNG")


def test_plotting_leaves_pyplot_alone_and_importing_leaves_matplotlib_alone():
    code = """
import sys, spuproj
assert "matplotlib" not in sys.modules
spuproj.Views.spherical((8, 8), grid=(1, 1)).plot()
assert "matplotlib.figure" in sys.modules and "matplotlib.pyplot" not in sys.modules
"""
    ended = run_forked(code)
    assert ended.returncode == 0, ended.stderr


def test_without_matplotlib_the_error_names_the_extra_and_a_notebook_shows_the_text():
    code = """
import sys
sys.modules["matplotlib"] = None
from spuproj import Views
views = Views.spherical((8, 8), grid=(1, 1))
print(views._repr_html_())
views.plot()
"""
    ended = run_forked(code)
    assert ended.stdout.strip() == "<pre>Views(1 views, size=(8, 8), view_size=(8, 8))</pre>"
    assert "ImportError: plotting views needs matplotlib" in ended.stderr
    assert 'pip install "spuproj[plot]"' in ended.stderr
