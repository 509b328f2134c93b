"""The page of a slice, in a real browser: its views are those of Python, and its controls do what they say."""

from __future__ import annotations

import base64
import io
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch
from PIL import Image
from training_helpers import Page

from headless.chromium import Chromium, Tab, needs_chromium, started
from helpers import PAIRS, noise
from spuproj import Views
from spuproj.training.report.explorer import write_explorer
from spuproj.training.workflows.project import explore_slice

SIZE = (40, 48)
CENTRE = (19.0, 25.0)
TITLE = "</script><b>volume</b> & slice 3"


@pytest.fixture(scope="module")
def plane() -> np.ndarray:
    """A smooth slice with a dark frame."""
    small = torch.nn.functional.pad(noise(1, 1, 8, 10).sigmoid(), (1, 1, 1, 1))
    return torch.nn.functional.interpolate(small, SIZE, mode="bilinear")[0, 0].numpy()


@pytest.fixture(scope="module")
def path(plane, tmp_path_factory) -> Path:
    return write_explorer(tmp_path_factory.mktemp("page") / "page.html", plane, (1.0, 1.0), CENTRE, TITLE)


@pytest.fixture(scope="module")
def browser(tmp_path_factory) -> Iterator[Chromium]:
    with started(tmp_path_factory.mktemp("profile")) as browser:
        yield browser


@pytest.fixture
def tab(browser, path) -> Iterator[Tab]:
    """The page in a tab of its own; ends with a look at what the browser complained about."""
    tab = browser.open(path)
    yield tab
    assert tab.events("Runtime.exceptionThrown") == []
    logged = [event["entry"] for event in tab.events("Log.entryAdded")]
    assert [entry for entry in logged if entry["level"] == "error"] == []
    requested = [event["request"]["url"] for event in tab.events("Network.requestWillBeSent")]
    assert [url for url in requested if not url.startswith(("data:", path.as_uri()))] == []


@pytest.fixture(scope="module")
def equations(browser, path) -> Tab:
    """The page in a tab whose controls nobody touches."""
    return browser.open(path)


def text(tab: Tab, name: str) -> str:
    return tab.evaluate(f"document.getElementById({name!r}).textContent").strip()


def pixels(tab: Tab, canvas: str, size: tuple[int, int]) -> np.ndarray:
    """The pixels ``[H, W, RGB]`` of a canvas."""
    found = tab.evaluate(
        f"Array.from(document.getElementById({canvas!r}).getContext('2d')"
        f".getImageData(0, 0, {size[1]}, {size[0]}).data)"
    )
    return np.array(found).reshape(*size, 4)[..., :3]


def place(tab: Tab, picture: str, y: float, x: float, size: tuple[int, int] = SIZE) -> tuple[float, float]:
    """Where (y, x) of a picture is on the screen."""
    script = f"(({{x, y, width, height}}) => [x, y, width, height])(document.getElementById('{picture}')"
    left, top, width, height = tab.evaluate(f"{script}.getBoundingClientRect())")
    return left + (x + 0.5) / size[1] * width, top + (y + 0.5) / size[0] * height


def views_of(tab: Tab) -> Views:
    """The view that the page's line of Python makes."""
    views = eval(text(tab, "python"), {"Views": Views})
    assert isinstance(views, Views)
    return views


def numbers(values: list[float | None]) -> np.ndarray:
    return np.array([math.nan if value is None else value for value in values])


SPACINGS = ((1.0, 1.0), (0.8, 1.25))
# No pixel is on a rim, where magnifications are infinite.
SETTINGS = [
    {"center": [6, 8], "radius": 8.5},
    {"center": [2.5, 13.1], "radius": 5.0},
    {"center": [2.5, 13.1], "radius": 30.0, "pose": "turned"},
    {"center": [9.2, 3.4], "radius": 13.0, "pose": "turned", "spacing": SPACINGS[1]},
    {"center": [9.2, 3.4], "radius": 4.1, "magnification": 0.9},
    {"center": [12, 0], "radius": 20.3, "magnification": 1.5, "spacing": SPACINGS[1]},
]


def python_view(size: tuple[int, int], setting: dict[str, Any]) -> Views | None:
    """The view of a setting, or None where Python refuses it."""
    arguments = {key: value for key, value in setting.items() if key != "center"}
    try:
        return Views.spherical(size, [setting["center"]], **arguments)
    except ValueError:
        return None


