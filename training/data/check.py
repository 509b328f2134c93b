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
from spuproj.training.data.readers.case_files import CaseFiles, ImageFile, errors_of, lacking
from spuproj.training.data.volumes.image_file import Volume, open_volume
from spuproj.training.data.volumes.intensities import CLIP, normalised
from spuproj.training.data.volumes.same_grid import require_same_grid
from spuproj.training.data.volumes.segmentation import outside, read_labels
from spuproj.training.runtime.errors import reason_of
from spuproj.training.runtime.wording import counted

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")

_NAMED = 3
# Findings that differ in numbers alone are listed one by one up to this many.
_LISTED = 5
# So many segmentations without a label tell something.
_SEVERAL = 3


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
    labelled: dict[str, list[tuple[CaseFiles, frozenset[int]]]] = {}
    for files in cases:
        findings, first, values = _check_case(files)
        if values is not None and files.scheme is not None:
            labelled.setdefault(files.scheme.name, []).append((files, values))
        # Of a case whose files contradict each other, the modalities are not known.
        if first is not None and not errors_of(files):
            x, y, _ = first.grid.spacing
            layouts[files.name] = Layout(frozenset(files.images), (y, x))
        found += [CaseFinding(files.name, finding) for finding in findings]
        on_case(files.name)
    return found + _unlike_most(layouts) + [each for group in labelled.values() for each in _never_there(group)]


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
    total = f"{counted(cases, 'case')}, {unusable} of them cannot be used"
    return "\n".join([*lines, f"{total}, {counted(warnings, 'warning')}, {counted(notes, 'note')}"])


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


def _check_case(files: CaseFiles) -> tuple[list[Finding], Volume | None, frozenset[int] | None]:
    """The findings of a case, the first modality whose header can be read, and the label values if they can be."""
    findings = list(files.findings)

    def attempt(call: Callable[Arguments, Result], *args: Arguments.args, **kwargs: Arguments.kwargs) -> Result | None:
        try:
            return call(*args, **kwargs)
        # Whatever a library raises is a finding of this case: the others are still to be checked.
        except Exception as error:
            findings.append(Finding(Level.ERROR, reason_of(error)))
            return None

    absent = lacking(files, tuple(files.images))
    if 0 < len(absent) < len(files.images):
        message = f"without {', '.join(absent)} it can only be predicted, by models that were trained with augmentation"
        findings.append(Finding(Level.NOTE, message))
    images = [attempt(open_volume, file) for file in files.images.values()]
    mask = None if files.mask is None else attempt(open_volume, ImageFile(files.mask))
    label = None if files.label is None else attempt(open_volume, ImageFile(files.label))
    opened = [volume for volume in (*images, mask, label) if volume is not None]
    first = next((volume for volume in images if volume is not None), None)
    findings += [*headers_findings(opened), *_unused_volumes([image for image in images if image is not None])]
    if first is not None:
        notes = attempt(require_same_grid, opened)
        if notes is None:
            # Other files will take their place, and these may be of any size.
            return findings, first, None
        findings += notes
    sound = not any(finding.level == Level.ERROR for finding in findings)
    voxels = [attempt(volume.values) for volume in images if volume is not None]
    read = [each for each in voxels if each is not None]
    brain, values = None, None
    if first is not None and sound and len(read) == len(images):
        found, brain = attempt(_check_images, tuple(files.images), np.stack(read), mask, first) or ([], None)
        findings += found
    if label is not None:
        found, values = attempt(_check_labels, label, files.scheme, brain) or ([], None)
        findings += found
    elif files.label is None and all(finding.level != Level.ERROR for finding in findings):
        findings.append(Finding(Level.NOTE, "there is no segmentation: it can be predicted, not trained on"))
    return findings, first, values


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
) -> tuple[list[Finding], NDArray[np.bool_]]:
    """Findings about the brain and the intensities in it, and the brain."""
    brain, findings = brain_of(names, voxels, mask, first)
    return [*findings, *normalised(voxels, brain, names, CLIP)[1]], brain


def _check_labels(
    label: Volume, scheme: LabelScheme | None, brain: NDArray[np.bool_] | None
) -> tuple[list[Finding], frozenset[int]]:
    """Findings about the segmentation, and its values."""
    labels, findings = read_labels(label, scheme)
    if brain is not None:
        findings += outside(labels, brain)
    if not labels.any():
        findings.append(Finding(Level.NOTE, "the segmentation is empty"))
    return findings, frozenset(np.unique(labels).tolist())


def _never_there(labelled: Sequence[tuple[CaseFiles, frozenset[int]]]) -> list[CaseFinding]:
    """A warning where no segmentation of a scheme has one of its targets' labels: they may be of another scheme.

    The first of the cases stands for all.
    """
    scheme = labelled[0][0].scheme
    there = frozenset().union(*(values for _, values in labelled))
    if scheme is None or len(labelled) < _SEVERAL or there <= {0}:
        return []
    absent = sorted({value for values in scheme.targets.values() for value in values} - there)
    if not absent:
        return []
    message = (
        f"of {len(labelled)} segmentations none has the label {' or '.join(map(str, absent))} of {scheme.name}: look "
        "whether the labels are of this scheme"
    )
    return [CaseFinding(labelled[0][0].name, Finding(Level.WARNING, message))]


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
