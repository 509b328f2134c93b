"""The command line: every command does its work, and says on one line what it cannot do."""

from __future__ import annotations

import json
import re
from importlib.metadata import version
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from matplotlib.figure import Figure

from processes.forked import run_forked
from spuproj.training.workflows import demo
from spuproj_cli import entry

pytest_plugins = ["training_fixtures"]
pytestmark = pytest.mark.usefixtures("one_thread")

COMMANDS = (
    "info",
    "demo",
    "phantom",
    "manifest",
    "check",
    "split",
    "train",
    "predict",
    "nnunet-predict",
    "evaluate",
    "study",
    "dicom",
    "bids",
    "push",
    "bench",
    "project",
    "explore",
)


@pytest.fixture
def volume(tmp_path) -> Path:
    """A NIfTI file of 20 x 24 x 6 voxels: noise inside a frame of zeros."""
    voxels = np.zeros((20, 24, 6), np.float32)
    voxels[4:16, 4:20] = np.random.default_rng(0).uniform(1, 2, (12, 16, 6))
    nib.save(nib.Nifti1Image(voxels, np.diag([-1.0, -1.0, 1.0, 1.0])), tmp_path / "volume.nii.gz")
    return tmp_path / "volume.nii.gz"


def png(path: Path) -> bool:
    return path.read_bytes().startswith(b"\x89PNG")


def test_info_prints_backends_and_threads(spuproj):
    status, printed = spuproj("info")
    assert status == 0
    lines = dict(re.split(r"\s{2,}", line, maxsplit=1) for line in printed.splitlines())
    assert {"spuproj", "torch", "backend cpu", "backend torch", "cpu tensors", "simd", "threads"} <= set(lines)


def test_help_lists_every_command(spuproj):
    status, printed = spuproj("--help")
    assert status == 0
    assert [name for name in COMMANDS if not re.search(rf"^\W*{name} ", printed, re.MULTILINE)] == []


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_a_help_text(spuproj, command):
    status, printed = spuproj(command, "--help")
    assert status == 0
    assert f"spuproj {command}" in printed
    assert re.search(r"[A-Z]\w+ .*\.", printed)


def test_no_command_shows_the_help(spuproj):
    assert "Usage" in spuproj()[1]


@pytest.mark.parametrize(
    "arguments", [("nonsense",), ("info", "--nonsense"), ("train", "--target", "XX"), ("project",)]
)
def test_wrong_usage_ends_with_status_2(spuproj, arguments):
    status, printed = spuproj(*arguments)
    assert status == 2
    assert "Usage" in printed


def test_project_writes_a_picture_and_prints_its_path(spuproj, volume, tmp_path):
    out = tmp_path / "new" / "views.png"
    status, printed = spuproj("project", "--input", volume, "--slice", 2, "--out", out, "--grid", 1, 2)
    assert status == 0
    assert printed.replace("\n", "") == str(out)
    assert png(out)


def test_project_takes_profiles_and_radius(spuproj, volume, tmp_path):
    options = ("--grid", 1, 1, "--radius", 30, "--lift", "stereographic", "--chart", "equal_area")
    status, _ = spuproj("project", "--input", volume, "--slice", 0, "--out", tmp_path / "views.png", *options)
    assert status == 0
    assert png(tmp_path / "views.png")


def test_project_does_not_overwrite_unless_forced(spuproj, volume, tmp_path):
    out = tmp_path / "views.png"
    out.write_text("mine")
    arguments = ("project", "--input", volume, "--slice", 2, "--out", out, "--grid", 1, 1)
    assert spuproj(*arguments)[0] == f"error: {out} exists already; pass --force to write over it"
    assert out.read_text() == "mine"
    assert spuproj(*arguments, "--force")[0] == 0
    assert png(out)


@pytest.mark.parametrize("number", [-1, 6])
def test_project_tells_which_slices_there_are(spuproj, volume, tmp_path, number):
    status, _ = spuproj("project", "--input", volume, "--slice", number, "--out", tmp_path / "views.png")
    assert status == f"error: slice must lie in [0, 5], got {number}"
    assert not (tmp_path / "views.png").exists()


def test_project_names_a_file_that_is_no_image(spuproj, tmp_path):
    (tmp_path / "text.nii.gz").write_text("no image")
    status, _ = spuproj("project", "--input", tmp_path / "text.nii.gz", "--slice", 0, "--out", tmp_path / "views.png")
    assert status.startswith(f"error: {tmp_path / 'text.nii.gz'} must be an image (NIfTI")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--radius", -1), "error: radius must be positive and finite, got -1.0"),
        (("--grid", 0, 2), "error: grid must be two positive whole numbers (rows, columns), got (0, 2)"),
    ],
)
def test_project_tells_what_is_wrong_with_the_views(spuproj, volume, tmp_path, options, message):
    status, _ = spuproj("project", "--input", volume, "--slice", 2, "--out", tmp_path / "views.png", *options)
    assert status == message


