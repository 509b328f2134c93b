"""Splits: by patient, seeded, kept in a file, and what is refused."""

from __future__ import annotations

import json
import random
import re
from dataclasses import replace
from pathlib import Path

import pytest
import typer
from hypothesis import example, given
from hypothesis import strategies as st

from spuproj.training.data.patients import patient_of
from spuproj.training.data.readers.case_files import CaseFiles
from spuproj.training.data.readers.registry import case_in, cases_in
from spuproj.training.data.splits import (
    Split,
    chosen,
    fixed_split,
    folds,
    missing_targets,
    read_split,
    targets_of,
    targets_of_each,
    write_splits,
)
from spuproj.training.fit.train import train
from spuproj.training.models.method import load_method
from spuproj.training.models.run import load_run
from spuproj.training.runtime.errors import InputError
from spuproj_cli.app import app
from tiny_datasets import OLD, brats, in_folders, save, seg, touch

pytest_plugins = ["training_fixtures"]
BRIEF = replace(load_method("spu"), epochs=1)


def case(name, patient=""):
    return CaseFiles(name, {}, patient=patient)


def visits(patients):
    """Cases of patients who came once, twice or three times."""
    return [case(f"BraTS-GLI-{n:05d}-{visit:03d}") for n in range(patients) for visit in range(1 + n % 3)]


def unlabelled(cases):
    return {one.name: frozenset() for one in cases}


KINDS: tuple[frozenset[str], ...] = (
    frozenset(),
    frozenset({"WT"}),
    frozenset({"WT", "TC"}),
    frozenset({"WT", "TC", "ET"}),
)
"""Targets that a glioma patient may have."""


def disjoint(split, cases):
    roles = (split.train, split.validation, split.test)
    assert sorted(name for role in roles for name in role) == sorted(one.name for one in cases)
    patients = [{patient_of(case(name)) for name in role} for role in roles]
    assert sum(map(len, patients)) == len(set.union(*patients))


@given(patients=st.integers(5, 30), count=st.integers(2, 5), seed=st.integers(-(2**40), 2**40))
def test_folds_test_everyone_once_and_never_share_a_patient(patients, count, seed):
    cases = visits(patients)
    made = folds(cases, count, seed, unlabelled(cases))
    for split in made:
        disjoint(split, cases)
        assert all((split.train, split.validation, split.test))
    assert sorted(name for split in made for name in split.test) == sorted(one.name for one in cases)
    assert made == folds(list(reversed(cases)), count, seed, unlabelled(cases))


# Here the first draw leaves who validates without a target.
@example(kinds=[KINDS[number] for number in (0, 2, 1, 1, 0, 2, 1, 1, 3, 3, 0, 2)], count=5, seed=40)
@given(
    kinds=st.lists(st.sampled_from(KINDS), min_size=5, max_size=30), count=st.integers(2, 5), seed=st.integers(0, 100)
)
def test_who_validates_and_who_trains_has_each_target_where_two_patients_can_have_it(kinds, count, seed):
    cases = [case(f"p{number:02d}") for number in range(len(kinds))]
    targets = {one.name: kind for one, kind in zip(cases, kinds, strict=True)}
    made = folds(cases, count, seed, targets)
    assert made == folds(list(reversed(cases)), count, seed, targets)
    for split in made:
        disjoint(split, cases)
        for target in ("WT", "TC", "ET"):
            number = sum(target in targets[name] for name in (*split.train, *split.validation))
            for names in (split.train, split.validation):
                assert number < 2 or any(target in targets[name] for name in names)


def test_every_fold_tests_as_many_patients_of_each_kind():
    cases = [case(f"p{number:02d}") for number in range(40)]
    targets = {one.name: KINDS[number % 4] for number, one in enumerate(cases)}
    for split in folds(cases, 5, 3, targets):
        assert [sum(targets[name] == kind for name in split.test) for kind in KINDS] == [2, 2, 2, 2]
        assert (len(split.train), len(split.validation)) == (28, 4)


def test_a_patient_has_the_targets_of_all_visits():
    cases = visits(12)
    targets = {one.name: KINDS[3] if one.name.endswith("-002") else KINDS[1] for one in cases}
    with_enhancing = [patient_of(one) for one in cases if "ET" in targets[one.name]]
    for split in folds(cases, 4, 0, targets):
        assert sum(patient in {patient_of(case(name)) for name in split.test} for patient in with_enhancing) == 1


def test_targets_that_no_case_has_are_missing():
    targets = {"a": KINDS[1], "b": KINDS[3], "c": KINDS[0]}
    assert missing_targets(["a", "c"], targets) == ["ET", "TC"]
    assert missing_targets(["b"], targets) == []


