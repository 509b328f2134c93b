"""Maps of predictions as a derivative data set in the Brain Imaging Data Structure (BIDS)."""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from spuproj import __version__
from spuproj.training.data.patients import patient_of
from spuproj.training.data.readers.case_files import CaseFiles
from spuproj.training.inference.outputs import map_name
from spuproj.training.inference.predicted import model_of, predicted_cases, predicted_map, predicted_targets
from spuproj.training.inference.summary import CaseSummary
from spuproj.training.runtime.errors import InputError
from spuproj.training.runtime.files import atomic_write_folder, refuse_overwrite, require_folder
from spuproj.training.runtime.json_file import read_json, write_json
from spuproj.training.runtime.names import as_one_file
from spuproj.training.runtime.progress import print_status
from spuproj.training.runtime.wording import some_of

VERSION = "1.10.0"
DESCRIPTION = "dataset_description.json"
_URL = "https://github.com/spuproj/spuproj"


@dataclass(frozen=True)
class _Kind:
    """How a kind of map is named and described."""

    ending: str
    description: str
    extra: Mapping[str, Any]


_KINDS = {
    "prob": _Kind("probseg", "Probability of {target}, the mean over the views", {"Units": "1", "Manual": False}),
    "seg": _Kind("mask", "Segmentation of {target}: 1 inside, 0 outside", {"Type": "Lesion", "Manual": False}),
    "var": _Kind(
        "desc-variance_probseg",
        "Variance over the views of the probability of {target}, from 0 to 0.25; NaN where too few views show a "
        "voxel (the sum of their weights is below 2)",
        {"Units": "1"},
    ),
    "entropy": _Kind(
        "desc-entropy_probseg", "Entropy of the probability of {target}, in nats, from 0 to ln 2", {"Units": "nat"}
    ),
    "mi": _Kind(
        "desc-mutualinformation_probseg",
        "Mutual information of {target} and the views, in nats; NaN where the variance is",
        {"Units": "nat"},
    ),
}
_README = f"""\
Probabilities, segmentations and uncertainties of tumours, by spuproj ({_URL}).

The sidecar of each map says what it holds, the case that it was made of, and the SHA-256 of the model. All maps are on
the grid of the images that were predicted (space-orig). BIDS has no suffix for the uncertainty of a segmentation: such
maps are probseg with desc-variance, desc-entropy or desc-mutualinformation.
"""


def write_bids(predictions: Path, out: Path, *, force: bool = False) -> dict[str, Path]:
    """Copies the maps of all finished cases to a BIDS derivative data set; all of it or nothing.

    The subject is the patient that the predicted data set names, or else follows from the case's name, which may be one
    of BIDS (see ``patient_of``); the rest of the case's name becomes the session. Characters that BIDS forbids are left
    out, so that ``BraTS-GLI-00008-103`` is ``sub-BraTSGLI00008_ses-103``.

    Args:
        predictions: the folder that ``spuproj predict`` wrote.
        out: folder of the data set, such as ``derivatives/spuproj``.
        force: replace an older data set of spuproj.

    Returns:
        The folder of each case.

    Raises:
        InputError: where the folder exists, a case has no maps, or is unfinished, a map has changed since it was
            predicted, or a name has no character that BIDS allows; and where
            two maps would have one name.
    """
    require_folder(out.parent)
    refuse_overwrite([out], force)
    _require_own(out)
    if predictions.resolve().is_relative_to(out.resolve()):
        raise InputError(
            f"{out} must not hold the predictions, {predictions}, since it would be replaced; choose another"
        )
    cases = predicted_cases(predictions)
    if others := _other_maps(predictions, cases):
        print_status(f"warning: cases are left out whose maps no summary lists: {some_of(others)}")
    copies = _planned(predictions, cases)
    with atomic_write_folder(out) as folder:
        for name, (source, sidecar) in copies.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, folder / f"{name}.nii.gz")
            write_json(folder / f"{name}.json", sidecar)
        (folder / "README").write_text(_README, encoding="utf-8")
        write_json(folder / DESCRIPTION, _description())
    return {summary.entry.name: out / _subject(summary)[0] for summary in cases}