@pytest.mark.parametrize("fill", ["constant", "nan"])
def test_project_shows_a_slice_without_foreground(spuproj, tmp_path, fill):
    voxels = np.full((20, 24, 2), 3.0 if fill == "constant" else np.nan, np.float32)
    nib.save(nib.Nifti1Image(voxels, np.eye(4)), tmp_path / "flat.nii")
    out = tmp_path / "views.png"
    assert spuproj("project", "--input", tmp_path / "flat.nii", "--slice", 0, "--out", out, "--grid", 1, 1)[0] == 0
    assert png(out)


def test_the_grid_covers_the_foreground(volume, spuproj, tmp_path, monkeypatch):
    seen = []

    def keep(table, size, view_size, plane, columns):
        seen.append((table, plane, columns))
        return Figure()

    monkeypatch.setattr("spuproj.training.workflows.project.plot_views", keep)
    spuproj("project", "--input", volume, "--slice", 3, "--out", tmp_path / "views.png", "--grid", 1, 2)
    ((table, plane, columns),) = seen
    np.testing.assert_array_equal(plane, np.asarray(nib.Nifti1Image.from_filename(volume).dataobj)[:, :, 3].T)
    # Foreground: rows 4 to 19, columns 4 to 15; two cells side by side.
    np.testing.assert_allclose(table[:, :2], [[11.5, 4 + 11 / 4], [11.5, 4 + 33 / 4]])
    assert columns == 2


def test_explore_writes_a_page_of_the_slice_and_prints_its_path(spuproj, volume, tmp_path):
    out = tmp_path / "new" / "page.html"
    status, printed = spuproj("explore", "--input", volume, "--slice", 2, "--out", out)
    assert status == 0
    assert printed.replace("\n", "") == str(out)
    assert "volume.nii.gz, slice 2" in out.read_text()


def test_explore_takes_the_slice_with_the_largest_foreground(spuproj, tmp_path):
    voxels = np.zeros((20, 24, 6), np.float32)
    voxels[4:16, 4:20, 3] = 1
    voxels[6:10, 6:10, 2:5] = 2
    nib.save(nib.Nifti1Image(voxels, np.diag([-1.0, -1.0, 1.0, 1.0])), tmp_path / "volume.nii")
    assert spuproj("explore", "--input", tmp_path / "volume.nii", "--out", tmp_path / "page.html")[0] == 0
    assert "volume.nii, slice 3" in (tmp_path / "page.html").read_text()


def test_explore_does_not_overwrite_unless_forced(spuproj, volume, tmp_path):
    out = tmp_path / "page.html"
    out.write_text("mine")
    arguments = ("explore", "--input", volume, "--out", out)
    assert spuproj(*arguments)[0] == f"error: {out} exists already; pass --force to write over it"
    assert out.read_text() == "mine"
    assert spuproj(*arguments, "--force")[0] == 0
    assert out.read_text().startswith("<!DOCTYPE html>")


@pytest.mark.parametrize("number", [-1, 6])
def test_explore_tells_which_slices_there_are(spuproj, volume, tmp_path, number):
    status, _ = spuproj("explore", "--input", volume, "--slice", number, "--out", tmp_path / "page.html")
    assert status == f"error: slice must lie in [0, 5], got {number}"
    assert not (tmp_path / "page.html").exists()


def test_explore_refuses_several_volumes_and_missing_files(spuproj, tmp_path):
    series, out = tmp_path / "series.nii", tmp_path / "page.html"
    nib.save(nib.Nifti1Image(np.zeros((6, 6, 6, 2), np.float32), np.eye(4)), series)
    status, _ = spuproj("explore", "--input", series, "--out", out)
    assert status.startswith(f"error: {series} must hold one volume of three axes, got the shape (6, 6, 6, 2)")
    status, _ = spuproj("explore", "--input", tmp_path / "none.nii", "--out", out)
    assert status == f"error: {tmp_path} must hold none.nii, but it is missing; images there: series.nii"
    assert not out.exists()


def test_phantom_refuses_what_it_cannot_make(spuproj, tmp_path):
    status, _ = spuproj("phantom", "--out", tmp_path / "new", "--cases", 0)
    assert status == "error: cases must be at least 1, got 0"
    assert not (tmp_path / "new").exists()


def test_phantom_train_and_predict_work_from_end_to_end(spuproj, tmp_path):
    cohort, model, maps = tmp_path / "cohort", tmp_path / "model", tmp_path / "maps"
    assert spuproj("phantom", "--out", cohort, "--cases", 3, "--spacing", 8)[0] == 0
    assert sorted(path.name for path in cohort.iterdir()) == ["Phantom_001", "Phantom_002", "Phantom_003"]
    options = ("--epochs", 2, "--batch-size", 4)
    status, printed = spuproj("train", "--data", cohort, "--target", "WT", "--out", model, *options)
    assert status == 0
    assert f"model {model}" in printed.replace("\n", "")
    assert (model / "model.safetensors").is_file()
    status, printed = spuproj("predict", "--model", model, "--case", cohort / "Phantom_001", "--out", maps)
    assert status == 0
    names = {f"Phantom_001_WT_{kind}.nii.gz" for kind in ("prob", "seg", "var", "entropy", "mi")}
    names |= {"Phantom_001_report.html", "Phantom_001_summary.json", "Phantom_001.png"}
    assert {path.name for path in maps.iterdir()} == names
    assert all(str(maps / name) in printed for name in names)


