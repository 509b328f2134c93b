"""Evaluation of written predictions: what is read, what the tables say, and what is refused."""

from __future__ import annotations

import csv
import json
import math
import re
import shutil

import nibabel as nib
import numpy as np
import pytest

from spuproj.training.data.case import load_case, load_slices
from spuproj.training.evaluation.metrics import Maps, measure
from spuproj.training.evaluation.results import EvaluationOptions
from spuproj.training.evaluation.statistics import summarise
from spuproj.training.evaluation.tables import MEASURES, SHOWN
from spuproj.training.runtime.files import InputError
from spuproj.training.workflows.evaluate import evaluate, methods_named
from spuproj.training.workflows.predict import predict
from spuproj.uncertainty import to_percent
from spuproj_cli.app import app

pytest_plugins = ["training_fixtures"]
pytestmark = pytest.mark.usefixtures("one_thread")

FILES = ["table.csv", "table.json", "table.tex", "per_case.csv", "score_curves.png", "boxes.png", "reliability.png"]


@pytest.fixture(scope="module")
def predictions(cohort, models, tmp_path_factory):
    """Two methods' maps of the cohort's three patients: all targets, and the same with the targets' models swapped."""
    folders = {name: tmp_path_factory.mktemp(name) for name in ("straight", "swapped")}
    for case in cohort:
        predict(list(models.values()), case, folders["straight"])
    for path in folders["straight"].glob("*.nii.gz"):
        name = path.name.replace("_ET_", "_xx_").replace("_WT_", "_ET_").replace("_xx_", "_WT_")
        shutil.copy(path, folders["swapped"] / name)
    return folders


@pytest.fixture(scope="module")
def written(cohort, predictions, tmp_path_factory):
    out = tmp_path_factory.mktemp("tables")
    assert [path.name for path in evaluate(predictions, cohort[0].parent, out)] == FILES
    return out