@needs_chromium
@pytest.mark.parametrize(("lift", "chart"), PAIRS)
def test_the_equations_of_the_page_are_those_of_python(equations, lift, chart):
    size, view_size = (13, 17), (12, 15)
    settings = [
        {"spacing": SPACINGS[0], "view_size": view_size, "lift": lift, "chart": chart, **each} for each in SETTINGS
    ]
    asked = [
        {"pose": "tangent", "magnification": None, "size": size, "viewSize": view_size, **each} for each in settings
    ]
    found = equations.evaluate(
        f"""{json.dumps(asked)}.map((setting) => {{
          try {{
            const view = sphericalView(setting);
            const {{ y, x }} = sliceCoordinates(view);
            return [view.chart.scale, Array.from(y), Array.from(x), Array.from(magnification(view))];
          }} catch (error) {{
            if (error instanceof RangeError) return null;
            throw error;
          }}
        }})"""
    )
    expected = [python_view(size, each) for each in settings]
    assert [each is None for each in found] == [each is None for each in expected]
    assert sum(each is not None for each in expected) >= 2
    for (scale, *arrays), views in ((f, e) for f, e in zip(found, expected, strict=True) if e is not None):
        np.testing.assert_allclose(scale, views.geometry[0, 3], rtol=1e-9)
        assert not torch.isnan(views.magnification()).all()
        for array, wanted in zip(arrays, (*views.slice_coordinates(), views.magnification()), strict=True):
            np.testing.assert_allclose(numbers(array), wanted.flatten(), rtol=1e-7, atol=1e-7)


@needs_chromium
def test_the_page_shows_the_view_of_its_python_line(equations):
    views = views_of(equations)
    assert views.geometry[0, :3].tolist() == [*CENTRE, 24.0]
    grey = pixels(equations, "plane", SIZE)[..., 0]
    expected = views.project(torch.from_numpy(grey).double())[0]
    seen = pixels(equations, "view", views.view_size)
    shown = ~torch.isnan(views.slice_coordinates()[0][0]).numpy()
    assert 0.5 < shown.mean() < 1
    np.testing.assert_allclose(seen[shown], np.broadcast_to(expected[..., None], seen.shape)[shown], atol=0.51)
    assert (seen[~shown] == seen[~shown][0]).all()


@needs_chromium
def test_dragging_moves_the_centre_and_the_view(tab):
    before = pixels(tab, "view", SIZE)
    tab.pointer(*(place(tab, "slice-picture", y, x) for y, x in (CENTRE, (15, 20), (9, 12))), press=True)
    np.testing.assert_allclose(views_of(tab).geometry[0, :2], [9, 12], atol=0.1)
    assert "row 9" in text(tab, "readout")
    assert not np.array_equal(before, pixels(tab, "view", SIZE))
    # The pointer has let go.
    moved = views_of(tab).geometry
    tab.pointer(place(tab, "slice-picture", 30, 30))
    assert torch.equal(views_of(tab).geometry, moved)


@needs_chromium
def test_a_drag_beyond_the_border_stays_on_it(tab):
    start = place(tab, "slice-picture", *CENTRE)
    tab.pointer(start, (start[0] - 2000, start[1] - 2000), press=True)
    assert views_of(tab).geometry[0, :2].tolist() == [0, 0]


@needs_chromium
def test_arrow_keys_move_the_centre_by_one_pixel_or_by_ten(tab):
    tab.evaluate("document.getElementById('handle').focus()")
    tab.key("ArrowDown")
    tab.key("ArrowRight", shift=True)
    assert views_of(tab).geometry[0, :2].tolist() == [CENTRE[0] + 1, CENTRE[1] + 10]
    tab.key("ArrowUp")
    tab.key("ArrowLeft")
    assert views_of(tab).geometry[0, :2].tolist() == [CENTRE[0], CENTRE[1] + 9]


@needs_chromium
def test_a_slider_is_moved_by_keys(tab):
    tab.evaluate("document.getElementById('radius').focus()")
    for _ in range(10):
        tab.key("ArrowLeft")
    assert 22 < float(views_of(tab).geometry[0, 2]) < 23.5
    assert (
        tab.evaluate("document.getElementById('radius-value').value") == f"{float(views_of(tab).geometry[0, 2]):g} mm"
    )


