"""Synthetic glioma cases in the layout of BraTS 2020: real anatomy, grown tumours, simulated contrasts.

The anatomy is the MNI152 atlas, the tumour a Fisher-KPP model (Swanson et al., Cell Prolif 33:317, 2000), the images
come from relaxation values and signal equations. No patient data are used.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from spuproj.training.phantom.anatomy import (
    ATLAS_CEREBRUM,
    COARSE,
    FIELD_OF_VIEW,
    CubicGrid,
    Field,
    Tissues,
    draw_patient,
    field_of_view,
)
from spuproj.training.phantom.contrast import TISSUES, draw_images
from spuproj.training.phantom.lookalikes import Lookalikes, draw_lookalikes
from spuproj.training.phantom.tumour import Tumour, draw_compartments, grow, mass_effect
from spuproj.training.runtime.errors import InputError
from spuproj.training.runtime.files import atomic_write_folder, refuse_overwrite, remove_leftovers
from spuproj.training.runtime.locks import held

Number = TypeVar("Number", bound=np.generic)

SPACING = (1.0, 8.0)  # mm


@dataclass(frozen=True)
class Phantom:
    """One case. ``images`` holds ``t1``, ``t1ce``, ``t2`` and ``flair``, int16 ``[X, Y, Z]``, 0 outside the brain.

    ``labels`` is uint8 ``[X, Y, Z]``: 0 none, 1 necrotic and non-enhancing core, 2 oedema, 4 enhancing tumour.
    ``affine`` takes voxels to RAS mm.
    """

    images: dict[str, NDArray[np.int16]]
    labels: NDArray[np.uint8]
    affine: NDArray[np.float64]


def make_phantom(seed: int, index: int, spacing: float = 1.0) -> Phantom:
    """The case ``index`` of the cohort ``seed``, both non-negative.

    ``spacing`` is the voxel size in mm, 1 to 8; the field of view is that of BraTS, 240 x 240 x 155 mm, in
    ``round(side / spacing)`` voxels. The same arguments give the same bits; another spacing gives the same patient
    with other noise. About three cases in ten have no enhancing tumour. Raises ValueError for a spacing out of range.
    """
    check_spacing(spacing)
    rng = np.random.default_rng([seed, index])
    patient = draw_patient(rng)
    coarse = patient.tissues(patient.index, patient.margin)
    density = grow(rng, coarse, patient.index[2] > ATLAS_CEREBRUM)
    displacement = mass_effect(rng, density, coarse.brain)

    whole = field_of_view(spacing)
    box = whole.box_around(COARSE.cropped(COARSE.box(coarse.brain)))
    grid = whole.cropped(box)
    points = grid.points()
    origins = points - np.stack([COARSE.sample(part, points) for part in displacement])
    places = patient.index_at(origins)
    tissues = patient.tissues(places, COARSE.sample(patient.margin, points))
    tumour = draw_compartments(rng, grid, COARSE.sample(density, origins), tissues)
    fractions = tissue_fractions(tissues, tumour, draw_lookalikes(rng, grid, places, tissues, coarse))
    images = draw_images(rng, grid, places, fractions, tissues.brain)
    stored = {name: np.clip(np.rint(image), 1, 32767).astype(np.int16) for name, image in images.items()}
    return Phantom(
        {name: in_whole(image, tissues.brain, whole, box) for name, image in stored.items()},
        in_whole(tumour.labels[tissues.brain], tissues.brain, whole, box),
        voxels_to_ras(whole),
    )


def check_spacing(spacing: float) -> None:
    """Raises ValueError where ``spacing`` is out of range."""
    if not SPACING[0] <= spacing <= SPACING[1]:
        raise ValueError(f"spacing must be between 1 and 8 mm, got {spacing}")


def tissue_fractions(tissues: Tissues, tumour: Tumour, others: Lookalikes) -> Field:
    """Fractions ``[13, N]`` over the brain's voxels, in the order of ``TISSUES``; they sum to one."""
    border, left = {}, np.ones_like(others.dura)
    for name in ("dura", "fat", "bone"):
        border[name] = left * getattr(others, name)
        left = left - border[name]
    vessel = left * others.vessel
    left = left - vessel
    choroid = left * others.choroid
    fluid = left * tissues.csf - choroid
    soft = left * (1 - tissues.csf)
    gliosis = soft * (1 - tumour.fraction) * others.gliosis
    healthy = soft * (1 - tumour.fraction) - gliosis
    white = tissues.white / np.maximum(tissues.white + tissues.grey, 1e-6)
    fractions = {
        "white": healthy * white,
        "grey": healthy * (1 - white),
        "csf": fluid + soft * tumour.cavity,
        "oedema": soft * tumour.oedema,
        "solid": soft * tumour.solid,
        "necrosis": soft * tumour.necrosis,
        "enhancing": soft * tumour.enhancing,
        "vessel": vessel,
        "choroid": choroid,
        "gliosis": gliosis,
        **border,
    }
    return np.stack([fractions[name][tissues.brain] for name in TISSUES])


