"""Studies: what is varied, that only what is missing is trained, and that the numbers are those of the predictions."""

from __future__ import annotations

import csv
import json
import math
import shutil
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import matplotlib.image
import nibabel as nib
import numpy as np
import pytest
import torch

from made_up_case import made_up_case, prediction
from spuproj.training.data.case import load_case
from spuproj.training.data.readers.registry import cases_in
from spuproj.training.data.splits import Split, write_splits
from spuproj.training.evaluation.metrics import dice, measure
from spuproj.training.evaluation.study_tables import StudyResult, console_table, study_plot, table_csv
from spuproj.training.fit.temperature import best_temperature, likelihoods
from spuproj.training.fit.train import train
from spuproj.training.inference.case_prediction import predict_case
from spuproj.training.models.method import Method, load_method
from spuproj.training.models.run import load_run, save_run
from spuproj.training.models.view_sets import Augmented, Spherical, Zoom
from spuproj.training.report.numbers import maps_of
from spuproj.training.runtime.errors import InputError
from spuproj.training.runtime.progress import show
from spuproj.training.workflows import study as studies
from spuproj.training.workflows.study import round_trip, seen, study
from spuproj.training.workflows.study_settings import SPHERICAL, text, variations_named, varied

pytest_plugins = ["training_fixtures"]
pytestmark = pytest.mark.usefixtures("one_thread")

METHOD = replace(load_method("spu"), epochs=1, batch_size=4)
VIEWS: Any = METHOD.views
MEASURES = ("dice", "score", "baseline", "auroc", "aurc", "error_dice", "flagged_90", "corrected_5", "ece", "nll")
VARY = {"radius": (VIEWS.radius, 0.8), "grid": ((1, 2),)}


