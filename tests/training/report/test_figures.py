"""Pictures: PNG files of sensible size that show something, for every kind of case and slice."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path

import matplotlib.image
import nibabel as nib
import numpy as np
import pytest
from matplotlib.figure import Figure

from helpers import noise
from spuproj.training.data.case import Case
from spuproj.training.data.volumes.grid import Grid
from spuproj.training.inference.case_prediction import CasePrediction
from spuproj.training.models.config import ModelConfig
from spuproj.training.models.method import Method
from spuproj.training.models.view_sets import Spherical
from spuproj.training.report import figures
from spuproj.training.report.colours import COLOURS
from spuproj.training.report.figures import case_figure, save_figure

SHAPE = (9, 20, 24)
ONE, THREE = ("WT",), ("WT", "TC", "ET")
CONFIG = ModelConfig("WT", (20.0, 24.0), (24, 24), (0.2, 0.2, 0.8, 0.8), Method("own", Spherical(grid=(1, 2))))


@pytest.fixture(scope="module")
def case() -> Case:
    """A block of brain in slices 1 to 7."""
    brain = np.zeros(SHAPE, bool)
    brain[1:8, 3:17, 4:20] = True
    image = noise(9, 4, 20, 24).numpy() * brain[:, None]
    grid = Grid((24, 20, 9), np.eye(4))
    return Case("made_up", image, brain, None, None, grid, nib.Nifti1Image(np.zeros(grid.shape), grid.affine))


def prediction(depth: int = 3, empty: bool = False) -> CasePrediction:
    probability = np.zeros(SHAPE, np.float32)
    if not empty:
        probability[3 : 3 + depth, 6:12, 7:15] = 0.9
    return CasePrediction(probability, probability > 0.5, probability * (1 - probability), probability, probability)


def shown(path: Path) -> np.ndarray:
    """The pixels ``[H, W, RGB]`` of a PNG file, 0 to 1, after a look at its size and contrast."""
    assert path.read_bytes().startswith(b"\x89PNG")
    pixels = matplotlib.image.imread(path)[..., :3]
    assert 400 < min(pixels.shape[:2]) <= max(pixels.shape[:2]) < 4000
    assert pixels.std() > 0.02
    return pixels


def share_of(pixels: np.ndarray, colour: str) -> float:
    """The share of pixels close to a colour."""
    return float((np.abs(pixels - matplotlib.colors.to_rgb(colour)).max(axis=2) < 0.08).mean())


@pytest.fixture(scope="module")
def sheet(case, tmp_path_factory) -> Callable[[tuple[str, ...], bool], np.ndarray]:
    """Draws the sheet of some targets, with or without truth, once."""
    folder = tmp_path_factory.mktemp("sheets") / "new"

    @cache
    def draw(targets: tuple[str, ...], with_truth: bool) -> np.ndarray:
        truth = {target: np.roll(prediction().segmentation, 2, axis=1) for target in targets} if with_truth else None
        path = folder / f"{len(targets)}{with_truth}.png"
        assert case_figure(case, {target: prediction() for target in targets}, CONFIG, path, truth) == path
        return shown(path)

    return draw


@pytest.mark.parametrize("with_truth", [False, True])
@pytest.mark.parametrize("targets", [ONE, THREE])
def test_a_case_sheet_shows_every_target_in_its_colour(sheet, targets, with_truth):
    pixels = sheet(targets, with_truth)
    titles, rest = np.split(pixels, [pixels.shape[0] // 8])
    assert all(share_of(titles, COLOURS[target]) > 0 for target in targets)
    # Of equal outlines the last one drawn is seen.
    assert share_of(rest, COLOURS[targets[-1]]) > 0


def test_the_letters_of_a_sheet_stand_at_the_patients_sides(case, tmp_path, monkeypatch):
    drawn: list[Figure] = []
    monkeypatch.setattr(figures, "save_figure", lambda figure, path: drawn.append(figure))
    case_figure(case, {"WT": prediction()}, CONFIG, tmp_path / "sheet.png")
    marked = [axis for axis in drawn[0].axes if {"R", "L", "A", "P"} <= {text.get_text() for text in axis.texts}]
    assert len(marked) == figures.SHEET_ROWS
    for axis in marked:
        at = {text.get_text(): text.get_transform().transform(text.get_position()) for text in axis.texts}
        # Columns of a slice run to the left, rows to the back.
        right, left, front, back = axis.transData.transform([(4, 10), (19, 10), (12, 3), (12, 16)])
        assert right[0] < left[0]
        assert back[1] < front[1]
        for letter, place, other in (("R", right, left), ("L", left, right), ("A", front, back), ("P", back, front)):
            assert np.linalg.norm(at[letter] - place) < np.linalg.norm(at[letter] - other)


def test_a_sheet_is_wider_for_three_targets_than_for_one(sheet):
    assert sheet(THREE, False).shape[1] > sheet(ONE, False).shape[1] + 100


@pytest.mark.parametrize("targets", [ONE, THREE])
def test_the_truth_is_drawn(sheet, targets):
    assert not np.array_equal(sheet(targets, False), sheet(targets, True))


@pytest.mark.parametrize("with_truth", [False, True])
def test_an_empty_segmentation_gives_a_sheet_too(case, tmp_path, with_truth):
    truth = {"WT": np.zeros(SHAPE, bool)} if with_truth else None
    shown(case_figure(case, {"WT": prediction(empty=True)}, CONFIG, tmp_path / "sheet.png", truth))


def test_a_model_without_flair_and_t1ce_gives_a_sheet_too(case, tmp_path):
    bare = Case(case.name, case.image[:, :1], case.brain, None, None, case.grid, case.like)
    config = replace(CONFIG, method=Method("own", Spherical(grid=(1, 1))), modalities=("t2",))
    shown(case_figure(bare, {"WT": prediction()}, config, tmp_path / "sheet.png"))


@pytest.mark.parametrize(
    ("found", "slices"), [((3, 4, 5), {3, 4, 5}), ((4,), {4}), ((0, 1, 2, 3, 4, 5, 6, 7, 8), {1, 4, 7})]
)
def test_the_slices_of_a_sheet_go_through_what_was_found(found, slices):
    made = prediction(empty=True)
    made.segmentation[list(found), 5:9, 5:9] = True
    assert set(figures.sheet_slices({"WT": made}).tolist()) == slices


def test_a_sheet_shows_the_entropy_where_only_one_view_saw_a_voxel(case, tmp_path):
    made = prediction()
    entropy = np.where(made.probability > 0, np.float32(0.6), np.float32(0))
    once = replace(made, variance=np.full(SHAPE, np.nan, np.float32), entropy=entropy)
    twice = replace(made, variance=(entropy / (4 * math.log(2))).astype(np.float32))
    first, second = (
        shown(case_figure(case, {"WT": each}, CONFIG, tmp_path / f"{number}.png"))
        for number, each in enumerate((once, twice))
    )
    # The titles differ.
    row = first.shape[0] // 12
    assert not np.array_equal(first[:row], second[:row])
    np.testing.assert_allclose(first[row:], second[row:], atol=0.02)


@pytest.mark.parametrize("name", ["picture.png", "picture"])
def test_a_figure_is_a_png_whatever_its_name(tmp_path, name):
    figure = Figure(figsize=(5, 5))
    figure.subplots()
    shown(save_figure(figure, tmp_path / name))


def test_a_figure_that_cannot_be_saved_leaves_nothing(tmp_path, monkeypatch):
    def fail(self, path, **_):
        Path(path).write_bytes(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(Figure, "savefig", fail)
    with pytest.raises(OSError, match="disk full"):
        save_figure(Figure(), tmp_path / "picture.png")
    assert list(tmp_path.iterdir()) == []
