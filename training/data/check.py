"""Check of a data set: everything that is wrong or unusual in any of its cases."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import ParamSpec, TypeVar

import numpy as np
from numpy.typing import NDArray

from spuproj.training.data.canvas import Pixel, fits_canvas, usual_pixel
from spuproj.training.data.case import brain_of, headers_findings
from spuproj.training.data.findings import Finding, Level
from spuproj.training.data.labels import LabelScheme
from spuproj.training.data.readers.case_files import CaseFiles, ImageFile, lacking
from spuproj.training.data.volumes.image_file import Volume, open_volume
from spuproj.training.data.volumes.intensities import CLIP, normalised
from spuproj.training.data.volumes.same_grid import require_same_grid
from spuproj.training.data.volumes.segmentation import read_labels
from spuproj.training.runtime.errors import reason_of

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")

_NAMED = 3
# Findings that differ in numbers alone are listed one by one up to this many.
_LISTED = 5


@dataclass(frozen=True)
class CaseFinding:
    """A finding, and the name of its case."""

    case: str
    finding: Finding


@dataclass(frozen=True)
class Layout:
    """What the cases of a data set must have in common: modalities, and the pixel size (y, x) of slices in mm."""

    modalities: frozenset[str]
    pixel: Pixel


def check_data(cases: Sequence[CaseFiles], on_case: Callable[[str], None]) -> list[CaseFinding]:
    """All findings of all cases, with one case in memory at a time. ``on_case`` is called with each case's name."""
    found: list[CaseFinding] = []
    layouts: dict[str, Layout] = {}
    for files in cases:
        findings, first = _check_case(files)
        if first is not None:
            x, y, _ = first.grid.spacing
            layouts[files.name] = Layout(frozenset(files.images), (y, x))
        found += [CaseFinding(files.name, finding) for finding in findings]
        on_case(files.name)
    return found + _unlike_most(layouts)


def text(cases: int, left_out: Sequence[str], found: Sequence[CaseFinding]) -> str:
    """What is left out, the findings, and a summary. Findings that say the same of several cases share a line.

    Args:
        cases: number of cases.
        left_out: sentences about what is not used.
        found: the findings of all cases.
    """
    groups: dict[Finding, list[CaseFinding]] = {}
    for each in found:
        groups.setdefault(Finding(each.finding.level, _without_name(each)), []).append(each)
    lines = [f"left out: {sentence}" for sentence in left_out]
    lines += [
        f"{level.name.lower():<7}  {line}" for level, line in sorted(_lines(groups), key=lambda levelled: levelled[0])
    ]
    unusable = len({each.case for each in found if each.finding.level == Level.ERROR})
    warnings, notes = (sum(each.finding.level == level for each in found) for level in (Level.WARNING, Level.NOTE))
    return "\n".join([*lines, f"{cases} cases, {unusable} of them cannot be used, {warnings} warnings, {notes} notes"])


def _lines(groups: Mapping[Finding, Sequence[CaseFinding]]) -> Iterator[tuple[Level, str]]:
    """The level and the text of each line. Of many groups that differ in numbers alone, one line has the first."""
    alike: dict[Finding, list[Finding]] = {}
    for finding in groups:
        alike.setdefault(Finding(finding.level, re.sub(r"\d+(\.\d+)?(e[+-]?\d+)?", "#", finding.message)), []).append(
            finding
        )
    for findings in alike.values():
        if len(findings) <= _LISTED:
            yield from ((finding.level, _line(finding.message, groups[finding])) for finding in findings)
        else:
            whole = [each for finding in findings for each in groups[finding]]
            yield findings[0].level, _line(f"with other numbers in each, such as: {whole[0].finding.message}", whole)


def _without_name(found: CaseFinding) -> str:
    """The message with CASE in place of the case's name."""
    if not re.search(r"[^\W\d]", found.case):
        # A name of digits alone may as well be a number of the message.
        return found.finding.message
    name = re.escape(found.case)
    return re.sub(rf"(?<!\w){name}(?!\w)|(?<=/){name}", "CASE", found.finding.message)


def _line(message: str, group: Sequence[CaseFinding]) -> str:
    names = [each.case for each in group]
    if len(names) == 1:
        return f"{names[0]}: {group[0].finding.message}"
    more = ", ..." if len(names) > _NAMED else ""
    return f"in {len(names)} cases ({', '.join(names[:_NAMED])}{more}): {message}"


