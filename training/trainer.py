"""Training of one target's network on randomly viewed slices."""

from __future__ import annotations

import logging
import math
import shutil
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from monai.losses import DiceCELoss
from pytorch_lightning.callbacks import Callback
from pytorch_lightning.loggers import TensorBoardLogger
from pytorch_lightning.plugins.environments import SLURMEnvironment
from torch import Tensor
from torch.utils.data import DataLoader, Sampler

from spuproj.training.curve import Curve
from spuproj.training.draws import Draws, Parts
from spuproj.training.files import InputError, refuse_overwrite
from spuproj.training.hardware import PRECISIONS, Hardware, check_hardware
from spuproj.training.methods import Method, method_named, values_of
from spuproj.training.predictor import reduce_views
from spuproj.training.processes import rank, summed
from spuproj.training.progress import Epochs, console, steps
from spuproj.training.readers import CaseFiles, cases_in, modalities_of
from spuproj.training.record import course_facts, data_facts, machine_facts, write_record
from spuproj.training.resume import CHECKPOINT, Keeper, clear, readable, refuse_another, stopped
from spuproj.training.runs import (
    CONFIG,
    RECORD,
    WEIGHTS,
    Config,
    config_values,
    make_network,
    make_views,
    save_run,
    write_config,
)
from spuproj.training.slices import Batch, Cohort, Entry, Slices, cache_cohort
from spuproj.training.splits import Split, chosen, read_split


class Segmenter(pl.LightningModule):
    """A U-Net that sees each slice through one view per step, and in validation through all of them."""

    def __init__(self, config: Config, size: tuple[int, int], total_steps: int, hardware: Hardware) -> None:
        super().__init__()
        self.config, self.total_steps, self.hardware = config, total_steps, hardware
        self.network = make_network(config).to(memory_format=hardware.memory_format)
        if hardware.compile:
            self.network.compile()
        self.views = make_views(config, size)
        self.loss = DiceCELoss(sigmoid=True, batch=True)
        self.overlap = torch.zeros(2)

    def look(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """What the network sees of a batch, ``[B, C, h, w]`` as it takes it, and the target there, uint8."""
        image, label, seen = batch
        views, hardware = self.views.pick(seen), self.hardware
        view = views.project(image, out_dtype=hardware.dtype, memory_format=hardware.memory_format)
        target = views.project(label, interpolation="nearest")
        return view.squeeze(1), target.squeeze(1)

    def learn(self, view: Tensor, target: Tensor) -> Tensor:
        """The loss, in float32."""
        loss: Tensor = self.loss(self.network(view).float(), target)
        return loss

    def training_step(self, batch: Batch, _: int) -> Tensor:
        loss = self.learn(*self.look(batch))
        self.log("loss", loss, prog_bar=True)
        return loss

    def on_validation_epoch_start(self) -> None:
        self.overlap = torch.zeros(2, device=self.device)

    def validation_step(self, batch: Batch, _: int) -> None:
        image, label, _ = batch
        mean, _, _ = reduce_views(self.network, self.views, image.float())
        found = mean > 0.5
        self.overlap += torch.stack([2.0 * (found & (label > 0)).sum(), found.sum() + label.sum()])

    def on_validation_epoch_end(self) -> None:
        both, each = summed(self.overlap)
        self.log("dice", both / each if each > 0 else torch.ones_like(both), prog_bar=True, sync_dist=True)

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.AdamW(self.network.parameters(), lr=self.config.method.learning_rate, weight_decay=1e-4)
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimizer, self.config.method.learning_rate, total_steps=max(self.total_steps, 10), pct_start=0.2
        )
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


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
    method = method_named("spu") if method is None else method
    hardware = Hardware() if hardware is None else hardware
    check_hardware(hardware, method.batch_size)
    _refuse_to_lose(out, force, resume)
    cases, roles = _cases(data, labels, split, fold, validation)
    held_out = validation if validation is not None else max(1, len(cases) // 5)
    if roles is None and not 1 <= held_out < len(cases):
        raise ValueError(f"validation must leave cases on both sides of {len(cases)}, got {held_out}")
    modalities = modalities_of(cases)
    asked = {"target": target, "method": values_of(method), "seed": seed, "modalities": modalities}
    if resume and _finished(out, asked):
        console.print(f"{out} has finished: there is nothing to resume", markup=False, soft_wrap=True)
        return out
    pl.seed_everything(seed, workers=True, verbose=False)
    with _cache_folder(out, cache) as folder:
        with steps(f"Reading {data.name} for {target}", len(cases)) as advance:
            cohort = cache_cohort(cases, modalities, target, folder, advance)
        training, validating = cohort.split(held_out, seed) if roles is None else cohort.roles(roles)
        box = _mean_box([cohort.cases[name].box for name in training])
        view_size = _network_size(cohort.size, method)
        config = Config(target, cohort.field, view_size, box, method, modalities, seed)
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


def _begin(out: Path, config: Config, facts: dict[str, Any], resume: bool) -> Path | None:
    """The checkpoint to go on from; or None, and the folder is that of a training which begins."""
    if resume and stopped(out):
        refuse_another(out / CONFIG, config_values(config))
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
    config: Config,
    cohort: Cohort,
    training: list[str],
    validation: list[str],
    out: Path,
    hardware: Hardware,
    checkpoint: Path | None,
) -> tuple[torch.nn.Module, Curve]:
    """The network after the last epoch, where the learning rate has run out, and how it got there."""
    method = config.method
    entries = [entry for name in training for entry in cohort.entries[name]]
    positive = [entry for name in validation for entry in cohort.entries[name] if entry.positive]
    if len(positive) < hardware.processes:
        raise InputError(f"validation must have a slice with the target for each of {hardware.processes} processes")
    draws = _draws(entries, config)
    loader = make_loader(entries, config.target, draws, hardware)
    watched = make_loader(positive, config.target, Parts(len(positive), method.batch_size), hardware)
    total_steps = method.epochs * len(draws)
    curve, bar = Curve(), Epochs(f"Training {config.target}", total_steps)
    trainer = _trainer(config, out, hardware, len(draws), [curve, Keeper(out, draws), bar])
    model = Segmenter(config, cohort.size, total_steps, hardware)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*does not have many workers.*")
        warnings.filterwarnings("ignore", message=".*LeafSpec.*")
        trainer.fit(model, loader, watched, ckpt_path=checkpoint, weights_only=True)
    return model.network.cpu(), curve


def _draws(entries: list[Entry], config: Config) -> Draws:
    method = config.method
    views = 1 if method.training_views == "first" else len(make_views(config, config.view_size))
    return Draws([entry.positive for entry in entries], views, method.batch_size, config.seed)


def make_loader(
    entries: list[Entry], target: str, sampler: Sampler[list[tuple[int, int]]], hardware: Hardware
) -> DataLoader[Batch]:
    """Batches of slices as the sampler lists them."""
    workers = hardware.workers
    return DataLoader(
        Slices(entries, target),
        batch_size=None,
        sampler=sampler,
        num_workers=workers,
        persistent_workers=workers > 0,
        # Forked workers share the mapped arrays; others would be sent copies.
        multiprocessing_context="fork" if workers > 0 else None,
        pin_memory=torch.cuda.is_available(),
    )


def _trainer(config: Config, out: Path, hardware: Hardware, steps: int, callbacks: list[Callback]) -> pl.Trainer:
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