@pytest.fixture(scope="module")
def split(cohort, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("split") / "split.json"
    names = [folder.name for folder in cohort]
    write_splits(path, [Split((names[0], names[1]), (names[2],), ())], 0)
    return path


@pytest.fixture(scope="module")
def studied(one_thread, cohort, split, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("study") / "out"
    study(cohort[0].parent, ["WT"], split, out, method=METHOD, variations=VARY)
    return out


def results(out: Path) -> dict[str, dict[str, Any]]:
    return {row["setting"]: row for row in json.loads((out / "table.json").read_text())["results"]}


def test_a_study_writes_a_table_a_picture_and_its_runs(studied):
    assert {path.name for path in studied.iterdir()} == {"cache", "runs", "table.csv", "table.json", "table.png"}
    runs = {str(path.parent.relative_to(studied / "runs" / "WT")) for path in studied.rglob("model.safetensors")}
    assert runs == {"default/0", "radius=0.8/0", "grid=1x2/0"}
    with (studied / "table.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["setting"] for row in rows] == ["default", "radius=0.8", "grid=1x2"]
    assert [int(row["views"]) for row in rows] == [9, 9, 2]
    assert matplotlib.image.imread(studied / "table.png").std() > 0.01


def test_each_setting_differs_in_its_property_alone(studied):
    methods = {name: load_run(studied / "runs" / "WT" / name / "0")[0].method for name in results(studied)}
    assert methods["default"] == METHOD
    assert methods["radius=0.8"] == replace(METHOD, views=replace(VIEWS, radius=0.8))
    assert methods["grid=1x2"] == replace(METHOD, views=replace(VIEWS, grid=(1, 2)))


def test_the_numbers_are_those_of_the_validation_cases(studied, cohort):
    config, network = load_run(studied / "runs" / "WT" / "radius=0.8" / "0")
    case = load_case(cohort[2], with_labels=True)
    prediction = predict_case(config, network, case, lambda _: None)
    found = results(studied)["radius=0.8"]
    assert found["cases"] == 1
    assert found["dice"] == pytest.approx(dice(case.target("WT"), prediction.segmentation))
    assert found["baseline"] == pytest.approx((found["dice"] + 2) / 3)


def test_a_study_that_was_interrupted_trains_only_what_is_missing(cohort, split, tmp_path, monkeypatch):
    trained = []

    def counting(data, target, run, **options):
        trained.append(run.parent.name)
        if trained[-1] == "grid=1x2" and len(trained) == 3:
            raise KeyboardInterrupt
        return original(data, target, run, **options)

    original = train
    monkeypatch.setattr(studies, "train", counting)
    with pytest.raises(KeyboardInterrupt):
        study(cohort[0].parent, ["WT"], split, tmp_path / "out", method=METHOD, variations=VARY)
    study(cohort[0].parent, ["WT"], split, tmp_path / "out", method=METHOD, variations=VARY)
    assert trained == ["default", "radius=0.8", "grid=1x2", "grid=1x2"]


def test_each_seed_is_a_training_of_its_own_and_the_table_has_their_means(studied, cohort, split, tmp_path):
    shutil.copytree(studied / "runs", tmp_path / "out" / "runs")
    study(cohort[0].parent, ["WT"], split, tmp_path / "out", method=METHOD, variations={}, seeds=(0, 1))
    rows = json.loads((tmp_path / "out" / "table.json").read_text())["results"]
    assert [(row["setting"], row["seed"]) for row in rows] == [("default", 0), ("default", 1)]
    assert rows[0] == results(studied)["default"]
    assert rows[1]["round_trip"] == rows[0]["round_trip"]
    assert load_run(tmp_path / "out" / "runs" / "WT" / "default" / "1")[0].seed == 1


def result(**values: Any) -> StudyResult:
    numbers = {field.name: 0.5 for field in fields(StudyResult)}
    known = {"setting": "default", "target": "ET", "seed": 0, "cases": 2, "views": 9, "seen": 8.5, "round_trip": 0.1}
    return StudyResult(**{**numbers, **known, **values})


def test_calibration_after_is_that_with_the_temperature_of_the_other_cases(cohort, models):
    config, network = load_run(models["WT"])
    cases = [load_case(folder, config.modalities, with_labels=True, clip=config.clip) for folder in cohort[1:]]
    watched = cases_in(cohort[0].parent)[1:]
    found = studies.measure_setting("own", config, network, watched)
    curves = [likelihoods(config, network, case) for case in cases]
    after = []
    for case, other in zip(cases, reversed(curves), strict=True):
        warmer = replace(config, temperature=best_temperature([other]).value)
        prediction = predict_case(warmer, network, case, lambda _: None)
        after.append(measure(maps_of(case, "WT", prediction))[0])
    assert found.calibrated_nll == pytest.approx(np.mean([each.nll for each in after]), rel=1e-12)
    assert found.calibrated_ece == pytest.approx(np.mean([each.ece for each in after]), rel=1e-12)
    assert found.temperature == pytest.approx(best_temperature(curves).value)
    assert found.calibrated_nll < found.nll


def test_one_validation_case_alone_has_no_calibration_after(studied):
    found = results(studied)["default"]
    assert (found["calibrated_ece"], found["calibrated_nll"]) == (None, None)
    assert found["ece"] > 0 < found["nll"]


def test_the_table_shows_means_and_deviations_over_seeds():
    rows = [result(seed=seed, dice=dice) for seed, dice in ((0, 0.6), (1, 0.8))]
    tables: Any = console_table(rows).renderables
    (cells,) = zip(*(column.cells for column in tables[0].columns), strict=True)
    assert cells[:6] == ("ET", "default", "9", "8.500", "0.100", "0.700 ± 0.141")
    assert tables[0].title == "2 validation cases: mean, ± deviation over 2 seeds; views and segmentation"
    shown = [column.header for table in tables for column in table.columns]
    assert len(shown) == len(set(shown)) + 2 * 2


def test_the_table_is_shown_whole_where_the_output_is_no_terminal(capsys):
    rows = [result(seed=seed, setting="magnification=null", **dict.fromkeys(MEASURES, 0.123 + seed)) for seed in (0, 1)]
    show(console_table(rows))
    printed = capsys.readouterr().out
    assert "…" not in printed
    assert printed.count("0.623 ± 0.707") == len(MEASURES)


def test_runs_of_another_study_are_an_error(studied, cohort, split):
    with pytest.raises(InputError, match="default/0 holds a run of another method; choose another folder"):
        study(cohort[0].parent, ["WT"], split, studied, method=replace(METHOD, epochs=2), variations=VARY)


def other_segmentation(data, split):
    path = next(data.glob("*003/*_seg.nii.gz"))
    labels = nib.Nifti1Image.from_filename(path)
    nib.save(nib.Nifti1Image(np.asarray(labels.dataobj)[::-1], labels.affine), path)


def other_image(data, split):
    path = next(data.glob("*001/*_t2.nii.gz"))
    image = nib.Nifti1Image.from_filename(path)
    nib.save(nib.Nifti1Image(np.asarray(image.dataobj)[::-1], image.affine), path)


def other_fold(data, split):
    names = sorted(folder.name for folder in data.iterdir())
    split.unlink()
    write_splits(split, [Split((names[1], names[2]), (names[0],), ())], 0)


@pytest.mark.parametrize("change", [other_segmentation, other_image, other_fold])
def test_runs_of_other_data_are_an_error_and_their_results_are_not_shown(studied, cohort, split, tmp_path, change):
    data, out = shutil.copytree(cohort[0].parent, tmp_path / "data"), shutil.copytree(studied, tmp_path / "out")
    file = shutil.copy(split, tmp_path / "split.json")
    study(data, ["WT"], file, out, method=METHOD, variations=VARY)
    before = (out / "table.csv").read_bytes()
    change(data, file)
    with pytest.raises(
        InputError, match="default/0 holds a run of other cases, images or labels; choose another folder"
    ):
        study(data, ["WT"], file, out, method=METHOD, variations=VARY)
    assert (out / "table.csv").read_bytes() == before


def test_the_round_trip_of_the_slice_itself_loses_nothing_and_a_small_view_much(cohort):
    case = load_case(cohort[1])
    size = case.size
    box = (5.0, 6.0, 26.0, 23.0)
    assert round_trip(Augmented().views(size, size, box), case.image, case.brain) == pytest.approx(0, abs=1e-6)
    whole = Spherical(grid=(1, 1)).views(size, size, box)
    small = Spherical(grid=(1, 1)).views(size, (10, 10), box)
    assert 0 < 1.5 * round_trip(whole, case.image, case.brain) < round_trip(small, case.image, case.brain)


def test_what_is_seen_is_counted_over_the_brain(cohort):
    case = load_case(cohort[1])
    size = case.size
    views = Zoom(grid=(3, 3)).views(size, size, (0.0, 0.0, 1.0, 1.0))
    count = (~views.view_coordinates()[0].isnan()).numpy().sum(axis=0)
    assert seen(views, case.brain) == pytest.approx(np.mean([count[y, x] for _, y, x in np.argwhere(case.brain)]))
    assert 1 < seen(views, case.brain) < 4


def test_the_round_trip_is_the_root_mean_square_over_the_brain(cohort):
    case = load_case(cohort[1])
    size = case.size
    views = Spherical(grid=(2, 2)).views(size, size, (5.0, 6.0, 26.0, 23.0))
    image = torch.from_numpy(case.image)
    back = views.unproject(views.project(image)).mean(dim=1)
    lost = (back - image).numpy().transpose(1, 0, 2, 3)[:, case.brain]
    assert round_trip(views, case.image, case.brain) == pytest.approx(
        math.sqrt(np.mean(np.square(lost, dtype=np.float64))), rel=1e-5
    )


def test_all_variations_of_the_default_are_views_of_the_whole_brain():
    size, box = (60, 60), (12.0, 13.0, 52.0, 46.0)
    for name, method in varied(load_method("spu"), SPHERICAL).items():
        views = method.views.views(size, size, box)
        seen = views.reduce(torch.ones(1, len(views), 1, *size))[2][0, 0]
        assert seen[12:53, 13:47].min() >= 1, name


def test_variations_are_read_from_words():
    found = variations_named(["radius=0.3,1", "grid=2x2,3x4", "lift=gnomonic", "radius=2", "magnification=null"])
    assert found == {"radius": (0.3, 1, 2), "grid": ((2, 2), (3, 4)), "lift": ("gnomonic",), "magnification": (None,)}


def test_the_raster_of_the_views_can_be_varied_of_every_method():
    for method in (METHOD, load_method("unet_tta")):
        found = varied(method, {"oversampling": (method.oversampling, 2.0)})
        assert found == {"default": method, "oversampling=2.0": replace(method, oversampling=2.0)}


@pytest.mark.parametrize("value", [None, 0.5, 2, "gnomonic", (3, 4)])
def test_a_variation_s_name_reads_back(value):
    assert variations_named([f"radius={text(value)}"]) == {"radius": (value,)}


@pytest.mark.parametrize("entry", ["radius", "=3", "radius="])
def test_words_of_another_form_are_an_error(entry):
    with pytest.raises(InputError, match=rf"vary must be given as NAME=VALUE,VALUE, got '{entry}'"):
        variations_named([entry])


@pytest.mark.parametrize(
    ("variations", "message"),
    [
        (
            {"factor": (2,)},
            "vary must name one of grid, cover, radius, lift, chart, pose, fit, centered, magnification, oversampling, "
            "got 'factor'",
        ),
        ({"oversampling": (9,)}, "vary cannot set oversampling to 9: oversampling must be"),
        ({"radius": (-1,)}, "vary cannot set radius to -1: radius must be above 0, got -1"),
        ({"grid": (3,)}, "vary cannot set grid to 3: grid must be a list, got 3"),
    ],
)
def test_variations_that_views_cannot_take_are_an_error(variations, message):
    with pytest.raises(InputError, match=message):
        varied(Method("own", Spherical()), variations)


def test_numbers_that_are_not_there_are_left_empty():
    row = result(dice=math.nan, auroc=math.nan)
    assert studies.study_values([row], {"default": METHOD})["results"][0]["target"] == "ET"
    assert "nan" in table_csv([row])
    assert len(study_plot([row])) > 1000


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "must be a JSON file, but cannot be read"),
        ("[]", "must hold a JSON object, got list"),
        ({"dice": "high"}, "must be a result of 'spuproj study', but is not: dice must be"),
    ],
)
def test_a_broken_result_of_an_earlier_run_is_named(studied, cohort, split, tmp_path, content, message):
    out = shutil.copytree(studied, tmp_path / "out")
    path = out / "runs" / "WT" / "default" / "0" / "result.json"
    if isinstance(content, dict):
        content = json.dumps(json.loads(path.read_text()) | content)
    path.write_text(content)
    with pytest.raises(InputError) as error:
        study(cohort[0].parent, ["WT"], split, out, method=METHOD, variations=VARY)
    assert str(error.value).startswith(f"{path} {message}")
    assert str(error.value).endswith("; remove it, and the run is measured again")


def test_a_result_of_another_model_is_measured_again(studied, cohort, split, tmp_path):
    out = shutil.copytree(studied, tmp_path / "out")
    run = out / "runs" / "WT" / "default" / "0"
    before = json.loads((run / "result.json").read_text())
    config, network = load_run(run)
    next(network.parameters()).data += 1
    save_run(run, config, network)
    study(cohort[0].parent, ["WT"], split, out, method=METHOD, variations=VARY)
    after = json.loads((run / "result.json").read_text())
    assert after["model"] != before["model"]
    assert after["nll"] != before["nll"]


def test_a_target_that_leads_elsewhere_is_refused_before_any_work(cohort, split, tmp_path):
    with pytest.raises(InputError, match="target must be a plain file name, but it begins with a dot"):
        study(cohort[0].parent, ["WT", "../../esc"], split, tmp_path / "out", method=METHOD)
    assert list(tmp_path.iterdir()) == []


def test_what_is_measured_has_the_sides_of_a_voxel_in_the_order_of_the_slices():
    assert maps_of(made_up_case(), "WT", prediction()).spacing == (5, 1, 2)
