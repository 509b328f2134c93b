"""What may be in the place of a file: circles of links, pipes, devices, folders, and files that go away."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK

from spuproj.training.data.case import load_case
from spuproj.training.data.readers.case_files import ImageFile
from spuproj.training.data.volumes.image_file import open_volume
from spuproj.training.runtime.errors import InputError
from spuproj.training.workflows.predict import predict, predict_cohort

WRITING = "spuproj.training.workflows.write_prediction"

pytest_plugins = ["training_fixtures"]
pytestmark = [
    pytest.mark.usefixtures("one_thread", "no_picture"),
    pytest.mark.skipif(sys.platform == "win32", reason="makes pipes and links"),
]

NAMES = ["Phantom_001", "Phantom_002", "Phantom_003"]
ODD: dict[str, Callable[[Path], object]] = {
    "a link to itself": lambda path: path.symlink_to(path.name),
    "a circle of links": lambda path: [path.symlink_to(f"{path.name}.2"), Path(f"{path}.2").symlink_to(path.name)],
    "a link to nothing": lambda path: path.symlink_to("nowhere"),
    "a pipe": os.mkfifo,
    "a link to a device": lambda path: path.symlink_to("/dev/zero"),
    "a link to a terminal": lambda path: path.symlink_to("/dev/tty"),
    "a folder": Path.mkdir,
    "nothing": lambda path: None,
    "an empty file": Path.touch,
}
each_odd = pytest.mark.parametrize("odd", ODD)


@pytest.fixture
def data(cohort, tmp_path) -> Path:
    folder = tmp_path / "data"
    shutil.copytree(cohort[0].parent, folder)
    return folder


def put(odd: str, path: Path) -> Path:
    """In the place of a file."""
    path.unlink(missing_ok=True)
    ODD[odd](path)
    return path


@each_odd
def test_one_case_with_an_odd_file_among_many_does_not_stop_the_others(spuproj, data, models, tmp_path, odd):
    path = put(odd, data / NAMES[1] / f"{NAMES[1]}_t2.nii.gz")
    status, printed = spuproj("predict", "--model", models["WT"], "--data", data, "--out", tmp_path / "out")
    assert status == f"error: 1 of 3 cases failed: {NAMES[1]}"
    (line,) = (line for line in printed.splitlines() if line.startswith(f"{NAMES[1]} failed: "))
    assert path.name in line or "t2" in line
    assert {each.name[:11] for each in (tmp_path / "out").iterdir()} == {NAMES[0], NAMES[2], "report.html"}


@each_odd
def test_an_odd_segmentation_is_said_and_the_case_is_predicted(spuproj, data, models, tmp_path, odd):
    put(odd, data / NAMES[1] / f"{NAMES[1]}_seg.nii.gz")
    options = ("predict", "--model", models["WT"], "--case", data / NAMES[1], "--out", tmp_path / "out")
    status, printed = spuproj(*options)
    assert status == 0
    assert ("the segmentation cannot be used" in printed) == (odd != "nothing")


@each_odd
@pytest.mark.parametrize("file", ["config.json", "model.safetensors"])
def test_an_odd_file_of_a_model_is_named(data, models, tmp_path, odd, file):
    model = tmp_path / "model"
    shutil.copytree(models["WT"], model)
    put(odd, model / file)
    with pytest.raises(InputError, match=rf"{model}.*{file}|{file}"):
        predict([model], data / NAMES[0], tmp_path / "out")
    assert not (tmp_path / "out").exists()


@each_odd
@pytest.mark.parametrize("option", ["--data set.csv", "--data set.json", "--split split.json", "--data dataset.json"])
def test_an_odd_manifest_or_split_is_named(spuproj, data, models, tmp_path, odd, option):
    name, file = option.split()
    source: tuple[Any, ...]
    if file == "dataset.json":
        if odd == "nothing":
            return
        path, source = put(odd, data / file), ("--data", data)
    else:
        path = put(odd, tmp_path / file)
        source = (name, path) if name == "--data" else ("--data", data, name, path)
    status, _ = spuproj("predict", "--model", models["WT"], *source, "--out", tmp_path / "out")
    assert str(status).startswith("error: ")
    assert str(path) in str(status)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("odd", [odd for odd in ODD if odd not in ("a folder", "nothing")])
def test_an_odd_file_in_the_place_of_an_output_is_refused_and_with_force_replaced(spuproj, data, models, tmp_path, odd):
    path = tmp_path / "out" / f"{NAMES[0]}_WT_var.nii.gz"
    path.parent.mkdir()
    put(odd, path)
    options = ("predict", "--model", models["WT"], "--out", tmp_path / "out", "--case", data / NAMES[0])
    assert spuproj(*options)[0] == f"error: {path} exists already; pass --force to write over it"
    assert spuproj(*options, "--force")[0] == 0
    assert path.is_file()
    assert not path.is_symlink()


@pytest.mark.parametrize("ending", ["_WT_var.nii.gz", "_summary.json", ".png"])
def test_a_folder_in_the_place_of_an_output_is_named_before_any_work(data, models, tmp_path, monkeypatch, ending):
    path = tmp_path / "out" / f"{NAMES[0]}{ending}"
    path.mkdir(parents=True)
    (path / "mine").touch()
    monkeypatch.setattr(f"{WRITING}.load_case", lambda *_, **__: pytest.fail("a case is read"))
    message = rf"{path} must be a file to write, but it is a folder; move it to another place"
    with pytest.raises(InputError, match=message):
        predict([models["WT"]], data / NAMES[0], tmp_path / "out", force=True)
    monkeypatch.undo()
    monkeypatch.setattr(
        "spuproj.training.workflows.write_prediction.case_figure", lambda *given: given[3].write_text("picture")
    )
    outcome = predict_cohort([models["WT"]], data, tmp_path / "out", force=True)
    assert outcome.predicted == NAMES[1:]
    assert [path.name for path in (tmp_path / "out").iterdir() if path.name.startswith(NAMES[0])] == [path.name]


@pytest.mark.parametrize("place", ["--out", "--case", "--model"])
def test_a_circle_of_links_in_the_place_of_a_folder_is_named(spuproj, data, models, tmp_path, place):
    loop = tmp_path / "loop"
    loop.symlink_to(loop)
    options = {"--model": models["WT"], "--case": data / NAMES[0], "--out": tmp_path / "out", place: loop}
    status, _ = spuproj("predict", *(each for option in options.items() for each in option))
    assert str(status).startswith("error: ")
    assert str(loop) in str(status)


def test_a_file_that_goes_away_after_it_was_listed_fails_that_case_alone(data, models, tmp_path, monkeypatch):
    """After its header was read, before its voxels are."""
    real = load_case

    def remove_first(files, *arguments, **options):
        if files.name == NAMES[1]:
            files.images["t2"].path.unlink()
        return real(files, *arguments, **options)

    monkeypatch.setattr(f"{WRITING}.load_case", remove_first)
    outcome = predict_cohort([models["WT"]], data, tmp_path / "out")
    assert (outcome.predicted, list(outcome.failed)) == ([NAMES[0], NAMES[2]], [NAMES[1]])
    assert f"{NAMES[1]}_t2.nii.gz" in outcome.failed[NAMES[1]]


@pytest.mark.parametrize("ending", [".mhd", ".nhdr"])
@pytest.mark.parametrize("odd", ["a pipe", "a link to a device"])
def test_voxels_that_a_header_says_to_be_in_a_pipe_are_not_waited_for(tmp_path, ending, odd):
    path = tmp_path / f"a{ending}"
    SimpleITK.WriteImage(SimpleITK.GetImageFromArray(np.ones((4, 5, 6), np.float32)), path)
    assert open_volume(ImageFile(path)).values().sum() == 120
    put(odd, tmp_path / "a.raw")
    with pytest.raises(InputError, match=rf"{path} must be .* its voxels must be in a file, but a.raw is none"):
        open_volume(ImageFile(path))


def test_voxels_that_go_away_after_the_header_was_read_are_named(data):
    path = data / NAMES[0] / f"{NAMES[0]}_t1.nii.gz"
    volume = open_volume(ImageFile(path))
    path.unlink()
    with pytest.raises(InputError, match=rf"{path} .*No such file"):
        volume.values()
