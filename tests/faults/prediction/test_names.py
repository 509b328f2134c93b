"""Names of cases, targets and methods: long ones, any letters, and what matplotlib would read as mathematics."""

from __future__ import annotations

import io
import os
import shutil
import unicodedata
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.cbook import is_math_text
from matplotlib.figure import Figure
from matplotlib.text import Text
from training_helpers import changed

from made_up_case import made_up_case, prediction
from spuproj.training.data.readers.case_files import CaseFiles
from spuproj.training.evaluation.metrics import CaseMaps, measure
from spuproj.training.evaluation.plots import box_plots, filtering_curves, reliability_diagram
from spuproj.training.evaluation.results import CaseResult, EvaluationOptions
from spuproj.training.evaluation.study_tables import StudyResult, study_plot
from spuproj.training.inference.outputs import DEFAULT_KINDS
from spuproj.training.models.config import ModelConfig
from spuproj.training.models.method import Method
from spuproj.training.models.view_sets import Spherical
from spuproj.training.report.figures import case_figure
from spuproj.training.runtime.errors import InputError
from spuproj.training.runtime.names import LONGEST
from spuproj.training.runtime.wording import verbatim
from spuproj.training.workflows.predict import predict, predict_cohort
from spuproj.training.workflows.prediction_files import file_names, require_names
from spuproj.training.workflows.project import project_slice

WRITING = "spuproj.training.workflows.write_prediction"

pytest_plugins = ["training_fixtures"]
pytestmark = pytest.mark.usefixtures("one_thread")


def named(case: Path, folder: Path, name: str) -> Path:
    """A copy of a case under another name."""
    copy = folder / name
    copy.mkdir(parents=True)
    for path in case.iterdir():
        shutil.copy(path, copy / path.name.replace(case.name, name))
    return copy


ODD = ["$x_{$ 50 %{of} #1^~&", "患者 a'b<c", unicodedata.normalize("NFD", "Müller né")]


@pytest.mark.parametrize("name", ODD)
def test_a_case_of_any_name_is_predicted_with_its_picture(spuproj, cohort, models, tmp_path, monkeypatch, name):
    """What is shown has fewer letters than a terminal's encoding, and is no reason to fail either."""
    monkeypatch.setattr("sys.stdout", io.TextIOWrapper(io.BytesIO(), encoding="ascii"))
    case = named(cohort[1], tmp_path / "data", name)
    assert spuproj("predict", "--model", models["WT"], "--case", case, "--out", tmp_path / "out")[0] == 0
    files = CaseFiles(name, {})
    assert {path.name for path in (tmp_path / "out").iterdir()} == set(file_names(files, ["WT"], DEFAULT_KINDS))


def case_picture(text: str, folder: Path) -> None:
    method = Method("own", Spherical(grid=(1, 2)))
    # A target and a modality are names of files.
    plain = text.replace("\\", "")
    config = ModelConfig(plain, (40.0, 48.0), (24, 24), (0.2, 0.2, 0.8, 0.8), method, (f"{plain}1", f"{plain}2"))
    case_figure(replace(made_up_case(), name=text, labels=None), {plain: prediction()}, config, folder / "case.png")


def evaluation_pictures(text: str, folder: Path) -> None:
    """Of two methods."""
    case, found = made_up_case(), prediction()
    truth = case.labels == 3
    maps = CaseMaps(
        truth, found.segmentation, found.probability.astype(np.float64),
        found.variance.astype(np.float64) * 400, case.brain, (1, 1, 1),
    )  # fmt: skip
    rows = [CaseResult(f"{text}{method}", text, "A", "A", *measure(maps, "nan")) for method in range(2)]
    for draw in (lambda rows: filtering_curves(rows, EvaluationOptions("variance-1", "nan")), box_plots,
                 reliability_diagram):  # fmt: skip
        draw(rows)


def study_picture(text: str, folder: Path) -> None:
    numbers: dict[str, Any] = {field.name: 0.5 for field in fields(StudyResult)}
    study_plot([StudyResult(**{**numbers, "setting": text, "target": text, "seed": 0})])


def slice_picture(text: str, folder: Path) -> None:
    voxels = np.zeros((20, 24, 3), np.float32)
    voxels[5:15, 5:15] = 1
    nib.save(nib.Nifti1Image(voxels, np.eye(4)), folder / f"{text}.nii")
    project_slice(folder / f"{text}.nii", 1, folder / "views.png", grid=(1, 2))