def in_whole(
    values: NDArray[Number], brain: NDArray[np.bool_], whole: CubicGrid, box: tuple[slice, slice, slice]
) -> NDArray[Number]:
    """An image on ``whole`` from ``values [N]`` over the voxels of ``brain``, the mask in ``box``; 0 elsewhere."""
    image = np.zeros(whole.shape, values.dtype)
    image[box][brain] = values
    return image


def voxels_to_ras(grid: CubicGrid) -> NDArray[np.float64]:
    """The affine that takes the grid's voxels to RAS mm, as BraTS has it: x and y run to the left and the back."""
    x, y, z = grid.origin
    return np.array(
        [
            [-grid.spacing, 0, 0, -x],
            [0, -grid.spacing, 0, FIELD_OF_VIEW[1] - 1 - y],
            [0, 0, grid.spacing, z],
            [0, 0, 0, 1],
        ]
    )


def write_cohort(
    directory: Path,
    cases: int,
    seed: int,
    spacing: float = 1.0,
    force: bool = False,
    on_case: Callable[[str], None] | None = None,
) -> list[Path]:
    """Writes ``cases`` cases ``Phantom_001``, ... as folders of ``directory`` in BraTS 2020 names; returns the folders.

    A case depends on ``seed``, its number and ``spacing`` (mm, 1 to 8), not on ``cases``. Each folder appears whole or
    not at all; ``on_case`` is called with each id once its folder is written. Raises ValueError for arguments out of
    range, InputError where a folder exists and ``force`` is not set, or another process writes to ``directory``.
    """
    with held(directory):
        check_cohort(directory, cases, spacing, force)
        remove_leftovers(directory)
        folders = case_folders(directory, cases)
        for index, folder in enumerate(folders):
            write_case(folder, make_phantom(seed, index, spacing))
            if on_case is not None:
                on_case(folder.name)
    return folders


def check_cohort(directory: Path, cases: int, spacing: float, force: bool) -> None:
    """Raises as ``write_cohort`` does, without writing anything."""
    if cases < 1:
        raise ValueError(f"cases must be at least 1, got {cases}")
    check_spacing(spacing)
    folders = case_folders(directory, cases)
    refuse_overwrite(folders, force)
    others = sorted({path.name for path in directory.glob("Phantom_*")} - {folder.name for folder in folders})
    if others:
        raise InputError(f"{directory} must hold no other cohort, but holds {others[0]}; choose another folder")


def case_folders(directory: Path, cases: int) -> list[Path]:
    """The folder of each of a cohort's cases."""
    return [directory / f"Phantom_{number:03d}" for number in range(1, cases + 1)]


def write_case(folder: Path, phantom: Phantom) -> None:
    """Writes a case's five images into ``folder``, atomically."""
    with atomic_write_folder(folder) as new:
        for name, voxels in {**phantom.images, "seg": phantom.labels}.items():
            image = nib.Nifti1Image(voxels, phantom.affine)
            image.header.set_xyzt_units("mm")
            nib.save(image, new / f"{folder.name}_{name}.nii.gz")
