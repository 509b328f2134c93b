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
from scipy.stats import entropy as scipy_entropy

from spuproj.training.data.case import load_case, load_slices
from spuproj.training.evaluation.metrics import CaseMaps, measure
from spuproj.training.evaluation.results import EvaluationOptions
from spuproj.training.evaluation.statistics import summarise
from spuproj.training.evaluation.tables import MEASURES, SHOWN
from spuproj.training.runtime.errors import InputError
from spuproj.training.workflows.evaluate import evaluate, methods_named
from spuproj.training.workflows.predict import predict, predict_cohort
from spuproj.uncertainty import to_percent
from spuproj_cli.app import app

pytest_plugins = ["training_fixtures"]
pytestmark = pytest.mark.usefixtures("one_thread")

FILES = ["table.csv", "table.json", "table.tex", "per_case.csv", "score_curves.png", "boxes.png", "reliability.png"]


@pytest.fixture(scope="module")
def predictions(cohort, models, tmp_path_factory):
    """Two methods' maps of the cohort's three patients: all targets, and the same with the targets' models swapped."""
    folders = {name: tmp_path_factory.mktemp(name) for name in ("straight", "swapped")}
    with pytest.MonkeyPatch.context() as patch:
        # Nothing here looks at the pictures of predictions.
        patch.setattr(
            "spuproj.training.workflows.write_prediction.case_figure", lambda *given: given[3].write_text("picture")
        )
        for case in cohort:
            predict(list(models.values()), case, folders["straight"])
    for path in folders["straight"].glob("*.nii.gz"):
        name = path.name.replace("_ET_", "_xx_").replace("_WT_", "_ET_").replace("_xx_", "_WT_")
        shutil.copy(path, folders["swapped"] / name)
    return folders


@pytest.fixture
def no_plots(monkeypatch) -> None:
    """Plots take most of the time of an evaluation, and have tests of their own."""
    for name in ("filtering_curves", "box_plots", "reliability_diagram"):
        monkeypatch.setattr(f"spuproj.training.workflows.evaluate.{name}", lambda *_: b"")


@pytest.fixture(scope="module")
def of_one_target(predictions, tmp_path_factory):
    """The maps of one target of the three patients."""
    folder = tmp_path_factory.mktemp("one_target")
    for path in predictions["straight"].glob("*_TC_*"):
        shutil.copy(path, folder)
    return folder


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
        CaseMaps(case.target("TC"), maps["seg"] > 0, maps["prob"].astype(float), percent, case.brain, spacing)
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
    # Three patients have no interval.
    assert (found["low"], found["high"]) == ("nan", "nan")


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


def test_the_entropy_scaling_takes_the_entropy_maps(cohort, predictions, tmp_path, no_plots):
    evaluate({"one": predictions["straight"]}, cohort[0].parent, tmp_path, scaling="entropy-1", empty="nan")
    content = json.loads((tmp_path / "table.json").read_text())
    assert (content["scaling"]["name"], content["empty"]) == ("entropy-1", "nan")
    case = load_case(cohort[2])
    entropy = load_slices(predictions["straight"] / f"{case.name}_ET_entropy.nii.gz")
    (row,) = (row for row in lines(tmp_path / "per_case.csv") if (row["target"], row["case"]) == ("ET", case.name))
    assert float(row["mean_uncertainty"]) == pytest.approx(100 * entropy[case.brain].mean() / math.log(2), rel=1e-5)


def test_a_target_that_nobody_has_is_not_a_number_in_the_other_convention(cohort, predictions, tmp_path, no_plots):
    evaluate({"one": predictions["straight"]}, cohort[0].parent, tmp_path, empty="nan")
    content = json.loads((tmp_path / "table.json").read_text())
    assert content["summaries"]["ET"]["one"]["sensitivity"]["patients"] == 2
    assert content["summaries"]["WT"]["one"]["sensitivity"]["patients"] == 3


