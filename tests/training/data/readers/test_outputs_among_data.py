"""Maps that predictions left among the data are never read as a patient's images or segmentation."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest

from spuproj.training.data.labels import SCHEMES
from spuproj.training.data.readers.listing import list_folder
from spuproj.training.data.readers.registry import case_in, read_data
from spuproj.training.inference.outputs import DEFAULT_KINDS, map_names
from spuproj.training.runtime.errors import InputError
from spuproj.training.workflows.manifest import make_manifest
from spuproj.training.workflows.predict import predict, predict_cohort
from tiny_datasets import LAYOUTS, touch

pytest_plugins = ["training_fixtures"]
pytestmark = pytest.mark.usefixtures("one_thread", "no_picture")


@pytest.fixture(params=["with segmentation", "without"])
def data(request, cohort, tmp_path) -> Path:
    """A data set of one case."""
    shutil.copytree(cohort[1], tmp_path / "data" / cohort[1].name)
    if request.param == "without":
        (tmp_path / "data" / cohort[1].name / f"{cohort[1].name}_seg.nii.gz").unlink()
    return tmp_path / "data"


@pytest.mark.parametrize("targets", [["WT"], ["ET", "TC", "WT"]])
def test_a_case_with_its_maps_beside_its_images_is_read_as_before(data, models, capsys, targets):
    (case,) = data.iterdir()
    before = case_in(case)
    predict([models[target] for target in targets], case, case)
    assert capsys.readouterr().err.count("not used") == 0
    assert (case_in(case), *read_data(data).cases) == (before, before)
    sentence = f"{5 if targets == ['WT'] else 20} images are not used, as 'spuproj predict' wrote them: "
    assert capsys.readouterr().err.startswith(sentence)
    assert [each.startswith(sentence) for each in read_data(data).left_out] == [True]
    # The same again, with the maps there already.
    predict([models[target] for target in targets], case, case, force=True)
    assert predict_cohort([models[target] for target in targets], data, case).skipped == [case.name]


def test_maps_in_the_folder_of_a_data_set_are_said_and_not_read(data, models):
    predict_cohort([models["WT"]], data, data)
    assert len(read_data(data).cases) == 1
    assert "5 images are not used, as 'spuproj predict' wrote them: " in read_data(data).left_out[-1]


def test_a_folder_of_maps_alone_is_no_data(data, models, tmp_path):
    predict_cohort([models["WT"]], data, tmp_path / "maps")
    for read, wanted in ((read_data, "must hold case folders"), (case_in, "must be a case folder")):
        with pytest.raises(InputError, match=f"{wanted}.* holds none; 5 images .* as 'spuproj predict' wrote them"):
            read(tmp_path / "maps")


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=list(LAYOUTS))
def test_in_every_convention_maps_beside_the_first_image_change_nothing(layout, tmp_path):
    before = read_data(layout.make(tmp_path / "data"))
    place = next(iter(before.cases[0].images.values())).path.parent
    names = map_names(layout.case, ["ET", "TC", "WT"], SCHEMES["brats2020"], DEFAULT_KINDS)
    names = [name for name in names if not (place / name).exists()]
    touch(place, *names)
    (place / f"{layout.case}_summary.json").write_text(summary(layout.case, *names))
    after = read_data(tmp_path / "data")
    assert after.cases == before.cases
    (new,) = set(after.left_out) - set(before.left_out)
    assert new.startswith(f"{len(names)} images are not used, as 'spuproj predict' wrote them: ")


def summary(case: str, *files: str) -> str:
    return json.dumps({"recipe": {}, "entry": {"name": case}, "files": dict.fromkeys(files, "")})


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[]",
        "{}",
        "\x00",
        '{"files": {"p1_t1.nii.gz": ""}}',
        '{"recipe": {}, "entry": {"name": "p1"}, "files": 5}',
        '{"recipe": {}, "entry": {"name": "p1"}, "files": ["p1_t1.nii.gz"]}',
        '{"recipe": {}, "entry": {"name": "p2"}, "files": {"p1_t1.nii.gz": ""}}',
        '{"recipe": {}, "entry": 5, "files": {"p1_t1.nii.gz": ""}}',
    ],
)
def test_a_file_that_is_no_summary_of_a_prediction_hides_nothing(content, tmp_path):
    touch(tmp_path, "p1/p1_t1.nii.gz", "p1/p1_seg.nii.gz")
    (tmp_path / "p1" / "p1_summary.json").write_text(content)
    assert list_folder(tmp_path).images == ["p1/p1_seg.nii.gz", "p1/p1_t1.nii.gz"]


def test_a_summary_that_cannot_be_read_does_not_end_the_listing(tmp_path):
    touch(tmp_path, "p1/p1_t1.nii.gz", "p1/p1_seg.nii.gz")
    (tmp_path / "p1" / "p1_summary.json").symlink_to("x" * 300)
    (tmp_path / "p1" / "p2_summary.json").mkdir()
    os.mkfifo(tmp_path / "p1" / "p3_summary.json")
    assert list_folder(tmp_path).images == ["p1/p1_seg.nii.gz", "p1/p1_t1.nii.gz"]


def test_a_summary_speaks_of_its_own_case_and_folder_alone(tmp_path):
    touch(tmp_path, "p1/p1_t1.nii.gz", "p1/p1_WT_seg.nii.gz", "p1/t2.nii.gz", "p2/p1_t1.nii.gz", "p1_t1.nii.gz")
    (tmp_path / "p1" / "p1_summary.json").write_text(
        summary("p1", "p1_WT_seg.nii.gz", "t2.nii.gz", "../p2/p1_t1.nii.gz", "../p1_t1.nii.gz")
    )
    (tmp_path / "p1" / ".p1_summary.json").write_text(summary(".p1", "p1_t1.nii.gz"))
    found = list_folder(tmp_path)
    assert found.outputs == ["p1/p1_WT_seg.nii.gz"]
    assert found.images == ["p1/p1_t1.nii.gz", "p1/t2.nii.gz", "p1_t1.nii.gz", "p2/p1_t1.nii.gz"]


def test_patterns_of_a_manifest_do_not_fit_maps(data, models, tmp_path):
    (case,) = data.iterdir()
    predict([models["WT"]], case, case)
    with pytest.raises(InputError, match=r"the pattern {case}/\*_prob\.nii\.gz must fit files in"):
        make_manifest(data, tmp_path / "set.json", images={"flair": "{case}/*_prob.nii.gz"})
