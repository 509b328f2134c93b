"""Maps as DICOM: every voxel comes back at its place in the patient, whatever the orientation of series and maps.

What is read back is placed by the DICOM attributes alone, with code of this file, and compared with the NIfTI maps in
millimetres.
"""

from __future__ import annotations

import runpy
import sys
from dataclasses import dataclass, field, replace
from itertools import permutations, product
from pathlib import Path
from typing import Any

import highdicom
import nibabel as nib
import numpy as np
import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage, generate_uid
from scipy.spatial.transform import Rotation
from training_helpers import write_prediction

from helpers import ROOT
from spuproj.training.export.dicom import write_dicom
from spuproj.training.inference.summary import read_summary, write_summary
from spuproj.training.runtime.errors import InputError

pytest_plugins = ["training_fixtures"]

TARGETS = ("ET", "TC", "WT")
SIZE = (7, 6, 5)  # columns, rows, slices
SPACING = (0.9, 1.1, 2.5)  # across, down, between slices, in mm
TILT = Rotation.from_euler("zyx", (25, -14, 9), degrees=True).as_matrix()


@dataclass
class Scan:
    """The geometry of a series: where the voxel of a column, row and slice is, in mm (LPS)."""

    axes: NDArray[np.float64] = field(default_factory=lambda: TILT)
    origin: tuple[float, float, float] = (-31.0, 44.0, 12.5)

    def place(self, index: Any) -> NDArray[np.float64]:
        return np.asarray(self.origin) + (np.asarray(index) * SPACING) @ self.axes.T


def write_series(folder: Path, scan: Scan, **changed: Any) -> Path:
    """A series of MR slices, whose files and numbers are in no particular order."""
    folder.mkdir(parents=True, exist_ok=True)
    study, series, frame = generate_uid(), generate_uid(), generate_uid()
    for number, position in enumerate(np.random.default_rng(3).permutation(SIZE[2])):
        image = Dataset()
        image.file_meta = FileMetaDataset()
        image.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        image.SOPClassUID, image.SOPInstanceUID = MRImageStorage, generate_uid()
        image.file_meta.MediaStorageSOPClassUID = MRImageStorage
        image.file_meta.MediaStorageSOPInstanceUID = image.SOPInstanceUID
        image.StudyInstanceUID, image.SeriesInstanceUID, image.FrameOfReferenceUID = study, series, frame
        image.PatientID, image.PatientName, image.Modality, image.SeriesNumber = "P7", "Doe^Jö", "MR", 4
        image.SpecificCharacterSet, image.SeriesDescription = "ISO_IR 100", "FLAIR"
        image.InstanceNumber, image.Columns, image.Rows = number + 1, *SIZE[:2]
        image.PixelSpacing = [SPACING[1], SPACING[0]]
        image.ImageOrientationPatient = [round(float(v), 7) for v in (*scan.axes[:, 0], *scan.axes[:, 1])]
        image.ImagePositionPatient = [round(float(v), 6) for v in scan.place((0, 0, position))]
        image.SliceThickness, image.SamplesPerPixel, image.PhotometricInterpretation = 2.5, 1, "MONOCHROME2"
        image.BitsAllocated, image.BitsStored, image.HighBit, image.PixelRepresentation = 16, 16, 15, 0
        image.PixelData = bytes(2 * SIZE[0] * SIZE[1])
        for name, value in changed.items():
            if value == "absent":
                image.pop(name, None)
            else:
                setattr(image, name, value(number) if callable(value) else value)
        image.save_as(folder / f"IM{number:03d}", enforce_file_format=True)
    return folder


def as_nifti(
    scan: Scan, voxels: NDArray[Any], order: tuple[int, ...], flips: tuple[bool, ...]
) -> tuple[NDArray[Any], NDArray[np.float64]]:
    """Voxels ``[columns, rows, slices]`` with their axes in another order and direction, and the affine (RAS)."""
    turned = np.flip(voxels.transpose(order), tuple(axis for axis, flip in enumerate(flips) if flip))
    numbers = np.moveaxis(np.indices(voxels.shape), 0, -1).transpose(*order, 3)
    numbers = np.flip(numbers, tuple(axis for axis, flip in enumerate(flips) if flip))
    corner = scan.place(numbers[0, 0, 0]) * (-1, -1, 1)
    ends = [scan.place(numbers[tuple(np.eye(3, dtype=int)[axis])]) * (-1, -1, 1) for axis in range(3)]
    affine = np.eye(4)
    affine[:3] = np.stack([*(end - corner for end in ends), corner], axis=1)
    return np.ascontiguousarray(turned), affine


