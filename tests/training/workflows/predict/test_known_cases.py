"""A prediction notes where a model was trained or validated on the case, and an evaluation warns of it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from spuproj.training.inference.summary import read_summary
from spuproj.training.models.training_record import roles_of
from spuproj.training.workflows.evaluate import evaluate
from spuproj.training.workflows.predict import predict_cohort

pytest_plugins = ["training_fixtures"]
pytestmark = pytest.mark.usefixtures("one_thread", "no_picture")


def copied(cohort: list[Path], data: Path, *names: str) -> Path:
    """The cohort's first cases under other names."""
    for source, name in zip(cohort, names, strict=False):
        (data / name).mkdir(parents=True)
        for path in source.iterdir():
            shutil.copy(path, data / name / path.name.replace(source.name, name))
    return data


@pytest.fixture
def data(cohort, tmp_path) -> Path:
    """Two visits of one patient, and another patient."""
    return copied(cohort, tmp_path / "data", "pat1_ses-1", "pat1_ses-2", "pat2_ses-1")


def model_of(models: dict[str, Path], target: str, folder: Path, **roles: list[str]) -> Path:
    """A copy of a model with the record of a training on these cases."""
    run = shutil.copytree(models[target], folder / target)
    record: dict[str, Any] = {"data": {role: {"cases": names, "sha256": "00"} for role, names in roles.items()}}
    (run / "training.json").write_text(json.dumps(record))
    return run


def test_cases_and_visits_that_models_know_are_noted_and_warned_of(models, data, tmp_path):
    runs = [
        model_of(models, "WT", tmp_path, train=["pat1_ses-1"], validation=["pat2_ses-1"]),
        model_of(models, "TC", tmp_path, train=["other"]),
    ]
    predict_cohort(runs, data, tmp_path / "maps")
    found = {name: read_summary(tmp_path / "maps", name) for name in ("pat1_ses-1", "pat1_ses-2", "pat2_ses-1")}
    assert {name: summary.roles for name, summary in found.items()} == {
        "pat1_ses-1": {"WT": "train"},
        "pat1_ses-2": {"WT": "train"},
        "pat2_ses-1": {"WT": "validation"},
    }
    note = "the model of WT was trained on a case or patient of this name"
    assert note in [warning.message for warning in found["pat1_ses-2"].entry.warnings]
    evaluate({"own": tmp_path / "maps"}, data, tmp_path / "tables")
    warnings = json.loads((tmp_path / "tables" / "table.json").read_text())["warnings"]
    ending = "a case or patient of this name: its measures say little about others"
    assert warnings[f"the model of WT by own was trained on {ending}"] == ["pat1_ses-1", "pat1_ses-2"]
    assert warnings[f"the model of WT by own was validated on {ending}"] == ["pat2_ses-1"]
    assert not [sentence for sentence in warnings if "TC" in sentence]


def test_visits_are_one_patient_in_the_tables_and_names_that_may_be_visits_are_said(models, cohort, tmp_path, capsys):
    for folder, names in {"known": ("pat1_ses-1", "pat1_ses-2"), "doubtful": ("pat0001_1", "pat0001_2")}.items():
        data = copied(cohort, tmp_path / folder, *names)
        predict_cohort([models["WT"]], data, tmp_path / f"maps-{folder}")
        evaluate({"own": tmp_path / f"maps-{folder}"}, data, tmp_path / f"tables-{folder}")
        table = json.loads((tmp_path / f"tables-{folder}" / "table.json").read_text())
        said = capsys.readouterr().err
        assert table["cases"] == list(names)
        assert table["patients"] == (["pat1"] if folder == "known" else list(names))
        assert ("may be visits of one patient" in said) == (folder == "doubtful")


@pytest.mark.parametrize("content", [None, "", "{}", '{"data": {"train": 5}}'])
def test_a_model_without_a_readable_record_knows_no_cases(tmp_path, content):
    if content is not None:
        (tmp_path / "training.json").write_text(content)
    assert roles_of(tmp_path) == {}
