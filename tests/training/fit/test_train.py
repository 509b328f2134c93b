"""Training: what it writes, that a seed decides it, who validates whom, and that labels follow their images."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from torch import nn

from helpers import noise
from spuproj import __version__
from spuproj.training.data.case import brain_box, load_case
from spuproj.training.data.dataset import SliceDataset
from spuproj.training.fit import train as trainer
from spuproj.training.fit.callbacks import TrainingProgressBar
from spuproj.training.fit.module import Segmenter
from spuproj.training.fit.resume import CHECKPOINT
from spuproj.training.fit.train import train
from spuproj.training.models.config import ModelConfig
from spuproj.training.models.method import Method, load_method
from spuproj.training.models.run import load_run
from spuproj.training.models.view_sets import Spherical
from spuproj.training.runtime.errors import InputError
from spuproj.training.runtime.execution import Hardware

pytest_plugins = ["training_fixtures"]
pytestmark = pytest.mark.usefixtures("one_thread")

METHOD = replace(load_method("spu"), epochs=2, batch_size=4)
QUICK: dict[str, Any] = {"method": METHOD}
SMALL = Method("own", Spherical(), channels=(4, 8))
NO_VIEW = torch.empty(0)
CONFIG = ModelConfig("WT", (24.0, 24.0), (24, 24), (0.2, 0.2, 0.8, 0.8), SMALL, modalities=("t1",))


@pytest.fixture(scope="module")
def trained(one_thread, cohort, tmp_path_factory) -> Path:
    return train(cohort[0].parent, "WT", tmp_path_factory.mktemp("trained") / "run", **QUICK)


@pytest.fixture
def recorded(monkeypatch) -> list[SliceDataset]:
    """The data sets that a training makes: first what it trains on, then what it validates on."""
    made: list[SliceDataset] = []

    class Recorded(SliceDataset):
        def __init__(self, entries, target, augment=None):
            super().__init__(entries, target, augment)
            made.append(self)

    monkeypatch.setattr("spuproj.training.data.dataset.SliceDataset", Recorded)
    return made


class Recorder(nn.Module):
    """In place of a loss: keeps what it is given."""

    def forward(self, view, target):
        self.view, self.target = view, target
        return view.sum()


@pytest.fixture
def segmenter(monkeypatch) -> Segmenter:
    """A training step whose network passes its input on and whose loss keeps its arguments."""
    model = Segmenter(CONFIG, (24, 24), 10, Hardware())
    logged: dict[str, float] = {}
    monkeypatch.setattr(model, "network", nn.Identity())
    monkeypatch.setattr(model, "loss", Recorder())
    monkeypatch.setattr(model, "logged", logged, raising=False)
    monkeypatch.setattr(model, "log", lambda name, value, **_: logged.update({name: float(value)}))
    return model


def cases_of(slices: SliceDataset) -> set[str]:
    return {entry.case.name for entry in slices.entries}


def half_slice(batch: int) -> torch.Tensor:
    """Labels ``[B, 1, 24, 24]``, uint8, of another rectangle in each sample."""
    label = torch.zeros(batch, 1, 24, 24, dtype=torch.uint8)
    for sample in range(batch):
        label[sample, :, 3 + sample % 5 : 14, 5 : 13 + sample % 7] = 1
    return label


def test_a_run_holds_its_files_and_the_last_checkpoint_and_no_cache(trained):
    names = {"config.json", "model.safetensors", "training.json", "checkpoints", "logs"}
    assert {path.name for path in trained.iterdir()} == names
    assert [path.name for path in (trained / "checkpoints").iterdir()] == ["last.ckpt"]
    assert list((trained / "logs").glob("events.out.tfevents.*"))


def test_the_configuration_tells_what_was_trained(trained, cohort):
    config, _ = load_run(trained)
    assert (config.target, config.method, config.seed) == ("WT", METHOD, 0)
    # The largest brain, and a margin of 6 percent on each side.
    sides = [np.array(brain_box(load_case(folder).brain)).reshape(2, 2) for folder in cohort]
    height, width = np.ceil(1.12 * (1 + np.ptp(sides, axis=1).max(axis=0)))
    assert config.field == (8 * height, 8 * width)
    # Times the oversampling of 1.5, rounded up to what the network divides.
    multiple = 2 ** (len(METHOD.channels) - 1)
    assert config.view_size == tuple(np.ceil(np.round(1.5 * np.array([height, width])) / multiple) * multiple)


def test_the_record_tells_the_data_the_versions_and_how_it_went(trained, cohort):
    record = json.loads((trained / "training.json").read_text())
    assert record["metrics"] == {"loss": record["loss"][-1], "dice": record["dice"][-1]["dice"]}
    assert len(record["loss"]) == METHOD.epochs
    assert record["dice"][-1]["epoch"] == METHOD.epochs
    assert record["slices_per_second"] > 0 < record["seconds"]
    roles = record["data"]
    assert sorted(roles["train"]["cases"] + roles["validation"]["cases"]) == [folder.name for folder in cohort]
    assert all(re.fullmatch("[0-9a-f]{64}", role["sha256"]) for role in roles.values())
    assert (record["versions"]["torch"], record["hardware"]["devices"]) == (torch.__version__, 1)
    with safe_open(trained / "model.safetensors", "pt") as weights:
        about = json.loads(weights.metadata()["spuproj"])
    assert {name: about[name] for name in ("version", "data")} == {
        "version": __version__,
        "data": roles["train"]["sha256"],
    }


@pytest.mark.parametrize("epoch", [1, 2])
def test_weights_that_are_not_finite_end_the_training_and_replace_no_checkpoint(cohort, tmp_path, monkeypatch, epoch):
    step = Segmenter.training_step

    def broken(self, batch, index):
        loss = step(self, batch, index)
        return loss * torch.nan if self.trainer.current_epoch + 1 == epoch else loss

    monkeypatch.setattr(Segmenter, "training_step", broken)
    with pytest.raises(
        InputError, match=f"weights must be finite, but are not after epoch {epoch} of 2; .*learning_rate"
    ):
        train(cohort[0].parent, "WT", tmp_path / "run", **QUICK)
    assert not (tmp_path / "run" / "model.safetensors").exists()
    kept = tmp_path / "run" / CHECKPOINT
    assert kept.is_file() == (epoch == 2)
    if epoch == 2:
        state = torch.load(kept, weights_only=True)["state_dict"]
        assert all(bool(each.isfinite().all()) for each in state.values())


def test_the_last_epoch_is_validated_and_lines_show_the_dice_of_their_own_epoch_alone(cohort, tmp_path, capsys):
    method = replace(METHOD, epochs=11, batch_size=512)
    train(cohort[0].parent, "WT", tmp_path / "run", method=method)
    record = json.loads((tmp_path / "run" / "training.json").read_text())
    assert [each["epoch"] for each in record["dice"]] == [2, 4, 6, 8, 10, 11]
    lines = re.findall(r"epoch (\d+)/11 loss (\S+)(?: dice (\S+))?", capsys.readouterr().err)
    dice = {each["epoch"]: f"{each['dice']:.3f}" for each in record["dice"]}
    expected = [(str(n + 1), f"{loss:.3f}", dice.get(n + 1, "")) for n, loss in enumerate(record["loss"])]
    assert lines == expected


def test_trainings_of_several_targets_share_a_cache(cohort, tmp_path, monkeypatch):
    cache = tmp_path / "cache"
    train(cohort[0].parent, "WT", tmp_path / "WT", method=replace(METHOD, epochs=1), cache=cache)
    kept = sorted(path.name for path in cache.iterdir())
    assert len(kept) == 3 * len(cohort)
    monkeypatch.setattr(
        "spuproj.training.data.cache.load_case", lambda files, *_, **__: pytest.fail(f"reads {files.name}")
    )
    train(cohort[0].parent, "TC", tmp_path / "TC", method=replace(METHOD, epochs=1), cache=cache)
    assert sorted(path.name for path in cache.iterdir()) == kept
    assert not (tmp_path / "WT" / ".cache").exists()


def test_the_views_cover_the_mean_box_of_the_brains_trained_on(cohort, tmp_path, recorded):
    config, _ = load_run(train(cohort[0].parent, "WT", tmp_path / "run", **QUICK))
    boxes = []
    for name in cases_of(recorded[0]):
        canvas = next(entry.canvas for entry in recorded[0].entries if entry.case.name == name)
        rows, columns = np.nonzero(canvas.place(load_case(cohort[0].parent / name).brain).any(axis=0))
        boxes.append([rows.min(), columns.min(), rows.max(), columns.max()])
    height, width = canvas.size
    assert config.box == pytest.approx(tuple(np.mean(boxes, axis=0) / np.array([height - 1, width - 1] * 2)))


def test_the_same_seed_gives_the_same_weights(trained, cohort, tmp_path):
    again = train(cohort[0].parent, "WT", tmp_path / "again", **QUICK)
    first, second = (load_file(run / "model.safetensors") for run in (trained, again))
    assert list(first) == list(second)
    for name, tensor in first.items():
        assert torch.equal(second[name], tensor), name


def test_another_seed_gives_other_weights(trained, cohort, tmp_path):
    other = train(cohort[0].parent, "WT", tmp_path / "other", **QUICK, seed=1)
    first, second = (load_file(run / "model.safetensors") for run in (trained, other))
    assert not any(torch.equal(second[name], tensor) for name, tensor in first.items() if name.endswith("conv.weight"))


@pytest.mark.parametrize(("validation", "held_out", "augment"), [(None, 1, True), (2, 2, False)])
def test_cases_validate_or_train_but_never_both(cohort, tmp_path, recorded, validation, held_out, augment):
    train(cohort[0].parent, "WT", tmp_path / "run", **QUICK, validation=validation, augment=augment)
    training, validating = recorded
    assert len(cases_of(validating)) == held_out
    assert cases_of(training) | cases_of(validating) == {folder.name for folder in cohort}
    assert not cases_of(training) & cases_of(validating)
    roles = json.loads((tmp_path / "run" / "training.json").read_text())["data"]
    assert roles["train"]["cases"] == sorted(cases_of(training))
    assert roles["validation"]["cases"] == sorted(cases_of(validating))
    assert (training.augment is not None, validating.augment) == (augment, None)


@pytest.mark.parametrize("target", ["ET", "WT"])
def test_the_seed_draws_the_cases_that_validate_and_the_target_is_on_both_sides(
    cohort, tmp_path, recorded, monkeypatch, target
):
    def stop(**_):
        raise RuntimeError("far enough")

    monkeypatch.setattr("pytorch_lightning.Trainer", stop)
    for seed in range(5):
        with pytest.raises(RuntimeError, match="far enough"):
            train(cohort[0].parent, target, tmp_path / str(seed), **QUICK, seed=seed)
    assert len({frozenset(cases_of(slices)) for slices in recorded[1::2]}) > 1
    assert all(any(entry.positive for entry in slices.entries) for slices in recorded)


@pytest.mark.parametrize("total_steps", range(1, 12))
def test_the_learning_rate_has_a_schedule_for_any_number_of_steps(total_steps):
    schedule = Segmenter(CONFIG, (24, 24), total_steps, Hardware()).configure_optimizers()["lr_scheduler"]["scheduler"]
    assert 0 < schedule.get_last_lr()[0] <= SMALL.learning_rate


def test_one_step_is_a_training(cohort, tmp_path):
    train(cohort[0].parent, "WT", tmp_path / "run", method=replace(METHOD, epochs=1, batch_size=64))
    assert (tmp_path / "run" / "model.safetensors").is_file()


@pytest.mark.parametrize("seed", [0, 1, 4])
def test_a_cohort_trains_although_a_case_is_without_the_target(cohort, tmp_path, seed):
    assert not load_case(cohort[0], with_labels=True).target("ET").any()
    train(cohort[0].parent, "ET", tmp_path / "run", **QUICK, seed=seed)
    assert (tmp_path / "run" / "model.safetensors").is_file()


def test_a_target_in_a_single_case_is_an_error(cohort, tmp_path):
    (tmp_path / "data").mkdir()
    for folder in cohort[:2]:
        (tmp_path / "data" / folder.name).symlink_to(folder)
    with pytest.raises(InputError, match=r"at least two cases must hold some of the target, .* got 1 of 2"):
        train(tmp_path / "data", "ET", tmp_path / "run", **QUICK)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"validation": 0}, "validation must leave cases on both sides of 3, got 0"),
        ({"validation": 3}, "validation must leave cases on both sides of 3, got 3"),
        ({"hardware": Hardware(nodes=3)}, "batch_size must be a multiple of the number of processes, 3, got 4"),
    ],
)
def test_arguments_out_of_range_are_errors_and_write_nothing(cohort, tmp_path, options, message):
    with pytest.raises(ValueError, match=message):
        train(cohort[0].parent, "WT", tmp_path / "run", **(QUICK | options))
    assert not (tmp_path / "run").exists()


def test_a_modality_that_no_model_can_name_is_an_error_before_any_image_is_read(tmp_path):
    cases = [{"name": name, "images": {"t1/post": "none.nii.gz"}, "label": "none.nii.gz"} for name in "ab"]
    (tmp_path / "set.json").write_text(json.dumps({"labels": "brats2023", "cases": cases}))
    with pytest.raises(InputError, match="the name of a modality must be a plain file name, but it has a separator"):
        train(tmp_path / "set.json", "WT", tmp_path / "run", **QUICK)
    assert not (tmp_path / "run").exists()


def test_an_unknown_target_is_an_error(cohort, tmp_path):
    with pytest.raises(InputError, match=r"target must be one of ET, TC, WT \(brats2020\), got 'XX'"):
        train(cohort[0].parent, "XX", tmp_path / "run", **QUICK)
    assert not list(tmp_path.rglob(".cache"))


def test_a_single_case_is_an_error(cohort, tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / cohort[0].name).symlink_to(cohort[0])
    with pytest.raises(ValueError, match="validation must leave cases on both sides of 1, got 1"):
        train(tmp_path / "data", "WT", tmp_path / "run", **QUICK)


def test_an_existing_run_is_kept_unless_forced(trained, cohort):
    before = (trained / "model.safetensors").read_bytes()
    with pytest.raises(InputError, match=r"model\.safetensors exists already; pass --force"):
        train(cohort[0].parent, "WT", trained, **QUICK, seed=1)
    assert (trained / "model.safetensors").read_bytes() == before


def test_a_forced_run_replaces_the_older_one_and_leaves_none_of_it(cohort, tmp_path):
    for seed in (0, 1):
        train(cohort[0].parent, "WT", tmp_path / "run", **QUICK, seed=seed, force=True)
    assert load_run(tmp_path / "run")[0].seed == 1
    assert len(list((tmp_path / "run" / "checkpoints").glob("last*.ckpt"))) == 1


def test_a_forced_run_that_cannot_start_keeps_the_older_one(cohort, tmp_path):
    train(cohort[0].parent, "WT", tmp_path / "run", **QUICK)
    with pytest.raises(InputError, match="nowhere must be a folder of case folders"):
        train(tmp_path / "nowhere", "WT", tmp_path / "run", **QUICK, force=True)
    assert load_run(tmp_path / "run")[0].target == "WT"


@pytest.fixture
def broken(cohort, tmp_path, monkeypatch) -> Iterator[list[TrainingProgressBar]]:
    """A training that failed at its first step; the progress bars that it made."""
    bars: list[TrainingProgressBar] = []

    class Recorded(TrainingProgressBar):
        def __init__(self, description, steps, _):
            super().__init__(description, steps)
            bars.append(self)

    def fail(*_):
        raise RuntimeError("broken step")

    monkeypatch.setattr(trainer, "training_progress", Recorded)
    monkeypatch.setattr(Segmenter, "training_step", fail)
    with pytest.raises(RuntimeError, match="broken step"):
        train(cohort[0].parent, "WT", tmp_path / "run", **QUICK)
    yield bars
    for bar in bars:
        bar.progress.stop()


def test_a_failed_training_leaves_neither_weights_nor_cache(broken, tmp_path):
    assert {path.name for path in (tmp_path / "run").iterdir()} <= {
        "config.json",
        "training.json",
        "logs",
        "checkpoints",
    }


def test_a_failed_training_stops_its_progress_bar(broken):
    assert [bar.progress.live.is_started for bar in broken] == [False]


def test_the_label_is_seen_through_the_same_view_as_its_image(segmenter):
    label = half_slice(64)
    segmenter.training_step((label.float(), label, torch.arange(64) % 9), 0)
    view, target = segmenter.loss.view, segmenter.loss.target
    assert view.shape == target.shape == (64, 1, 24, 24)
    assert set(target.unique().tolist()) == {0, 1}
    # Where all pixels around a point agree, the nearest one says the same.
    assert (target[view >= 1] == 1).all()
    assert (target[view == 0] == 0).all()
    assert (view >= 1).sum() > 64


def test_each_slice_is_seen_through_the_view_that_was_drawn_for_it(segmenter):
    image, seen = noise(9, 1, 24, 24), torch.tensor([4, 0, 8, 2, 2, 7, 1, 3, 5])
    segmenter.training_step((image, half_slice(9), seen), 0)
    every = segmenter.views.project(image)
    assert torch.equal(every[torch.arange(9), seen], segmenter.loss.view)


def test_validation_pools_all_batches_through_all_views(segmenter):
    label = half_slice(4)
    segmenter.on_validation_epoch_start()
    for part in label.split(2):
        segmenter.validation_step((40.0 * part - 20, part, NO_VIEW), 0)
    segmenter.on_validation_epoch_end()
    assert segmenter.logged["dice"] == pytest.approx(1, abs=0.1)
    # One batch found, as much again missed: 2 A / (A + 2 A).
    segmenter.on_validation_epoch_start()
    segmenter.validation_step((40.0 * label - 20, label, NO_VIEW), 0)
    segmenter.validation_step((torch.full((4, 1, 24, 24), -20.0), label, NO_VIEW), 0)
    segmenter.on_validation_epoch_end()
    assert segmenter.logged["dice"] == pytest.approx(2 / 3, abs=0.05)


def test_validation_that_finds_nothing_where_nothing_is_scores_one(segmenter):
    segmenter.on_validation_epoch_start()
    nothing = torch.zeros(1, 1, 24, 24, dtype=torch.uint8)
    segmenter.validation_step((torch.full((1, 1, 24, 24), -20.0), nothing, NO_VIEW), 0)
    segmenter.on_validation_epoch_end()
    assert segmenter.logged["dice"] == 1


def test_the_loss_is_one_minus_the_dice_of_the_whole_batch_plus_the_cross_entropy():
    model, view, target = Segmenter(CONFIG, (24, 24), 10, Hardware()), noise(4, 1, 24, 24), half_slice(4)
    model.network, target[0] = nn.Identity(), 0
    probability = view.sigmoid()
    dice = 2 * (probability * target).sum() / (probability.sum() + target.sum())
    expected = 1 - dice + torch.nn.functional.binary_cross_entropy_with_logits(view, target.float())
    assert model.learn(view, target).item() == pytest.approx(expected.item(), rel=1e-5)
