"""The readers of files from outside: each takes a folder and the content of a file, and may raise InputError alone."""

from __future__ import annotations

import gzip
import shutil
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np

from spuproj.training.data.cache import cached_case
from spuproj.training.data.labels import SCHEMES
from spuproj.training.data.readers.case_files import CaseFiles, ImageFile
from spuproj.training.data.readers.dataset_json import described_cases
from spuproj.training.data.readers.manifest import json_manifest
from spuproj.training.data.readers.manifest_table import csv_manifest
from spuproj.training.data.splits import read_split
from spuproj.training.data.volumes.image_file import open_volume
from spuproj.training.export.bids import write_bids
from spuproj.training.export.hub import prepare
from spuproj.training.export.series import read_series
from spuproj.training.fit.resume import checked_checkpoint
from spuproj.training.models.config import make_views
from spuproj.training.models.method import load_method
from spuproj.training.models.run import load_run

SEEDS, FINDINGS = (Path(__file__).with_name(name) for name in ("seeds", "findings"))
"""Folders of files by reader: those that fuzzing begins with, and those that once did harm."""

CONFIG, WEIGHTS = SEEDS / "model_config" / "tiny", SEEDS / "model_weights" / "tiny"
"""A whole model, whose network has two channels."""

MOST_READ = 2**16
"""Voxels of a volume that is read whole: larger ones are allowed, and would take long."""


def image(name: str) -> Callable[[Path, bytes], object]:
    """Reads an image file: its header, and the voxels unless they are many."""

    def read(folder: Path, content: bytes) -> object:
        volume = open_volume(ImageFile(written(folder / name, content)))
        return volume.values() if np.prod(volume.grid.shape) <= MOST_READ else volume.grid

    return read


def compressed(name: str) -> Callable[[Path, bytes], object]:
    """The same, of what a file holds compressed."""
    return lambda folder, content: image(name)(folder, gzip.compress(content, 1))


def description(folder: Path, content: bytes) -> object:
    """Reads a ``dataset.json`` beside images of two cases, one of which lacks a channel."""
    for name in ("imagesTr/a_0000", "imagesTr/a_0001", "imagesTr/b_0000", "labelsTr/a"):
        written(folder / f"{name}.nii.gz", b"")
    return described_cases(written(folder / "dataset.json", content).parent)


def configuration(folder: Path, content: bytes) -> object:
    """Reads the configuration of a model with the weights of another, and makes its views."""
    shutil.copyfile(WEIGHTS, folder / "model.safetensors")
    written(folder / "config.json", content)
    config, _ = load_run(folder)
    return make_views(config, (24, 20))


def weights(folder: Path, content: bytes) -> object:
    shutil.copyfile(CONFIG, folder / "config.json")
    written(folder / "model.safetensors", content)
    return load_run(folder)


def record(folder: Path, content: bytes) -> object:
    """Reads the record of a training, to write a model's card from it."""
    shutil.copyfile(CONFIG, folder / "config.json")
    shutil.copyfile(WEIGHTS, folder / "model.safetensors")
    written(folder / "training.json", content)
    (folder / "out").mkdir(exist_ok=True)
    return prepare(folder, folder / "out")


def summary(folder: Path, content: bytes) -> object:
    """Reads the summary of a prediction, to copy its maps to BIDS."""
    # It is copied, and compared with its SHA-256.
    (folder / "a_WT_var.nii.gz").write_bytes(b"")
    written(folder / "a_summary.json", content)
    return write_bids(folder, folder / "bids", force=True)


def series(folder: Path, content: bytes) -> object:
    """Reads a slice of a DICOM series, beside another one."""
    shutil.copyfile(Path(__file__).with_name("first_slice.dcm"), folder / "0.dcm")
    written(folder / "1.dcm", content)
    return read_series(folder)


def cached(folder: Path, content: bytes) -> object:
    """Finds one of the three files of a cached case changed: whatever it holds, the case is read again."""
    image, label = folder / "t1.nii.gz", folder / "seg.nii.gz"
    values = np.arange(1, 65, dtype=np.uint8).reshape(4, 4, 4)
    for path, voxels in ((image, values), (label, np.uint8(values > 60))):
        nib.save(nib.Nifti1Image(voxels, np.diag([-1, -1, 1, 1])), path)
    case = CaseFiles("a", {"t1": ImageFile(image)}, label, scheme=SCHEMES["brats2020"])
    digest = cached_case(case, ("t1",), folder / "cache").digest
    files = sorted((folder / "cache").iterdir())
    files[content[0] % len(files) if content else 0].write_bytes(content[1:])
    assert cached_case(case, ("t1",), folder / "cache").digest == digest
    return digest


def written(path: Path, content: bytes) -> Path:
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content)
    return path


READERS: dict[str, Callable[[Path, bytes], object]] = {
    "nifti": image("a.nii"),
    "nifti_gz": compressed("a.nii.gz"),
    "mgh": compressed("a.mgz"),
    "nrrd": image("a.nrrd"),
    "metaimage": image("a.mha"),
    "dicom": series,
    "manifest_json": lambda folder, content: json_manifest(written(folder / "a.json", content)),
    "manifest_csv": lambda folder, content: csv_manifest(written(folder / "a.csv", content)),
    "dataset_json": description,
    "split": lambda folder, content: read_split(written(folder / "a.json", content)),
    "method": lambda folder, content: load_method(str(written(folder / "a.json", content))),
    "model_config": configuration,
    "model_weights": weights,
    "record": record,
    "summary": summary,
    "checkpoint": lambda folder, content: checked_checkpoint(written(folder / "a.ckpt", content), {"target": "WT"}),
    "cache": cached,
}
"""By name what reads a file; folders of the same names hold its seeds and findings."""
