"""The cache of cases: read once, used again, made anew when what it follows from has changed."""

from __future__ import annotations

import os
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from spuproj.training.data import cache
from spuproj.training.data.cache import cached_case, in_turn
from spuproj.training.data.case import load_case
from spuproj.training.data.labels import SCHEMES
from spuproj.training.data.readers.case_files import CaseFiles, ImageFile
from spuproj.training.data.readers.registry import case_in
from spuproj.training.runtime.errors import InputError
from tiny_datasets import OLD, brats, save, seg, volume

TWO = ("t1", "flair")


@pytest.fixture
def files(tmp_path) -> CaseFiles:
    return case_in(brats(tmp_path / "data", "case_1", "_", OLD, 4))


@pytest.fixture
def reads(monkeypatch) -> list[str]:
    """The cases that are read from their own files."""
    names = []

    def load(files, *arguments, **options):
        names.append(files.name)
        return load_case(files, *arguments, **options)

    monkeypatch.setattr(cache, "load_case", load)
    return names


def test_a_case_is_read_once_and_the_same_from_the_cache(files, reads, tmp_path):
    first, again = (cached_case(files, TWO, tmp_path / "cache") for _ in range(2))
    assert reads == ["case_1"]
    case = load_case(files, TWO, with_labels=True)
    shown = case.brain.any(axis=(1, 2))
    for cached in (first, again):
        np.testing.assert_array_equal(cached.image, case.image[shown].astype(np.float16))
        np.testing.assert_array_equal(cached.labels, case.labels[shown])
        assert (cached.pixel, cached.size, cached.scheme) == (case.spacing[1::-1], case.image.shape[2:], case.scheme)
        assert [set(values) for values in cached.values] == [set(np.unique(plane)) for plane in case.labels[shown]]
    assert first.digest == again.digest
    assert first.box == again.box


def change_an_image(files, folder):
    save(files.images["flair"].path, volume(7) ** 2)
    return files, TWO


def set_the_time_of_an_image_back(files, folder):
    """Its content may have changed meanwhile, with the same size."""
    path = files.images["flair"].path
    before = os.stat(path)
    os.utime(path, ns=(before.st_atime_ns, 1))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert os.stat(path).st_mtime_ns == before.st_mtime_ns
    return files, TWO


def change_the_voxels_of_a_detached_header(files, folder):
    folder_of_images = files.images["flair"].path.parent
    header = folder_of_images / "flair.nhdr"
    header.write_text(
        "NRRD0004\ntype: float\ndimension: 3\nsizes: 6 7 5\nspace: left-posterior-superior\nencoding: raw\n"
        "space directions: (1,0,0) (0,1,0) (0,0,1)\nspace origin: (0,0,0)\nendian: little\ndata file: flair.raw\n"
    )
    voxels = folder_of_images / "flair.raw"
    voxels.write_bytes(volume(3).tobytes(order="F"))
    detached = replace(files, images={**files.images, "flair": ImageFile(header)})
    cached_case(detached, TWO, folder)
    voxels.write_bytes((volume(7) ** 2).tobytes(order="F"))
    return detached, TWO


def touch_the_label(files, folder):
    os.utime(files.label, ns=(1, 1))
    return files, TWO


def take_other_modalities(files, folder):
    return files, ("t1", "t2")


def take_another_scheme(files, folder):
    save(files.label, seg(2))
    os.utime(files.label, ns=(5, 5))
    cached_case(files, TWO, folder)
    return replace(files, scheme=SCHEMES["brats2023"]), TWO


def name_a_mask(files, folder):
    return replace(files, mask=save(files.images["t1"].path.with_name("mask.nii.gz"), volume(1))), TWO


def name_another_channel(files, folder):
    both = save(files.images["flair"].path.with_name("both.nii.gz"), np.stack([volume(3), volume(7) ** 2], axis=-1))
    first, second = (replace(files, images={**files.images, "flair": ImageFile(both, each)}) for each in range(2))
    cached_case(first, TWO, folder)
    return second, TWO