def test_only_what_all_methods_have_predicted_is_evaluated(cohort, predictions, tmp_path, no_plots):
    part = tmp_path / "part"
    part.mkdir()
    for path in predictions["straight"].glob(f"{cohort[1].name}_*"):
        shutil.copy(path, part)
    evaluate({"all": predictions["straight"], "part": part}, cohort[0].parent, tmp_path / "out")
    assert json.loads((tmp_path / "out" / "table.json").read_text())["patients"] == [cohort[1].name]


def test_what_cannot_be_evaluated_is_refused_and_nothing_is_written(cohort, predictions, tmp_path):
    out, empty = tmp_path / "out", tmp_path / "empty"
    empty.mkdir()

    def refused(folder, message, **options):
        with pytest.raises(ValueError, match=message):
            evaluate({"a": folder}, cohort[0].parent, out, **options)
        assert not out.exists()

    refused(empty, "must hold labelled cases that every method has predicted")
    refused(predictions["straight"], "scaling must be one of variance-1, .*, got 'x'", scaling="x")
    refused(predictions["straight"], "empty must be one of brats, nan, got 'x'", empty="x")


def broken(path, kind, like):
    """Makes a map one of another kind."""
    path.unlink()
    if kind == "link":
        path.symlink_to("nowhere")
    elif kind == "folder":
        path.mkdir()
    elif kind == "text":
        path.write_text("no image")
    elif kind != "missing":
        voxels = {"shape": np.zeros((5, 6, 7)), "place": np.zeros(like.shape), "large": np.full(like.shape, 0.7)}[kind]
        affine = like.affine.copy()
        affine[0, 3] += 9 if kind == "place" else 0
        nib.save(nib.Nifti1Image(voxels.astype(np.float32), affine), path)


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("missing", "must be there, but is missing; predict with --maps seg,prob,var"),
        ("link", "link"),
        ("folder", "folder"),
        ("text", "Not a gzipped file"),
        ("shape", "must have the shape of Phantom_002 in LPS axes, (30, 30, 19), got (5, 6, 7)"),
        ("place", "must be on the grid of Phantom_002, but lies 1.12 voxels beside it"),
        ("large", "cannot be scaled: "),
    ],
)
def test_a_case_with_a_broken_map_is_said_and_the_others_are_evaluated(
    spuproj, cohort, of_one_target, tmp_path, no_plots, kind, message
):
    folder, out = shutil.copytree(of_one_target, tmp_path / "maps"), tmp_path / "out"
    path = folder / "Phantom_002_TC_var.nii.gz"
    broken(path, kind, nib.Nifti1Image.from_filename(path))
    data = cohort[0].parent
    status, printed = spuproj("evaluate", "--data", data, "--predictions", f"a={folder}", "--out", out)
    assert status.startswith(f"error: 1 of 3 cases failed: Phantom_002; {out} has the measures of the others; ")
    reason = next(line for line in printed.splitlines() if line.startswith("Phantom_002 failed: "))
    assert str(path) in reason
    assert message in reason
    content = json.loads((out / "table.json").read_text())
    assert content["patients"] == ["Phantom_001", "Phantom_003"]
    assert content["not_evaluated"] == {"Phantom_002": reason.removeprefix("Phantom_002 failed: ")}


def changed_map(path, change):
    """Writes a map anew, with a change to its voxels [X, Y, Z]."""
    image = nib.Nifti1Image.from_filename(path)
    voxels = np.asarray(image.dataobj).copy()
    change(voxels)
    nib.save(nib.Nifti1Image(voxels, image.affine, image.header), path.with_name(f"new_{path.name}"))
    path.with_name(f"new_{path.name}").replace(path)


