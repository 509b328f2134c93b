"""The torchmetrics classes: equal to the evaluation, whatever the batches, and at home in torchmetrics."""

from __future__ import annotations

import doctest
import math
import pickle
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import Tensor
from torchmetrics import MetricCollection
from torchmetrics.classification import BinaryF1Score

import spuproj.metrics
from helpers import run_python
from processes.forkserver import run_with_libraries
from spuproj.metrics import ErrorAUROC, QUBraTS, RiskCoverage
from spuproj.training.evaluation.metrics import CaseMaps, measure
from spuproj.uncertainty import entropy, to_percent

NAMES = {QUBraTS: "score", ErrorAUROC: "auroc", RiskCoverage: "aurc"}
each_metric = pytest.mark.parametrize("metric", NAMES)


def cases(seed: int = 0, count: int = 3) -> dict[str, Tensor]:
    """Cases of 5 x 6 x 7 voxels with wrong voxels and, in the brain, some without a variance."""
    draw = torch.Generator().manual_seed(seed)
    truth = torch.rand(count, 5, 6, 7, generator=draw) > 0.6
    probability = truth * 0.3 + torch.rand(truth.shape, generator=draw) * 0.7
    variance = torch.rand(truth.shape, generator=draw) / 4
    variance[:, 1, :3] = math.nan
    brain = torch.ones_like(truth)
    brain[:, 0] = False
    return {"preds": probability, "target": truth, "uncertainty": variance, "brain": brain}


def evaluated(name: str, batch: dict[str, Tensor], scaling: str = "variance-1") -> list[float]:
    """The value of each case by ``spuproj evaluate``'s function."""
    found = []
    for preds, target, uncertainty, brain in zip(*batch.values(), strict=True):
        percent = to_percent(uncertainty, scaling, None if scaling == "entropy-1" else entropy(preds.double()))
        maps = CaseMaps(
            target.numpy(), (preds > 0.5).numpy(), preds.double().numpy(), percent, brain.numpy(), (1.0, 1.0, 1.0)
        )
        found.append(getattr(measure(maps)[0], name))
    return found


@each_metric
@settings(max_examples=10)
@example(seed=29074, scaling="maximum-1")
@given(seed=st.integers(0, 10**6), scaling=st.sampled_from(["variance-1", "std-1", "maximum-1"]))
def test_the_mean_over_cases_is_that_of_the_evaluation(metric, seed, scaling):
    batch = cases(seed)
    found = metric(scaling)
    found.update(**batch)
    assert float(found.compute()) == pytest.approx(np.mean(evaluated(NAMES[metric], batch, scaling)), abs=1e-6)


@each_metric
def test_an_update_may_hold_one_case_or_several(metric):
    batch, together, apart = cases(count=4), metric(), metric()
    together.update(**batch)
    for number in range(4):
        apart.update(**{name: values[number : number + 1] for name, values in batch.items()})
    torch.testing.assert_close(together.compute(), apart.compute())


@each_metric
def test_forward_gives_the_batch_and_compute_all_batches(metric):
    found = metric()
    first, second = (float(found(**cases(seed, 2))) for seed in (1, 2))
    assert first == pytest.approx(np.mean(evaluated(NAMES[metric], cases(1, 2))), abs=1e-6)
    assert float(found.compute()) == pytest.approx((first + second) / 2, abs=1e-6)


def test_a_case_without_errors_is_left_out_of_the_auroc():
    batch = cases()
    batch["preds"][1] = batch["target"][1].float()
    assert math.isnan(evaluated("auroc", batch)[1])
    found = ErrorAUROC()
    found.update(**batch)
    assert float(found.compute()) == pytest.approx(np.nanmean(evaluated("auroc", batch)), abs=1e-6)
    found.reset()
    found.update(**{name: values[1:2] for name, values in batch.items()})
    assert found.compute().isnan()


@each_metric
def test_a_reset_metric_is_new(metric):
    found = metric()
    found.update(**cases(1))
    found.reset()
    found.update(**cases(2))
    assert float(found.compute()) == pytest.approx(np.mean(evaluated(NAMES[metric], cases(2))), abs=1e-6)


@each_metric
def test_a_metric_survives_pickling_and_a_state_dict(metric):
    found = metric()
    found.persistent(True)
    found.update(**cases(1))
    again, loaded = pickle.loads(pickle.dumps(found)), metric()
    loaded.load_state_dict(found.state_dict())
    torch.testing.assert_close(again.compute(), found.compute())
    again.update(**cases(2))
    assert not torch.equal(again.compute(), found.compute())
    loaded.update(**cases(2))
    torch.testing.assert_close(loaded.compute(), again.compute())


