"""Artificial data sets: NIfTI files of a few voxels, with the file names of each format."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np

SHAPE = (6, 7, 5)
AFFINE = np.diag([-1.0, -1.0, 1.0, 1.0])


def volume(value: float) -> np.ndarray:
    voxels = np.zeros(SHAPE, np.float32)
    voxels[1:5, 1:6, 1:4] = value + np.arange(4 * 5 * 3).reshape(4, 5, 3)
    return voxels


def seg(value: int) -> np.ndarray:
    labels = np.zeros(SHAPE, np.uint8)
    labels[2, 2, 2] = value
    return labels


def save(path: Path, voxels: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(voxels, AFFINE), path)
    return path


def brats(root: Path, name: str, separator: str, endings: tuple[str, ...], label: int) -> Path:
    for value, ending in enumerate(endings):
        save(root / name / f"{name}{separator}{ending}.nii.gz", volume(100 * (value + 1)))
    save(root / name / f"{name}{separator}seg.nii.gz", seg(label))
    return root / name


OLD, NEW = ("t1", "t1ce", "t2", "flair"), ("t1n", "t1c", "t2w", "t2f")


def touch(root: Path, *paths: str) -> Path:
    """Empty files, for tests that only look for names."""
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).touch()
    return root


@dataclass(frozen=True)
class Layout:
    """A data set of one or two cases in a convention: its files, and what readers should find in it.

    Attributes:
        files: relative to the data set.
        case: the first case's name.
        images: for each modality the file of the first case.
        label: the segmentation of the first case.
        scheme: name of the label scheme, or None.
        patient: of the first case.
        description: content of ``dataset.json``, if there is one.
        unused: files that are left out.
    """

    files: tuple[str, ...]
    case: str
    images: Mapping[str, str]
    label: str | None
    scheme: str | None
    patient: str
    description: Mapping[str, object] | None = None
    unused: tuple[str, ...] = ()

    def make(self, root: Path) -> Path:
        touch(root, *self.files, *self.unused)
        if self.description is not None:
            (root / "dataset.json").write_text(json.dumps(self.description))
        return root


def in_folders(names: Sequence[str], separator: str, endings: Sequence[str]) -> tuple[str, ...]:
    return tuple(f"{name}/{Path(name).name}{separator}{ending}.nii.gz" for name in names for ending in endings)


def case_images(name: str, separator: str, endings: Mapping[str, str]) -> dict[str, str]:
    return {modality: f"{name}/{Path(name).name}{separator}{ending}.nii.gz" for modality, ending in endings.items()}


_GLI, _PED, _RT = "BraTS-GLI-00000-000", "BraTS-PED-00002-000", "BraTS-MEN-RT-0000-1"
_UCSF, _UPENN = "UCSF-PDGM-0004_nifti/UCSF-PDGM-0004", "images_structural/UPENN-GBM-00001_11"
_BIDS = "sub-01/ses-1/anat/sub-01_ses-1"
_AS_OLD, _AS_NEW = dict(zip(OLD, OLD, strict=True)), dict(zip(OLD, NEW, strict=True))
_CAPITALS = {"t1": "T1", "t1ce": "T1GD", "t2": "T2", "flair": "FLAIR"}

LAYOUTS = {
    "BraTS 2018 to 2021": Layout(
        in_folders(("HGG/BraTS20_Training_001", "LGG/deeper/BraTS20_Training_260"), "_", (*OLD, "seg")),
        "BraTS20_Training_001",
        case_images("HGG/BraTS20_Training_001", "_", _AS_OLD),
        "HGG/BraTS20_Training_001/BraTS20_Training_001_seg.nii.gz",
        "brats2020",
        "BraTS20_Training_001",
    ),
    "BraTS 2023 and later: GLI, MEN, MET, SSA": Layout(
        in_folders((_GLI, "BraTS-SSA-00002-000"), "-", (*NEW, "seg")),
        _GLI,
        case_images(_GLI, "-", _AS_NEW),
        f"{_GLI}/{_GLI}-seg.nii.gz",
        "brats2023",
        "BraTS-GLI-00000",
    ),
    "BraTS-PED": Layout(
        in_folders((_PED,), "-", (*NEW, "seg")),
        _PED,
        case_images(_PED, "-", _AS_NEW),
        f"{_PED}/{_PED}-seg.nii.gz",
        None,
        "BraTS-PED-00002",
    ),
    "names of BraTS 2023": Layout(
        in_folders(("hospital/p1",), "-", (*NEW, "seg")),
        "p1",
        case_images("hospital/p1", "-", _AS_NEW),
        "hospital/p1/p1-seg.nii.gz",
        "brats2023",
        "p1",
    ),
    "BraTS-MEN-RT": Layout(
        in_folders((_RT,), "_", ("t1c", "gtv")),
        _RT,
        {"t1ce": f"{_RT}/{_RT}_t1c.nii.gz"},
        f"{_RT}/{_RT}_gtv.nii.gz",
        "brats-men-rt",
        "BraTS-MEN-RT-0000",
    ),
    "UCSF-PDGM": Layout(
        (
            *(f"{_UCSF}_{kind}.nii.gz" for kind in ("T1", "T1c", "T2", "FLAIR", "tumor_segmentation")),
            *(f"UCSF-PDGM-0429_FU003d_nifti/UCSF-PDGM-0429_FU003d_{kind}.nii.gz" for kind in ("T1", "T1c")),
        ),
        "UCSF-PDGM-0004",
        {"t1": f"{_UCSF}_T1.nii.gz", "t1ce": f"{_UCSF}_T1c.nii.gz", "t2": f"{_UCSF}_T2.nii.gz"}
        | {"flair": f"{_UCSF}_FLAIR.nii.gz"},
        f"{_UCSF}_tumor_segmentation.nii.gz",
        "brats2020",
        "UCSF-PDGM-0004",
        unused=tuple(f"{_UCSF}_{kind}.nii.gz" for kind in ("T1_bias", "ADC", "DTI_eddy_FA", "brain_segmentation")),
    ),
    "UPENN-GBM": Layout(
        (
            *in_folders((_UPENN, "images_structural/UPENN-GBM-00001_21"), "_", tuple(_CAPITALS.values())),
            "images_segm/UPENN-GBM-00001_11_segm.nii.gz",
            "automated_segm/UPENN-GBM-00001_21_automated_approx_segm.nii.gz",
        ),
        "UPENN-GBM-00001_11",
        case_images(_UPENN, "_", _CAPITALS),
        "images_segm/UPENN-GBM-00001_11_segm.nii.gz",
        "brats2020",
        "UPENN-GBM-00001",
        unused=("automated_segm/UPENN-GBM-00001_11_automated_approx_segm.nii.gz",),
    ),
    "BIDS": Layout(
        (
            *(f"{_BIDS}_{kind}.nii.gz" for kind in ("T1w", "ce-gadolinium_T1w", "acq-2d_T2w", "FLAIR")),
            "sub-01/ses-2/anat/sub-01_ses-2_T1w.nii.gz",
            "sub-02/anat/sub-02_T1w.nii.gz",
            "derivatives/expert/sub-01/ses-1/anat/sub-01_ses-1_space-T1w_dseg.nii.gz",
            "derivatives/hd-bet/sub-01/ses-1/anat/sub-01_ses-1_desc-brain_mask.nii.gz",
        ),
        "sub-01_ses-1",
        {"t1": f"{_BIDS}_T1w.nii.gz", "t1ce": f"{_BIDS}_ce-gadolinium_T1w.nii.gz", "t2": f"{_BIDS}_acq-2d_T2w.nii.gz"}
        | {"flair": f"{_BIDS}_FLAIR.nii.gz"},
        "derivatives/expert/sub-01/ses-1/anat/sub-01_ses-1_space-T1w_dseg.nii.gz",
        None,
        "sub-01",
        unused=(
            "derivatives/fmriprep/sub-01/anat/sub-01_desc-preproc_T1w.nii.gz",
            "derivatives/fs/sub-01/mri/T1.mgz",
            "derivatives/fmriprep/sub-01/ses-1/anat/sub-01_ses-1_dseg.nii.gz",
            "derivatives/sMRIPrep-0.9/sub-01/ses-1/anat/sub-01_ses-1_dseg.nii.gz",
            "derivatives/tissues/sub-01/ses-1/anat/sub-01_ses-1_label-GM_dseg.nii.gz",
            "derivatives/hd-bet/sub-01/ses-1/anat/sub-01_ses-1_space-MNI152NLin2009cAsym_desc-brain_mask.nii.gz",
            "derivatives/fmriprep/sub-01/ses-1/func/sub-01_ses-1_task-rest_desc-brain_mask.nii.gz",
        ),
    ),
    "nnU-Net": Layout(
        (
            *(f"imagesTr/a_{number:04d}.nii.gz" for number in range(2)),
            *(f"imagesTr/b_{number:04d}.nii.gz" for number in range(2)),
            "labelsTr/a.nii.gz",
            "labelsTr/b.nii.gz",
        ),
        "a",
        {"t1": "imagesTr/a_0000.nii.gz", "flair": "imagesTr/a_0001.nii.gz"},
        "labelsTr/a.nii.gz",
        "nnunet",
        "a",
        {
            "channel_names": {"0": "T1", "1": "FLAIR"},
            "labels": {"background": 0, "edema": 1, "non-enhancing": 2, "enhancing": 3},
            "numTraining": 2,
            "file_ending": ".nii.gz",
        },
    ),
    "Medical Segmentation Decathlon": Layout(
        ("imagesTr/BRATS_001.nii.gz", "labelsTr/BRATS_001.nii.gz"),
        "BRATS_001",
        dict.fromkeys(("flair", "t1", "t1ce", "t2"), "imagesTr/BRATS_001.nii.gz"),
        "labelsTr/BRATS_001.nii.gz",
        "msd",
        "BRATS_001",
        {
            "name": "BRATS",
            "tensorImageSize": "4D",
            "modality": {"0": "FLAIR", "1": "T1w", "2": "t1gd", "3": "T2w"},
            "labels": {"0": "background", "1": "edema", "2": "non-enhancing tumor", "3": "enhancing tumour"},
            "numTraining": 1,
            "training": [{"image": "./imagesTr/BRATS_001.nii.gz", "label": "./labelsTr/BRATS_001.nii.gz"}],
            "test": [],
        },
    ),
    "case folders": Layout(
        (
            "p1/t1c.nii.gz",
            "p1/T1.nii",
            "p1/Tumor.nii.gz",
            "P2/p2-T1.nii.gz",
            "P2/p2-T1GD.mgz",
            "P2/p2-brainmask.nii.gz",
        ),
        "p1",
        {"t1": "p1/T1.nii", "t1ce": "p1/t1c.nii.gz"},
        "p1/Tumor.nii.gz",
        None,
        "p1",
    ),
}
"""A data set in each convention, by the convention's name."""
