"""What label values mean, by scheme and by target."""

import re

import numpy as np
import pytest

from spuproj.training.data.labels import (
    SCHEMES,
    TARGETS,
    own_scheme,
    scheme_named,
    scheme_of_names,
    scheme_of_regions,
    unclear,
)
from spuproj.training.runtime.errors import InputError

# As the data sets' own papers and pages define them.
EXPECTED = {
    "brats2020": {"ET": {4}, "TC": {1, 4}, "WT": {1, 2, 4}},
    "brats2023": {"ET": {3}, "TC": {1, 3}, "WT": {1, 2, 3}},
    "brats2024": {"ET": {3}, "TC": {1, 3}, "WT": {1, 2, 3}},
    "nnunet": {"ET": {3}, "TC": {2, 3}, "WT": {1, 2, 3}},
    "msd": {"ET": {3}, "TC": {2, 3}, "WT": {1, 2, 3}},
    "brats2015": {"ET": {4}, "TC": {1, 3, 4}, "WT": {1, 2, 3, 4}},
    "brats-ped2023": {"ET": {3}, "TC": {1, 3}, "WT": {1, 2, 3}},
    "brats-ped2024": {"ET": {1}, "TC": {1, 2, 3}, "WT": {1, 2, 3, 4}},
}


def test_every_scheme_is_expected():
    assert set(SCHEMES) == {*EXPECTED, "brats-men-rt"}


def test_the_target_of_meningioma_radiotherapy_is_its_gross_tumour_volume():
    assert SCHEMES["brats-men-rt"].mask(np.array([0, 1, 2]), "GTV").tolist() == [False, True, False]


@pytest.mark.parametrize("name", EXPECTED)
@pytest.mark.parametrize("target", TARGETS)
def test_a_target_is_made_of_its_labels(name, target):
    labels = np.arange(6, dtype=np.uint8).reshape(2, 3)
    mask = SCHEMES[name].mask(labels, target)
    assert mask.dtype == bool
    assert set(labels[mask]) == EXPECTED[name][target]


@pytest.mark.parametrize("name", EXPECTED)
def test_targets_are_nested_and_painted_with_what_they_add(name):
    scheme, labels = SCHEMES[name], np.zeros(4, np.uint8)
    assert set(scheme.targets["ET"]) < set(scheme.targets["TC"]) < set(scheme.targets["WT"])
    for inside, target in ((4, "WT"), (3, "TC"), (2, "ET")):
        labels[:inside] = scheme.paint[target]
    assert list(scheme.paint) == ["WT", "TC", "ET"]
    for inside, target in ((4, "WT"), (3, "TC"), (2, "ET")):
        assert scheme.mask(labels, target).sum() == inside


def test_a_resection_cavity_belongs_to_no_target():
    assert SCHEMES["brats2024"].known == (1, 2, 3, 4)
    assert all(4 not in values for values in SCHEMES["brats2024"].targets.values())


def test_an_unknown_target_is_an_error_that_lists_them():
    with pytest.raises(InputError, match=re.escape("target must be one of ET, TC, WT (brats2020), got 'NCR'")):
        SCHEMES["brats2020"].mask(np.zeros(3, np.uint8), "NCR")


def test_an_unknown_scheme_is_an_error_that_lists_them():
    with pytest.raises(InputError, match=f"labels must be one of {', '.join(SCHEMES)}, got 'brats'"):
        scheme_named("brats")


