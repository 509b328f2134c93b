"""Symbolic links that lead outside: nothing is written through them, and loops end."""

from __future__ import annotations

import os
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from fuzz_readers.readers import READERS, SEEDS
from fuzz_readers.watch import watched
from spuproj.training.data.cache import cached_case
from spuproj.training.data.labels import SCHEMES
from spuproj.training.data.readers import listing
from spuproj.training.data.readers.case_files import CaseFiles, ImageFile
from spuproj.training.data.readers.registry import read_data
from spuproj.training.export.bids import write_bids
from spuproj.training.runtime.errors import InputError
from spuproj.training.runtime.files import atomic_write, atomic_write_group, inside
from spuproj.training.runtime.json_file import read_json, write_json


@pytest.fixture
def other(tmp_path: Path) -> Path:
    """A folder beside that of the outputs, with a file that must stay as it is."""
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "file").write_text("mine")
    return tmp_path / "other"


def test_a_folder_is_not_written_into_through_a_link_and_a_file_is_replaced(tmp_path, other):
    out = tmp_path / "out"
    out.mkdir()
    (out / "folder").symlink_to(other)
    (out / "within").symlink_to(out)
    (out / "file").symlink_to(other / "file")
    with pytest.raises(InputError, match="leads out of it"):
        inside(out, "folder")
    assert inside(out, "within") == out / "within"
    with atomic_write(inside(out, "file")) as temporary:
        temporary.write_text("new")
    assert (other / "file").read_text() == "mine"
    assert (out / "file").read_text() == "new"


def test_json_and_groups_of_files_replace_links(tmp_path, other):
    out = tmp_path / "out"
    out.mkdir()
    for name in ("a.json", "b", "last"):
        (out / name).symlink_to(other / "file")
    write_json(out / "a.json", {})
    with atomic_write_group(out, "case", "last") as folder:
        (folder / "b").write_text("new")
        (folder / "last").write_text("new")
    assert (other / "file").read_text() == "mine"
    assert not any(path.is_symlink() for path in out.iterdir())


def test_a_cache_with_links_is_written_anew(tmp_path, other):
    values = np.arange(1, 65, dtype=np.uint8).reshape(4, 4, 4)
    for name in ("t1", "seg"):
        nib.save(nib.Nifti1Image(values % 2 + (name == "t1") * values, np.eye(4)), tmp_path / f"{name}.nii")
    case = CaseFiles("a", {"t1": ImageFile(tmp_path / "t1.nii")}, tmp_path / "seg.nii", scheme=SCHEMES["brats2020"])
    (tmp_path / "cache").mkdir()
    for name in ("image.npy", "labels.npy", "metadata.json"):
        (tmp_path / "cache" / f"a_{name}").symlink_to(other / "file")
    with watched(tmp_path / "cache") as done:
        cached_case(case, ("t1",), tmp_path / "cache")
    assert done == []
    assert (other / "file").read_text() == "mine"


def test_an_export_does_not_go_through_a_link(tmp_path, other):
    predictions = tmp_path / "maps"
    predictions.mkdir()
    nib.save(nib.Nifti1Image(np.zeros((2, 2, 2), np.float32), np.eye(4)), predictions / "a_WT_var.nii.gz")
    (predictions / "a_summary.json").write_bytes((SEEDS / "summary" / "plain").read_bytes())
    (tmp_path / "bids").symlink_to(other)
    with pytest.raises(InputError, match="must be a data set of spuproj to be replaced"):
        write_bids(predictions, tmp_path / "bids", force=True)
    assert [path.name for path in other.iterdir()] == ["file"]


@pytest.mark.parametrize("name", [name for name in READERS if name not in ("cache", "dicom", "record")])
def test_a_loop_in_place_of_a_file_is_an_error(name, tmp_path, monkeypatch):
    def looped(path: Path, content: bytes) -> int:
        path.unlink(missing_ok=True)
        path.symlink_to(path.name)
        return 0

    monkeypatch.setattr(Path, "write_bytes", looped)
    with pytest.raises(InputError):
        READERS[name](tmp_path, b"{}")


def test_folders_that_hold_themselves_are_read_once(tmp_path):
    case = tmp_path / "data" / "p1"
    case.mkdir(parents=True)
    (case / "p1_t1.nii.gz").touch()
    for name, target in (("up", ".."), ("self", "."), ("loop", "loop")):
        (case / name).symlink_to(target)
    assert [each.name for each in read_data(tmp_path / "data").cases] == ["p1"]


def test_folders_with_links_to_each_other_are_not_followed_along_every_way(tmp_path, monkeypatch):
    """Twelve folders with links to all others have 12! ways through them."""
    monkeypatch.setattr(listing, "MOST_FOLDERS", 500)
    for number in range(12):
        (tmp_path / str(number)).mkdir()
        for other in range(12):
            (tmp_path / str(number) / f"to_{other}").symlink_to(tmp_path / str(other))
    with pytest.raises(InputError, match="must have at most 500 folders in it, but has more"):
        read_data(tmp_path)


def test_json_is_not_read_from_what_would_be_waited_for(tmp_path):
    os.mkfifo(tmp_path / "a.json")
    with pytest.raises(InputError, match="it is not a regular file"):
        read_json(tmp_path / "a.json")
    (tmp_path / "b.json").symlink_to("/dev/zero")
    with pytest.raises(InputError, match="it is not a regular file"):
        read_json(tmp_path / "b.json")
