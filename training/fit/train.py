"""Training of one target's network on randomly viewed slices."""

from __future__ import annotations

import logging
import math
import shutil
import warnings
from collections.abc import Iterator, Sequence, Set
from contextlib import contextmanager, nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback, LearningRateMonitor
from pytorch_lightning.loggers import TensorBoardLogger
from pytorch_lightning.plugins.environments import SLURMEnvironment

from spuproj.training.data.dataset import Cohort, SliceEntry, cache_cohort, make_loader
from spuproj.training.data.patients import shared_stems
from spuproj.training.data.readers.case_files import CaseFiles, modalities_of
from spuproj.training.data.readers.registry import cases_in
from spuproj.training.data.sampler import BalancedSampler, ShardedSampler
from spuproj.training.data.splits import Split, chosen, read_split
from spuproj.training.data.volumes.intensities import CLIP
from spuproj.training.fit.augmentation import augmented
from spuproj.training.fit.callbacks import LastCheckpoint, LearningCurve, training_progress
from spuproj.training.fit.logs import LOGS, cut_logs, full_disk_said_once
from spuproj.training.fit.module import Segmenter
from spuproj.training.fit.record import curve_record, data_record, environment_record
from spuproj.training.fit.resume import (
    CHECKPOINT,
    CHECKPOINTS,
    Checkpoint,
    WholeCheckpoints,
    can_resume,
    checked_checkpoint,
    remove_previous_run,
    require_same_training,
    says_what_is_safe,
)
from spuproj.training.fit.temperature import calibrate_run, is_calibrated, validation_cases
from spuproj.training.models.config import ModelConfig, make_views
from spuproj.training.models.method import Method, load_method
from spuproj.training.models.run import CONFIG, RECORD, WEIGHTS, save_run, write_config
from spuproj.training.models.training_record import read_record
from spuproj.training.runtime.errors import InputError
from spuproj.training.runtime.execution import PRECISIONS, Hardware, check_hardware, rank
from spuproj.training.runtime.files import refuse_overwrite, remove_leftovers, require_folder
from spuproj.training.runtime.json_file import write_json
from spuproj.training.runtime.locks import held
from spuproj.training.runtime.names import plain_name
from spuproj.training.runtime.progress import print_status, progress_bar
from spuproj.training.runtime.settings import plain_errors
from spuproj.training.runtime.wording import some_of

CACHE = ".cache"
"""Folder of a run, while it is trained."""


