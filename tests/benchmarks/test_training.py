"""The training layer's ratios: what they are the ratios of, and that measuring leaves nothing changed."""

from __future__ import annotations

import json
import time

import pytest

from spuproj import Views
from spuproj.benchmarks import training as subject
from spuproj.training.models.method import Method
from spuproj.training.models.view_sets import Spherical
from spuproj.training.runtime.execution import Hardware

pytest_plugins = ["training_fixtures"]
pytestmark = pytest.mark.usefixtures("one_thread")


def test_the_share_is_that_of_the_calls(cohort, models, monkeypatch):
    write = lambda case, predictions, config, path, truth: path.write_text("")  # noqa: E731
    monkeypatch.setattr("spuproj.training.workflows.write_prediction.case_figure", write)
    project = Views.project
    seconds, share = subject.predict_cost([models["WT"]], cohort[1])
    assert 0 < share < 100
    assert seconds > 0

    def slow(*arguments, **options):
        time.sleep(0.3)
        return project(*arguments, **options)

    monkeypatch.setattr(Views, "project", slow)
    seconds, larger = subject.predict_cost([models["WT"]], cohort[1])
    assert share < larger < 100
    assert seconds * larger / 100 > 0.3
    assert Views.project is slow


def test_the_projections_share_of_a_step_is_a_part_of_it():
    assert 0 < subject.step_share("cpu", batch=2, side=32) < 100


@pytest.mark.parametrize("options", [{}, {"precision": "bf16", "channels_last": True, "workers": 1}])
def test_rates_are_measured(options):
    method = Method("tiny", Spherical(grid=(2, 2)), channels=(4, 8), batch_size=4)
    rates = subject.measure_rates("cpu", Hardware(**options), method, side=16, steps=3, rounds=2)
    assert rates["loader"] > rates["training"] > 0
    assert rates["ready"] > 0


def test_the_ratios_are_printed_and_kept_with_the_machine(monkeypatch, tmp_path, capsys):
    rates = {"loader": 1000.0, "ready": 40.0, "training": 38.0}
    monkeypatch.setattr(subject, "measure_rates", lambda *_, **__: rates)
    monkeypatch.setattr(subject, "predict_cost", lambda models, case: (7.0, 2.5) if (case, models) == (1, [2]) else 0)
    subject.measure_layer(1, [2], tmp_path)  # type: ignore[arg-type, list-item]
    (path,) = tmp_path.iterdir()
    kept = json.loads(path.read_text())
    assert kept["a prediction, from files to files, in seconds"] == 7
    assert kept["projecting and reducing, percent of a prediction"] == 2.5
    assert kept["training through views, percent of training on tensors that lie ready"] == pytest.approx(95)
    assert kept["slices per second"] == rates
    assert kept["machine"]["cores"] >= 1
    assert str(path) in capsys.readouterr().out
