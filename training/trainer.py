"""Training of one target's network on randomly viewed slices."""

from __future__ import annotations

import logging
import math
import shutil
import tempfile
import warnings
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from monai.losses import DiceCELoss
from pytorch_lightning.callbacks import Callback, ModelCheckpoint
from pytorch_lightning.loggers import TensorBoardLogger
from torch import Tensor
from torch.utils.data import DataLoader

from spuproj import functional
from spuproj.training.draws import Draws
from spuproj.training.files import refuse_overwrite
from spuproj.training.methods import Method, method_named
from spuproj.training.predictor import reduce_views
from spuproj.training.progress import Epochs, steps
from spuproj.training.readers import cases_in, modalities_of
from spuproj.training.runs import WEIGHTS, Config, make_network, make_views, save_run
from spuproj.training.slices import Batch, Cohort, Entry, Slices, cache_cohort
from spuproj.training.splits import Split, chosen, read_split


class Segmenter(pl.LightningModule):
    """A U-Net that sees each slice through one view per step, and in validation through all of them."""

    def __init__(self, config: Config, size: tuple[int, int], total_steps: int) -> None:
        super().__init__()
        self.config, self.total_steps = config, total_steps
        self.network = make_network(config)
        self.views = make_views(config, size)
        self.loss = DiceCELoss(sigmoid=True, batch=True)
        self.overlap = torch.zeros(2)

    def training_step(self, batch: Batch, _: int) -> Tensor:
        image, label, seen = batch
        geometry, raster = self.views.geometry[seen], self.views.view_size
        view = functional.project(image, geometry, raster).squeeze(1)
        target = functional.project(label, geometry, raster, interpolation="nearest").squeeze(1)
        loss: Tensor = self.loss(self.network(view), target)
        self.log("loss", loss, prog_bar=True)
        return loss

    def on_validation_epoch_start(self) -> None:
        self.overlap = torch.zeros(2, device=self.device)

    def validation_step(self, batch: Batch, _: int) -> None:
        image, label, _ = batch
        mean, _, _ = reduce_views(self.network, self.views, image)
        found = mean > 0.5
        self.overlap += torch.stack([2.0 * (found & (label > 0)).sum(), found.sum() + label.sum()])

    def on_validation_epoch_end(self) -> None:
        dice = self.overlap[0] / self.overlap[1] if self.overlap[1] > 0 else torch.tensor(1.0)
        self.log("dice", dice, prog_bar=True)

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
) -> Path:
    """Trains one target's model and writes it to ``out``.

    Args:
        data: cases with labels, as ``cases_in`` takes them; all modalities that they have in common are used.
        target: ET, TC or WT, or one of the data's own.
        out: folder of the run: configuration, weights, checkpoints and TensorBoard logs.
        method: the views, the network and its training; ``spu`` where None.
        validation: cases held out to watch the Dice of their slices with the target; one in five where None.
        split: file of ``spuproj split`` that names the cases instead; those that test are not read.
        fold: which of its splits.
        seed: of the split, the weights, the sampling and the views; on one machine it fixes the result.
        labels: name of the label scheme, where it is not the one that the files tell.
        force: write over an existing run.

    Returns:
        ``out``.

    Raises:
        InputError: for data that cannot be used (see ``load_case``), fewer than two cases with the target, or an
            existing run.
        ValueError: for fewer than two cases, or a number of cases to validate that leaves none.
    """
    method = method_named("spu") if method is None else method
    refuse_overwrite([out / WEIGHTS], force)
    cases = cases_in(data, labels)
    roles = _roles_given(split, fold, validation)
    held_out = validation if validation is not None else max(1, len(cases) // 5)
    if roles is not None:
        cases = chosen(cases, [*roles.train, *roles.validation])
    elif not 1 <= held_out < len(cases):
        raise ValueError(f"validation must leave cases on both sides of {len(cases)}, got {held_out}")
    modalities = modalities_of(cases)
    pl.seed_everything(seed, workers=True, verbose=False)
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out, prefix=".cache-") as cache:
        with steps(f"Reading {data.name} for {target}", len(cases)) as advance:
            cohort = cache_cohort(cases, modalities, target, Path(cache), advance)
        training, validating = cohort.split(held_out, seed) if roles is None else cohort.roles(roles)
        config = Config(
            target=target,
            field=cohort.field,
            view_size=_network_size(cohort.size, method),
            modalities=modalities,
            extent=_mean_extent([cohort.extents[name] for name in training]),
            method=method,
            seed=seed,
        )
        for older in ("checkpoints", "logs"):
            shutil.rmtree(out / older, ignore_errors=True)
        save_run(out, config, _fit(config, cohort, training, validating, out))
    return out