def made_up_maps(order: tuple[int, ...] = (0, 1, 2), flips: tuple[bool, ...] = (True, False, False), scan: Any = None):
    """Maps of three targets, some voxels without a variance and one target that is nowhere; and their affine."""
    random, maps, affine = np.random.default_rng(5), {}, np.eye(4)
    for target in TARGETS:
        probability = random.random(SIZE).astype(np.float32) * (target != "ET")
        variance = (random.random(SIZE) / 4).astype(np.float32)
        variance[2:4, 1] = np.nan
        for kind, voxels in (("prob", probability), ("var", variance)):
            maps[target, kind], affine = as_nifti(scan or Scan(), voxels, order, flips)
    return maps, affine


def frames_of(image: Dataset, pixels: NDArray[Any]) -> list[tuple[int, NDArray[Any], NDArray[np.float64]]]:
    """The segment (0 without), the pixels ``[rows, columns]`` and the places ``[rows, columns, 3]`` (RAS) of frames."""
    shared, found = image.SharedFunctionalGroupsSequence[0], []

    def group(own: Dataset, name: str) -> Dataset:
        return (own if name in own else shared)[name][0]

    for own, plane in zip(image.PerFrameFunctionalGroupsSequence, pixels, strict=True):
        down, across = map(float, group(own, "PixelMeasuresSequence").PixelSpacing)
        direction = np.array(group(own, "PlaneOrientationSequence").ImageOrientationPatient, float)
        position = np.array(group(own, "PlanePositionSequence").ImagePositionPatient, float)
        row, column = np.indices(plane.shape)
        places = position + across * column[..., None] * direction[:3] + down * row[..., None] * direction[3:]
        segment = own.get("SegmentIdentificationSequence")
        found.append((int(segment[0].ReferencedSegmentNumber) if segment else 0, plane, places * (-1, -1, 1)))
    return found


def voxels_at(frames: list[Any], segment: int, affine: NDArray[np.float64], shape: tuple[int, ...]) -> NDArray[Any]:
    """The volume that the frames of a segment fill, at the voxels of a NIfTI grid that their places fall on."""
    volume = np.zeros(shape)
    for _, plane, places in (frame for frame in frames if frame[0] == segment):
        index = (places - affine[:3, 3]) @ np.linalg.inv(affine[:3, :3]).T
        nearest = np.rint(index).astype(int)
        assert np.abs(index - nearest).max() < 1e-3
        volume[tuple(np.moveaxis(nearest, -1, 0))] = plane
    return volume


def check(out: Path, maps: dict[Any, Any], affine: NDArray[np.float64]) -> None:
    segmentation = pydicom.dcmread(out / "p7_probability.dcm")
    frames = frames_of(segmentation, segmentation.pixel_array / float(segmentation.MaximumFractionalValue))
    for number, target in enumerate(TARGETS, 1):
        wanted = maps[target, "prob"]
        np.testing.assert_allclose(voxels_at(frames, number, affine, wanted.shape), wanted, atol=0.501 / 255)
        parametric = pydicom.dcmread(out / f"p7_{target}_variance.dcm")
        planes = np.frombuffer(parametric.FloatPixelData, "<f4").reshape(-1, parametric.Rows, parametric.Columns)
        assert len(planes) == SIZE[2]
        variance = voxels_at(frames_of(parametric, planes), 0, affine, wanted.shape)
        np.testing.assert_array_equal(variance.astype(np.float32), maps[target, "var"])


ORDERS = st.sampled_from(list(permutations(range(3))))
FLIPS = st.sampled_from(list(product((False, True), repeat=3)))


@settings(max_examples=6)
@given(
    order=ORDERS,
    flips=FLIPS,
    angles=st.tuples(*(st.floats(-180, 180),) * 3),
    left_handed=st.booleans(),
)
def test_every_voxel_comes_back_at_its_place(tmp_path_factory, order, flips, angles, left_handed):
    """Slices of any direction, stacked along or against their normal, and maps with axes of any order."""
    folder = tmp_path_factory.mktemp("dicom")
    scan = Scan(Rotation.from_euler("xyz", angles, degrees=True).as_matrix() * (1, 1, -1 if left_handed else 1))
    maps, affine = made_up_maps(order, flips, scan)
    write_prediction(folder / "maps", "p7", maps, affine)
    written = write_dicom(folder / "maps", write_series(folder / "series", scan), folder / "out")
    assert sorted(path.name for path in (folder / "out").iterdir()) == sorted(path.name for path in written)
    check(folder / "out", maps, affine)