PICTURES = [case_picture, evaluation_pictures, study_picture, slice_picture]


@pytest.mark.parametrize("draw", PICTURES)
@pytest.mark.parametrize("text", ["$\\frac{$", "_$x^2$"])
def test_every_picture_shows_names_letter_by_letter(monkeypatch, tmp_path, draw, text):
    """All that matplotlib gets is noted: no part of it is mathematics, and the name is there, also in legends."""
    shown: set[str] = set()
    real = Text.draw

    def draw_and_note(self: Text, *arguments: Any) -> None:
        shown.add(self.get_text())
        assert not is_math_text(self.get_text())
        real(self, *arguments)

    monkeypatch.setattr(Text, "draw", draw_and_note)
    draw(text, tmp_path)
    assert any(verbatim(text).strip() in each for each in shown)
    if draw is evaluation_pictures:
        assert {verbatim(f"{text}{method}") for method in range(2)} <= shown


@given(st.text(st.sampled_from("$\\_{}^ab"), min_size=1))
def test_matplotlib_takes_no_text_for_mathematics(text):
    figure = Figure()
    renderer = FigureCanvasAgg(figure).get_renderer()
    sizes = [
        figure.text(0, 0, shown, parse_math=parse).get_window_extent(renderer).width
        for shown, parse in ((verbatim(text), True), (" " * text.startswith("_") + text, False))
    ]
    assert sizes[0] == sizes[1]


def long_names(directory: Path) -> tuple[str, str]:
    """Of a case and of a target: each is allowed, and together they are longer than a name of a file may be."""
    most = os.pathconf(directory, "PC_NAME_MAX")
    assert most == 255
    return "c" * LONGEST, "t" * (most - LONGEST)


def test_names_that_are_too_long_together_are_refused_before_any_work(cohort, models, tmp_path, monkeypatch):
    monkeypatch.setattr(f"{WRITING}.load_case", lambda *_, **__: pytest.fail("a case is read"))
    name, target = long_names(tmp_path)
    case = named(cohort[1], tmp_path / "data", name)
    model = changed(models["WT"], tmp_path / "model", target=target)
    message = rf"{name}_{target}_prob.nii.gz must have at most 255 bytes for .*, but has 268; shorten the name of ccc"
    for call, source in ((predict, case), (predict_cohort, case.parent)):
        with pytest.raises(InputError, match=message):
            call([model], source, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@given(st.integers(1, LONGEST), st.integers(1, LONGEST), st.sampled_from(["a", "é", "患"]))
def test_what_is_not_refused_can_be_written(tmp_path_factory, of_case, of_target, letter):
    out = tmp_path_factory.mktemp("o")
    name, target = (letter * (size // len(letter.encode()) or 1) for size in (of_case, of_target))
    try:
        require_names([CaseFiles(name, {})], [target], DEFAULT_KINDS, out)
    except InputError as error:
        assert "must have at most 255 bytes" in str(error)  # noqa: PT017
        return
    for file in file_names(CaseFiles(name, {}), [target], DEFAULT_KINDS):
        (out / file).touch()


def test_a_path_that_is_too_long_is_refused_before_any_work(cohort, models, tmp_path):
    most = os.pathconf(tmp_path, "PC_PATH_MAX")
    out = tmp_path
    while len(str(out)) < most - 60:
        out = out / ("d" * 20)
    with pytest.raises(InputError, match=rf"must have at most {most - 1} bytes for {tmp_path}, but has"):
        predict([models["WT"]], cohort[1], out)
    assert list(tmp_path.iterdir()) == []


def test_names_that_differ_in_how_accents_are_written_are_one_file_on_some_systems(cohort, models, tmp_path):
    composed, decomposed = (unicodedata.normalize(form, "Ménière") for form in ("NFC", "NFD"))
    for name in (composed, decomposed):
        named(cohort[1], tmp_path / "data", name)
    with pytest.raises(InputError, match=r"must be written by one case, but M.* and M.* would both write it"):
        predict_cohort([models["WT"]], tmp_path / "data", tmp_path / "out")
    one, other = (changed(models["WT"], tmp_path / form, target=unicodedata.normalize(form, "lésion"))
                            for form in ("NFC", "NFD"))  # fmt: skip
    with pytest.raises(InputError, match="models must be of different targets"):
        predict([one, other], cohort[1], tmp_path / "out")
