"""What is given on the command line reaches the function that does the work, and a missing extra is named."""

from __future__ import annotations

import inspect
import sys
from importlib import import_module
from importlib.metadata import metadata
from pathlib import Path
from typing import Any

import pytest

from spuproj.training.models.method import load_method
from spuproj.training.runtime.execution import Hardware
from spuproj.training.workflows.predict import Outcome
from spuproj_cli import entry

pytest_plugins = ["training_fixtures"]

DATA, OUT = Path("d"), Path("o")
METHOD = load_method("lsu", epochs=3, batch_size=5)
PREDICT = {"models": [Path("m"), Path("n")], "out": OUT, "labels": "brats2023", "aggregation": "otsu", "force": True}
TRAIN = (
    *("--data", "d", "--target", "TC", "--out", "o", "--method", "lsu", "--epochs", 3, "--batch-size", 5),
    *("--labels", "nnunet", "--seed", 7, "--devices", 2, "--cache", "c", "--no-augment", "--calibrate"),
)
TRAINED: dict[str, Any] = {
    **{"data": DATA, "target": "TC", "out": OUT, "method": METHOD, "labels": "nnunet", "seed": 7},
    **{"hardware": Hardware(devices=2), "cache": Path("c"), "augment": False, "calibrate": True},
}


@pytest.mark.parametrize(
    ("function", "arguments", "wanted"),
    [
        (
            "spuproj.training.fit.train.train",
            ("train", *TRAIN, "--split", "s", "--fold", 4, "--resume"),
            {**TRAINED, "split": Path("s"), "fold": 4, "resume": True},
        ),
        (
            "spuproj.training.fit.train.train",
            ("train", *TRAIN, "--validation", 6, "--force"),
            {**TRAINED, "validation": 6, "force": True},
        ),
        (
            "spuproj.training.workflows.predict.predict",
            (
                *("predict", "--model", "m", "--model", "n", "--case", "d", "--out", "o", "--labels", "brats2023"),
                *("--aggregation", "otsu", "--maps", "prob,mi", "--force"),
            ),
            {**PREDICT, "folder": DATA, "maps": ["prob", "mi"]},
        ),
        (
            "spuproj.training.workflows.predict.predict_cohort",
            (
                *("predict", "--model", "m", "--model", "n", "--data", "d", "--out", "o", "--labels", "brats2023"),
                *("--aggregation", "otsu", "--maps", "prob,mi", "--force", "--split", "s", "--fold", 2),
                *("--shard", "1/3"),
            ),
            {**PREDICT, "data": DATA, "maps": ["prob", "mi"], "split": Path("s"), "fold": 2, "shard": (1, 3)},
        ),
        (
            "spuproj.training.workflows.evaluate.evaluate",
            (
                *("evaluate", "--data", "d", "--predictions", "m=a", "--predictions", "n=b", "--out", "o"),
                *("--scaling", "std-1", "--empty", "nan", "--labels", "nnunet", "--force"),
            ),
            {
                **{"methods": {"m": Path("a"), "n": Path("b")}, "data": DATA, "out": OUT, "labels": "nnunet"},
                **{"scaling": "std-1", "empty": "nan", "force": True},
            },
        ),
        (
            "spuproj.training.workflows.study.study",
            (
                *("study", "--data", "d", "--split", "s", "--out", "o", "--target", "TC", "--target", "WT"),
                *("--method", "lsu", "--epochs", 3, "--batch-size", 5, "--vary", "oversampling=1.0,2.0"),
                *("--fold", 2, "--labels", "nnunet", "--seed", 1, "--seed", 2),
            ),
            {
                **{"data": DATA, "targets": ["TC", "WT"], "split": Path("s"), "out": OUT, "method": METHOD},
                **{"variations": {"oversampling": (1.0, 2.0)}, "fold": 2, "seeds": [1, 2], "labels": "nnunet"},
            },
        ),
        (
            "spuproj.training.export.dicom.write_dicom",
            ("dicom", "--predictions", "d", "--series", "s", "--out", "o", "--case", "p", "--force"),
            {"predictions": DATA, "series": Path("s"), "out": OUT, "case": "p", "force": True},
        ),
        (
            "spuproj.training.workflows.manifest.make_manifest",
            (
                *("manifest", "d", "--out", "o", "--image", "t1={case}.nii", "--label", "{case}.l.nii"),
                *("--mask", "{case}.m.nii", "--labels", "nnunet", "--force"),
            ),
            {
                **{"folder": DATA, "out": OUT, "images": {"t1": "{case}.nii"}, "label": "{case}.l.nii"},
                **{"mask": "{case}.m.nii", "labels": "nnunet", "force": True},
            },
        ),
        (
            "spuproj.training.workflows.project.project_slice",
            (
                *("project", "--input", "d", "--slice", 3, "--out", "o", "--grid", 2, 5, "--radius", 8),
                *("--lift", "equal_area", "--chart", "orthographic", "--force"),
            ),
            {
                **{"volume": DATA, "index": 3, "out": OUT, "grid": (2, 5), "radius": 8.0},
                **{"lift": "equal_area", "chart": "orthographic", "force": True},
            },
        ),
        (
            "spuproj.training.workflows.demo.run_demo",
            ("demo", "--out", "o", "--seed", 3, "--force"),
            {"out": OUT, "seed": 3, "force": True},
        ),
    ],
)
def test_every_option_reaches_the_function(spuproj, monkeypatch, tmp_path, function, arguments, wanted):
    monkeypatch.chdir(tmp_path)
    for folder in "ab":
        Path(folder).mkdir()
    module, name = function.rsplit(".", 1)
    signature, seen = inspect.signature(getattr(import_module(module), name)), {}

    def instead(*given: Any, **named: Any) -> Any:
        seen.update(signature.bind(*given, **named).arguments)
        return Outcome() if name == "predict_cohort" else []

    monkeypatch.setattr(function, instead)
    monkeypatch.setattr("spuproj.training.workflows.manifest.summary", str)
    assert spuproj(*arguments)[0] == 0
    assert {key: value for key, value in seen.items() if value != signature.parameters[key].default} == wanted


@pytest.mark.parametrize(
    ("command", "extra"),
    [("bench", "bench"), ("dicom", "dicom"), ("nnunet-predict", "nnunet"), ("push", "hub"), ("predict", "training")],
)
def test_a_command_without_its_packages_names_its_extra(monkeypatch, command, extra):
    def fail() -> None:
        raise ModuleNotFoundError("No module named 'other'", name="other")

    monkeypatch.setattr("spuproj_cli.app.run", fail)
    monkeypatch.setattr(sys, "argv", ["spuproj", command])
    with pytest.raises(SystemExit) as end:
        entry.main()
    assert str(end.value.code).endswith(f'pip install "spuproj[{extra}]"')
    assert extra in (metadata("spuproj").get_all("Provides-Extra") or ())
