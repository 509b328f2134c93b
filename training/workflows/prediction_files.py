"""Files of a prediction: their names, which of them must not be written, and the summary that marks a finished case."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from spuproj.training.data.labels import SCHEMES, LabelScheme
from spuproj.training.data.readers.case_files import CaseFiles, ImageFile, lacking
from spuproj.training.data.readers.listing import SUMMARY
from spuproj.training.data.volumes.content import content_hash
from spuproj.training.inference.outputs import MAPS, MERGED, map_names
from spuproj.training.report.pages import CohortEntry
from spuproj.training.runtime.files import InputError, inside, read_json, write_json
from spuproj.training.runtime.names import as_one_file, plain_name, require_names_fit
from spuproj.training.runtime.settings import plain_errors

COHORT_REPORT = "report.html"


@dataclass(frozen=True)
class Summary:
    """What ``<id>_summary.json`` holds.

    Attributes:
        recipe: what the maps depend on, see ``recipe_of``; outputs of another recipe are not mixed with these.
        entry: the case in the report of the data set.
        files: names of all of the case's files; they are never read as data, see ``list_folder``.
        segmentation: the SHA-256 of the segmentation that the report compares with; None where there was none, or it
            could not be read.
    """

    recipe: Mapping[str, Any]
    entry: CohortEntry
    files: tuple[str, ...] = ()
    segmentation: str | None = None


# How predictions of another recipe differ.
_DIFFERENCES = {
    "models": "by other models",
    "aggregation": "with another aggregation",
    "labels": "with another label scheme",
    "images": "of other images",
    "mask": "with another brain mask",
}


def scheme_of(files: CaseFiles) -> LabelScheme:
    """The scheme of a case's label map: that of its segmentation, or of BraTS 2020 where there is none."""
    return files.scheme or SCHEMES["brats2020"]


def recipe_of(
    files: CaseFiles, modalities: Sequence[str], models: Mapping[str, str], aggregation: str
) -> dict[str, Any]:
    """What a case's maps depend on: models, aggregation, label values of each target, and the content of its images.

    Args:
        files: of the case.
        modalities: that the models take; images of others are not read.
        models: the SHA-256 of each model, by target.
        aggregation: see ``spuproj.training.inference.multi_view.segment``.

    Raises:
        InputError: for an image that cannot be read.
    """
    present = [name for name in modalities if name not in lacking(files, modalities)]
    return {
        "aggregation": aggregation,
        "models": dict(models),
        "labels": {target: list(values) for target, values in scheme_of(files).targets.items()},
        "images": {name: _content(files.images[name]) for name in present},
        "mask": None if files.mask is None else _content(ImageFile(files.mask)),
    }


def _content(image: ImageFile) -> dict[str, Any]:
    return {"sha256": content_hash(image.path), "channel": image.channel}


def segmentation_hash(files: CaseFiles) -> str | None:
    """The SHA-256 of a case's segmentation; None where there is none, or it cannot be read."""
    if files.label is None:
        return None
    with suppress(InputError):
        return content_hash(files.label)
    return None


def differences(older: Mapping[str, Any], recipe: Mapping[str, Any]) -> dict[str, str]:
    """How predictions of an older recipe differ, in words, by the parts of the recipe that do."""
    other_version = "by another version of spuproj"
    if older.keys() != recipe.keys() or not isinstance(older["images"], Mapping):
        return {"version": other_version}
    found = {name: _DIFFERENCES[name] for name in _unlike(older, recipe)}
    if "images" in found:
        found["images"] += f" ({', '.join(_unlike(older['images'], recipe['images']))})"
    return found


def _unlike(one: Mapping[str, Any], other: Mapping[str, Any]) -> list[str]:
    """The keys whose values differ."""
    return [key for key in {**other, **one} if one.get(key) != other.get(key)]


def file_names(files: CaseFiles, targets: Sequence[str], kinds: Sequence[str]) -> list[str]:
    """Names of a case's files, the figure last. Raises as ``map_names`` does."""
    maps = map_names(files.name, targets, scheme_of(files), kinds)
    return [*maps, report_name(files.name), summary_name(files.name), f"{files.name}.png"]


def report_name(case: str) -> str:
    """Name of a case's report."""
    return f"{case}_report.html"


def summary_name(case: str) -> str:
    """Name of a case's summary."""
    return f"{case}{SUMMARY}"


