"""Callbacks of a training: learning curve, progress bar and last checkpoint."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch

from spuproj.training.data.sampler import BalancedSampler
from spuproj.training.fit.resume import CHECKPOINT
from spuproj.training.runtime.errors import InputError
from spuproj.training.runtime.execution import all_reduce_sum
from spuproj.training.runtime.progress import draws_bars, make_progress, print_status


class LearningCurve(pl.Callback):
    """Loss, Dice and time by epoch, over all processes. Part of the checkpoint, so a resumed training continues it.

    Attributes:
        loss: mean over the steps of each epoch.
        dice: (epoch, Dice) of each validation; epochs count from 1.
        seconds: total time of the training steps.
        steps: their number.
    """

    def __init__(self) -> None:
        self.loss: list[float] = []
        self.dice: list[tuple[int, float]] = []
        self.seconds, self.steps = 0.0, 0

    def on_train_epoch_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        self._losses, self._start = torch.zeros(2, device=module.device), time.monotonic()
        if trainer.current_epoch + 1 == trainer.max_epochs:
            trainer.check_val_every_n_epoch = 1  # The weights that are kept are always validated.

    def on_train_batch_end(self, trainer: pl.Trainer, module: pl.LightningModule, outputs: Any, *_: Any) -> None:
        loss = outputs["loss"].detach().float()
        self._losses += torch.stack([loss, torch.ones_like(loss)])
        self.steps += 1
        if trainer.is_last_batch:
            total, count = all_reduce_sum(self._losses).tolist()
            self.loss.append(total / count)
            module.log("epoch_loss", self.loss[-1])
            self.seconds += time.monotonic() - self._start

    def on_validation_end(self, trainer: pl.Trainer, *_: Any) -> None:
        self.dice.append((trainer.current_epoch + 1, float(trainer.callback_metrics["dice"])))

    def state_dict(self) -> dict[str, Any]:
        return {"loss": self.loss, "dice": self.dice, "seconds": self.seconds, "steps": self.steps}

    def text(self, epochs: int | None) -> str:
        """The last epoch, its mean loss, and its Dice where it was validated."""
        epoch = len(self.loss)
        dice = f" dice {self.dice[-1][1]:.3f}" if self.dice and self.dice[-1][0] == epoch else ""
        return f"epoch {epoch}/{epochs} loss {self.loss[-1]:.3f}{dice}"

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.loss, self.dice = list(state_dict["loss"]), list(state_dict["dice"])
        self.seconds, self.steps = state_dict["seconds"], state_dict["steps"]


class TrainingProgressBar(pl.Callback):
    """A bar over all training steps, with the epoch, the loss of the last step and the last validation's Dice."""

    def __init__(self, description: str, total: int) -> None:
        self.progress = make_progress()
        self.task = self.progress.add_task(description, total=total, note="")

    def on_fit_start(self, *_: Any) -> None:
        self.progress.start()

    def on_train_start(self, trainer: pl.Trainer, *_: Any) -> None:
        self.progress.update(self.task, completed=trainer.global_step)

    def on_train_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        self.progress.advance(self.task)
        # Reading a metric synchronises with the GPU. The trainer has this attribute, though not in its types.
        if trainer.global_step % trainer.log_every_n_steps:  # type: ignore[attr-defined]
            return
        self.progress.update(self.task, note=_state_of(trainer))

    def on_exception(self, *_: Any, **__: Any) -> None:
        self.progress.stop()

    def teardown(self, *_: Any, **__: Any) -> None:
        self.progress.stop()


class TrainingProgressLines(pl.Callback):
    """A line per epoch, with its mean loss, and its Dice where it was validated."""

    def __init__(self, description: str, curve: LearningCurve) -> None:
        self.description, self.curve = description, curve

    def on_train_epoch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        print_status(f"{self.description} {self.curve.text(trainer.max_epochs)}")


def training_progress(description: str, steps: int, curve: LearningCurve) -> pl.Callback:
    """A bar over all steps on a terminal, elsewhere a line per epoch, on standard error."""
    return TrainingProgressBar(description, steps) if draws_bars() else TrainingProgressLines(description, curve)


def _state_of(trainer: pl.Trainer) -> str:
    found = trainer.callback_metrics
    metrics = " ".join(f"{name} {float(found[name]):.3f}" for name in ("loss", "dice") if name in found)
    return f"epoch {trainer.current_epoch + 1}/{trainer.max_epochs} {metrics}"


class LastCheckpoint(pl.Callback):
    """Saves a checkpoint after every epoch, replacing the one before, and sets the sampler's epoch on resume.

    Raises InputError, and saves nothing, where a weight is NaN or infinite.

    It is written by ``WholeCheckpoints``.
    """

    def __init__(self, run: Path, draws: BalancedSampler) -> None:
        self.path, self.draws = run / CHECKPOINT, draws

    def on_train_epoch_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        if not all(bool(each.isfinite().all()) for each in module.parameters()):
            raise InputError(
                f"weights must be finite, but are not after epoch {trainer.current_epoch + 1} of {trainer.max_epochs}; "
                "the checkpoint before is kept, but the same settings end here again: train anew with a lower "
                "learning_rate of the method, or with --precision 32"
            )
        trainer.save_checkpoint(self.path)

    def on_load_checkpoint(self, trainer: pl.Trainer, module: pl.LightningModule, checkpoint: dict[str, Any]) -> None:
        # Loader workers start before pytorch-lightning sets the epoch.
        self.draws.set_epoch(checkpoint["epoch"] + 1)