@each_metric
def test_the_state_stays_two_numbers(metric):
    found = metric()
    for seed in range(3):
        found.update(**cases(seed))
    assert sum(state.numel() for state in found.metric_state.values()) == 2


def test_a_collection_keeps_metrics_apart_whose_first_values_agree():
    """MetricCollection updates only one of several metrics that seem to have one state."""
    collection = MetricCollection(
        {"all": QUBraTS(), "std": QUBraTS("std-1"), "auroc": ErrorAUROC(), "aurc": RiskCoverage()}
    )
    # Half of the voxels are wrong and all are equally uncertain: AUROC and AURC are both 1/2.
    sure = {"preds": torch.zeros(1, 4), "target": torch.tensor([[1, 1, 0, 0]]), "uncertainty": torch.zeros(1, 4)}
    for batch in (sure, cases()):
        collection.update(**batch)
    alone = {"all": QUBraTS(), "std": QUBraTS("std-1"), "auroc": ErrorAUROC(), "aurc": RiskCoverage()}
    for metric in alone.values():
        metric.update(**sure)
        metric.update(**cases())
    torch.testing.assert_close(collection.compute(), {name: metric.compute() for name, metric in alone.items()})


def test_a_collection_may_hold_torchmetrics_of_its_own():
    collection = MetricCollection([QUBraTS(), BinaryF1Score()])
    assert set(collection(**cases())) == {"QUBraTS", "BinaryF1Score"}


@each_metric
def test_a_plot_shows_the_value_within_its_bounds(metric):
    score = metric()
    score.update(**cases())
    _, axes = score.plot()
    assert axes.get_ylim()[0] < 0 < float(score.compute()) < 1 < axes.get_ylim()[1]
    _, steps = score.plot([score.compute(), torch.tensor(0.5)])
    assert list(steps.lines[0].get_ydata()) == [float(score.compute()), 0.5]


@each_metric
def test_segmentations_and_percent_are_taken_as_they_are(metric):
    batch = cases()
    plain, scaled = metric(), metric(scaling=None)
    batch["uncertainty"] = batch["uncertainty"].nan_to_num()
    plain.update(**batch)
    segmentation = (batch["preds"] > 0.5).int()
    scaled.update(segmentation, batch["target"].long(), 400 * batch["uncertainty"], batch["brain"])
    torch.testing.assert_close(plain.compute(), scaled.compute())


def test_without_a_brain_all_voxels_count():
    batch = cases()
    batch["brain"][:] = True
    one, other = RiskCoverage(), RiskCoverage()
    one.update(**batch)
    del batch["brain"]
    other.update(**batch)
    assert torch.equal(one.compute(), other.compute())


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"preds": torch.tensor([[0.5, 3.0, -1.0, 1]])}, r"probabilities in \[0, 1\], got values from -1 to 3; apply"),
        ({"preds": torch.full((1, 4), 2)}, "preds must hold nothing but 0 and 1"),
        ({"target": torch.tensor([[0, 1, 4, 1]])}, "target must hold nothing but 0 and 1"),
        ({"brain": torch.zeros(1, 4)}, "brain must hold at least one voxel of each case, got none"),
        ({"uncertainty": torch.ones(1, 4)}, "values must be at most what variance-1"),
        ({"uncertainty": torch.zeros(4)}, r"must have one shape, \[B, ...\], got \(1, 4\), \(1, 4\), \(4,\), \(1, 4\)"),
        ({"preds": torch.ones(1, 4).int(), "uncertainty": torch.full((1, 4), math.nan)}, "values must be finite"),
    ],
)
def test_what_cannot_be_scored_is_refused_and_leaves_the_state(changed, message):
    found = QUBraTS()
    good = {"preds": torch.rand(1, 4), "target": torch.ones(1, 4).int(), "uncertainty": torch.zeros(1, 4)}
    found.update(**good)
    with pytest.raises(ValueError, match=message):
        found.update(**{**good, **changed})
    assert float(found.metric_state[next(iter(found.metric_state))][1]) == 1


@pytest.mark.parametrize("name", ["preds", "target", "uncertainty", "brain"])
def test_arrays_are_refused(name):
    batch: dict[str, Any] = dict.fromkeys(("preds", "target", "uncertainty", "brain"), torch.ones(1, 4))
    batch[name] = np.ones((1, 4))
    with pytest.raises(TypeError, match=f"{name} must be a torch tensor, got ndarray"):
        QUBraTS().update(**batch)


