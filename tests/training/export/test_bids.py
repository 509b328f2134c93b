"""Predictions in BIDS: names and sidecars by the rules of the standard, and no two maps under one name."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from training_helpers import write_prediction

from spuproj.training.export.bids import write_bids
from spuproj.training.inference.summary import read_summary, write_summary
from spuproj.training.runtime.errors import InputError
from spuproj.training.workflows.predict import predict

pytest_plugins = ["training_fixtures"]

LABEL = "[A-Za-z0-9]+"
ENTITIES = (
    rf"(?P<folder>sub-{LABEL}(?:/ses-{LABEL})?)/anat/(?P<start>sub-{LABEL}(?:_ses-{LABEL})?)_space-{LABEL}"
    rf"_label-{LABEL}(?:_desc-{LABEL})?_(?P<suffix>probseg|mask)"
)
"""BIDS 1.10, rules/files/deriv/imaging.yaml: the entities of anatomical probseg and mask, in their order."""
MAP = np.zeros((3, 4, 2), np.float32)


def predictions(root: Path, *cases: str, targets: tuple[str, ...] = ("WT",), kinds: tuple[str, ...] = ("prob", "var")):
    for number, case in enumerate(cases):
        maps = {(target, kind): MAP + number / 8 for target in targets for kind in kinds}
        write_prediction(root / "maps", case, maps, np.eye(4))
    return root / "maps"


def follows_the_standard(root: Path) -> list[str]:
    """Checks names, pairs and required fields of a derivative data set. Returns the names of the maps."""
    description = json.loads((root / "dataset_description.json").read_text())
    assert description["DatasetType"] == "derivative"
    assert all(isinstance(description[key], str) and description[key] for key in ("Name", "BIDSVersion"))
    assert all(isinstance(maker["Name"], str) for maker in description["GeneratedBy"])
    assert (root / "README").read_text()
    files = {str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()}
    files -= {"dataset_description.json", "README"}
    maps = sorted(name for name in files if name.endswith(".nii.gz"))
    assert files == {name.removesuffix(".nii.gz") + ending for name in maps for ending in (".nii.gz", ".json")}
    for name in maps:
        found = re.fullmatch(ENTITIES + r"\.nii\.gz", name)
        assert found, name
        assert found["folder"].replace("/", "_") == found["start"]
        sidecar: dict[str, Any] = json.loads((root / name.replace(".nii.gz", ".json")).read_text())
        # Required, since orig is no standard template.
        assert sidecar["SpatialReference"] == "orig"
        assert sidecar["Description"]
        assert sidecar["Type"] in ("Brain", "Lesion", "Face", "ROI") if found["suffix"] == "mask" else sidecar["Units"]
    return maps


def test_every_kind_of_map_has_its_name(spuproj, tmp_path):
    folder = predictions(tmp_path, "sub-01_ses-2", targets=("ET", "WT"), kinds=("prob", "seg", "var", "entropy", "mi"))
    out = tmp_path / "derivatives" / "spuproj"
    status, printed = spuproj("bids", "--predictions", folder, "--out", out)
    assert (status, printed) == (0, f"sub-01_ses-2: {out / 'sub-01' / 'ses-2' / 'anat'}\n")
    ends = ["mask", "probseg", "desc-variance_probseg", "desc-entropy_probseg", "desc-mutualinformation_probseg"]
    start = "sub-01/ses-2/anat/sub-01_ses-2_space-orig_label-"
    assert set(follows_the_standard(out)) == {
        f"{start}{target}_{end}.nii.gz" for target in ("ET", "WT") for end in ends
    }


@pytest.mark.usefixtures("one_thread", "no_picture")
def test_what_predict_writes_is_taken(cohort, models, tmp_path):
    predict([models["TC"], models["WT"]], cohort[1], tmp_path / "maps")
    assert write_bids(tmp_path / "maps", tmp_path / "out") == {"Phantom_002": tmp_path / "out/sub-Phantom002/anat"}
    assert len(follows_the_standard(tmp_path / "out")) == 10


def test_maps_are_copied_byte_for_byte_and_say_what_made_them(tmp_path):
    folder = predictions(tmp_path, "p1")
    write_bids(folder, tmp_path / "out")
    name = "sub-p1/anat/sub-p1_space-orig_label-WT_desc-variance_probseg"
    assert (tmp_path / "out" / f"{name}.nii.gz").read_bytes() == (folder / "p1_WT_var.nii.gz").read_bytes()
    sidecar = json.loads((tmp_path / "out" / f"{name}.json").read_text())
    assert (sidecar["Case"], sidecar["ModelSHA256"], sidecar["Units"]) == ("p1", "sha-of-WT", "1")
    assert "NaN" in sidecar["Description"]


@pytest.mark.parametrize(
    ("case", "folder"),
    [
        ("sub-01", "sub-01/anat"),
        ("sub-01_ses-pre", "sub-01/ses-pre/anat"),
        ("BraTS-GLI-00008-103", "sub-BraTSGLI00008/ses-103/anat"),
        ("UCSF-PDGM-0429_FU003d", "sub-UCSFPDGM0429/ses-FU003d/anat"),
        ("patient 7_visit2", "sub-patient7/ses-visit2/anat"),
        ("Phantom_001", "sub-Phantom001/anat"),
    ],
)
def test_names_become_subjects_and_sessions(tmp_path, case, folder):
    assert write_bids(predictions(tmp_path, case), tmp_path / "out") == {case: tmp_path / "out" / folder}
    follows_the_standard(tmp_path / "out")


@pytest.mark.parametrize(
    ("patient", "folder"), [("P 1", "sub-P1/ses-scanA"), ("scan", "sub-scan/ses-A"), ("scanA", "sub-scanA")]
)
def test_the_patient_that_the_data_name_is_the_subject(tmp_path, patient, folder):
    maps = predictions(tmp_path, "scanA")
    summary = read_summary(maps, "scanA")
    assert summary is not None
    write_summary(maps / "scanA_summary.json", replace(summary, patient=patient))
    assert write_bids(maps, tmp_path / "out") == {"scanA": tmp_path / "out" / folder / "anat"}
    follows_the_standard(tmp_path / "out")


NAMES = st.text(st.sampled_from("aAbB1-_. é"), min_size=1, max_size=6).filter(
    lambda name: name == name.strip() and name[0] not in ".-"
)


@settings(max_examples=25)
@given(cases=st.sets(NAMES, min_size=1, max_size=3))
def test_any_names_follow_the_standard_or_are_refused(tmp_path_factory, cases):
    root = tmp_path_factory.mktemp("bids")
    folder = predictions(root, *sorted(cases), kinds=("prob",))
    # A name without a letter or digit has none in BIDS; two names may have one.
    plain = [re.sub("[^a-z0-9]", "", name.lower()) for name in cases]
    if all(plain) and len(set(plain)) == len(plain):
        write_bids(folder, root / "out")
        assert len(follows_the_standard(root / "out")) == len(cases)
    else:
        with pytest.raises(InputError, match=r"must be one map|must have a letter"):
            write_bids(folder, root / "out")
        assert not (root / "out").exists()


@pytest.mark.parametrize("others", [("a-b", "ab"), ("A", "a"), ("sub-a", "a")])
def test_cases_that_would_share_a_name_are_refused(tmp_path, others):
    with pytest.raises(InputError, match=r"must be one map, but would be .* rename one of the cases"):
        write_bids(predictions(tmp_path, *others), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_targets_that_would_share_a_name_are_refused(tmp_path):
    with pytest.raises(InputError, match="must be one map"):
        write_bids(predictions(tmp_path, "p1", targets=("a b", "ab")), tmp_path / "out")


def test_a_name_without_letters_of_bids_is_refused(tmp_path):
    with pytest.raises(InputError, match="'é' must have a letter from A to Z or a digit"):
        write_bids(predictions(tmp_path, "é"), tmp_path / "out")


def test_only_a_data_set_of_spuproj_is_replaced(tmp_path):
    folder, out = predictions(tmp_path, "p1"), tmp_path / "out"
    write_bids(folder, out)
    with pytest.raises(InputError, match="exists already; pass --force"):
        write_bids(folder, out)
    (out / "sub-p1" / "old").touch()
    write_bids(folder, out, force=True)
    assert len(follows_the_standard(out)) == 2
    (out / "dataset_description.json").write_text('{"GeneratedBy": [{"Name": "fMRIPrep"}]}')
    with pytest.raises(InputError, match="must be a data set of spuproj to be replaced"):
        write_bids(folder, out, force=True)
    with pytest.raises(InputError, match="must be a data set of spuproj to be replaced"):
        write_bids(folder, folder, force=True)


def test_predictions_inside_the_data_set_that_is_to_be_replaced_stay(tmp_path):
    out = tmp_path / "derivatives"
    write_bids(predictions(tmp_path, "p1"), out)
    folder = predictions(out, "p1")
    with pytest.raises(InputError, match=r"must not hold the predictions, .*maps, since it would be replaced"):
        write_bids(folder, out, force=True)
    assert (folder / "p1_WT_prob.nii.gz").is_file()


def test_folders_without_predictions_are_refused(tmp_path):
    with pytest.raises(InputError, match="but there is no such folder"):
        write_bids(tmp_path / "nowhere", tmp_path / "out")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="but holds no finished case"):
        write_bids(tmp_path / "empty", tmp_path / "out")
    with pytest.raises(InputError, match="must hold maps of p1, but holds none"):
        write_bids(predictions(tmp_path, "p1", kinds=("members",)), tmp_path / "out")


def test_a_map_that_the_case_should_have_is_not_left_out(tmp_path):
    folder = predictions(tmp_path, "p1", "p2")
    (folder / "p2_WT_var.nii.gz").unlink()
    with pytest.raises(
        InputError, match=r"p2_WT_var\.nii\.gz must be there, since the case is finished; predict it again"
    ):
        write_bids(folder, tmp_path / "bids")
    assert not (tmp_path / "bids").exists()


@pytest.mark.parametrize("damage", ["truncated", "empty", "edited"])
def test_a_map_that_has_changed_since_the_prediction_is_refused(tmp_path, damage):
    folder = predictions(tmp_path, "p1", "p2")
    path = folder / "p2_WT_var.nii.gz"
    content = path.read_bytes()
    path.write_bytes({"truncated": content[:40], "empty": b"", "edited": content + b"\0"}[damage])
    with pytest.raises(InputError, match=r"p2_WT_var\.nii\.gz must be as it was predicted, but has changed since"):
        write_bids(folder, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_an_unfinished_case_is_refused_and_maps_without_a_summary_are_told(tmp_path, capsys):
    folder = predictions(tmp_path, "p1", "p2", "p3")
    (folder / "p3_summary.json").unlink()
    write_bids(folder, tmp_path / "out")
    words = "warning: cases are left out whose maps no summary lists: p3_WT_prob.nii.gz"
    assert words in capsys.readouterr().err
    assert not (tmp_path / "out" / "sub-p3").exists()
    summary = read_summary(folder, "p2")
    assert summary is not None
    write_summary(folder / "p2_summary.json", replace(summary, finished=False))
    with pytest.raises(InputError, match="but that of p2 is being written, or was interrupted then"):
        write_bids(folder, tmp_path / "other")
