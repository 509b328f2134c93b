"""The folder that ``spuproj predict`` wrote: which cases it holds, and their maps."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from spuproj.training.data.readers.case_files import ImageFile
from spuproj.training.data.volumes.image_file import Volume, open_volume
from spuproj.training.inference.outputs import map_name
from spuproj.training.inference.summary import Summary, finished_summary, predicted_names
from spuproj.training.runtime.files import InputError, inside
from spuproj.training.runtime.wording import some_of


def predicted_cases(folder: Path) -> list[Summary]:
    """The summaries of all cases of a folder, by name.

    Raises:
        InputError: where there is no such folder or no case in it, or a summary is broken or unfinished.
    """
    if not folder.is_dir():
        raise InputError(f"{folder} must be a folder that 'spuproj predict' wrote, but there is no such folder")
    names = predicted_names(folder)
    if not names:
        raise InputError(f"{folder} must be a folder that 'spuproj predict' wrote, but holds no finished case")
    return [summary for name in names if (summary := finished_summary(folder, name)) is not None]


def predicted_case(folder: Path, name: str | None) -> Summary:
    """The summary of a case, by its name; the only one of the folder where the name is None.

    Raises:
        InputError: as ``predicted_cases`` does; for a name that is not there, and for none where there are several.
    """
    found = {summary.entry.name: summary for summary in predicted_cases(folder)}
    if name is None and len(found) > 1:
        raise InputError(f"{folder} holds {len(found)} cases: name one of them (--case): {some_of(list(found))}")
    if name is not None and name not in found:
        raise InputError(f"{folder} must hold the case {name}, but holds {some_of(list(found))}")
    return found[name] if name is not None else next(iter(found.values()))


def targets_of(summary: Summary) -> list[str]:
    """The targets that were predicted, in the order of the models."""
    return list(summary.entry.volumes)


def model_of(summary: Summary, target: str) -> str | None:
    """The SHA-256 of the model that predicted a target; None where the summary does not tell."""
    models = summary.recipe.get("models")
    found = models.get(target) if isinstance(models, Mapping) else None
    return found if isinstance(found, str) else None


def open_map(folder: Path, case: str, target: str, kind: str) -> Volume:
    """A map of a case, opened.

    Raises:
        InputError: where it is missing or no image; the message says how to predict it.
    """
    path = inside(folder, map_name(case, target, kind))
    if not path.is_file():
        raise InputError(f"{path} must be there, but is missing; predict with {kind} among --maps")
    return open_volume(ImageFile(path))
