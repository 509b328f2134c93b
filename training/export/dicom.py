"""Maps of a prediction as DICOM: a segmentation of the probabilities, and a parametric map of each variance."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from highdicom import UID, AlgorithmIdentificationSequence, VOILUTTransformation
from highdicom.coding_schemes import CodingSchemeIdentificationItem
from highdicom.pm import ParametricMap, RealWorldValueMapping
from highdicom.seg import SegmentAlgorithmTypeValues, Segmentation, SegmentationTypeValues, SegmentDescription
from highdicom.sr import CodedConcept
from numpy.typing import NDArray
from pydicom.errors import InvalidDicomError
from pydicom.sr.codedict import codes
from pydicom.valuerep import format_number_as_ds

from spuproj import __version__
from spuproj.training.data.readers.case_files import ImageFile
from spuproj.training.data.volumes.image_file import open_volume
from spuproj.training.export.series import Series, read_series
from spuproj.training.inference.predicted import model_of, predicted_case, predicted_map, predicted_targets
from spuproj.training.inference.summary import CaseSummary
from spuproj.training.runtime.errors import InputError, as_input_error
from spuproj.training.runtime.files import atomic_write_group, inside, refuse_overwrite, require_folder
from spuproj.training.runtime.names import name_fault

Frames = NDArray[np.float32]

LARGEST_VARIANCE = 0.25
_ROUNDING = 1e-4
_SCHEME = "99SPUPROJ"
_TYPES = {
    "ET": codes.NCIt.EnhancingLesion,
    "TC": CodedConcept("TC", _SCHEME, "Tumor core: enhancing tumor, necrosis, non-enhancing tumor"),
    "WT": CodedConcept("WT", _SCHEME, "Whole tumor: tumor core and edema"),
    "GTV": CodedConcept("GTV", _SCHEME, "Gross tumor volume"),
}
"""Codes of what the targets are. The standard has one for enhancing lesions alone; the others are of this package."""
_EMPTY = (
    *("PatientID", "PatientName", "PatientBirthDate", "PatientSex"),
    *("AccessionNumber", "StudyID", "StudyDate", "StudyTime"),
)
"""Attributes that the outputs take from the series. Where it has none (an anonymised one), they are empty."""


def write_dicom(
    predictions: Path, series: Path, out: Path, *, case: str | None = None, force: bool = False
) -> list[Path]:
    """Writes the maps of a case as DICOM, on the grid of the series that it was predicted from; all files or none.

    - ``<case>_probability.dcm``: a segmentation (fractional, probability) with a segment for each target, in 255 steps.
    - ``<case>_<target>_variance.dcm``: a parametric map, in float32. A voxel without a variance is NaN, the padding
      value that the file names.

    Patient, study and frame of reference are those of the series.

    Args:
        predictions: the folder that ``spuproj predict`` wrote, with the kinds ``prob`` and ``var``.
        series: folder of the DICOM files of one of the case's modalities.
        out: folder of the outputs.
        case: name of the case; the only one where None.
        force: write over existing files; those of targets that are no longer predicted are removed.

    Returns:
        The files written.

    Raises:
        InputError: where files exist, a map or the summary is missing or broken, the series cannot be used (see
            ``read_series``), or the maps do not lie on its grid.
    """
    require_folder(out)
    summary = predicted_case(predictions, case)
    name, targets = summary.entry.name, predicted_targets(summary)
    segments, maps = f"{name}_probability.dcm", {target: f"{name}_{target}_variance.dcm" for target in targets}
    written = [inside(out, file) for file in (*maps.values(), segments)]
    refuse_overwrite(written, force)
    found = read_series(series)
    for image in found.slices:
        for attribute in _EMPTY:
            if attribute not in image:
                setattr(image, attribute, "")
        # Some scanners write the gap here, or nothing.
        image.SpacingBetweenSlices = format_number_as_ds(found.distance)
        image.SliceThickness = image.get("SliceThickness") or image.SpacingBetweenSlices
    probabilities = [_frames(found, predictions, summary, target, "prob") for target in targets]
    # highdicom refuses headers that lack or break what the outputs must repeat.
    refused = as_input_error(
        lambda error: f"{series} must be a series that DICOM outputs can refer to, but is not: {error}",
        (AttributeError, KeyError, TypeError, ValueError),
    )
    outdated = [f"{name}_{target}_variance.dcm" for target in _written_targets(inside(out, segments))]
    with atomic_write_group(out, name, segments, outdated) as folder, refused:
        variance_series = UID()
        for number, target in enumerate(targets, 1):
            variance = _frames(found, predictions, summary, target, "var")
            _variance_map(found, variance, target, variance_series, number).save_as(inside(folder, maps[target]))
        _segmentation(found, probabilities, targets, summary).save_as(inside(folder, segments))
    return written


def _written_targets(segmentation: Path) -> list[str]:
    """The targets of a segmentation that is to be replaced; none where it cannot be read or is of something else."""
    try:
        segments = pydicom.dcmread(segmentation, stop_before_pixels=True).SegmentSequence
        labels = [str(segment.SegmentLabel) for segment in segments]
    except (OSError, InvalidDicomError, AttributeError):
        return []
    return [label for label in labels if not name_fault(label)]


def _frames(series: Series, predictions: Path, summary: CaseSummary, target: str, kind: str) -> Frames:
    """A map as ``[slices, rows, columns]``. Raises InputError where values are out of range."""
    volume = open_volume(ImageFile(predicted_map(predictions, summary, target, kind)))
    frames = series.frames(volume).astype(np.float32)
    most = 1.0 if kind == "prob" else LARGEST_VARIANCE
    known = frames if kind == "prob" else frames[~np.isnan(frames)]
    if not ((known >= 0) & (known <= most * (1 + _ROUNDING))).all():
        raise InputError(f"{volume.path} must hold values from 0 to {most:g}, but holds others; predict the case again")
    return np.minimum(frames, np.float32(most))


def _segmentation(
    series: Series, probabilities: Sequence[Frames], targets: Sequence[str], summary: CaseSummary
) -> Segmentation:
    """A segment for each target; frames of zeros are left out."""
    stack = np.stack(probabilities, axis=-1)
    return Segmentation(
        series.slices,
        stack,
        SegmentationTypeValues.FRACTIONAL,
        [_segment(number, target, summary) for number, target in enumerate(targets, 1)],
        **_about(series, UID(), 1, "Probability of targets"),
        instance_number=1,
        fractional_type="PROBABILITY",
        max_fractional_value=255,
        # A segmentation needs at least one frame.
        omit_empty_frames=bool(stack.any()),
        content_label="PROBABILITY",
    )


def _segment(number: int, target: str, summary: CaseSummary) -> SegmentDescription:
    known = target in _TYPES
    category = codes.SCT.MorphologicallyAbnormalStructure if known else codes.SCT.SpatialAndRelationalConcept
    return SegmentDescription(
        number,
        target[:64],
        category,
        _TYPES[target] if known else CodedConcept(target, _SCHEME, target[:64]),
        SegmentAlgorithmTypeValues.AUTOMATIC,
        AlgorithmIdentificationSequence(
            "spuproj",
            codes.DCM.ArtificialIntelligence,
            __version__,
            source="https://github.com/spuproj/spuproj",
            parameters={"model_sha256": model_of(summary, target) or "unknown"},
        ),
        anatomic_regions=[codes.SCT.Brain] if known else None,
    )


def _variance_map(series: Series, variance: Frames, target: str, series_uid: UID, number: int) -> ParametricMap:
    mapping = RealWorldValueMapping(
        "variance",
        f"Variance over views of the probability of {target}"[:64],
        codes.UCUM.NoUnits,
        (0.0, LARGEST_VARIANCE),
        slope=1.0,
        intercept=0.0,
        quantity_definition=CodedConcept("variance", _SCHEME, "Variance of the probability over views"),
    )
    written = ParametricMap(
        series.slices,
        variance,
        **_about(series, series_uid, 2, "Variance over views"),
        instance_number=number,
        contains_recognizable_visual_features=False,
        real_world_value_mappings=[mapping],
        voi_lut_transformations=[VOILUTTransformation(LARGEST_VARIANCE / 2, LARGEST_VARIANCE)],
        content_label="VARIANCE",
        content_description=f"Variance of {target}"[:64],
    )
    written.FloatPixelPaddingValue = math.nan
    written.FloatPixelPaddingRangeLimit = math.nan
    return written


def _about(series: Series, series_uid: UID, number: int, description: str) -> dict[str, Any]:
    """What segmentation and maps say alike: their series, and what made them."""
    return {
        "series_instance_uid": series_uid,
        # A number that the scanner does not use, beside that of the series; positive, and below 2**31.
        "series_number": 100 * (abs(int(series.slices[0].get("SeriesNumber") or 0)) % 10**7) + number,
        "series_description": f"spuproj: {description}",
        "sop_instance_uid": UID(),
        "manufacturer": "spuproj",
        "manufacturer_model_name": "spuproj",
        "software_versions": __version__,
        "device_serial_number": "none",
        "specific_character_set": "ISO_IR 192",
        "coding_schemes": [CodingSchemeIdentificationItem(_SCHEME, name="spuproj", responsible_organization="spuproj")],
    }
