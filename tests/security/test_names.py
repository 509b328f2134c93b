"""Names from outside: at every place where one enters, those that lead elsewhere or deceive are refused."""

from __future__ import annotations

import csv
import io
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from fuzz_readers.readers import READERS, SEEDS
from fuzz_readers.watch import watched
from helpers import ROOT
from spuproj.training.data.labels import own_scheme
from spuproj.training.data.readers.case_files import CaseFiles
from spuproj.training.data.readers.registry import read_data
from spuproj.training.export.bids import write_bids
from spuproj.training.export.dicom import write_dicom
from spuproj.training.export.hub import push
from spuproj.training.fit.train import train
from spuproj.training.inference.predicted import predicted_map
from spuproj.training.inference.summary import CaseSummary, CohortEntry, read_summary
from spuproj.training.models.method import load_method
from spuproj.training.runtime.errors import InputError
from spuproj.training.runtime.wording import printable
from spuproj.training.workflows.evaluate import methods_named
from spuproj.training.workflows.study import study

LEADING = ("../evil", "..", ".", "/etc/evil", "a/../../evil", "a/b", "a\\b", "..\\evil", "a\0b")
DECEIVING = (
    "a\nb",
    "a\x1b[2Jb",
    "a\x9b2Jb",
    "a\u202egpj",
    "a\u2066b\u2069",
    "a\u2028b",
    "=1+1",
    "+1",
    "-rf",
    "@a",
    " a",
)
pytest_plugins = ["training_fixtures"]

NAMES = (*LEADING, *DECEIVING, "x" * 300)


def changed(reader: str, *path: str | int) -> Callable[[Path, str], object]:
    """Reads the seed of a reader with a name put at a path of fields."""

    def enter(folder: Path, name: str) -> object:
        content = json.loads(
            next(each for each in (SEEDS / reader).iterdir() if each.stem in ("plain", "tiny", "spu")).read_bytes()
        )
        place = content
        for key in path[:-1]:
            place = place[key]
        place[path[-1]] = {name: 1.0} if path[-1] == "volumes" else [name] if path[-1] == "modalities" else name
        return READERS[reader](folder, json.dumps(content).encode())

    return enter


def described_case(folder: Path, name: str) -> object:
    content = {"channel_names": {"0": "t1"}, "dataset": {name: {"images": ["a.nii"]}}}
    return READERS["dataset_json"](folder, json.dumps(content).encode())


def table(folder: Path, name: str) -> object:
    """Cells lose spaces around them."""
    stream = io.StringIO()
    csv.writer(stream).writerows([["name", "t1"], [name.strip(" ") if name.strip(" ") != "a" else "", "a.nii"]])
    return READERS["manifest_csv"](folder, stream.getvalue().encode())


def folder_of_cases(folder: Path, name: str) -> object:
    """A folder can have some of the names."""
    if name in (".", "..") or len(name) > 200 or {"/", "\0"} & set(name):
        raise InputError("no folder can have this name")
    (folder / name).mkdir()
    (folder / name / f"{name}_t1.nii.gz").touch()
    return read_data(folder)


def trained_on(folder: Path, name: str) -> object:
    """A modality of the data, which becomes one of the model."""
    entry = {"images": {name: "a.nii"}, "label": "s.nii", "labels": "brats2020"}
    (folder / "a.json").write_text(json.dumps({"cases": [{**entry, "name": each} for each in "ab"]}))
    return train(folder / "a.json", "WT", folder / "run", validation=1)


def dicom_target(folder: Path, name: str) -> object:
    summary = json.loads((SEEDS / "summary" / "plain").read_text())
    summary["entry"]["volumes"] = {name: 1.0}
    (folder / "a_summary.json").write_text(json.dumps(summary))
    return write_dicom(folder, folder, folder / "out")


def bids_case(folder: Path, name: str) -> object:
    """A summary under another name than its file's."""
    summary = json.loads((SEEDS / "summary" / "plain").read_text())
    summary["entry"]["name"] = name
    (folder / "a_summary.json").write_text(json.dumps(summary))
    return write_bids(folder, folder / "out")