def lines(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_each_patient_target_and_method_has_a_line_with_its_own_measures(cohort, predictions, written):
    rows = lines(written / "per_case.csv")
    assert len(rows) == 3 * 3 * 2
    case = load_case(cohort[1], with_labels=True)
    maps = {
        kind: load_slices(predictions["swapped"] / f"{case.name}_TC_{kind}.nii.gz") for kind in ("seg", "prob", "var")
    }
    percent = to_percent(maps["var"], "variance-1")
    spacing = (8.0, 8.0, 8.0)
    expected, _ = measure(
        Maps(case.target("TC"), maps["seg"] > 0, maps["prob"].astype(float), percent, case.brain, spacing)
    )
    (row,) = (row for row in rows if (row["method"], row["target"], row["case"]) == ("swapped", "TC", case.name))
    for name in MEASURES:
        assert float(row[name]) == pytest.approx(getattr(expected, name), nan_ok=True), name


def test_the_summary_is_that_of_the_patients(written):
    rows = [row for row in lines(written / "per_case.csv") if (row["method"], row["target"]) == ("straight", "WT")]
    (found,) = (
        row
        for row in lines(written / "table.csv")
        if (row["method"], row["target"], row["measure"]) == ("straight", "WT", "score")
    )
    expected = summarise([float(row["score"]) for row in rows])
    assert float(found["mean"]) == pytest.approx(expected.mean)
    assert (float(found["low"]), float(found["high"])) == pytest.approx((expected.low, expected.high))


def test_the_json_names_what_the_numbers_depend_on(cohort, written):
    content = json.loads((written / "table.json").read_text())
    assert content["scaling"] == {"name": "variance-1", "meaning": "variance / 0.25"}
    assert content["empty"] == "brats"
    assert content["patients"] == sorted(case.name for case in cohort)
    (difference,) = content["differences"]["TC"]["dice"]
    assert (difference["first"], difference["second"], difference["p"]) == ("straight", "swapped", 1.0)
    (difference,) = content["differences"]["WT"]["score"]
    assert difference["patients"] == 3
    assert set(content["spearman_of_mean_uncertainty_and_dice"]["WT"]) == {"straight", "swapped"}


def test_the_table_for_a_paper_compiles_by_its_looks(written):
    text = (written / "table.tex").read_text()
    assert "uncertainty scaled by variance-1 (variance / 0.25), empty masks by brats" in text.splitlines()[0]
    rows = [line for line in text.splitlines() if line.endswith(r"\\")]
    assert len(rows) == 1 + 3 * 2
    assert {line.count("&") for line in rows} == {1 + len(SHOWN)}
    assert [row.split(" & ")[0] for row in rows[1:]] == ["ET", "ET", "TC", "TC", "WT", "WT"]


def test_pictures_are_written(written):
    for name in FILES[4:]:
        assert (written / name).read_bytes().startswith(b"\x89PNG")


def test_the_entropy_scaling_takes_the_entropy_maps(cohort, predictions, tmp_path):
    evaluate({"one": predictions["straight"]}, cohort[0].parent, tmp_path, scaling="entropy-1", empty="nan")
    content = json.loads((tmp_path / "table.json").read_text())
    assert (content["scaling"]["name"], content["empty"]) == ("entropy-1", "nan")
    case = load_case(cohort[2])
    entropy = load_slices(predictions["straight"] / f"{case.name}_ET_entropy.nii.gz")
    (row,) = (row for row in lines(tmp_path / "per_case.csv") if (row["target"], row["case"]) == ("ET", case.name))
    assert float(row["mean_uncertainty"]) == pytest.approx(100 * entropy[case.brain].mean() / math.log(2), rel=1e-5)


def test_a_target_that_nobody_has_is_not_a_number_in_the_other_convention(cohort, predictions, tmp_path):
    evaluate({"one": predictions["straight"]}, cohort[0].parent, tmp_path, empty="nan")
    content = json.loads((tmp_path / "table.json").read_text())
    assert content["summaries"]["ET"]["one"]["sensitivity"]["patients"] == 2
    assert content["summaries"]["WT"]["one"]["sensitivity"]["patients"] == 3


def test_only_what_all_methods_have_predicted_is_evaluated(cohort, predictions, tmp_path):
    part = tmp_path / "part"
    part.mkdir()
    for path in predictions["straight"].glob(f"{cohort[1].name}_*"):
        shutil.copy(path, part)
    evaluate({"all": predictions["straight"], "part": part}, cohort[0].parent, tmp_path / "out")
    assert json.loads((tmp_path / "out" / "table.json").read_text())["patients"] == [cohort[1].name]


def test_what_cannot_be_evaluated_is_refused_and_nothing_is_written(cohort, predictions, tmp_path):
    out, broken, empty = tmp_path / "out", tmp_path / "broken", tmp_path / "empty"
    empty.mkdir()
    shutil.copytree(predictions["straight"], broken)
    path = broken / f"{cohort[1].name}_TC_var.nii.gz"
    voxels = nib.Nifti1Image.from_filename(path)

    def refused(folder, message, **options):
        with pytest.raises(ValueError, match=message):
            evaluate({"a": folder}, cohort[0].parent, out, **options)
        assert not out.exists()

    refused(empty, "must hold labelled cases that every method has predicted")
    refused(broken, "scaling must be one of variance-1, .*, got 'x'", scaling="x")
    refused(broken, "empty must be one of brats, nan, got 'x'", empty="x")
    path.unlink()
    refused(broken, r"_TC_var\.nii\.gz must be a NIfTI file, but there is no such file")
    nib.save(nib.Nifti1Image(np.zeros((5, 6, 7), np.float32), np.eye(4)), path)
    refused(broken, r"_TC_var\.nii\.gz must have the slices of .*, got \(7, 6, 5\)")
    nib.save(nib.Nifti1Image(np.full(voxels.shape, 0.7, np.float32), voxels.affine), path)
    refused(broken, r"_TC_var\.nii\.gz cannot be scaled: .* a largest value of 0.7")


def test_nothing_is_written_over(cohort, predictions, written):
    before = (written / "table.csv").read_bytes()
    with pytest.raises(InputError, match=r"table\.csv exists already; pass --force to write over it"):
        evaluate({"a": predictions["straight"]}, cohort[0].parent, written)
    assert (written / "table.csv").read_bytes() == before


def test_methods_are_named(tmp_path):
    (tmp_path / "a=b").mkdir()
    assert methods_named([f"x={tmp_path / 'a=b'}"]) == {"x": tmp_path / "a=b"}
    for entries, message in (
        (["x"], "predictions must be given as NAME=FOLDER, got 'x'"),
        ([f"={tmp_path}"], "predictions must be given as NAME=FOLDER"),
        ([f"x={tmp_path}", f"x={tmp_path}"], "predictions must have names of their own, got 'x' twice"),
        (["x=/nowhere"], "/nowhere must be a folder of predictions, but there is no such folder"),
    ):
        with pytest.raises(InputError, match=re.escape(message)):
            methods_named(entries)


def test_options_say_what_the_numbers_depend_on():
    assert (
        EvaluationOptions("std-1", "nan").text
        == "uncertainty scaled by std-1 (square root of the variance / 0.5), empty masks by nan"
    )


def test_the_command_prints_the_table_and_the_files(cohort, predictions, tmp_path, capsys):
    arguments = [
        "--data",
        str(cohort[0].parent),
        "--predictions",
        f"a={predictions['straight']}",
        "--out",
        str(tmp_path),
    ]
    app(["evaluate", *arguments], standalone_mode=False)
    printed = capsys.readouterr().out
    assert "3 patients: mean" in printed
    assert "…" not in printed, "a digit was cut off"
    assert all(name in printed for name in FILES)