def test_the_targets_of_a_case_are_those_that_its_labels_show(tmp_path):
    folder = brats(tmp_path, "p1", "_", OLD, 2)
    assert targets_of(case_in(folder)) == {"WT"}
    save(folder / "p1_seg.nii.gz", seg(4))
    assert targets_of(case_in(folder)) == {"WT", "TC", "ET"}
    with pytest.raises(InputError, match=r"the labels of .*p1_seg\.nii\.gz must be named"):
        targets_of(replace(case_in(folder), scheme=None))
    (folder / "p1_seg.nii.gz").unlink()
    assert targets_of(case_in(folder)) == frozenset()


@given(validation=st.integers(1, 3), test=st.integers(1, 3), seed=st.integers(0, 100))
def test_one_split_has_the_patients_that_were_asked_for(validation, test, seed):
    cases = visits(10)
    split = fixed_split(cases, validation, test, seed)
    disjoint(split, cases)
    assert len({patient_of(case(name)) for name in split.validation}) == validation
    assert len({patient_of(case(name)) for name in split.test}) == test


def test_one_split_follows_from_the_seed_and_the_sorted_names_of_patients():
    cases = visits(10)
    patients = sorted({patient_of(one) for one in cases})
    random.Random(3).shuffle(patients)
    split = fixed_split(cases, 2, 3, 3)
    test, validation = ({patient_of(case(name)) for name in names} for names in (split.test, split.validation))
    assert (test, validation) == (set(patients[:3]), set(patients[3:5]))


def test_another_seed_gives_another_split():
    cases = visits(20)
    assert folds(cases, 5, 0, unlabelled(cases)) != folds(cases, 5, 1, unlabelled(cases))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: fixed_split(visits(4), 2, 2, 0), "leave some of the 4 to train on, got 2 and 2"),
        (lambda: fixed_split(visits(4), 0, 2, 0), "must each have a patient"),
        (
            lambda: folds(visits(6), 1, 0, unlabelled(visits(6))),
            "folds must be at least 2 and at most the number of patients, 6, got 1",
        ),
        (lambda: folds(visits(6), 7, 0, unlabelled(visits(6))), "got 7"),
        (lambda: folds(visits(2), 2, 0, unlabelled(visits(2))), "at most the number of patients, 2, got 2"),
        (
            lambda: folds(visits(3), 2, 0, unlabelled(visits(3))),
            "folds must leave patients to train and to validate on, got 2 of 3",
        ),
        (
            lambda: chosen(visits(2), ["BraTS-GLI-00000-000", "x"], Path("split.json")),
            "the data must hold all cases that split.json names, but hold no x; give the data that it was made of",
        ),
    ],
)
def test_splits_that_cannot_be_are_refused(make, message):
    with pytest.raises(InputError, match=re.escape(message)):
        make()


def test_a_file_gives_back_what_was_written(tmp_path):
    made, path = folds(visits(8), 3, 5, unlabelled(visits(8))), tmp_path / "splits.json"
    write_splits(path, made, 5)
    assert [read_split(path, fold) for fold in range(3)] == made
    assert json.loads(path.read_text())["seed"] == 5
    with pytest.raises(InputError, match=r"fold must be one of 0 to 2 in .*splits\.json, got 3"):
        read_split(path, 3)
    with pytest.raises(InputError, match="exists already; pass --force to write over it"):
        write_splits(path, made, 5)


@pytest.mark.parametrize(
    "content",
    [
        "{",
        "{}",
        "[" * 100_000,
        '{"splits": [{"train": []}]}',
        '{"splits": 3}',
        '{"splits": [{"train": "ab", "validation": ["c"], "test": []}]}',
        '{"splits": [{"train": [1], "validation": ["c"], "test": []}]}',
    ],
)
def test_a_file_that_is_none_is_refused(tmp_path, content):
    (tmp_path / "splits.json").write_text(content)
    with pytest.raises(InputError, match=r"splits\.json must be a file of 'spuproj split', but cannot be read"):
        read_split(tmp_path / "splits.json")


def test_a_case_in_two_roles_is_refused(tmp_path):
    write_splits(tmp_path / "splits.json", [Split(("a", "b"), ("c",), ("a",))], 0)
    with pytest.raises(InputError, match="must have each case in one role, but a has more than one in fold 0"):
        read_split(tmp_path / "splits.json")


