"""The scripts in examples/ run as a user runs them and give the results that they claim."""

import re
from functools import cache
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from helpers import ROOT
from processes.forked import run_forked
from processes.here import run_here

PLAIN = ("any_network", "learn_where_to_look", "training_through_views", "views_as_augmentation", "wrap_a_network")


def colours_in(path: Path) -> int:
    """How many colours a picture has."""
    with Image.open(path) as picture:
        colours = picture.convert("RGB").getcolors(maxcolors=picture.width * picture.height)
    assert colours is not None
    return len(colours)


@cache
def output(name: str, *arguments: str) -> str:
    run = run_forked(ROOT / "examples" / f"{name}.py", *arguments)
    assert run.returncode == 0, run.stderr
    return run.stdout


def output_here(name: str, folder: Path, *arguments: object) -> str:
    """Of an example whose packages take long to import."""
    return run_here((ROOT / "examples" / f"{name}.py").read_text(), *arguments, folder=folder)


def test_every_example_is_run() -> None:
    assert {path.stem for path in (ROOT / "examples").glob("*.py")} == {
        *PLAIN,
        "plot_views",
        "nnunet_variance",  # in tests/nnunet, which has a model for it
        "dicom_maps",  # in tests/training/export, which has a series for it
        "monai_inferer",
        "torchmetrics_uncertainty",
        "export_to_onnx",
        "uncertainty_of_a_slice",
    }


@pytest.mark.parametrize("name", PLAIN)
def test_an_example_needs_torch_alone_and_says_something(name: str) -> None:
    source = (ROOT / "examples" / f"{name}.py").read_text()
    assert set(re.findall(r"^(?:import|from) (\w+)", source, re.MULTILINE)) == {"torch", "spuproj"}
    assert output(name)


def test_training_through_views_lowers_the_loss() -> None:
    losses = [float(loss) for loss in re.findall(r"loss ([\d.]+)", output("training_through_views"))]
    assert losses[-1] < losses[0] / 5


def test_the_maps_of_a_monai_inferer_keep_the_spacing_of_the_volume(tmp_path: Path) -> None:
    assert "(1, 1, 64, 48, 6), voxels of [1.0, 1.0, 5.0] mm" in output_here("monai_inferer", tmp_path)


def test_learned_views_show_lesions_better_than_fixed_views() -> None:
    fixed, learned = map(float, re.findall(r"views ([\d.]+)", output("learn_where_to_look")))
    assert learned < 0.6 * fixed


def test_the_variance_of_views_finds_their_errors(tmp_path: Path) -> None:
    scores = dict(re.findall(r"(\w+): ([\d.]+)", output_here("torchmetrics_uncertainty", tmp_path)))
    assert set(scores) == {"QUBraTS", "ErrorAUROC", "RiskCoverage"}
    assert float(scores["ErrorAUROC"]) > 0.8


@pytest.mark.filterwarnings("default")  # the exporter's own
def test_onnxruntime_computes_what_spuproj_computes(tmp_path: Path) -> None:
    printed = output_here("export_to_onnx", tmp_path, "maps.onnx")
    difference = re.search(r"largest difference .*: ([\d.e+-]+)", printed)
    assert difference is not None
    assert float(difference[1]) < 1e-5


def test_the_uncertainty_of_a_slice_is_drawn(tmp_path: Path) -> None:
    voxels = np.zeros((24, 30, 4), dtype=np.float32)
    voxels[6:18, 8:22, 1] = 100
    nib.save(nib.Nifti1Image(voxels, np.eye(4)), tmp_path / "volume.nii.gz")
    output_here("uncertainty_of_a_slice", tmp_path, "volume.nii.gz", 1, "picture.png")
    assert colours_in(tmp_path / "picture.png") > 100


def test_the_views_are_drawn(tmp_path: Path) -> None:
    assert "6 views" in output("plot_views", str(tmp_path / "picture.png"))
    assert colours_in(tmp_path / "picture.png") > 100


@pytest.mark.parametrize("name", ["plot_views", "uncertainty_of_a_slice"])
def test_without_its_arguments_an_example_says_how_it_is_called(name: str) -> None:
    run = run_forked(ROOT / "examples" / f"{name}.py")
    assert run.returncode == 1
    assert f"python examples/{name}.py " in run.stderr