@pytest.fixture
def prediction(tmp_path: Path) -> Path:
    return write_prediction(tmp_path / "maps", "p7", *made_up_maps())


@pytest.fixture
def series(tmp_path: Path) -> Path:
    return write_series(tmp_path / "series", Scan())


def test_the_command_says_what_the_files_are_of(spuproj, prediction, series, tmp_path):
    (series / "notes.txt").write_text("not DICOM")
    status, printed = spuproj("dicom", "--predictions", prediction, "--series", series, "--out", tmp_path / "out")
    assert status == 0
    names = ["p7_ET_variance.dcm", "p7_TC_variance.dcm", "p7_WT_variance.dcm", "p7_probability.dcm"]
    assert printed.split() == [str(tmp_path / "out" / name) for name in names]
    source = pydicom.dcmread(series / "IM000")
    images = [pydicom.dcmread(tmp_path / "out" / name) for name in names]
    for image in images:
        for name in ("PatientID", "PatientName", "StudyInstanceUID", "FrameOfReferenceUID"):
            assert str(image[name].value) == str(source[name].value)
        assert image.SeriesInstanceUID != source.SeriesInstanceUID
    assert len({image.SOPInstanceUID for image in images}) == 4
    assert len({image.SeriesInstanceUID for image in images}) == 2


def test_the_example_says_what_it_wrote(prediction, series, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["dicom_maps.py", str(prediction), str(series), str(tmp_path / "out")])
    runpy.run_path(str(ROOT / "examples" / "dicom_maps.py"))
    written = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert sorted(line.split(":")[0] for line in capsys.readouterr().out.splitlines()) == written
    assert len(written) > 1


def test_segments_name_targets_and_algorithm(prediction, series, tmp_path):
    write_dicom(prediction, series, tmp_path / "out")
    found = highdicom.seg.segread(tmp_path / "out" / "p7_probability.dcm")
    assert (found.SegmentationType, found.SegmentationFractionalType) == ("FRACTIONAL", "PROBABILITY")
    segments = [found.get_segment_description(number) for number in found.segment_numbers]
    assert [segment.segment_label for segment in segments] == list(TARGETS)
    assert segments[0].segmented_property_type.meaning == "Enhancing Lesion"
    assert {segment.segmented_property_category.value for segment in segments} == {"49755003"}
    for segment in segments:
        algorithm = segment.algorithm_identification
        assert (algorithm.name, algorithm.parameters) == (
            "spuproj",
            {"model_sha256": f"sha-of-{segment.segment_label}"},
        )


def test_highdicom_reads_the_segmentation_on_the_slices_of_the_series(prediction, series, tmp_path):
    """The library's own reader, by the references to the slices in place of the geometry."""
    write_dicom(prediction, series, tmp_path / "out")
    found = highdicom.seg.segread(tmp_path / "out" / "p7_probability.dcm")
    headers = [pydicom.dcmread(path) for path in series.iterdir()]
    headers.sort(key=lambda image: float(np.array(image.ImagePositionPatient) @ TILT[:, 2]))
    pixels = found.get_pixels_by_source_instance(
        [image.SOPInstanceUID for image in headers], segment_numbers=[3], assert_missing_frames_are_empty=True
    )
    wanted = made_up_maps()[0]["WT", "prob"][::-1].transpose(2, 1, 0)
    np.testing.assert_allclose(pixels[..., 0], wanted, atol=0.501 / 255)


def test_the_variance_has_no_unit_and_names_its_padding(prediction, series, tmp_path):
    write_dicom(prediction, series, tmp_path / "out")
    found = pydicom.dcmread(tmp_path / "out" / "p7_WT_variance.dcm")
    assert np.isnan([found.FloatPixelPaddingValue, found.FloatPixelPaddingRangeLimit]).all()
    mapping = found.SharedFunctionalGroupsSequence[0].RealWorldValueMappingSequence[0]
    assert (mapping.RealWorldValueSlope, mapping.RealWorldValueIntercept) == (1, 0)
    assert mapping.MeasurementUnitsCodeSequence[0].CodeValue == "1"