@pytest.mark.parametrize(("scaling", "kind"), [("variance-1", "var"), ("std-1", "var"), ("mutual-1", "mi")])
def test_voxels_without_a_variance_have_their_entropy_and_are_counted(
    cohort, of_one_target, tmp_path, no_plots, spuproj, scaling, kind
):
    folder = shutil.copytree(of_one_target, tmp_path / "maps")
    case = load_case(cohort[1], with_labels=True)
    changed_map(folder / "Phantom_002_TC_prob.nii.gz", lambda voxels: voxels.__imul__(0.9))
    changed_map(folder / f"Phantom_002_TC_{kind}.nii.gz", lambda voxels: voxels[::2].fill(np.nan))
    data, out = cohort[0].parent, tmp_path / "out"
    status, printed = spuproj(
        "evaluate", "--data", data, "--predictions", f"a={folder}", "--out", out, "--scaling", scaling
    )
    assert status in (0, None)
    segmentation, probability, values = (
        load_slices(folder / f"Phantom_002_TC_{each}.nii.gz") for each in ("seg", "prob", kind)
    )
    unknown = np.isnan(values)
    own = scipy_entropy(np.stack([probability, 1 - probability]), axis=0) / math.log(2)
    percent = np.where(unknown, 100 * own, to_percent(np.nan_to_num(values), scaling))
    maps = CaseMaps(
        case.target("TC"), segmentation > 0, probability.astype(float), percent, case.brain, (8.0, 8.0, 8.0)
    )
    expected, _ = measure(maps)
    (row,) = (row for row in lines(out / "per_case.csv") if row["case"] == "Phantom_002")
    for name in set(MEASURES) - {"without_variance"}:
        assert float(row[name]) == pytest.approx(getattr(expected, name), rel=1e-4, nan_ok=True), name
    count = (unknown & case.brain).sum()
    assert float(row["without_variance"]) == count > 0
    assert f"TC a: {count} voxels of the brain of 1 patient have no variance" in printed
    assert {float(row["without_variance"]) for row in lines(out / "per_case.csv")} == {0, count}


@pytest.mark.parametrize(("kind", "scaling"), [("prob", "variance-1"), ("entropy", "entropy-1")])
@pytest.mark.parametrize("value", [np.nan, 1.5, -0.5])
def test_a_map_that_is_no_probability_or_entropy_fails_its_case(
    cohort, of_one_target, tmp_path, no_plots, kind, scaling, value
):
    folder = shutil.copytree(of_one_target, tmp_path / "maps")
    path = folder / f"Phantom_002_TC_{kind}.nii.gz"
    changed_map(path, lambda voxels: voxels[3].fill(value))
    with pytest.raises(InputError, match=rf"1 of 3 cases failed: Phantom_002; .*{path.name} .* {value:g}"):
        evaluate({"a": folder}, cohort[0].parent, tmp_path / "out", scaling=scaling)


def test_an_error_of_a_library_in_one_case_is_said_and_the_others_are_evaluated(
    cohort, of_one_target, tmp_path, no_plots, monkeypatch
):
    def fail_at_the_second(files, *given, **options):
        if files.name == "Phantom_002":
            raise KeyError("deep inside")
        return load_case(files, *given, **options)

    monkeypatch.setattr("spuproj.training.workflows.measured_case.load_case", fail_at_the_second)
    with pytest.raises(InputError, match=r"1 of 3 cases failed: Phantom_002; .* Phantom_002: KeyError: 'deep inside'"):
        evaluate({"a": of_one_target}, cohort[0].parent, tmp_path / "out")
    assert len(lines(tmp_path / "out" / "per_case.csv")) == 2


def test_where_every_case_fails_nothing_is_written(cohort, predictions, tmp_path):
    folder = shutil.copytree(predictions["straight"], tmp_path / "maps")
    for path in folder.glob("*_ET_prob.nii.gz"):
        path.unlink()
    with pytest.raises(InputError, match=r"none of 3 cases can be evaluated; Phantom_001: .*_ET_prob.* --maps seg,"):
        evaluate({"a": folder}, cohort[0].parent, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("scaling", "kind"), [("entropy-1", "entropy"), ("mutual-1", "mi"), ("std-1", "var")])
def test_the_error_of_a_missing_map_says_what_to_predict(cohort, of_one_target, tmp_path, scaling, kind):
    shutil.copytree(of_one_target, tmp_path / "maps", ignore=shutil.ignore_patterns(f"*_{kind}.nii.gz"))
    with pytest.raises(InputError, match=rf"_TC_{kind}\.nii\.gz must be there, .* predict with --maps seg,prob,{kind}"):
        evaluate({"a": tmp_path / "maps"}, cohort[0].parent, tmp_path / "out", scaling=scaling)


