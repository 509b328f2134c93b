"""What a training records of itself."""

from __future__ import annotations

from spuproj.training.fit.callbacks import LearningCurve
from spuproj.training.fit.record import curve_record


def test_the_speed_is_of_slices_and_without_a_validation_there_is_no_dice():
    curve = LearningCurve()
    curve.loss, curve.seconds, curve.steps = [0.9, 0.4], 4.0, 10
    record = curve_record(curve, batch_size=6)
    assert record["slices_per_second"] == 15
    assert record["metrics"] == {"loss": 0.4, "dice": None}