def _check_case(files: CaseFiles) -> tuple[list[Finding], Volume | None]:
    """The findings of a case, and the first modality whose header can be read."""
    findings = list(files.findings)

    def attempt(call: Callable[Arguments, Result], *args: Arguments.args, **kwargs: Arguments.kwargs) -> Result | None:
        try:
            return call(*args, **kwargs)
        # Whatever a library raises is a finding of this case: the others are still to be checked.
        except Exception as error:
            findings.append(Finding(Level.ERROR, reason_of(error)))
            return None

    if absent := lacking(files, tuple(files.images)):
        message = f"without {', '.join(absent)} it can only be predicted, by models that were trained with augmentation"
        findings.append(Finding(Level.NOTE, message))
    images = [attempt(open_volume, file) for file in files.images.values()]
    mask = None if files.mask is None else attempt(open_volume, ImageFile(files.mask))
    label = None if files.label is None else attempt(open_volume, ImageFile(files.label))
    opened = [volume for volume in (*images, mask, label) if volume is not None]
    first = next((volume for volume in images if volume is not None), None)
    findings += [*headers_findings(opened), *_unused_volumes([image for image in images if image is not None])]
    if first is not None:
        findings += attempt(require_same_grid, opened) or []
    sound = not any(finding.level == Level.ERROR for finding in findings)
    voxels = [attempt(volume.values) for volume in images if volume is not None]
    read = [each for each in voxels if each is not None]
    if first is not None and sound and len(read) == len(images):
        findings += attempt(_check_images, tuple(files.images), np.stack(read), mask, first) or []
    if label is not None:
        findings += attempt(_check_labels, label, files.scheme) or []
    elif files.label is None:
        findings.append(Finding(Level.NOTE, "there is no segmentation: it can be predicted, not trained on"))
    return findings, first


def _unused_volumes(images: Sequence[Volume]) -> list[Finding]:
    """A warning for each file of several volumes that are not all used: they may not be what they are taken for."""
    used = Counter(image.path for image in images)
    return [
        Finding(
            Level.WARNING,
            f"{path.name} holds {in_file} volumes, but {used[path]} are used; check the modalities that dataset.json "
            "or the manifest names",
        )
        for path, in_file in dict.fromkeys((image.path, image.in_file) for image in images)
        if used[path] < in_file
    ]


def _check_images(
    names: Sequence[str], voxels: NDArray[np.float32], mask: Volume | None, first: Volume
) -> list[Finding]:
    """Findings about the brain and the intensities in it."""
    brain, findings = brain_of(names, voxels, mask, first)
    return [*findings, *normalised(voxels, brain, names, CLIP)[1]]


def _check_labels(label: Volume, scheme: LabelScheme | None) -> list[Finding]:
    labels, findings = read_labels(label, scheme)
    return findings if labels.any() else [*findings, Finding(Level.NOTE, "the segmentation is empty")]


def _unlike_most(layouts: Mapping[str, Layout]) -> list[CaseFinding]:
    """Errors of the cases that differ from most others in modalities or pixel size."""
    if not layouts:
        return []
    modalities = Counter(layout.modalities for layout in layouts.values()).most_common(1)[0][0]
    pixel = usual_pixel(layout.pixel for layout in layouts.values())
    found = []
    for case, layout in layouts.items():
        if layout.modalities != modalities:
            message = (
                f"has the modalities {_listed(layout.modalities)}, where most cases have {_listed(modalities)}: add "
                "what is missing, or leave it out for all cases in a manifest; training needs the same modalities of "
                "all cases, and only models trained with augmentation predict a case that lacks some"
            )
            found.append(CaseFinding(case, Finding(Level.ERROR, message)))
        if not fits_canvas(layout.pixel, pixel):
            message = (
                f"has pixels of {_mm(layout.pixel)}, where most cases have {_mm(pixel)}: it can be predicted, but for "
                "training all cases must be resampled to one pixel size"
            )
            found.append(CaseFinding(case, Finding(Level.ERROR, message)))
    return found


def _listed(modalities: Iterable[str]) -> str:
    return ", ".join(sorted(modalities))


def _mm(pixel: Pixel) -> str:
    return f"{pixel[0]:.3g} x {pixel[1]:.3g} mm"
