"""Check of a data set before training: errors, and what is unusual."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ParamSpec, TypeVar

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from spuproj.training.data.case import check_same_grid, read_brain, read_image, read_labels
from spuproj.training.data.findings import Level
from spuproj.training.data.nifti import lps_spacing
from spuproj.training.data.readers.case_files import CaseFiles
from spuproj.training.runtime.files import InputError

Image = tuple[nib.Nifti1Image, NDArray[np.float32]]
Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


@dataclass(frozen=True)
class Problem:
    """One finding.

    Attributes:
        case: name of the case.
        fatal: whether the case cannot be used; otherwise the finding is a note.
        message: the finding, and what to do about it.
    """

    case: str
    fatal: bool
    message: str


def check_data(cases: Sequence[CaseFiles], on_case: Callable[[str], None]) -> list[Problem]:
    """All findings of all cases, with one case in memory at a time. ``on_case`` is called with each case's name."""
    problems: list[Problem] = []
    first: tuple[str, tuple[int, ...], tuple[float, ...]] | None = None
    for files in cases:
        found, grid = _check_case(files)
        problems += found
        if grid is not None:
            first = first or (files.name, *grid)
            problems += _unlike(files.name, grid, first)
        if set(files.images) != set(cases[0].images):
            message = f"has the modalities {', '.join(files.images)}; {cases[0].name} has {', '.join(cases[0].images)}"
            problems.append(Problem(files.name, False, message))
        on_case(files.name)
    return problems


def text(cases: int, problems: Sequence[Problem]) -> str:
    """One line for each finding, and a summary."""
    width = max((len(problem.case) for problem in problems), default=0)
    lines = [
        f"{problem.case:<{width}}  {'error' if problem.fatal else 'note '}  {problem.message}" for problem in problems
    ]
    unusable = len({problem.case for problem in problems if problem.fatal})
    notes = sum(not problem.fatal for problem in problems)
    return "\n".join([*lines, f"{cases} cases, {unusable} of them cannot be used, {notes} notes"])


def _check_case(files: CaseFiles) -> tuple[list[Problem], tuple[tuple[int, ...], tuple[float, ...]] | None]:
    """The problems of a case, and its shape and voxel size in LPS axes where an image could be read."""
    problems = [Problem(files.name, finding.level == Level.ERROR, finding.message) for finding in files.findings]

    def attempt(call: Callable[Arguments, Result], *args: Arguments.args, **kwargs: Arguments.kwargs) -> Result | None:
        try:
            return call(*args, **kwargs)
        except InputError as error:
            problems.append(Problem(files.name, True, str(error)))
            return None

    images: dict[Path, Image] = {}
    for path, _ in files.images.values():
        image = attempt(read_image, path)
        if image is not None:
            images[path] = image
    if not images:
        return problems, None
    first, (like, volume) = next(iter(images.items()))
    for path, (other, _) in list(images.items())[1:]:
        attempt(check_same_grid, first, like, path, other)
    same = [voxels for _, voxels in images.values() if voxels.shape == volume.shape]
    brain = attempt(read_brain, files, first, like, np.stack(same))
    if brain is not None:
        problems += _constant(files, images, brain)
    if files.label is not None:
        labels = attempt(read_labels, files, first, like)
        if labels is not None and not labels.any():
            problems.append(Problem(files.name, False, "the segmentation is empty"))
    else:
        problems.append(Problem(files.name, False, "there is no segmentation: it can be predicted, not trained on"))
    return problems, (volume.shape, lps_spacing(like))


def _constant(files: CaseFiles, images: dict[Path, Image], brain: NDArray[np.bool_]) -> list[Problem]:
    return [
        Problem(files.name, False, f"{path.name} is constant inside the brain: it tells nothing, and is read as 0")
        for path, (_, voxels) in images.items()
        if voxels.shape == brain.shape and np.ptp(voxels[brain]) == 0
    ]


def _unlike(
    name: str,
    grid: tuple[tuple[int, ...], tuple[float, ...]],
    first: tuple[str, tuple[int, ...], tuple[float, ...]],
) -> list[Problem]:
    """A finding where a case's slices differ from those of the first case in pixels or millimetres."""
    (height, width), (mm_y, mm_x) = grid[0][1::-1], grid[1][1::-1]
    (first_height, first_width), (first_y, first_x) = first[1][1::-1], first[2][1::-1]
    if (height, width) == (first_height, first_width) and np.allclose((mm_y, mm_x), (first_y, first_x), rtol=0.01):
        return []
    message = (
        f"has slices of {height} x {width} pixels of {mm_y:g} x {mm_x:g} mm, {first[0]} of {first_height} x "
        f"{first_width} of {first_y:g} x {first_x:g}; crop, pad or resample them to one grid"
    )
    return [Problem(name, True, message)]