def test_numbers_without_the_axis_of_cases_are_refused():
    with pytest.raises(ValueError, match=r"must have one shape, \[B, ...\], got \(\), \(\), \(\), \(\)"):
        QUBraTS().update(torch.tensor(0.9), torch.tensor(1), torch.tensor(0.1))


def test_a_better_map_has_a_higher_or_lower_score_as_each_class_says():
    probability, truth = torch.tensor([[0.9, 0.9, 0.1, 0.1]]), torch.tensor([[1, 0, 0, 0]])
    for metric in (QUBraTS, ErrorAUROC, RiskCoverage):
        marked, missed = metric(), metric()
        marked.update(probability, truth, torch.tensor([[0.0, 0.25, 0.0, 0.0]]))
        missed.update(probability, truth, torch.tensor([[0.25, 0.0, 0.25, 0.25]]))
        assert (marked.compute() > missed.compute()) == metric.higher_is_better


def test_what_is_above_one_half_is_segmented_and_one_half_is_not():
    found = RiskCoverage()
    found.update(torch.tensor([[0.5, 0.500001]]), torch.tensor([[0, 1]]), torch.zeros(1, 2))
    assert float(found.compute()) == 0


def test_uncertainties_are_compared_in_float64():
    found = ErrorAUROC()
    found.update(torch.ones(1, 2), torch.tensor([[1, 0]]), torch.tensor([[0.1, 0.1 + 1e-12]], dtype=torch.float64))
    assert float(found.compute()) == 1


def test_a_scaled_map_may_be_sure_everywhere():
    """Its largest value is below 1 percent: without a scaling it would be taken for one that was not scaled."""
    batch = cases()
    batch["uncertainty"] = 0.001 * batch["uncertainty"].nan_to_num()
    found = QUBraTS()
    found.update(**batch)
    assert float(found.compute()) == pytest.approx(np.mean(evaluated("score", batch)), abs=1e-6)


def test_a_missing_entropy_is_not_made_up():
    """Every voxel has one, so that the entropy of the probability does not stand in."""
    with pytest.raises(ValueError, match="values must be finite"):
        QUBraTS("entropy-1").update(**cases())


def test_an_unknown_scaling_is_refused():
    with pytest.raises(ValueError, match="scaling must be one of"):
        QUBraTS("variance")


TWO_PROCESSES = """
import sys, torch
from torch import distributed, multiprocessing
from spuproj.metrics import ErrorAUROC

def work(rank, store, batches):
    distributed.init_process_group("gloo", init_method="file://" + store, rank=rank, world_size=2)
    metric = ErrorAUROC()
    metric.update(**torch.load(batches)[rank])
    # In one piece: two processes write to one pipe.
    sys.stdout.write(f"{float(metric.compute())}\\n")
    sys.stdout.flush()

multiprocessing.start_processes(work, tuple(sys.argv[1:]), nprocs=2, start_method="fork")
"""


def test_processes_share_their_cases(tmp_path):
    # The first process has one case more than the second.
    batches = [cases(0, 2), cases(1, 1)]
    torch.save(batches, tmp_path / "batches")
    run = run_with_libraries(TWO_PROCESSES, tmp_path / "store", tmp_path / "batches")
    assert run.returncode == 0, run.stderr
    wanted = np.mean([value for batch in batches for value in evaluated("auroc", batch)])
    assert [float(line) for line in run.stdout.split()] == pytest.approx([wanted] * 2, abs=1e-6)


def test_the_example_in_the_docstring_gives_what_it_shows():
    examples = [test for test in doctest.DocTestFinder().find(spuproj.metrics) if test.examples]
    assert [example.name for example in examples] == ["spuproj.metrics.QUBraTS"]
    for each in examples:
        each.globs["torch"] = torch
        assert doctest.DocTestRunner().run(each).failed == 0


def test_without_torchmetrics_the_error_says_what_to_install():
    run = run_python("import sys; sys.modules['torchmetrics'] = None; import spuproj.metrics")
    assert run.stderr.splitlines()[-1].startswith("ImportError: spuproj.metrics needs torchmetrics")
    assert 'pip install "spuproj[training]"' in run.stderr


def test_a_map_that_was_not_scaled_is_refused():
    batch = cases()
    batch["uncertainty"] = 4 * batch["uncertainty"].nan_to_num()
    with pytest.raises(ValueError, match="must be scaled"):
        QUBraTS(scaling=None).update(**batch)
