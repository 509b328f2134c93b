"""Slices of a cohort: those of the cases that show brain, on one canvas; cases that cannot be used together."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch

from spuproj.training.data.case import brain_box, load_case
from spuproj.training.data.dataset import SliceDataset, cache_cohort
from spuproj.training.data.labels import SCHEMES
from spuproj.training.data.readers.case_files import MODALITIES
from spuproj.training.data.readers.registry import case_in
from spuproj.training.data.sampler import Draw
from spuproj.training.runtime.errors import InputError
from tiny_datasets import OLD, brats

pytest_plugins = ["training_fixtures"]


def canvas_holds(box: tuple[float, float, float, float]) -> bool:
    """Whether a box, in fractions of the canvas, lies inside it with a margin on every side."""
    y0, x0, y1, x1 = box
    return 0 < y0 < y1 < 1 and 0 < x0 < x1 < 1


def test_cached_slices_are_those_of_the_cases_that_show_brain(cohort, tmp_path):
    seen: list[str] = []
    cached = cache_cohort(list(map(case_in, cohort)), MODALITIES, "TC", tmp_path, seen.append)
    assert seen == list(cached.entries) == [folder.name for folder in cohort]
    case = load_case(cohort[1], with_labels=True)
    canvas = cached.entries[case.name][0].canvas
    height, width = canvas.size
    assert cached.size == (height, width)
    assert cached.field == (8.0 * height, 8.0 * width)
    for folder in cohort:
        y0, x0, y1, x1 = brain_box(load_case(folder).brain)
        assert (height, width) >= (y1 - y0 + 1, x1 - x0 + 1)
        assert canvas_holds(cached.box(folder.name))
    shown = np.flatnonzero(case.brain.any(axis=(1, 2)))
    slices = SliceDataset(cached.entries[case.name], "TC")
    assert len(slices) == len(shown) < len(case.brain)
    for position, index in enumerate(shown):
        image, label, view = slices[[Draw(position, 3, 0)]]
        np.testing.assert_allclose(image[0], canvas.place(case.image[index]), rtol=1e-3, atol=1e-3)
        np.testing.assert_array_equal(label[0, 0], canvas.place(np.isin(case.labels[index], (1, 4))))
        assert (image.dtype, label.dtype, view.tolist()) == (torch.float16, torch.uint8, [3])
        assert slices.entries[position].positive == bool(label.any())


def test_cases_of_another_pixel_size_are_an_error_that_names_them(cohort, fine_case, tmp_path):
    message = "1 of 3 cases cannot be used .*Phantom_001 must have pixels of 8 x 8 mm, as most cases have, got 4 x 4"
    cases = [case_in(cohort[1]), case_in(cohort[2]), case_in(fine_case)]
    with pytest.raises(InputError, match=message):
        cache_cohort(cases, MODALITIES, "WT", tmp_path, lambda _: None)


def test_all_cases_that_cannot_be_used_are_told_at_once(cohort, tmp_path):
    for folder in cohort[:2]:
        shutil.copytree(folder, tmp_path / folder.name)
        (tmp_path / folder.name / f"{folder.name}_t2.nii.gz").write_bytes(b"no image")
    cases = [case_in(tmp_path / cohort[0].name), case_in(cohort[2]), case_in(tmp_path / cohort[1].name)]
    with pytest.raises(InputError, match=r"2 of 3 cases cannot be used .*Phantom_001_t2.*Phantom_002_t2"):
        cache_cohort(cases, MODALITIES, "WT", tmp_path / "cache", lambda _: None)


def test_pixels_that_are_taller_than_wide_keep_their_sides_apart(tmp_path):
    """The brain is in rows 1 to 5 and columns 1 to 4: the canvas has 5 and 4 pixels and 12 percent more, rounded up."""
    folder = brats(tmp_path, "case_1", "_", OLD, 4)
    for path in folder.iterdir():
        image = nib.Nifti1Image.from_filename(path)
        nib.save(nib.Nifti1Image(np.asarray(image.dataobj), np.diag([-2.0, -3.0, 4.0, 1.0])), path)
    cached = cache_cohort([case_in(folder)], MODALITIES, "WT", tmp_path / "cache", lambda _: None)
    assert cached.cases["case_1"].pixel == (3, 2)
    assert (cached.size, cached.field) == ((6, 5), (18, 10))
    assert cached.box("case_1") == pytest.approx((1 / 5, 1 / 4, 5 / 5, 4 / 4))


def test_the_digest_of_cases_tells_their_voxels_and_what_labels_mean_but_not_their_order(cohort, tmp_path):
    cached = cache_cohort(list(map(case_in, cohort)), MODALITIES, "WT", tmp_path, lambda _: None)
    first, second, third = cached.cases
    assert cached.digest([first, second]) == cached.digest([second, first])
    changed = [
        replace(cached, cases={**cached.cases, first: replace(cached.cases[first], **change)})
        for change in ({"scheme": SCHEMES["brats2015"]}, {"digest": "0"})
    ]
    digests = {cached.digest(names) for names in ([first], [first, second], [first, third])}
    assert len(digests | {each.digest([first]) for each in changed}) == 5


def cropped(source: Path, folder: Path) -> Path:
    """The case, cropped to its brain and one voxel around it."""
    y0, x0, y1, x1 = brain_box(load_case(source).brain)
    (folder / source.name).mkdir(parents=True)
    for path in source.iterdir():
        image = nib.Nifti1Image.from_filename(path)
        assert nib.aff2axcodes(image.affine) == ("L", "P", "S")
        nib.save(image.slicer[x0 - 1 : x1 + 2, y0 - 1 : y1 + 2], folder / source.name / path.name)
    return folder / source.name


def test_cases_that_were_cropped_each_to_its_brain_share_a_canvas(cohort, tmp_path):
    folders = [cropped(folder, tmp_path / "cropped") for folder in cohort]
    cases = {folder.name: load_case(folder, with_labels=True) for folder in folders}
    assert len({case.image.shape[2:] for case in cases.values()}) > 1
    cached = cache_cohort(list(map(case_in, folders)), MODALITIES, "TC", tmp_path / "cache", lambda _: None)
    assert all(cached.size > case.image.shape[2:] for case in cases.values())
    assert cached.field == (8.0 * cached.size[0], 8.0 * cached.size[1])
    everything = [entry for entries in cached.entries.values() for entry in entries]
    images, labels, _ = SliceDataset(everything, "TC")[[Draw(index, 0, 0) for index in range(len(everything))]]
    for name, case in cases.items():
        shown = [index for index, entry in enumerate(everything) if entry.case.name == name]
        down, right = everything[shown[0]].canvas.offset
        height, width = case.image.shape[2:]
        there = np.zeros((len(shown), 4, *cached.size), np.float16)
        truth = np.zeros((len(shown), *cached.size), np.uint8)
        brain = case.brain.any(axis=(1, 2))
        there[..., down : down + height, right : right + width] = case.image[brain]
        truth[..., down : down + height, right : right + width] = case.target("TC")[brain]
        np.testing.assert_array_equal(images[shown], there)
        np.testing.assert_array_equal(labels[shown, 0], truth)
        y0, x0, y1, x1 = cached.box(name)
        assert (y0 + y1) / 2 == pytest.approx(0.5, abs=1 / min(cached.size))
        assert (x0 + x1) / 2 == pytest.approx(0.5, abs=1 / min(cached.size))


def test_augmentation_gets_each_slice_with_its_seed(cohort, tmp_path):
    cached = cache_cohort([case_in(cohort[1])], MODALITIES, "WT", tmp_path, lambda _: None)
    entries, given = cached.entries[cohort[1].name], []

    def augment(image, label, seed):
        given.append((image.shape, label.shape, seed))
        return image + np.float16(seed), 1 - label

    plain, changed = SliceDataset(entries, "WT"), SliceDataset(entries, "WT", augment)
    draws = [Draw(4, 2, 5), Draw(1, 0, 7)]
    (image, label, view), (other, turned, same_view) = plain[draws], changed[draws]
    assert given == [((4, *cached.size), cached.size, 5), ((4, *cached.size), cached.size, 7)]
    np.testing.assert_array_equal(other, image.numpy() + np.array([5, 7], np.float16)[:, None, None, None])
    np.testing.assert_array_equal(turned, 1 - label.numpy())
    assert view.tolist() == same_view.tolist() == [2, 0]