def _roles_given(split: Path | None, fold: int, validation: int | None) -> Split | None:
    if split is None:
        return None
    if validation is not None:
        raise ValueError("validation must be left out where a split names the cases that validate")
    return read_split(split, fold)


def _mean_extent(extents: list[tuple[float, float, float, float]]) -> tuple[float, float, float, float]:
    y0, x0, y1, x1 = (sum(side) / len(extents) for side in zip(*extents, strict=True))
    return y0, x0, y1, x1


def _network_size(size: tuple[int, int], method: Method) -> tuple[int, int]:
    """The views' size, rounded up to what the U-Net's levels divide."""
    multiple = 2 ** (len(method.channels) - 1)
    height, width = (math.ceil(round(side * method.raster) / multiple) * multiple for side in size)
    return height, width


def _fit(config: Config, cohort: Cohort, training: list[str], validation: list[str], out: Path) -> torch.nn.Module:
    """The network after the last epoch, where the learning rate has run out."""
    method = config.method
    loader = _training_loader([entry for name in training for entry in cohort.entries[name]], config)
    positive = [entry for name in validation for entry in cohort.entries[name] if entry.positive]
    watched = _validation_loader(positive, method.batch_size)
    total_steps = method.epochs * len(loader)
    model = Segmenter(config, cohort.size, total_steps)
    checkpoint = ModelCheckpoint(out / "checkpoints", save_last=True)
    trainer = _trainer(config, out, [checkpoint, Epochs(f"Training {config.target}", total_steps)])
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*does not have many workers.*")
        warnings.filterwarnings("ignore", message=".*LeafSpec.*")
        trainer.fit(model, loader, watched)
    return model.network.cpu()


def _training_loader(entries: list[Entry], config: Config) -> DataLoader[Batch]:
    method = config.method
    views = 1 if method.training_views == "first" else len(make_views(config, config.view_size))
    draws = Draws([entry.positive for entry in entries], views, method.batch_size, config.seed)
    return DataLoader(Slices(entries), batch_size=None, sampler=draws)


def _validation_loader(entries: list[Entry], batch_size: int) -> DataLoader[Batch]:
    """Each slice once; what view is named with it has no meaning."""
    starts = range(0, len(entries), batch_size)
    batches = [[(index, 0) for index in range(start, min(start + batch_size, len(entries)))] for start in starts]
    return DataLoader(Slices(entries), batch_size=None, sampler=batches)


def _trainer(config: Config, out: Path, callbacks: list[Callback]) -> pl.Trainer:
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    return pl.Trainer(
        max_epochs=config.method.epochs,
        accelerator="gpu" if torch.cuda.is_available() else "cpu",
        devices=1,
        callbacks=callbacks,
        logger=TensorBoardLogger(out, name="logs", version=""),
        check_val_every_n_epoch=max(1, config.method.epochs // 5),
        log_every_n_steps=1,
        num_sanity_val_steps=0,
        gradient_clip_val=1.0,
        use_distributed_sampler=False,
        enable_model_summary=False,
        enable_progress_bar=False,
    )