@needs_chromium
@pytest.mark.parametrize(
    ("name", "value", "differs"),
    [
        ("lift", "stereographic", 6),
        ("chart", "equal_area", 7),
        ("radius", "-1", 2),
        ("row", "3", 0),
        ("column", "41.5", 1),
        ("pose", "turned", 8),
        ("scale", "set", 3),
    ],
)
def test_a_control_changes_the_view_and_its_magnification(tab, name, value, differs):
    before, *pictures = views_of(tab).geometry, pixels(tab, "view", SIZE), pixels(tab, "map", SIZE)
    # Where all other pairs of settings are alike, a turned sphere differs from a moved one.
    tab.choose("row", "12")
    tab.choose(name, value)
    after = views_of(tab)
    assert before[0, differs] != after.geometry[0, differs]
    for picture, canvas in zip(pictures, ("view", "map"), strict=True):
        assert not np.array_equal(picture, pixels(tab, canvas, SIZE))
    y, x = after.slice_coordinates()
    found = tab.evaluate("(({y, x}) => [Array.from(y), Array.from(x)])(sliceCoordinates(view))")
    np.testing.assert_allclose([numbers(each) for each in found], [y.flatten(), x.flatten()], atol=1e-6)


@needs_chromium
@pytest.mark.parametrize("picture", ["slice-picture", "map-picture", "view-picture"])
def test_the_pointer_tells_the_magnification_under_it(tab, picture):
    views = views_of(tab)
    v, u = (float(each[0, 12, 31]) for each in views.view_coordinates())
    at = (v, u) if picture == "view-picture" else (12, 31)
    tab.pointer(place(tab, picture, *at))
    told = text(tab, "readout")
    assert told.startswith("Pointer: row 12.")
    assert float(told.split("covers ")[1].split()[0]) == pytest.approx(
        float(views.magnification()[0, 12, 31]), rel=0.02
    )
    assert (
        tab.evaluate("['slice', 'map', 'view'].map((one) => document.getElementById(`${one}-pointer`).hidden)")
        == [False] * 3
    )
    tab.pointer(place(tab, "controls", 0, 0))
    assert text(tab, "readout").startswith("Centre: ")


@needs_chromium
def test_what_cannot_be_fitted_is_said_and_shown_again_after_a_reset(tab):
    first = pixels(tab, "view", SIZE)
    for name, value in (("lift", "equidistant"), ("chart", "gnomonic"), ("radius", "-2")):
        tab.choose(name, value)
    assert text(tab, "problem").startswith("The chart gnomonic ends 90 degrees from its pole")
    assert text(tab, "python") == text(tab, "summary") == ""
    assert len(np.unique(pixels(tab, "view", SIZE).reshape(-1, 3), axis=0)) == 1
    tab.evaluate("document.querySelector('[type=reset]').click()")
    tab.settle()
    assert text(tab, "problem") == ""
    np.testing.assert_array_equal(pixels(tab, "view", SIZE), first)


@needs_chromium
def test_the_colours_of_the_map_follow_the_magnification(equations):
    magnified = views_of(equations).magnification()[0].numpy()
    red, _, blue = np.moveaxis(pixels(equations, "map", SIZE), -1, 0)
    assert (red > blue)[magnified > 1.2].all()
    assert (red < blue)[magnified < 0.8].all()


@needs_chromium
def test_the_grid_can_be_hidden(tab):
    drawn = "['slice-grid', 'view-grid'].map((one) => document.getElementById(one).getAttribute('d').length > 100)"
    assert tab.evaluate(drawn) == [True, True]
    tab.evaluate("document.querySelector('[name=grid]').click()")
    tab.settle()
    assert tab.evaluate(drawn) == [False, False]


@needs_chromium
def test_every_control_has_a_name_and_can_be_reached_by_keys(equations):
    unnamed = "Array.from(document.querySelectorAll('input, select')).filter((one) => one.labels.length === 0).length"
    assert equations.evaluate(unnamed) == 0
    unreachable = (
        "Array.from(document.querySelectorAll('input, select, button')).filter((one) => one.tabIndex < 0).length"
    )
    assert equations.evaluate(unreachable) == 0


@needs_chromium
@pytest.mark.parametrize("width", [320, 700, 1400])
def test_the_page_fits_its_window(browser, path, width):
    tab = browser.open(path, width=width)
    assert tab.evaluate("document.documentElement.scrollWidth") <= width
    y, x = CENTRE
    tab.pointer(place(tab, "slice-picture", y, x), place(tab, "slice-picture", y + 5, x), press=True)
    np.testing.assert_allclose(views_of(tab).geometry[0, :2], [y + 5, x], atol=0.25)