def test_a_segmentation_of_nothing_has_its_frames(series, tmp_path):
    maps, affine = made_up_maps()
    maps = {key: np.zeros_like(voxels) for key, voxels in maps.items()}
    write_prediction(tmp_path / "maps", "p7", maps, affine)
    write_dicom(tmp_path / "maps", series, tmp_path / "out")
    check(tmp_path / "out", maps, affine)


def test_targets_of_the_data_itself_get_codes_of_their_own(series, tmp_path):
    maps, affine = made_up_maps()
    name = "residual tumour and cavity"
    write_prediction(tmp_path / "maps", "p7", {(name, kind): maps["WT", kind] for kind in ("prob", "var")}, affine)
    write_dicom(tmp_path / "maps", series, tmp_path / "out")
    segment = pydicom.dcmread(tmp_path / "out" / "p7_probability.dcm").SegmentSequence[0]
    assert segment.SegmentedPropertyTypeCodeSequence[0].LongCodeValue == name


def test_an_anonymised_series_is_enough(prediction, tmp_path):
    series = write_series(tmp_path / "series", Scan())
    for path in series.iterdir():
        image = pydicom.dcmread(path)
        for name in ("PatientID", "PatientName", "SeriesNumber", "SpecificCharacterSet"):
            del image[name]
        image.save_as(path)
    write_dicom(prediction, series, tmp_path / "out")
    assert pydicom.dcmread(tmp_path / "out" / "p7_probability.dcm").PatientID == ""


@pytest.mark.parametrize(("thickness", "spacing"), [("absent", "absent"), (None, None), (0, 9.0), (1.0, -2.5)])
def test_the_distance_of_slices_is_that_of_their_places(prediction, tmp_path, thickness, spacing):
    """Some scanners write the gap between slices in place of their distance, or nothing."""
    series = write_series(tmp_path / "series", Scan(), SpacingBetweenSlices=spacing, SliceThickness=thickness)
    write_dicom(prediction, series, tmp_path / "out")
    check(tmp_path / "out", *made_up_maps())
    for found in map(highdicom.imread, (tmp_path / "out").iterdir()):
        np.testing.assert_allclose(found.get_volume_geometry().spacing, (2.5, 1.1, 0.9), 1e-5)
        given = found.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0].SliceThickness
        assert given == pytest.approx(2.5 if thickness in ("absent", None, 0) else thickness)


@pytest.mark.parametrize("number", [-5, 0, 2**31 - 1])
def test_any_number_of_the_series_gives_one_that_is_allowed(prediction, tmp_path, number):
    write_dicom(prediction, write_series(tmp_path / "series", Scan(), SeriesNumber=number), tmp_path / "out")
    assert 0 < pydicom.dcmread(tmp_path / "out" / "p7_probability.dcm").SeriesNumber < 2**31


OTHER_GRIDS = {
    "shifted by a voxel": (lambda maps, affine: (maps, affine @ nib.affines.from_matvec(np.eye(3), (1, 0, 0)))),
    "rotated": (lambda maps, affine: (maps, np.diag([-1.0, 1, 1, 1]) @ affine)),
    "of another size": (lambda maps, affine: ({key: voxels[1:] for key, voxels in maps.items()}, affine)),
}


@pytest.mark.parametrize("change", OTHER_GRIDS.values(), ids=OTHER_GRIDS)
def test_maps_on_another_grid_are_refused_and_nothing_is_written(series, tmp_path, change):
    write_prediction(tmp_path / "maps", "p7", *change(*made_up_maps()))
    with pytest.raises(InputError, match=r"must lie on the voxel grid of the series .*; nothing is resampled here"):
        write_dicom(tmp_path / "maps", series, tmp_path / "out")
    assert not (tmp_path / "out").exists()


