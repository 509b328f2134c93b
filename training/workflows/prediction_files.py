"""Files of a prediction: their names, which of them must not be written, and what they depend on."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from spuproj.training.data.labels import SCHEMES, LabelScheme
from spuproj.training.data.readers.case_files import CaseFiles, ImageFile, lacking
from spuproj.training.data.volumes.content import content_hash
from spuproj.training.inference.outputs import MAPS, MERGED, map_names, require_kinds
from spuproj.training.inference.summary import CaseSummary, report_name, summary_name
from spuproj.training.runtime.errors import InputError
from spuproj.training.runtime.files import inside
from spuproj.training.runtime.names import as_one_file, require_names_fit

COHORT_REPORT = "report.html"


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
        aggregation: see ``spuproj.training.inference.case_prediction.segment``.

    Raises:
        InputError: for an image that cannot be read.
    """
    return {
        "aggregation": aggregation,
        "models": dict(models),
        "labels": {target: list(values) for target, values in scheme_of(files).targets.items()},
        **content_of(files, modalities),
    }


def content_of(files: CaseFiles, modalities: Sequence[str]) -> dict[str, Any]:
    """The content of a case's images, by modality, and of its mask; raises InputError for one that cannot be read."""
    present = [name for name in modalities if name not in lacking(files, modalities)]
    return {
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
    """Names of a case's files, the figure last. Raises as ``require_kinds`` does."""
    require_kinds(targets, scheme_of(files), kinds)
    maps = map_names(files.name, targets, scheme_of(files), kinds)
    return [*maps, report_name(files.name), summary_name(files.name), f"{files.name}.png"]


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


def _inputs(files: CaseFiles) -> list[Path]:
    others = [path for path in (files.label, files.mask) if path is not None]
    return [*(image.path for image in files.images.values()), *others]


def _place(path: Path) -> Path:
    """The path without links in its folder; writing replaces a file that is itself a link."""
    return Path(os.path.realpath(path.parent), path.name)


def is_there(files: CaseFiles, targets: Sequence[str], kinds: Sequence[str], out: Path) -> bool:
    """Whether all of a case's files are there."""
    return all(inside(out, name).is_file() for name in file_names(files, targets, kinds))


def predicted_modalities(summary: CaseSummary | None) -> tuple[str, ...]:
    """The modalities that maps were made of; empty where there is no summary."""
    return () if summary is None else tuple(_images(summary))


def _images(summary: CaseSummary) -> Mapping[str, Any]:
    """What a summary says of the images, by modality; that of an older version says nothing."""
    found = summary.recipe.get("images")
    return found if isinstance(found, Mapping) else {}


def other_images(summary: CaseSummary | None, content: Mapping[str, Any]) -> str:
    """How the images that maps were made of differ from what they are now, in words; empty where nothing says so.

    Args:
        summary: of the maps; None where there is none.
        content: of the images and the mask, see ``content_of``; of at least the modalities that the maps are made of.
    """
    if summary is None or not _images(summary):
        return ""
    now = {name: content["images"].get(name) for name in _images(summary)}
    found = differences(summary.recipe, {**summary.recipe, "images": now, "mask": content["mask"]})
    return " and ".join(found[part] for part in ("images", "mask") if part in found)


def older_maps(summary: CaseSummary, files: CaseFiles, out: Path, targets: Sequence[str]) -> list[str]:
    """Names of the maps of a case that a summary lists, of whichever kinds, and that are there.

    Args:
        summary: of the maps.
        files: of the case.
        out: folder of the outputs.
        targets: of the outputs that are written now.
    """
    names = possible_maps(files, list(summary.entry.volumes) or targets)
    return [name for name in names if name in summary.files and inside(out, name).is_file()]


def possible_maps(files: CaseFiles, targets: Sequence[str]) -> list[str]:
    """Names of all maps that a case can have."""
    return map_names(files.name, targets, scheme_of(files), (*MAPS, *MERGED))