@needs_chromium
def test_pixels_that_are_not_square_keep_their_proportions(browser, plane, tmp_path):
    tab = browser.open(write_explorer(tmp_path / "page.html", plane, (2.0, 0.5), CENTRE, "flat"))
    views = views_of(tab)
    assert views.view_size == (160, 48)
    assert pixels(tab, "view", views.view_size).std() > 10
    shapes = "['slice', 'view'].map((one) => document.getElementById(`${one}-picture`).getBoundingClientRect())"
    for ratio in tab.evaluate(f"{shapes}.map((box) => box.width / box.height)"):
        assert ratio == pytest.approx(24 / 80, rel=0.02)


@needs_chromium
@pytest.mark.parametrize("pixel", [(0.001, 0.0015), (2e-7, 2e-7), (300.0, 300.0)])
def test_pixels_of_any_size_have_a_view_for_every_radius(browser, plane, tmp_path, pixel):
    """Microscopes have pixels far below a millimetre."""
    tab = browser.open(write_explorer(tmp_path / "page.html", plane, pixel, CENTRE, "volume"))
    for octave in (-3, -1.5, 0):
        tab.choose("radius", str(octave))
        views = views_of(tab)
        wanted = 2**octave * max(SIZE[0] * pixel[0], SIZE[1] * pixel[1]) / 2
        np.testing.assert_allclose(views.geometry[0, 2], wanted, rtol=1e-3)
        assert "100 %" in text(tab, "summary")


def test_the_page_stands_alone_and_shows_names_as_text(path):
    page = Page(path)
    assert TITLE in page.text
    policy = next(each["content"] for tag, each in page.tags if tag == "meta" and "http-equiv" in each)
    assert policy == "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'"
    assert {"src", "href"} & {name for _, attributes in page.tags for name in attributes} == set()


@pytest.mark.parametrize("change", [lambda plane: plane, lambda plane: 1000 * plane - 7])
def test_the_slice_is_embedded_with_eight_bits(plane, tmp_path, change):
    source = write_explorer(tmp_path / "page.html", change(plane), (1.0, 1.0), CENTRE, "slice").read_text()
    data = json.loads(source.split('id="slice">')[1].split("</script>")[0])
    with Image.open(io.BytesIO(base64.b64decode(data["image"].split(",")[1]))) as picture:
        assert picture.mode == "L"
        levels = np.asarray(picture).astype(float)
    assert (levels.min(), levels.max()) == (0, 255)
    assert np.corrcoef(levels.ravel(), plane.ravel())[0, 1] > 0.99


def test_the_page_of_a_volume_has_the_height_and_width_of_its_pixels(tmp_path):
    voxels = np.zeros((20, 24, 3), np.float32)
    voxels[5:15, 5:15] = 1
    nib.save(nib.Nifti1Image(voxels, np.diag([-2.0, -3.0, 4.0, 1.0])), tmp_path / "volume.nii")
    source = explore_slice(tmp_path / "volume.nii", 1, tmp_path / "page.html").read_text()
    assert json.loads(source.split('id="slice">')[1].split("</script>")[0])["spacing"] == [3, 2]


@needs_chromium
def test_the_letters_stand_at_the_patients_sides(browser, tmp_path):
    voxels = np.zeros((30, 40, 3), np.float32)
    voxels[2:28, 2:38] = 1
    # In NIfTI's axes, which run to the right and the front: at the left and the front.
    voxels[4:8, 32:36] = 9
    nib.save(nib.Nifti1Image(voxels, np.eye(4)), tmp_path / "volume.nii")
    tab = browser.open(explore_slice(tmp_path / "volume.nii", 1, tmp_path / "page.html"))
    y, x = (float(np.mean(each)) for each in np.nonzero(pixels(tab, "plane", (40, 30))[..., 0] > 200))
    mark = place(tab, "slice-picture", y, x, (40, 30))
    letters = tab.evaluate(
        """['slice', 'map'].map((one) => Object.fromEntries(Array.from(
          document.querySelectorAll(`#${one}-picture .side`),
          (side) => [side.textContent, [side.getBoundingClientRect().x, side.getBoundingClientRect().y]]
        )))"""
    )
    for found in letters:
        assert found["R"][0] < found["L"][0]
        assert found["A"][1] < found["P"][1]
    (right, _), (left, _), (_, front), (_, back) = (letters[0][name] for name in "RLAP")
    assert abs(mark[0] - left) < abs(mark[0] - right)
    assert abs(mark[1] - front) < abs(mark[1] - back)


@pytest.mark.parametrize("value", [0.0, 5.0, math.nan])
def test_a_slice_without_contrast_makes_a_page_too(tmp_path, value):
    flat = np.full(SIZE, value, np.float32)
    assert write_explorer(tmp_path / "page.html", flat, (1.0, 1.0), CENTRE, "flat").read_text().endswith("</html>")