def _planned(predictions: Path, cases: Sequence[CaseSummary]) -> dict[str, tuple[Path, dict[str, Any]]]:
    """The file and the sidecar of each new name, without its ending.

    Raises:
        InputError: where two maps would have one name; some file systems take upper and lower case for one.
    """
    copies: dict[str, tuple[Path, dict[str, Any]]] = {}
    sources: dict[str, str] = {}
    for summary in cases:
        where, start = _subject(summary)
        for source, ending, sidecar in _maps(predictions, summary):
            name = f"{where}/{start}_space-orig_{ending}"
            other = sources.setdefault(as_one_file(name), source.name)
            if other != source.name:
                raise InputError(
                    f"{name}.nii.gz must be one map, but would be {other} and {source.name}; rename one of the cases "
                    "and predict it again"
                )
            copies[name] = source, sidecar
    return copies


def _require_own(out: Path) -> None:
    """Raises InputError where a folder that is to be replaced is not a data set of spuproj."""
    if not out.exists():
        return
    makers = read_json(out / DESCRIPTION).get("GeneratedBy") if (out / DESCRIPTION).is_file() else None
    if not isinstance(makers, Sequence) or [each.get("Name") for each in makers if isinstance(each, dict)] != [
        "spuproj"
    ]:
        raise InputError(f"{out} must be a data set of spuproj to be replaced, but is something else; choose another")


def _subject(summary: CaseSummary) -> tuple[str, str]:
    """The folder of a case's maps, and how their names begin."""
    case = summary.entry.name
    patient = summary.patient or patient_of(CaseFiles(case, {}))
    words = [f"sub-{_label(patient.removeprefix('sub-'), case)}"]
    visit = case.removeprefix(patient)
    if re.search(r"[A-Za-z0-9]", visit):
        words.append(f"ses-{_label(re.sub(r'^[ ._-]*ses-', '', visit), case)}")
    return "/".join([*words, "anat"]), "_".join(words)


def _label(text: str, name: str) -> str:
    """The letters and digits of a text, the only characters that BIDS allows."""
    label = re.sub(r"[^A-Za-z0-9]", "", text)
    if not label:
        raise InputError(f"{name!r} must have a letter from A to Z or a digit, to have a name in BIDS; rename it")
    return label


def _other_maps(predictions: Path, cases: Sequence[CaseSummary]) -> list[str]:
    """Names of probabilities that no summary lists."""
    listed = {name for summary in cases for name in summary.files}
    return sorted(path.name for path in predictions.glob("*_prob.nii.gz") if path.name not in listed)


def _maps(predictions: Path, summary: CaseSummary) -> list[tuple[Path, str, dict[str, Any]]]:
    """The file, the end of the new name, and the sidecar of each map of a case."""
    case, found = summary.entry.name, []
    for target in predicted_targets(summary):
        for name, kind in _KINDS.items():
            if map_name(case, target, name) not in summary.files:
                continue
            source = predicted_map(predictions, summary, target, name)
            sidecar = {
                "Description": kind.description.format(target=target),
                "SpatialReference": "orig",
                **kind.extra,
                "Case": case,
                "ModelSHA256": model_of(summary, target),
            }
            found.append((source, f"label-{_label(target, target)}_{kind.ending}", sidecar))
    if not found:
        raise InputError(f"{predictions} must hold maps of {case}, but holds none; predict with {', '.join(_KINDS)}")
    return found


def _description() -> dict[str, Any]:
    return {
        "Name": "spuproj: probabilities and uncertainties of segmentations",
        "BIDSVersion": VERSION,
        "DatasetType": "derivative",
        "GeneratedBy": [{"Name": "spuproj", "Version": __version__, "CodeURL": _URL}],
    }