ENTRANCES: dict[str, dict[str, Callable[[Path, str], object]]] = {
    "training/data/labels.py": {"target of labels": lambda folder, name: own_scheme({name: [1]})},
    "training/data/readers/case_files.py": {"case": lambda folder, name: CaseFiles(name, {})},
    "training/data/readers/manifest.py": {
        "case of a manifest": changed("manifest_json", "cases", 0, "name"),
    },
    "training/data/readers/dataset_json.py": {"case of a dataset.json": described_case},
    "training/data/readers/manifest_table.py": {"case of a table": table},
    "training/data/readers/registry.py": {"folder of a case": folder_of_cases},
    "training/models/method.py": {"method": changed("method", "name")},
    "training/models/config.py": {
        "target of a model": changed("model_config", "target"),
        "modality of a model": changed("model_config", "modalities"),
        "method of a model": changed("model_config", "method", "name"),
    },
    "training/fit/train.py": {"modality of the data": trained_on},
    "training/workflows/evaluate.py": {
        "method of an evaluation": lambda folder, name: methods_named([f"{name}={folder}"])
    },
    "training/workflows/study.py": {
        "target of a study": lambda folder, name: study(
            folder, [name], folder / "s", folder / "o", method=load_method("spu")
        )
    },
    "training/inference/summary.py": {
        "target of a summary": changed("summary", "entry", "volumes"),
        "case of a summary": bids_case,
    },
    "training/export/dicom.py": {"target of a summary, as DICOM": dicom_target},
}
"""By file what takes a name from outside, given a folder to work in and the name."""

PLACES = [(file, place) for file, places in ENTRANCES.items() for place in places]


@pytest.mark.parametrize("name", NAMES, ids=ascii)
@pytest.mark.parametrize(("file", "place"), PLACES)
def test_a_name_that_leads_elsewhere_or_deceives_is_refused(file, place, name, tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    shutil.copyfile(SEEDS / "model_config" / "tiny", folder / "config.json")
    with watched(folder) as done, pytest.raises(InputError):
        ENTRANCES[file][place](folder, name)
    assert done == []


def test_every_file_that_takes_names_from_outside_is_tried() -> None:
    checks = re.compile(r"\b(plain_name|name_fault|PlainName|check_names)\b")
    takes = {
        str(path.relative_to(ROOT)) for path in (ROOT / "training").rglob("*.py") if checks.search(path.read_text())
    }
    # They define the checks, or tell of names that are left out.
    others = {"training/runtime/names.py", "training/runtime/settings.py", "training/data/readers/left_out.py"}
    assert takes - others == set(ENTRANCES)


@pytest.mark.parametrize("name", LEADING)
def test_a_map_is_not_looked_for_elsewhere(name, tmp_path):
    with pytest.raises(InputError, match=r"leads out of it|must be there"):
        predicted_map(tmp_path, CaseSummary({}, CohortEntry(name)), "WT", "prob")
    with pytest.raises(InputError, match=r"leads out of it|must be there"):
        read_summary(tmp_path, f"{name}/../a")


@pytest.mark.parametrize(
    "name", ["../../evil", "user/..", "../name", "user/na..me", "-u/name", "user", "a/b/c", "user/name\n"]
)
def test_a_repository_of_another_form_is_refused_before_anything_is_sent(name, tmp_path):
    with pytest.raises(InputError, match="the repository must be named user/name"):
        push(tmp_path, name)


@pytest.mark.parametrize("name", ["名前", "Müller", "a b", "שלום", "مريض", "p.1", "a=b", "a-1", "🧠"])
def test_names_of_any_language_are_taken(name):
    assert CaseFiles(name, {}).name == name


def test_an_error_cannot_control_the_terminal(spuproj, tmp_path):
    (tmp_path / "a\x1b]0;evil\x07\u202e").mkdir()
    status, _ = spuproj("check", tmp_path / "a\x1b]0;evil\x07\u202e")
    assert r"a\x1b]0;evil\x07\u202e must hold case folders" in str(status)
    assert printable("a\nb \x1b[1m é") == "a\nb \\x1b[1m é"