def test_train_says_what_is_wrong_with_the_data(spuproj, tmp_path):
    status, _ = spuproj("train", "--data", tmp_path / "nowhere", "--target", "ET", "--out", tmp_path / "run")
    assert status == f"error: {tmp_path / 'nowhere'} must be a folder of case folders, but there is no such folder"


def test_predict_says_what_is_wrong_with_the_model(spuproj, tmp_path):
    status, _ = spuproj("predict", "--model", tmp_path / "none", "--case", tmp_path, "--out", tmp_path / "maps")
    assert status == f"error: {tmp_path / 'none'} must be a finished run of 'spuproj train', but has no config.json"


@pytest.mark.filterwarnings("ignore:The number of training batches:UserWarning")
def test_demo_makes_everything_and_replaces_only_a_demo(spuproj, tmp_path, monkeypatch):
    monkeypatch.setattr(demo, "TRAINING_CASES", 5)
    monkeypatch.setattr(demo, "SPACING", 8.0)
    monkeypatch.setattr(demo, "EPOCHS", 1)
    out = tmp_path / "demo"
    out.mkdir()
    (out / "mine").touch()
    assert spuproj("demo", "--out", out)[0] == f"error: {out} exists already; pass --force to write over it"
    refused = f"error: {out} must be empty or hold an earlier demo to be replaced, but holds something else"
    assert spuproj("demo", "--out", out, "--force")[0] == refused
    assert [path.name for path in out.iterdir()] == ["mine"]
    (out / "mine").rename(out / demo.MARK)
    assert spuproj("demo", "--out", out, "--force")[0] == 0
    made = {"cohort", "patient", "models", "prediction", "scores.json"}
    assert {path.name for path in out.iterdir()} == made | {demo.MARK}
    scores = json.loads((out / "scores.json").read_text())
    assert list(scores) == ["ET", "TC", "WT"]
    assert all(0 <= value["dice"] <= 1 for value in scores.values())
    assert len(list((out / "prediction").glob("*_seg.nii.gz"))) == 3


WITHOUT = """
import sys
sys.modules[{missing!r}] = None
from spuproj_cli import entry
for arguments in {arguments!r}:
    sys.argv = ["spuproj", *arguments]
    try:
        entry.main()
    except SystemExit as end:
        print("ended:", end.code)
"""


def test_without_the_training_extra_info_and_version_work_and_the_rest_says_what_to_install():
    run = run_forked(WITHOUT.format(missing="typer", arguments=[["info"], ["--version"], ["--help"], ["train"], []]))
    assert run.returncode == 0, run.stderr
    assert "backend torch" in run.stdout
    assert f"\nspuproj {version('spuproj')}\n" in run.stdout
    ended = [line for line in run.stdout.splitlines() if line.startswith("ended:")]
    assert len(ended) == 3
    assert all('pip install "spuproj[training]"' in line for line in ended)


def test_without_a_part_of_the_training_extra_a_command_says_what_to_install():
    arguments = ["train", "--data", "nowhere", "--target", "ET", "--out", "nowhere"]
    run = run_forked(WITHOUT.format(missing="monai", arguments=[arguments]))
    assert run.returncode == 0, run.stderr
    assert 'pip install "spuproj[training]"' in run.stdout


@pytest.mark.parametrize(
    "error",
    [
        ImportError("libfoo.so: cannot open shared object file"),
        ModuleNotFoundError("No module named 'spuproj.training'", name="spuproj.training"),
    ],
)
def test_what_no_extra_mends_is_not_said_to_be_one(monkeypatch, error):
    def fail():
        raise error

    monkeypatch.setattr("spuproj_cli.app.run", fail)
    with pytest.raises(ImportError, match=str(error)):
        entry.main()


def test_the_python_names_of_the_training_layer_say_which_extra_they_need():
    code = "import sys; sys.modules['pydantic'] = None\nfrom spuproj.training import train"
    run = run_forked(code)
    assert "spuproj.training needs the training extra" in run.stderr
    assert 'pip install "spuproj[training]"' in run.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ("train", "--data", "d", "--target", "WT", "--out", "o"),
        ("predict", "--data", "d", "--out", "o"),
        ("predict", "--case", "d", "--out", "o"),
    ],
)
def test_a_fold_needs_its_split(spuproj, arguments, tmp_path):
    status, printed = spuproj(*arguments, "--fold", 1)
    assert status == 2
    assert "--fold needs --" in printed