def mix_with_another_training(files, folder):
    metadata = (folder / "case_1_metadata.json").read_bytes()
    cached_case(files, ("t1", "t2"), folder)
    (folder / "case_1_metadata.json").write_bytes(metadata)
    return files, TWO


def lose_an_array(files, folder):
    (folder / "case_1_labels.npy").unlink()
    return files, TWO


def break_an_array(files, folder):
    (folder / "case_1_image.npy").write_bytes(b"\x93NUMPY")
    return files, TWO


@pytest.mark.parametrize(
    "change",
    [
        change_an_image,
        set_the_time_of_an_image_back,
        change_the_voxels_of_a_detached_header,
        touch_the_label,
        take_other_modalities,
        take_another_scheme,
        name_a_mask,
        name_another_channel,
        mix_with_another_training,
        lose_an_array,
        break_an_array,
    ],
)
def test_a_case_that_has_changed_is_read_anew(files, reads, tmp_path, change):
    cached_case(files, TWO, tmp_path / "cache")
    changed, modalities = change(files, tmp_path / "cache")
    reads.clear()
    cached = cached_case(changed, modalities, tmp_path / "cache")
    assert reads == ["case_1"]
    case = load_case(changed, modalities, with_labels=True)
    np.testing.assert_array_equal(cached.image, case.image[case.brain.any(axis=(1, 2))].astype(np.float16))


@pytest.mark.parametrize(("name", "value"), [("__version__", "0.0.0"), ("CLIP", (0.01, 0.99))])
def test_what_another_version_or_other_quantiles_made_is_read_anew(files, reads, tmp_path, monkeypatch, name, value):
    cached_case(files, TWO, tmp_path / "cache")
    monkeypatch.setattr(cache, name, value)
    cached_case(files, TWO, tmp_path / "cache")
    assert reads == ["case_1"] * 2


def test_the_digest_tells_other_voxels_and_other_labels_but_not_other_times(files, tmp_path):
    first = cached_case(files, TWO, tmp_path / "cache").digest
    touch_the_label(files, tmp_path)
    assert cached_case(files, TWO, tmp_path / "cache").digest == first
    save(files.label, seg(2))
    other_labels = cached_case(files, TWO, tmp_path / "cache").digest
    change_an_image(files, tmp_path)
    assert len({first, other_labels, cached_case(files, TWO, tmp_path / "cache").digest}) == 3


def test_a_case_in_use_stays_what_it_was_when_the_cache_is_made_anew_or_removed(files, tmp_path):
    used = cached_case(files, TWO, tmp_path / "cache")
    before = np.array(used.image)
    change_an_image(files, tmp_path)
    cached_case(files, TWO, tmp_path / "cache")
    np.testing.assert_array_equal(used.image, before)
    shutil.rmtree(tmp_path / "cache")
    np.testing.assert_array_equal(used.image, before)


def test_a_case_that_does_not_load_leaves_nothing_behind(files, tmp_path):
    files.images["flair"].path.unlink()
    with pytest.raises(InputError, match=r"must hold case_1_flair\.nii"):
        cached_case(files, TWO, tmp_path / "cache")
    assert not list(tmp_path.glob("cache/*"))


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="counts open files under /proc")
def test_cached_cases_hold_no_files_open(files, tmp_path):
    before = len(list(Path("/proc/self/fd").iterdir()))
    cases = [cached_case(files, TWO, tmp_path / str(number)) for number in range(5)]
    assert len(list(Path("/proc/self/fd").iterdir())) == before
    assert all(case.labels.any() for case in cases)


def test_processes_begin_at_different_cases_and_go_through_all(files, monkeypatch):
    cases = [replace(files, name=str(number)) for number in range(40)]
    starts = set()
    for rank in range(8):
        monkeypatch.setattr(cache, "rank", lambda rank=rank: rank)
        order = [int(case.name) for case in in_turn(cases)]
        assert sorted(order) == list(range(40))
        starts.add(order[0])
    assert 0 in starts
    gaps = np.diff(sorted([*starts, 40]))
    assert len(starts) == 8
    assert gaps.min() >= 2