def renamed(case, folder, name):
    """A copy of a case under another name."""
    copy = shutil.copytree(case, folder / name)
    for path in copy.iterdir():
        path.rename(path.with_name(path.name.replace(case.name, name)))
    return copy


def test_names_that_begin_alike_are_told_apart(cohort, models, tmp_path, no_plots, no_picture):
    for case, name in zip(cohort, ("sub-01", "sub-01_ses-02", "sub-01_WT"), strict=True):
        renamed(case, tmp_path / "data", name)
    predict_cohort([models["WT"], models["TC"]], tmp_path / "data", tmp_path / "maps")
    evaluate({"a": tmp_path / "maps"}, tmp_path / "data", tmp_path / "out")
    found = {(row["case"], row["target"]) for row in lines(tmp_path / "out" / "per_case.csv")}
    assert found == {(name, target) for name in ("sub-01", "sub-01_ses-02", "sub-01_WT") for target in ("TC", "WT")}


def test_what_is_not_evaluated_is_said(cohort, predictions, tmp_path, no_plots, capsys):
    data = shutil.copytree(cohort[0].parent, tmp_path / "data")
    (data / "Phantom_001" / "Phantom_001_seg.nii.gz").unlink()
    part = shutil.copytree(predictions["straight"], tmp_path / "part")
    for path in (*part.glob("Phantom_002_*"), *part.glob("Phantom_003_ET_*")):
        path.unlink()
    shutil.copy(part / "Phantom_003_WT_seg.nii.gz", part / "Phantom_003_lesion_seg.nii.gz")
    evaluate({"all": predictions["straight"], "part": part}, data, tmp_path / "out")
    said = capsys.readouterr().err
    for sentence in (
        "1 case is not evaluated, there is no segmentation: Phantom_001",
        "1 case is not evaluated, without maps by part: Phantom_002",
        "1 case is not evaluated for ET, no maps by part: Phantom_003",
        "1 map is not evaluated, of no such case or target, by part: Phantom_003_lesion_seg.nii.gz",
    ):
        assert sentence in said
    assert json.loads((tmp_path / "out" / "table.json").read_text())["not_evaluated"] == {
        "Phantom_001": "there is no segmentation",
        "Phantom_002": "without maps by part",
    }


def test_labels_without_a_scheme_fail_their_case(cohort, of_one_target, tmp_path, no_plots):
    entries = []
    for case in cohort[1:]:
        images = {kind: str(case / f"{case.name}_{kind}.nii.gz") for kind in ("t1", "t1ce", "t2", "flair")}
        entries.append({"name": case.name, "images": images, "label": str(case / f"{case.name}_seg.nii.gz")})
    (tmp_path / "set.json").write_text(json.dumps({"cases": entries}))
    with pytest.raises(InputError, match=r"none of 2 cases can be evaluated; Phantom_002: the labels of .* must"):
        evaluate({"a": of_one_target}, tmp_path / "set.json", tmp_path / "out")
    written = evaluate({"a": of_one_target}, tmp_path / "set.json", tmp_path / "out", labels="brats2020")
    assert [path.name for path in written] == FILES


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
        ([f"../x={tmp_path}"], "the name of a method must be a plain file name, but it begins with a dot, got '../x'"),
        (["x=/nowhere"], "/nowhere must be a folder of predictions, but there is no such folder"),
    ):
        with pytest.raises(InputError, match=re.escape(message)):
            methods_named(entries)


def test_a_folder_of_predictions_that_is_missing_is_an_error(cohort, tmp_path):
    with pytest.raises(InputError, match="nowhere must be a folder of predictions, but there is no such folder"):
        evaluate({"x": tmp_path / "nowhere"}, cohort[0].parent, tmp_path / "out")


def test_options_say_what_the_numbers_depend_on():
    assert (
        EvaluationOptions("std-1", "nan").text
        == "uncertainty scaled by std-1 (square root of the variance / 0.5), empty masks by nan"
    )


def test_the_command_prints_the_table_and_the_files(cohort, predictions, tmp_path, capsys, no_plots):
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