def test_a_study_may_have_targets_of_its_own():
    scheme = own_scheme({"tumour": (1, 3.0), "core": [3]})
    assert scheme.targets == {"tumour": (1, 3), "core": (3,)}
    assert scheme.known == (1, 3)
    assert scheme.mask(np.array([0, 1, 2, 3], np.uint8), "tumour").tolist() == [False, True, False, True]
    assert scheme.paint == {}


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        ({0: "background", 1: "necrosis", 2: "edema", 3: "enhancing tumor"}, "brats2023"),
        ({0: "background", 1: "edema", 2: "non-enhancing tumor", 3: "enhancing tumour"}, "nnunet"),
        ({0: "background", 1: "NCR", 2: "ED", 4: "ET"}, "brats2020"),
        ({0: "background", 1: "NCR", 2: "SNFH", 3: "ET", 4: "resection cavity"}, "brats2024"),
        ({0: "background", 1: "NETC", 2: "SNFH", 3: "ET", 4: "RC"}, "brats2024"),
        ({0: "background", 1: "tumour"}, None),
        ({1: "ET", 2: "NET", 3: "CC", 4: "ED"}, "brats-ped2024"),
        ({1: "necrosis", 2: "edema", 3: "non-enhancing tumor", 4: "enhancing tumor"}, "brats2015"),
        ({0: "background", 1: "whole", 2: "core", 3: "enhancing"}, None),
    ],
)
def test_words_for_the_values_tell_the_scheme_or_nothing_does(names, expected):
    found = scheme_of_names(names)
    assert (found and found.name) == expected


def test_what_is_said_of_unclear_labels_names_the_ambiguity_and_the_choices():
    message = str(unclear("here"))
    assert "4 is enhancing tumour in brats2020 and a resection cavity in brats2024" in message
    assert "1 and 2 swap in nnunet and msd" in message
    assert all(name in message for name in SCHEMES)


@pytest.mark.parametrize(
    ("regions", "expected"),
    [
        ({"whole tumor": [1, 2, 3], "tumor core": [2, 3], "enhancing tumor": [3]}, "nnunet"),
        ({"Whole_Tumour": [3, 2, 1], "TC": [1, 3], "enhancing-tumour": [3]}, "brats2023"),
        ({"WT": [1, 2, 3, 4], "TC": [1, 2, 3], "ET": [1]}, "brats-ped2024"),
        ({"WT": [1, 2, 3], "TC": [1, 3]}, None),
        ({"WT": [1, 2, 3, 4], "TC": [1, 3], "ET": [3]}, None),
        ({"WT": [1, 2, 3], "TC": [1, 3], "ET": [3], "whole tumor": [1, 2, 3]}, None),
    ],
)
def test_regions_that_are_the_targets_of_a_scheme_tell_it(regions, expected):
    found = scheme_of_regions(regions)
    assert (found and found.name) == expected


@pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.int16, np.uint16, np.int32, np.uint32, np.int64, np.uint64])
def test_a_mask_is_of_exactly_the_values_in_labels_of_any_integer_type(dtype):
    limits = np.iinfo(dtype)
    values = [limits.min or 1, limits.max, limits.max - 1]
    labels = np.array([*values, 0, 5], dtype)
    scheme = own_scheme({"own": [int(values[0]), int(values[1]), 2**70, -(2**70)]})
    assert scheme.mask(labels, "own").tolist() == [True, True, False, False, False]


@pytest.mark.parametrize("values", [[1.5], [True], ["1"], [None], [float("nan")], [float("inf")], [0], [1, 0.0], [[1]]])
def test_values_that_are_no_labels_are_refused(values):
    with pytest.raises(InputError, match="the label values of tumour must be whole numbers other than 0"):
        own_scheme({"tumour": values})


@pytest.mark.parametrize("values", ["12", 4, [], None, {"1": 2}, b"12"])
def test_targets_without_a_list_of_values_are_refused(values):
    with pytest.raises(InputError, match=r"list each target's values, such as \[1, 2\], but tumour has"):
        own_scheme({"tumour": values})


@pytest.mark.parametrize("name", ["", "..", "../x", "a/b", "a\\b", ".x", "a\0", "x" * 200])
def test_a_target_needs_a_name_that_a_file_can_have(name):
    with pytest.raises(InputError, match="the name of a target must be a plain file name"):
        own_scheme({name: [1]})


def test_values_may_be_there_that_are_of_no_target():
    scheme = own_scheme({"tumour": [1], "ignore": [255]})
    assert (scheme.known, list(scheme.targets)) == ((1, 255), ["tumour"])
    assert own_scheme(scheme.listed) == scheme
