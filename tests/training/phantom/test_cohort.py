"""Synthetic glioma cases: reproducible, in the layout of BraTS 2020, with the contrasts a radiologist expects."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from scipy.ndimage import binary_dilation

from spuproj.training.phantom import cohort as phantom_module
from spuproj.training.phantom.anatomy import COARSE, draw_patient, field_of_view, load_atlas
from spuproj.training.phantom.cohort import Phantom, make_phantom, write_cohort
from spuproj.training.phantom.contrast import TISSUES, draw_signals, inversion_recovery, nulling_time
from spuproj.training.phantom.tumour import react_and_diffuse
from spuproj.training.runtime.errors import InputError

SEED = 2
SPACING = 4.0
SHAPE = (60, 60, 39)
NAMES = ("t1", "t1ce", "t2", "flair")


@pytest.fixture(scope="module")
def cohort() -> list[Phantom]:
    return [make_phantom(SEED, index, SPACING) for index in range(4)]


@pytest.fixture
def quick(cohort: list[Phantom], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(phantom_module, "make_phantom", lambda seed, index, spacing: cohort[index])


def standardised(phantom: Phantom, name: str) -> np.ndarray:
    """z-scores inside the brain."""
    image = phantom.images[name].astype(float)
    inside = image[image > 0]
    return (image - inside.mean()) / inside.std()


def healthy(phantom: Phantom) -> np.ndarray:
    return (phantom.images["t1"] > 0) & (phantom.labels == 0)


def white_matter(phantom: Phantom) -> np.ndarray:
    t1 = phantom.images["t1"]
    low, high = np.percentile(t1[healthy(phantom)], (60, 90))
    return healthy(phantom) & (t1 > low) & (t1 < high)


def fluid(phantom: Phantom) -> np.ndarray:
    t2 = phantom.images["t2"]
    return healthy(phantom) & (t2 > np.percentile(t2[healthy(phantom)], 97))


def enhancing(cohort: list[Phantom]) -> list[Phantom]:
    return [phantom for phantom in cohort if (phantom.labels == 4).any()]


def test_the_same_arguments_give_the_same_bits(cohort):
    again = make_phantom(SEED, 1, SPACING)
    for name in NAMES:
        np.testing.assert_array_equal(again.images[name], cohort[1].images[name])
    np.testing.assert_array_equal(again.labels, cohort[1].labels)


def test_another_seed_or_index_gives_another_case(cohort):
    assert not np.array_equal(cohort[0].labels, cohort[1].labels)
    assert not np.array_equal(make_phantom(SEED + 1, 0, SPACING).labels, cohort[0].labels)


def test_another_spacing_gives_the_same_patient(cohort):
    coarse = make_phantom(SEED, 1, 5.0)
    for label in (1, 2):
        volume = np.count_nonzero(coarse.labels == label) * 5.0**3
        assert np.count_nonzero(cohort[1].labels == label) * SPACING**3 == pytest.approx(volume, rel=0.2)


def test_shapes_types_and_affine_are_those_of_brats(cohort):
    for phantom in cohort:
        assert tuple(phantom.images) == NAMES
        assert all(image.shape == SHAPE and image.dtype == np.int16 for image in phantom.images.values())
        assert phantom.labels.shape == SHAPE
        assert phantom.labels.dtype == np.uint8
        assert set(np.unique(phantom.labels)) <= {0, 1, 2, 4}


def test_the_affine_keeps_the_field_of_view_at_every_spacing():
    one = phantom_module.voxels_to_ras(field_of_view(1.0))
    np.testing.assert_array_equal(one, [[-1, 0, 0, 0], [0, -1, 0, 239], [0, 0, 1, 0], [0, 0, 0, 1]])
    assert field_of_view(1.0).shape == (240, 240, 155)
    four = phantom_module.voxels_to_ras(field_of_view(SPACING))
    corner = np.array([-0.5, -0.5, -0.5, 1])
    np.testing.assert_allclose(four @ corner, one @ corner)


def test_the_frontal_pole_comes_first_along_y_and_the_vertex_last_along_z():
    index = draw_patient(np.random.default_rng(0)).index
    assert index[1, 48, 20, 30] > index[1, 48, 80, 30]
    assert index[2, 48, 48, 50] > index[2, 48, 48, 10]
    assert index[0, 20, 48, 30] > index[0, 80, 48, 30]


def test_the_brain_is_whole_and_of_human_size(cohort):
    for phantom in cohort:
        brain = phantom.images["t1"] > 0
        assert 900 < np.count_nonzero(brain) * SPACING**3 / 1000 < 1800
        assert not brain[[0, -1]].any()
        assert not brain[:, [0, -1]].any()
        assert not brain[:, :, -1].any()


def test_the_background_is_zero_and_the_same_in_every_contrast(cohort):
    for phantom in cohort:
        masks = [phantom.images[name] != 0 for name in NAMES]
        assert all(np.array_equal(mask, masks[0]) for mask in masks)
        assert all(image.min() == 0 for image in phantom.images.values())


def test_the_tumour_lies_inside_the_brain(cohort):
    for phantom in cohort:
        assert (phantom.images["t1"][phantom.labels > 0] > 0).all()
        assert np.count_nonzero(phantom.labels) > 20


def test_some_tumours_enhance_and_some_do_not(cohort):
    assert 0 < len(enhancing(cohort)) < len(cohort)
    assert all((phantom.labels == 1).any() and (phantom.labels == 2).any() for phantom in cohort)


def test_enhancing_tumour_is_bright_after_contrast_agent_only(cohort):
    gains, contrasts = [], []
    for phantom in enhancing(cohort):
        rim, after = phantom.labels == 4, standardised(phantom, "t1ce")
        gains.append(after[rim].mean() - standardised(phantom, "t1")[rim].mean())
        contrasts.append(after[rim].mean() - after[white_matter(phantom)].mean())
    assert np.mean(gains) > 0.5
    assert np.mean(contrasts) > 0.2


def test_the_core_is_darker_than_its_rim_after_contrast_agent(cohort):
    for phantom in enhancing(cohort):
        image = phantom.images["t1ce"]
        assert image[phantom.labels == 1].mean() < image[phantom.labels == 4].mean()


@pytest.mark.parametrize("name", ["t2", "flair"])
def test_oedema_is_brighter_than_white_matter(cohort, name):
    contrasts = []
    for phantom in cohort:
        image = standardised(phantom, name)
        contrasts.append(image[phantom.labels == 2].mean() - image[white_matter(phantom)].mean())
    assert np.mean(contrasts) > 0.5


def test_csf_is_bright_on_t2_and_dark_on_flair_and_t1(cohort):
    for phantom in cohort:
        assert standardised(phantom, "t2")[fluid(phantom)].mean() > 1
        assert standardised(phantom, "flair")[fluid(phantom)].mean() < -0.5
        assert standardised(phantom, "t1")[fluid(phantom)].mean() < -0.5


def test_oedema_fades_out_so_that_its_border_is_no_step(cohort):
    steps = []
    for phantom in cohort:
        image = standardised(phantom, "flair")
        oedema, white = phantom.labels == 2, white_matter(phantom)
        shell = white & binary_dilation(phantom.labels > 0)
        steps.append([image[white].mean(), image[shell].mean(), image[oedema].mean()])
    white, shell, oedema = np.mean(steps, axis=0)
    assert white < shell < oedema


def test_the_inversion_time_nulls_csf():
    csf = TISSUES["csf"]
    assert inversion_recovery(csf, 9000, 115, nulling_time(csf.t1, 9000)) == pytest.approx(0, abs=1e-12)


def test_signals_are_relative_to_white_matter():
    signals = draw_signals(np.random.default_rng(0))
    assert signals.shape == (4, len(TISSUES))
    np.testing.assert_array_equal(signals[:, list(TISSUES).index("white")], 1)


def test_growth_stays_where_it_can_diffuse_and_between_zero_and_one():
    diffusivity = np.full((24, 24, 24), 0.4)
    diffusivity[14:] = 0
    start = np.zeros_like(diffusivity)
    start[10, 12, 12] = 1
    density = react_and_diffuse(start, diffusivity, 0.02, 400)
    assert np.count_nonzero(density > 0.5) >= 400
    assert (density[14:] == 0).all()
    assert density.min() >= 0
    assert density.max() <= 1


def test_growth_follows_white_matter():
    diffusivity = np.full((40, 24, 24), 0.05)
    diffusivity[:, 10:14, 10:14] = 0.4
    start = np.zeros_like(diffusivity)
    start[18:22, 10:14, 10:14] = 1
    core = react_and_diffuse(start, diffusivity, 0.02, 500) > 0.5
    assert np.ptp(np.nonzero(core)[0]) > np.ptp(np.nonzero(core)[1])


def test_the_atlas_is_read_once():
    assert load_atlas() is load_atlas()
    assert COARSE.shape == (96, 96, 62)


def test_a_cohort_has_the_names_of_brats_2020(tmp_path: Path, quick: None, cohort: list[Phantom]):
    seen: list[str] = []
    folders = write_cohort(tmp_path / "new", 2, seed=0, spacing=SPACING, on_case=seen.append)
    assert [folder.name for folder in folders] == seen == ["Phantom_001", "Phantom_002"]
    for folder, phantom in zip(folders, cohort, strict=False):
        assert {file.name for file in folder.iterdir()} == {f"{folder.name}_{name}.nii.gz" for name in (*NAMES, "seg")}
        image, labels = (
            nib.Nifti1Image.from_filename(folder / f"{folder.name}_{name}.nii.gz") for name in ("flair", "seg")
        )
        np.testing.assert_array_equal(image.affine, phantom.affine)
        assert (image.get_data_dtype(), labels.get_data_dtype()) == (np.int16, np.uint8)
        np.testing.assert_array_equal(np.asarray(image.dataobj), phantom.images["flair"])
        np.testing.assert_array_equal(np.asarray(labels.dataobj), phantom.labels)


def test_a_case_does_not_depend_on_the_number_of_cases(tmp_path: Path):
    one = write_cohort(tmp_path / "one", 1, seed=5, spacing=8.0)
    two = write_cohort(tmp_path / "two", 2, seed=5, spacing=8.0)
    for file in one[0].iterdir():
        assert file.read_bytes() == (two[0] / file.name).read_bytes()


def test_a_case_is_written_whole_or_not_at_all(tmp_path: Path, quick: None, monkeypatch: pytest.MonkeyPatch):
    save = nib.save
    written: list[Path] = []

    def fail_in_the_second_case(image: nib.Nifti1Image, path: Path) -> None:
        if len(written) == 7:
            raise OSError("disk full")
        written.append(path)
        save(image, path)

    monkeypatch.setattr(nib, "save", fail_in_the_second_case)
    with pytest.raises(OSError, match="disk full"):
        write_cohort(tmp_path, 2, seed=0, spacing=SPACING)
    assert [path.name for path in tmp_path.iterdir()] == ["Phantom_001"]
    assert len(list((tmp_path / "Phantom_001").iterdir())) == 5


def test_an_older_case_stays_when_its_replacement_fails(tmp_path: Path, quick: None, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "Phantom_001").mkdir()
    (tmp_path / "Phantom_001" / "mine").touch()

    def fail(image: nib.Nifti1Image, path: Path) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(nib, "save", fail)
    with pytest.raises(OSError, match="disk full"):
        write_cohort(tmp_path, 1, seed=0, spacing=SPACING, force=True)
    assert [path.name for path in tmp_path.rglob("*")] == ["Phantom_001", "mine"]


def test_an_existing_case_is_replaced_only_with_force(tmp_path: Path, quick: None):
    (tmp_path / "Phantom_002").mkdir()
    (tmp_path / "Phantom_002" / "mine").touch()
    with pytest.raises(InputError, match="Phantom_002 exists already"):
        write_cohort(tmp_path, 2, seed=0, spacing=SPACING)
    assert not (tmp_path / "Phantom_001").exists()
    write_cohort(tmp_path, 2, seed=0, spacing=SPACING, force=True)
    assert len(list((tmp_path / "Phantom_002").iterdir())) == 5
    assert not (tmp_path / "Phantom_002" / "mine").exists()


@pytest.mark.parametrize(
    ("cases", "spacing", "message"),
    [
        (0, 1.0, "cases must be at least 1, got 0"),
        (1, 0.5, "spacing must be between 1 and 8 mm, got 0.5"),
        (1, 9.0, "spacing must be between 1 and 8 mm, got 9.0"),
        (1, float("nan"), "spacing must be between 1 and 8 mm, got nan"),
    ],
)
def test_arguments_out_of_range_are_refused_before_anything_is_written(tmp_path, cases, spacing, message):
    with pytest.raises(ValueError, match=message):
        write_cohort(tmp_path / "new", cases, seed=0, spacing=spacing)
    assert not (tmp_path / "new").exists()
    if cases:
        with pytest.raises(ValueError, match=message):
            make_phantom(0, 0, spacing)