def require_names(cases: Sequence[CaseFiles], targets: Sequence[str], kinds: Sequence[str], out: Path) -> None:
    """Refuses cases whose files cannot all be written.

    Two cases would write one file, a name is too long for the file system, or an input would be written over.
    Names that differ only in upper and lower case, or in how accents are written, are one file on some systems.

    Raises:
        InputError: with the cases and the file.
    """
    owners = {as_one_file(COHORT_REPORT): "the report of all cases"}
    for files in cases:
        names = file_names(files, targets, kinds)
        # Files are written in temporary folders, and these in one another.
        folder = f".spuproj-12345678-{files.name}"
        remedy = f"shorten the name of {files.name}, in a manifest for example, or those of the models' targets"
        require_names_fit(out, [f"{folder}/content/{folder}/content/{name}" for name in names], remedy)
        for name in names:
            other = owners.setdefault(as_one_file(name), files.name)
            if other != files.name:
                raise InputError(
                    f"{out / name} must be written by one case, but {other} and {files.name} would both write it; "
                    f"rename one of them, in a manifest for example"
                )
    read = {_place(path): files.name for files in cases for path in _inputs(files)}
    for files in cases:
        for path in (_place(out / name) for name in file_names(files, targets, kinds)):
            if path in read:
                raise InputError(
                    f"{path} must not be written over, since it is an input of {read[path]}; choose another folder for "
                    f"the outputs"
                )


def require_replaceable(out: Path, names: Sequence[str]) -> None:
    """Raises InputError where a folder is in the place of a file that is to be written."""
    for path in (inside(out, name) for name in names):
        if path.is_dir() and not path.is_symlink():
            raise InputError(f"{path} must be a file to write, but it is a folder; move it to another place")


def _inputs(files: CaseFiles) -> list[Path]:
    others = [path for path in (files.label, files.mask) if path is not None]
    return [*(image.path for image in files.images.values()), *others]


def _place(path: Path) -> Path:
    """The path without links in its folder; writing replaces a file that is itself a link."""
    return Path(os.path.realpath(path.parent), path.name)


def is_there(files: CaseFiles, targets: Sequence[str], kinds: Sequence[str], out: Path) -> bool:
    """Whether all of a case's files are there."""
    return all(inside(out, name).is_file() for name in file_names(files, targets, kinds))


def write_summary(folder: Path, summary: Summary) -> None:
    """Writes a case's summary."""
    write_json(inside(folder, summary_name(summary.entry.name)), asdict(summary))


def read_summary(out: Path, case: str) -> Summary | None:
    """A case's summary, or None where there is none.

    Raises:
        InputError: where it is damaged, of another case or of another version.
    """
    path = inside(out, summary_name(case))
    if not os.path.lexists(path):
        return None
    remedy = "; remove it and the case's maps, or predict the case again with --force"
    try:
        with plain_errors(Summary, f"{path} must be a summary of 'spuproj predict', but is not: "):
            summary = TypeAdapter(Summary).validate_python(read_json(path))
        for target in summary.entry.volumes:
            plain_name(target, f"{path}: the name of a target")
    except InputError as error:
        raise InputError(f"{error}{remedy}") from None
    if summary.entry.name != case:
        raise InputError(f"{path} must be the summary of {case}, but is that of {summary.entry.name}{remedy}")
    if summary.entry.link not in (None, report_name(case)):
        raise InputError(f"{path} must link to {report_name(case)}, but links to {summary.entry.link!r:.80}{remedy}")
    return summary


def modalities_of_maps(folder: Path, case: str) -> tuple[str, ...]:
    """The modalities that the maps of a case were made of; empty where no summary says it."""
    images = _recorded(folder, case).get("images")
    return tuple(images) if isinstance(images, Mapping) else ()


def other_images(folder: Path, files: CaseFiles) -> str:
    """How the images that a case's maps were made of differ from its own, in words; empty where nothing says so.

    Raises:
        InputError: for an image that cannot be read.
    """
    older = _recorded(folder, files.name)
    if not isinstance(older.get("images"), Mapping):
        return ""
    found = differences(older, recipe_of(files, tuple(older["images"]), {}, ""))
    return " and ".join(found[part] for part in ("images", "mask") if part in found)


def _recorded(folder: Path, case: str) -> Mapping[str, Any]:
    """The recipe in a case's summary; empty where there is none that can be read, as beside maps of other programs."""
    with suppress(InputError):
        summary = read_summary(folder, case)
        return {} if summary is None else summary.recipe
    return {}


def older_maps(
    out: Path, files: CaseFiles, recipe: Mapping[str, Any], targets: Sequence[str]
) -> tuple[bool, list[str]]:
    """The maps of a case that are there, of whichever kinds.

    Args:
        out: folder of the outputs.
        files: of the case.
        recipe: of the outputs that are written now.
        targets: of these outputs; where the older summary is broken, its targets count as the same.

    Returns:
        Whether they are of this recipe; and their names, where the older summary is broken all that they can have.
    """
    try:
        older = read_summary(out, files.name)
    except InputError:
        return False, map_names(files.name, targets, scheme_of(files), (*MAPS, *MERGED))
    if older is None:
        return False, []
    names = map_names(files.name, list(older.entry.volumes) or targets, scheme_of(files), (*MAPS, *MERGED))
    return older.recipe == recipe, [name for name in names if name in older.files and inside(out, name).is_file()]