BAD_SERIES = {
    "multi-frame": ({"NumberOfFrames": 5}, r"must hold a file for each slice, but holds a multi-frame file"),
    "two series": (
        {"SeriesInstanceUID": lambda number: f"1.2.{number % 2}", "SeriesDescription": lambda number: f"T{number % 2}"},
        "must hold one series, but holds 2: T0, T1; name a folder",
    ),
    "without a place": ({"ImagePositionPatient": None}, "has no ImagePositionPatient"),
    "one slice missing": (
        {"ImagePositionPatient": lambda number: [0, 0, (0, 1, 2, 3, 5)[number]]},
        "must hold equally spaced slices",
    ),
    "several echoes": ({"ImagePositionPatient": lambda number: [0, 0, number // 2]}, "must hold equally spaced slices"),
    **{
        name: (
            {name: lambda number: f"1.{number % 2}"},
            f"slices of one patient and study, but their {name} is 1.0 or 1.1",
        )
        for name in ("PatientID", "PatientName", "StudyInstanceUID")
    },
    "one number twice": ({"SOPInstanceUID": "1.2"}, "slices with a SOPInstanceUID each, but some have the same, 1.2;"),
    "without a class": ({"SOPClassUID": None}, "has no SOPClassUID"),
    "localizer": (
        {"ImageOrientationPatient": lambda number: [1, 0, 0, 0, 1, 0] if number else [1, 0, 0, 0, 0, -1]},
        "must hold parallel slices of one size",
    ),
}


@pytest.mark.parametrize(("changed", "message"), BAD_SERIES.values(), ids=BAD_SERIES)
def test_a_series_that_cannot_be_used_says_why(prediction, tmp_path, changed, message):
    series = write_series(tmp_path / "other", Scan(), **changed)
    with pytest.raises(InputError, match=message):
        write_dicom(prediction, series, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_folder_without_dicom_says_so(prediction, tmp_path):
    with pytest.raises(InputError, match="none of its files is a DICOM image"):
        write_dicom(prediction, prediction, tmp_path / "out")
    with pytest.raises(InputError, match="there is no such folder"):
        write_dicom(prediction, tmp_path / "nowhere", tmp_path / "out")


def test_maps_out_of_range_are_refused(series, tmp_path):
    maps, affine = made_up_maps()
    maps["TC", "var"] = maps["TC", "var"] * 2
    write_prediction(tmp_path / "maps", "p7", maps, affine)
    with pytest.raises(InputError, match=r"p7_TC_var\.nii\.gz must hold values from 0 to 0\.25"):
        write_dicom(tmp_path / "maps", series, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_missing_map_says_how_to_predict_it(spuproj, prediction, series, tmp_path):
    arguments = ("dicom", "--predictions", prediction, "--series", series, "--out", tmp_path / "out")
    lost = prediction / "p7_TC_var.nii.gz"
    lost.unlink()
    status, _ = spuproj(*arguments)
    assert status == f"error: {lost} must be there, since the case is finished; predict it again with --force"
    summary = read_summary(prediction, "p7")
    assert summary is not None
    files = {name: sha256 for name, sha256 in summary.files.items() if name != lost.name}
    write_summary(prediction / "p7_summary.json", replace(summary, files=files))
    status, _ = spuproj(*arguments)
    assert status == f"error: {lost} must be there, but was not predicted; predict with var among --maps"


def test_a_map_that_has_changed_since_the_prediction_is_refused(prediction, series, tmp_path):
    maps, affine = made_up_maps()
    nib.save(nib.Nifti1Image(maps["TC", "prob"], affine), prediction / "p7_TC_var.nii.gz")
    with pytest.raises(InputError, match=r"p7_TC_var\.nii\.gz must be as it was predicted, but has changed since"):
        write_dicom(prediction, series, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_the_case_is_named_where_there_are_several(prediction, series, tmp_path):
    write_prediction(prediction, "p8", *made_up_maps())
    with pytest.raises(InputError, match=r"holds 2 cases: name one of them \(--case\): p7, p8"):
        write_dicom(prediction, series, tmp_path / "out")
    with pytest.raises(InputError, match="must hold the case p9, but holds p7, p8"):
        write_dicom(prediction, series, tmp_path / "out", case="p9")
    assert write_dicom(prediction, series, tmp_path / "out", case="p8")[-1].name == "p8_probability.dcm"


def test_existing_files_stay_unless_forced(prediction, series, tmp_path):
    (out := tmp_path / "out").mkdir()
    (out / "p7_probability.dcm").write_text("mine")
    with pytest.raises(InputError, match="exists already; pass --force"):
        write_dicom(prediction, series, out)
    assert [path.name for path in out.iterdir()] == ["p7_probability.dcm"]
    write_dicom(prediction, series, out, force=True)
    check(out, *(made := made_up_maps()))
    write_prediction(prediction, "p7", {key: voxels for key, voxels in made[0].items() if "WT" in key}, made[1])
    # The map of a target that is no longer predicted would be taken for one of today's.
    written = write_dicom(prediction, series, out, force=True)
    assert set(out.iterdir()) == set(written)
