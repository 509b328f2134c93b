"""Training of one target's network on randomly viewed slices."""

from __future__ import annotations

import logging
import math
import shutil
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback
from pytorch_lightning.loggers import TensorBoardLogger
from pytorch_lightning.plugins.environments import SLURMEnvironment

from spuproj.training.data.dataset import Cohort, SliceEntry, cache_cohort, make_loader
from spuproj.training.data.readers.case_files import CaseFiles, modalities_of
from spuproj.training.data.readers.registry import cases_in
from spuproj.training.data.sampler import BalancedSampler, ShardedSampler
from spuproj.training.data.splits import Split, chosen, read_split
from spuproj.training.fit.callbacks import LastCheckpoint, LearningCurve, TrainingProgressBar
from spuproj.training.fit.module import Segmenter
from spuproj.training.fit.record import course_facts, data_facts, machine_facts, write_record
from spuproj.training.fit.resume import CHECKPOINT, clear, readable, refuse_another, stopped
from spuproj.training.models.config import ModelConfig, make_views
from spuproj.training.models.method import Method, load_method
from spuproj.training.models.run import CONFIG, RECORD, WEIGHTS, save_run, write_config
from spuproj.training.models.settings import plain_errors
from spuproj.training.runtime.execution import PRECISIONS, Hardware, check_hardware, rank
from spuproj.training.runtime.files import InputError, refuse_overwrite
from spuproj.training.runtime.progress import console, progress_bar


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
) -> Path:
    """Trains one target's model and writes it to ``out``.

    Args:
        data: cases with labels, as ``cases_in`` takes them; all modalities that they have in common are used.
        target: ET, TC or WT, or one of the data's own.
        out: folder of the run: configuration, weights, record, the last checkpoint and TensorBoard logs.
        method: the views, the network and its training; ``spu`` where None.
        validation: cases held out to watch the Dice of their slices with the target; one in five where None.
        split: file of ``spuproj split`` that names the cases instead; those that test are not read.
        fold: which of its splits.
        seed: of the split, the weights, the sampling and the views; on one machine it fixes the result.
        labels: name of the label scheme, where it is not the one that the files tell.
        force: write over an existing run, or start a stopped one over.
        resume: go on with a training that was stopped, from the end of its last whole epoch; one that did not get so
            far starts over, and one that has finished is left as it is.
        cache: folder that keeps the cases' slices for other trainings; one in ``out``, removed at the end, where None.
        hardware: what to train on, and how; one device in 32 bits where None.

    Returns:
        ``out``.

    Raises:
        InputError: for data that cannot be used (see ``load_case``), fewer than two cases with the target, an existing
            or a stopped run, or a resumed one that is not the same training.
        ValueError: for fewer than two cases, a number of cases to validate that leaves none, ``force`` together with
            ``resume``, or hardware that does not fit (see ``check_hardware``).
    """
    method = load_method("spu") if method is None else method
    hardware = Hardware() if hardware is None else hardware
    check_hardware(hardware, method.batch_size)
    _refuse_to_lose(out, force, resume)
    cases, roles = _cases(data, labels, split, fold, validation)
    held_out = validation if validation is not None else max(1, len(cases) // 5)
    if roles is None and not 1 <= held_out < len(cases):
        raise ValueError(f"validation must leave cases on both sides of {len(cases)}, got {held_out}")
    modalities = modalities_of(cases)
    asked = {"target": target, "method": asdict(method), "seed": seed, "modalities": modalities}
    if resume and _finished(out, asked):
        console.print(f"{out} has finished: there is nothing to resume", markup=False, soft_wrap=True)
        return out
    pl.seed_everything(seed, workers=True, verbose=False)
    with _cache_folder(out, cache) as folder:
        with progress_bar(f"Reading {data.name} for {target}", len(cases)) as advance:
            cohort = cache_cohort(cases, modalities, target, folder, advance)
        training, validating = cohort.split(held_out, seed) if roles is None else cohort.roles(roles)
        box = _mean_box([cohort.cases[name].box for name in training])
        view_size = _network_size(cohort.size, method)
        with plain_errors(ModelConfig):
            config = ModelConfig(target, cohort.field, view_size, box, method, modalities, seed)
        facts = {"data": data_facts(cohort, training, validating), **machine_facts(hardware)}
        checkpoint = _begin(out, config, facts, resume)
        network, curve = _fit(config, cohort, training, validating, out, hardware, checkpoint)
        if rank() == 0:
            write_record(out, {**course_facts(curve, method.batch_size), **facts})
            save_run(out, config, network, facts["data"]["train"]["sha256"])
    return out


def _refuse_to_lose(out: Path, force: bool, resume: bool) -> None:
    """Raises where a run, or a training that was stopped, would be lost unasked."""
    if force and resume:
        raise ValueError("force must be left out where a training is resumed: it starts over")
    refuse_overwrite([out / WEIGHTS], force or resume)
    if stopped(out) and not force and not resume:
        raise InputError(
            f"{out} holds a training that has not finished; pass --resume to go on with it, or --force to start over"
        )


def _finished(out: Path, asked: dict[str, Any]) -> bool:
    """Whether the run is whole. Raises InputError, before any data is read, where it was asked for something else."""
    if (out / CONFIG).is_file():
        refuse_another(out / CONFIG, asked)
    return (out / WEIGHTS).exists()


def _cases(
    data: Path, labels: str | None, split: Path | None, fold: int, validation: int | None
) -> tuple[list[CaseFiles], Split | None]:
    """The cases to read, and their roles where a split gives them."""
    cases = cases_in(data, labels)
    roles = _roles_given(split, fold, validation)
    return (cases, None) if roles is None else (chosen(cases, [*roles.train, *roles.validation]), roles)


@contextmanager
def _cache_folder(out: Path, cache: Path | None) -> Iterator[Path]:
    """The folder of the cached cases. One of the run's own is removed at the end; a killed training leaves it."""
    out.mkdir(parents=True, exist_ok=True)
    own = out / ".cache"
    try:
        yield own if cache is None else cache
    finally:
        shutil.rmtree(own, ignore_errors=True)


def _begin(out: Path, config: ModelConfig, facts: dict[str, Any], resume: bool) -> Path | None:
    """The checkpoint to go on from; or None, and the folder is that of a training which begins."""
    if resume and stopped(out):
        refuse_another(out / CONFIG, asdict(config))
        refuse_another(out / RECORD, {"data": facts["data"]})
        return readable(out / CHECKPOINT)
    if resume:
        console.print(f"{out} has no epoch to resume from: starting from the beginning", markup=False, soft_wrap=True)
    if rank() == 0:
        clear(out)
        write_config(out, config)
        write_record(out, facts)
    return None


def _roles_given(split: Path | None, fold: int, validation: int | None) -> Split | None:
    if split is None:
        return None
    if validation is not None:
        raise ValueError("validation must be left out where a split names the cases that validate")
    return read_split(split, fold)


def _mean_box(boxes: list[tuple[float, float, float, float]]) -> tuple[float, float, float, float]:
    y0, x0, y1, x1 = (sum(side) / len(boxes) for side in zip(*boxes, strict=True))
    return y0, x0, y1, x1


def _network_size(size: tuple[int, int], method: Method) -> tuple[int, int]:
    """The views' size, rounded up to what the U-Net's levels divide."""
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
    checkpoint: Path | None,
) -> tuple[torch.nn.Module, LearningCurve]:
    """The network after the last epoch, where the learning rate has run out, and how it got there."""
    method = config.method
    entries = [entry for name in training for entry in cohort.entries[name]]
    positive = [entry for name in validation for entry in cohort.entries[name] if entry.positive]
    if len(positive) < hardware.processes:
        raise InputError(f"validation must have a slice with the target for each of {hardware.processes} processes")
    draws = _draws(entries, config)
    loader = make_loader(entries, config.target, draws, hardware)
    watched = make_loader(positive, config.target, ShardedSampler(len(positive), method.batch_size), hardware)
    total_steps = method.epochs * len(draws)
    curve, bar = LearningCurve(), TrainingProgressBar(f"Training {config.target}", total_steps)
    trainer = _trainer(config, out, hardware, len(draws), [curve, LastCheckpoint(out, draws), bar])
    model = Segmenter(config, cohort.size, total_steps, hardware)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*does not have many workers.*")
        warnings.filterwarnings("ignore", message=".*LeafSpec.*")
        trainer.fit(model, loader, watched, ckpt_path=checkpoint, weights_only=True)
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
        # SLURM's signals would have pytorch-lightning keep a state amid an epoch, which cannot be resumed exactly.
        plugins=[SLURMEnvironment(auto_requeue=False)] if SLURMEnvironment.detect() else None,
        callbacks=callbacks,
        default_root_dir=out,
        logger=TensorBoardLogger(out, name="logs", version=""),
        check_val_every_n_epoch=max(1, config.method.epochs // 5),
        log_every_n_steps=min(steps, 20),
        num_sanity_val_steps=0,
        gradient_clip_val=1.0,
        use_distributed_sampler=False,
        enable_checkpointing=False,
        enable_model_summary=False,
        enable_progress_bar=False,
    )
