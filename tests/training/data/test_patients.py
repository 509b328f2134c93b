"""Which cases are of one patient, by their names or by what the data set says."""

from __future__ import annotations

import pytest

from spuproj.training.data.patients import patient_of, shared_stems
from spuproj.training.data.readers.case_files import CaseFiles


def case(name, patient=""):
    return CaseFiles(name, {}, patient=patient)


def cases(*names):
    return [case(name) for name in names]


@pytest.mark.parametrize(
    ("name", "patient"),
    [
        ("BraTS-GLI-00008-103", "BraTS-GLI-00008"),
        ("BraTS-MEN-RT-0012-2", "BraTS-MEN-RT-0012"),
        ("UPENN-GBM-00001_21", "UPENN-GBM-00001"),
        ("UCSF-PDGM-0429_FU003d", "UCSF-PDGM-0429"),
        ("UCSF-PDGM-0429", "UCSF-PDGM-0429"),
        ("sub-01", "sub-01"),
        ("sub-01_ses-02", "sub-01"),
        ("sub-01_ses-02_run-1", "sub-01"),
        ("p7_ses-1", "p7"),
        ("p7-visit2", "p7"),
        ("p7_visit_2", "p7"),
        ("p7_v1", "p7"),
        ("p7_tp2", "p7"),
        ("p7_pre", "p7"),
        ("p7_postop", "p7"),
        ("p7_baseline", "p7"),
        ("p7 followup", "p7"),
        ("p7_FU012d", "p7"),
        ("p7_2021-03-04", "p7"),
        ("p7_20210304", "p7"),
        ("p7_post_20210304", "p7"),
        ("BraTS20_Training_001", "BraTS20_Training_001"),
        ("BraTS2021_00000", "BraTS2021_00000"),
        ("Phantom_001", "Phantom_001"),
        ("scan-001", "scan-001"),
        ("TCGA-DU-7294", "TCGA-DU-7294"),
        ("ses-1", "ses-1"),
    ],
)
def test_the_patient_is_the_name_without_the_visit(name, patient):
    assert patient_of(case(name)) == patient


def test_what_the_data_set_says_goes_before_the_name():
    assert patient_of(case("sub-01_ses-02", "Ms A")) == "Ms A"


@pytest.mark.parametrize(
    "names",
    [
        ("pat0001_1", "pat0001_2"),
        ("pat0001_1", "pat0001_2", "pat0002_1", "pat0003_1", "pat0004_1"),
        ("brats_2013_pat0001_1", "brats_2013_pat0001_2", "brats_2013_pat0002_1"),
        ("Smith_1", "Smith_2", "Jones_1", "Miller_1"),
        ("id12-a", "id12-b", "id13-a", "id14-a", "id15-a"),
        ("p3_m3", "p3_m6", "p4_m6", "p5_m6", "p6_m6"),
        ("p1", "p1_second", "p2"),
    ],
)
def test_names_with_a_shared_stem_are_warned_of(names):
    (sentence,) = shared_stems(cases(*names))
    assert f"count as different patients: {names[0]}, {names[1]}" in sentence
    assert "name it in the field 'patient' of a manifest" in sentence


@pytest.mark.parametrize(
    "names",
    [
        [f"BraTS20_Training_{number:03d}" for number in range(1, 30)],
        [f"BraTS20_Training_{number:03d}" for number in range(1, 3)],
        [f"BraTS2021_{number:05d}" for number in range(2)],
        [f"Phantom_{number:03d}" for number in range(1, 4)],
        [f"Phantom_{number:03d}" for number in range(1, 4)] + [f"BraTS2021_{number:05d}" for number in range(3)],
        [f"case_{number}" for number in range(20)],
        [f"p{number}" for number in range(5)],
        [f"study7_{number:03d}" for number in range(20)],
        ["Brats18_2013_11_1", "Brats18_2013_12_1", "Brats18_CBICA_AAB_1", "Brats18_TCIA01_147_1"],
        ["BraTS-GLI-00008-100", "BraTS-GLI-00008-101", "BraTS-GLI-00009-100"],
        ["sub-01_ses-1", "sub-01_ses-2", "sub-02_ses-1"],
        ["TCGA-DU-7294", "TCGA-FG-6692"],
    ],
)
def test_numbers_of_patients_and_known_visits_are_no_alarm(names):
    assert shared_stems(cases(*names)) == []


def test_a_patient_who_is_named_is_no_alarm():
    assert shared_stems([case("pat0001_1", "a"), case("pat0001_2", "a")]) == []


def test_many_groups_are_one_sentence():
    (sentence,) = shared_stems(cases(*(f"pat{number:04d}_{visit}" for number in range(50) for visit in (1, 2))))
    assert "and 47 groups more" in sentence
