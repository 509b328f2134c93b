"""The merged label map, and which files are written."""

from __future__ import annotations

import math
from dataclasses import replace

import nibabel as nib
import numpy as np
import pytest
from scipy.stats import entropy as scipy_entropy

from made_up_case import made_up_case, prediction, seen_once
from spuproj.training.data.case import load_slices
from spuproj.training.data.labels import SCHEMES, own_scheme
from spuproj.training.inference.case_prediction import CasePrediction
from spuproj.training.inference.outputs import (
    DEFAULT_KINDS,
    MAPS,
    MERGED,
    kinds_named,
    map_names,
    merged_labels,
    require_kinds,
    write_maps,
    write_merged,
)
from spuproj.training.runtime.errors import InputError

GLIOMA = SCHEMES["brats2023"]


@pytest.mark.parametrize(
    ("found", "label"),
    [
        ("", 0),
        ("WT", 2),
        ("TC", 1),
        ("ET", 4),
        ("TC WT", 1),
        ("ET WT", 4),
        ("ET TC", 4),
        ("ET TC WT", 4),
    ],
)
def test_a_voxel_gets_the_innermost_target_that_was_found(found, label):
    nothing = np.zeros((1, 1, 1), np.float32)
    predictions = {
        target: CasePrediction(nothing, np.full((1, 1, 1), target in found.split()), nothing, nothing, nothing)
        for target in ("ET", "TC", "WT")
    }
    merged = merged_labels(predictions, SCHEMES["brats2020"])
    assert merged.tolist() == [[[label]]]
    assert merged.dtype == np.uint8


@pytest.mark.parametrize("kinds", [DEFAULT_KINDS, *((kind,) for kind in (*MAPS, *MERGED)), ("seg", "labels")])
@pytest.mark.parametrize("targets", [("ET", "TC", "WT"), ("WT",)])
def test_what_is_written_has_the_names_that_were_told(tmp_path, targets, kinds):
    merged = [kind for kind in kinds if kind in MERGED]
    if targets == ("WT",) and merged and kinds != DEFAULT_KINDS:
        with pytest.raises(InputError, match=rf"maps {merged[0]} need models of the targets WT, TC, ET, got WT"):
            require_kinds(targets, GLIOMA, kinds)
    else:
        require_kinds(targets, GLIOMA, kinds)
    case, made = made_up_case(), prediction()
    made = replace(made, members=made.probability[:, None])
    for target in targets:
        write_maps(tmp_path, case, target, made, kinds)
    if len(targets) == 3:
        write_merged(tmp_path, case, dict.fromkeys(targets, made), GLIOMA, kinds)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(map_names("made_up", targets, GLIOMA, kinds))


def test_members_are_written_in_the_order_of_the_views(tmp_path):
    made = prediction()
    members = np.stack([made.probability * np.float32(part) for part in (0.2, 0.5, 1.0)], axis=1)
    write_maps(tmp_path, made_up_case(), "WT", replace(made, members=members), ("members",))
    voxels = np.asarray(nib.Nifti1Image.from_filename(tmp_path / "made_up_WT_members.nii.gz").dataobj)
    np.testing.assert_array_equal(voxels.transpose(2, 3, 1, 0), members)


def test_targets_of_ones_own_are_not_merged():
    scheme = own_scheme({"lesion": (1,)})
    assert map_names("a", ["lesion"], scheme, ("seg", "labels")) == ["a_lesion_seg.nii.gz"]
    require_kinds(["lesion"], scheme, DEFAULT_KINDS)
    with pytest.raises(InputError, match="maps labels and qubrats need models of the targets a glioma scheme"):
        require_kinds(["lesion"], scheme, ("seg", *MERGED))


def test_kinds_are_known_ones_each_once():
    assert kinds_named(["seg", " prob", "seg"]) == ("seg", "prob")
    for names, got in ((["seg", "probs"], "'probs'"), ([""], "''"), ([], "'none'"), (["../seg"], r"'\.\./seg'")):
        with pytest.raises(InputError, match=f"maps must be of prob, seg, var, .*, labels, qubrats, got {got}"):
            kinds_named(names)


def test_a_submission_has_an_uncertainty_where_only_one_view_saw_a_voxel(tmp_path):
    case, made = made_up_case(), seen_once(prediction(variance=0.02), np.s_[4])
    write_merged(tmp_path, case, dict.fromkeys(("ET", "TC", "WT"), made), GLIOMA, ("qubrats",))
    uncertainty = load_slices(tmp_path / "made_up_unc_core.nii.gz")
    found = made.probability > 0
    entropy = 100 * scipy_entropy([0.9, 0.1]) / math.log(2)
    assert set(uncertainty[4][found[4]]) == {round(entropy)}
    assert set(uncertainty[5][found[5]]) == {8}
    assert uncertainty[~found].max() == 0


def test_a_variance_that_is_missing_stays_so_in_its_map(tmp_path):
    case, made = made_up_case(), seen_once(prediction(), np.s_[4])
    write_maps(tmp_path, case, "WT", made, ("var",))
    np.testing.assert_array_equal(load_slices(tmp_path / "made_up_WT_var.nii.gz"), made.variance)
