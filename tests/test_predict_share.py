"""The share of a prediction that projecting takes is that of its calls, and measuring leaves nothing changed."""

from __future__ import annotations

import time

import pytest

from spuproj import Views
from spuproj.training import predict_share as subject
from spuproj.training import prediction

pytest_plugins = ["cohorts"]
pytestmark = pytest.mark.usefixtures("one_thread")


def test_the_share_is_that_of_the_calls(cohort, models, monkeypatch):
    monkeypatch.setattr(prediction, "case_sheet", lambda case, predictions, config, path, truth: path.write_text(""))
    project, small = Views.project, subject.predict_share([models["WT"]], cohort[1])
    assert 0 < small < 100

    def slow(*arguments, **options):
        time.sleep(0.3)
        return project(*arguments, **options)

    monkeypatch.setattr(Views, "project", slow)
    assert max(small, 60) < subject.predict_share([models["WT"]], cohort[1]) < 100
    assert Views.project is slow