def train(
    data: Path,
    target: str,
    out: Path,
    *,
    method: Method | None = None,
    validation: int | None = None,
    split: Path | None = None,
    fold: int = 0,
    seed: int = 0,
    labels: str | None = None,
    force: bool = False,
    resume: bool = False,
    cache: Path | None = None,
    hardware: Hardware | None = None,
    augment: bool = True,
    calibrate: bool = False,
) -> Path:
    """Trains one target's model and writes it to ``out``.

    Args:
        data: cases with labels, as ``cases_in`` takes them, of the same modalities.
        target: ET, TC, WT, or a custom target of the data set.
        out: folder of the run: configuration, weights, record, the last checkpoint and TensorBoard logs.
        method: the views, the network and its training; ``spu`` where None.
        validation: number of validation cases, one in five where None; Dice is of their slices with the target.
        split: file of ``spuproj split`` that names the cases instead; test cases are not read.
        fold: index of the split in the file.
        seed: of the split, weights, sampling and views; it fixes the result on one machine.
        labels: name of the label scheme, in place of the one that the files imply.
        force: write over an existing run, or restart an interrupted one.
        resume: continue an interrupted training after its last complete epoch; without one it starts over. A finished
            training is left as it is.
        cache: folder of cached slices, for other trainings to use; where None one in ``out``, removed at the end.
        hardware: execution settings; one device and float32 where None.
        augment: whether training slices are augmented; the configuration is the same for every method.
        calibrate: whether to fit a temperature for the logits on the validation cases after the training, see
            ``spuproj.training.fit.temperature``. With ``resume``, a finished run is calibrated too.

    Returns:
        ``out``.

    Raises:
        InputError: for data that cannot be used (see ``load_case``), fewer than two cases with the target, an existing
            or interrupted run, a folder that another process writes to, or resuming with other data or options.
        ValueError: for fewer than two cases, no training or no validation cases, ``force`` with ``resume``, or settings
            that do not fit the machine (see ``check_hardware``).
    """
    method = load_method("spu") if method is None else method
    hardware = Hardware() if hardware is None else hardware
    check_hardware(hardware, method.batch_size)
    for written in (out, cache or out):
        require_folder(written)
    with held(out) if rank() == 0 else nullcontext(), says_what_is_safe(out):
        if rank() == 0:
            for written in (out, out / CHECKPOINTS, out / LOGS, cache or out / CACHE):
                remove_leftovers(written)
        _refuse_overwrite_of_run(out, force, resume)
        cases, roles = _cases(data, labels, split, fold, validation)
        held_out = validation if validation is not None else max(1, len(cases) // 5)
        if roles is None and not 1 <= held_out < len(cases):
            raise ValueError(f"validation must leave cases on both sides of {len(cases)}, got {held_out}")
        modalities = modalities_of(cases)
        for name in modalities:
            plain_name(name, "the name of a modality")
        asked = {
            "target": target, "method": asdict(method), "seed": seed, "modalities": modalities, "augmented": augment,
        }  # fmt: skip
        if resume and _is_finished(out, asked, cases, roles):
            if not calibrate or is_calibrated(out):
                print_status(f"{out} has finished: there is nothing to resume")
            elif rank() == 0:
                _calibrate_finished(out, cases, modalities, target, cache)
            return out
        with _cache_folder(out, cache) as folder:
            with progress_bar(f"Reading {data.name} for {target}", len(cases)) as advance:
                cohort = cache_cohort(cases, modalities, target, folder, advance)
            drawn = cohort.split(held_out, seed) if roles is None else cohort.roles(roles)
            with plain_errors(ModelConfig):
                config = ModelConfig(
                    target, cohort.field, network_size(cohort.size, method), _mean_box(cohort, drawn[0]), method,
                    modalities, seed, CLIP, augment,
                )  # fmt: skip
            _train_and_save(config, cohort, *drawn, out, hardware, resume)
        if calibrate and rank() == 0:
            calibrate_run(out, cases)
        return out


def _train_and_save(
    config: ModelConfig,
    cohort: Cohort,
    training: list[str],
    validation: list[str],
    out: Path,
    hardware: Hardware,
    resume: bool,
) -> None:
    """Trains, from a checkpoint where one is resumed, and writes the run."""
    pl.seed_everything(config.seed, workers=True, verbose=False)
    data = data_record(cohort, training, validation)
    record = {"data": asdict(data), **environment_record(hardware)}
    checkpoint = _prepare_run(out, config, record, resume)
    network, curve = _fit(config, cohort, training, validation, out, hardware, checkpoint)
    if rank() == 0:
        write_json(out / RECORD, {**curve_record(curve, config.method.batch_size), **record})
        save_run(out, config, network, data.train.sha256)


def _refuse_overwrite_of_run(out: Path, force: bool, resume: bool) -> None:
    """Raises where an existing or interrupted run would be lost without ``force``."""
    if force and resume:
        raise ValueError("force must be left out where a training is resumed: it starts over")
    refuse_overwrite([out / WEIGHTS], force or resume)
    if can_resume(out) and not force and not resume:
        raise InputError(
            f"{out} holds a training that has not finished; pass --resume to go on with it, or --force to start over"
        )


def _is_finished(out: Path, asked: dict[str, Any], cases: Sequence[CaseFiles], roles: Split | None) -> bool:
    """Whether the run is complete. Raises InputError, before data is read, where its options or cases were others."""
    if (out / CONFIG).is_file():
        require_same_training(out / CONFIG, asked)
    finished = (out / WEIGHTS).exists()
    if finished and (out / RECORD).is_file() and (known := read_record(out).data.cases):
        if roles is not None:
            named = {role: {"cases": sorted(getattr(roles, role))} for role in ("train", "validation")}
            require_same_training(out / RECORD, {"data": named})
        else:
            _require_same_cases(out, known, cases)
    return finished


def _require_same_cases(out: Path, known: Set[str], cases: Sequence[CaseFiles]) -> None:
    """Raises InputError where a finished run trained and validated on other cases than those of the data."""
    changed = sorted(known ^ {case.name for case in cases})
    if changed:
        raise InputError(
            f"the cases must be those that {out / RECORD} names, but {some_of(changed)} "
            f"{'is' if len(changed) == 1 else 'are'} in one of both alone; resume it with the data that it began with, "
            "or start over with --force"
        )


def _calibrate_finished(
    run: Path, cases: Sequence[CaseFiles], modalities: Sequence[str], target: str, cache: Path | None
) -> None:
    """Calibrates a finished run. Raises InputError where its validation cases have changed since the training."""
    names = validation_cases(run)
    watched = chosen(cases, names, run / RECORD)
    with (
        _cache_folder(run, cache) as folder,
        progress_bar(f"Reading the validation cases of {target}", len(watched)) as advance,
    ):
        digest = cache_cohort(watched, modalities, target, folder, advance).digest(names)
    require_same_training(run / RECORD, {"data": {"validation": {"sha256": digest}}})
    calibrate_run(run, cases)


def _cases(
    data: Path, labels: str | None, split: Path | None, fold: int, validation: int | None
) -> tuple[Sequence[CaseFiles], Split | None]:
    """The cases to read, and their roles from the split, if there is one."""
    cases = cases_in(data, labels)
    for sentence in shared_stems(cases):
        print_status(f"warning: {sentence}")
    roles = _roles_given(split, fold, validation)
    if split is None or roles is None:
        return cases, None
    return chosen(cases, [*roles.train, *roles.validation], split), roles


@contextmanager
def _cache_folder(out: Path, cache: Path | None) -> Iterator[Path]:
    """The cache folder. The run's own one is removed at the end, except by a killed process."""
    out.mkdir(parents=True, exist_ok=True)
    own = out / CACHE
    try:
        yield own if cache is None else cache
    finally:
        shutil.rmtree(own, ignore_errors=True)


def _prepare_run(out: Path, config: ModelConfig, record: dict[str, Any], resume: bool) -> Checkpoint | None:
    """The checkpoint to resume from; or None, after preparing the folder for a new run."""
    if resume and can_resume(out):
        # The temperature is fitted after the training.
        settings = {key: each for key, each in asdict(config).items() if key != "temperature"}
        require_same_training(out / CONFIG, settings)
        require_same_training(out / RECORD, {"data": record["data"]})
        checkpoint = checked_checkpoint(out / CHECKPOINT, settings)
        if rank() == 0:
            cut_logs(out / LOGS, checkpoint.steps)
        return checkpoint
    if resume:
        print_status(f"{out} has no epoch to resume from: starting from the beginning")
    if rank() == 0:
        remove_previous_run(out)
        write_config(out, config)
        write_json(out / RECORD, record)
    return None


def _roles_given(split: Path | None, fold: int, validation: int | None) -> Split | None:
    if split is None:
        return None
    if validation is not None:
        raise ValueError("validation must be left out where a split names the cases that validate")
    return read_split(split, fold)


def _mean_box(cohort: Cohort, names: Sequence[str]) -> tuple[float, float, float, float]:
    """The mean over cases of the box around the brain."""
    boxes = [cohort.box(name) for name in names]
    y0, x0, y1, x1 = (sum(side) / len(boxes) for side in zip(*boxes, strict=True))
    return y0, x0, y1, x1


def network_size(size: tuple[int, int], method: Method) -> tuple[int, int]:
    """The views' size, rounded up to a multiple that the U-Net's levels need."""
    multiple = 2 ** (len(method.channels) - 1)
    height, width = (math.ceil(round(side * method.oversampling) / multiple) * multiple for side in size)
    return height, width


def _fit(
    config: ModelConfig,
    cohort: Cohort,
    training: list[str],
    validation: list[str],
    out: Path,
    hardware: Hardware,
    checkpoint: Checkpoint | None,
) -> tuple[torch.nn.Module, LearningCurve]:
    """Trains; returns the network after the last epoch, and the learning curve."""
    method = config.method
    entries = [entry for name in training for entry in cohort.entries[name]]
    positive = [entry for name in validation for entry in cohort.entries[name] if entry.positive]
    if len(positive) < hardware.processes:
        raise InputError(f"validation must have a slice with the target for each of {hardware.processes} processes")
    draws = _draws(entries, config)
    loader = make_loader(entries, config.target, draws, hardware, augmented if config.augmented else None)
    watched = make_loader(positive, config.target, ShardedSampler(len(positive), method.batch_size), hardware)
    total_steps = method.epochs * len(draws)
    curve = LearningCurve()
    bar, rate = training_progress(f"Training {config.target}", total_steps, curve), LearningRateMonitor("step")
    trainer = _trainer(config, out, hardware, len(draws), [curve, LastCheckpoint(out, draws), bar, rate])
    model = Segmenter(config, cohort.size, total_steps, hardware)
    with warnings.catch_warnings(), full_disk_said_once():
        warnings.filterwarnings("ignore", message=".*does not have many workers.*")
        warnings.filterwarnings("ignore", message=".*LeafSpec.*")
        trainer.fit(model, loader, watched, ckpt_path=checkpoint and checkpoint.path, weights_only=True)
    return model.network.cpu(), curve


def _draws(entries: list[SliceEntry], config: ModelConfig) -> BalancedSampler:
    method = config.method
    views = 1 if method.training_views == "first" else len(make_views(config, config.view_size))
    return BalancedSampler([entry.positive for entry in entries], views, method.batch_size, config.seed)


def _trainer(config: ModelConfig, out: Path, hardware: Hardware, steps: int, callbacks: list[Callback]) -> pl.Trainer:
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    gpu = torch.cuda.is_available()
    return pl.Trainer(
        max_epochs=config.method.epochs,
        accelerator="gpu" if gpu else "cpu",
        devices=hardware.devices,
        num_nodes=hardware.nodes,
        precision=PRECISIONS[hardware.precision],
        sync_batchnorm=gpu,
        # On Slurm's signals pytorch-lightning would checkpoint within an epoch, which cannot be resumed exactly.
        plugins=[WholeCheckpoints(), *([SLURMEnvironment(auto_requeue=False)] if SLURMEnvironment.detect() else [])],
        callbacks=callbacks,
        default_root_dir=out,
        logger=TensorBoardLogger(out, name=LOGS, version=""),
        check_val_every_n_epoch=max(1, config.method.epochs // 5),
        log_every_n_steps=min(steps, 20),
        num_sanity_val_steps=0,
        gradient_clip_val=1.0,
        use_distributed_sampler=False,
        enable_checkpointing=False,
        enable_model_summary=False,
        enable_progress_bar=False,
    )
