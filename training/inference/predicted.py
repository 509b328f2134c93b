"""The folder that ``spuproj predict`` wrote: which cases it holds, and their maps."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from spuproj.training.data.volumes.content import content_hash
from spuproj.training.inference.outputs import MAP_ENDING, map_name
from spuproj.training.inference.summary import CaseSummary, finished_summary, predicted_names
from spuproj.training.runtime.errors import InputError
from spuproj.training.runtime.files import inside
from spuproj.training.runtime.wording import some_of


def predicted_cases(folder: Path) -> list[CaseSummary]:
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


def predicted_case(folder: Path, name: str | None) -> CaseSummary:
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


def predicted_targets(summary: CaseSummary) -> list[str]:
    """The targets that were predicted, in the order of the models."""
    return list(summary.entry.volumes)


def model_of(summary: CaseSummary, target: str) -> str | None:
    """The SHA-256 of the model that predicted a target; None where the summary does not tell."""
    models = summary.recipe.get("models")
    found = models.get(target) if isinstance(models, Mapping) else None
    return found if isinstance(found, str) else None


def predicted_map(folder: Path, summary: CaseSummary, target: str, kind: str) -> Path:
    """The file of a map, as it was predicted.

    Raises:
        InputError: where it was not predicted, is missing, or has changed since; the message says how to predict it.
    """
    path = inside(folder, map_name(summary.entry.name, target, kind))
    if path.name not in summary.files:
        raise InputError(f"{path} must be there, but was not predicted; predict with {kind} among --maps")
    if not path.is_file():
        raise InputError(f"{path} must be there, since the case is finished; predict it again with --force")
    if content_hash(path) != summary.files[path.name]:
        raise InputError(f"{path} must be as it was predicted, but has changed since; predict it again with --force")
    return path


def changed_maps(folder: Path, summary: CaseSummary) -> list[str]:
    """Names of a case's maps that are there, but are not as they were predicted, such as those that were edited."""
    maps = {inside(folder, name): sha256 for name, sha256 in summary.files.items() if name.endswith(MAP_ENDING)}
    return [path.name for path, sha256 in maps.items() if path.is_file() and content_hash(path) != sha256]