def test_training_reads_only_the_cases_that_train_and_validate(cohort, tmp_path, one_thread):
    names = [folder.name for folder in cohort]
    path = tmp_path / "splits.json"
    write_splits(path, [Split((names[0],), (names[1],), (names[2],)), Split((names[1],), (names[2],), (names[0],))], 0)
    data = tmp_path / "data"
    data.mkdir()
    for folder in cohort[1:]:
        (data / folder.name).symlink_to(folder)
    (data / names[0]).mkdir()
    (data / names[0] / f"{names[0]}_t1.nii.gz").write_bytes(b"not to be read")
    train(data, "WT", tmp_path / "run", method=BRIEF, split=path, fold=1)
    assert load_run(tmp_path / "run")[0].target == "WT"
    with pytest.raises(ValueError, match="validation must be left out where a split names the cases that validate"):
        train(data, "WT", tmp_path / "other", method=BRIEF, split=path, validation=1)
    write_splits(path, [Split((names[0],), (names[2],), (names[1],))], 0, force=True)
    with pytest.raises(InputError, match="the train cases of the split must hold some of the target, but hold none"):
        train(cohort[0].parent, "ET", tmp_path / "other", method=BRIEF, split=path)


def test_the_command_writes_folds_or_one_split(cohort, tmp_path, capsys):
    data = str(cohort[0].parent)
    app(["split", data, "--folds", "3", "--seed", "1", "--out", str(tmp_path / "folds.json")], standalone_mode=False)
    printed = capsys.readouterr().out
    assert "fold 2: 1 train, 1 validate, 1 test" in printed
    # Two of the three show enhancing tumour: of the other two at most one can validate with it.
    made = [read_split(tmp_path / "folds.json", fold) for fold in range(3)]
    cases = cases_in(cohort[0].parent)
    assert made == folds(cases, 3, 1, targets_of_each(cases, lambda _: None))
    lacking = sum(made[fold].validation == (cohort[0].name,) for fold in range(3))
    assert printed.count("; none who validates has ET") == lacking
    options = ["--validation", "1", "--test", "1", "--seed", "3"]
    app(["split", data, *options, "--out", str(tmp_path / "one.json")], standalone_mode=False)
    assert read_split(tmp_path / "one.json") == fixed_split(cases_in(cohort[0].parent), 1, 1, 3)
    for wrong in ([], ["--test", "1"], ["--folds", "3", "--test", "1"], ["--folds", "3", *options]):
        with pytest.raises(typer.BadParameter, match="either --folds, or both --validation and --test"):
            app(["split", data, *wrong, "--out", str(tmp_path / "no.json")], standalone_mode=False)


def test_the_command_warns_of_names_that_may_be_of_one_patient(tmp_path, capsys):
    for name in ("pat0001_1", "pat0001_2", "pat0002_1", "pat0003_1", "pat0004_1"):
        touch(tmp_path / "data", *in_folders((name,), "_", OLD))
    options = ["--validation", "2", "--test", "1", "--out", str(tmp_path / "split.json")]
    app(["split", str(tmp_path / "data"), *options], standalone_mode=False)
    said = capsys.readouterr().err
    assert "warning: by their names these cases may be visits of one patient" in said
    assert "pat0001_1, pat0001_2;" in said
    assert read_split(tmp_path / "split.json") == fixed_split(cases_in(tmp_path / "data"), 2, 1, 0)


def test_sessions_of_a_subject_are_never_on_two_sides(tmp_path):
    touch(tmp_path, *(f"sub-{n}/ses-{m}/anat/sub-{n}_ses-{m}_T1w.nii.gz" for n in range(6) for m in range(3)))
    cases = cases_in(tmp_path)
    for seed in range(5):
        disjoint(fixed_split(cases, 2, 2, seed), cases)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("{}", "must be a file of 'spuproj split', but cannot be read: there is no 'splits'"),
        ("[]", "must be a file of 'spuproj split', but cannot be read: PATH must hold a JSON object, got list"),
    ],
)
def test_a_file_of_something_else_is_refused_in_plain_words(tmp_path, text, reason):
    (tmp_path / "s.json").write_text(text)
    with pytest.raises(InputError, match=re.escape(f"s.json {reason}".replace("PATH", str(tmp_path / "s.json")))):
        read_split(tmp_path / "s.json")


def test_two_patients_are_too_few_for_folds():
    with pytest.raises(InputError, match=r"3 patients are the least, to train, validate and test on"):
        folds([case("a"), case("b")], 2, 0, {})


def test_all_segmentations_that_cannot_be_read_are_told_at_once(tmp_path):
    for name in ("a", "b", "c"):
        brats(tmp_path, name, "_", OLD, 4)
    for name in ("a", "c"):
        (tmp_path / name / f"{name}_seg.nii.gz").write_bytes(b"no image")
    seen: list[str] = []
    with pytest.raises(InputError, match=r"2 of 3 segmentations cannot be used .*a_seg\.nii\.gz .*c_seg\.nii\.gz"):
        targets_of_each(cases_in(tmp_path), seen.append)
    assert seen == ["a", "b", "c"]
