"""The course of a training: losses, Dice and time."""

from __future__ import annotations

import time
from typing import Any

import pytorch_lightning as pl
import torch

from spuproj.training.processes import summed


class Curve(pl.Callback):
    """What a training came to, epoch by epoch, of all processes together; a resumed one goes on with what was kept.

    Attributes:
        loss: mean over the steps of each epoch.
        dice: of each validation, with its epoch, counted from 1.
        seconds: that all steps took, without validation.
        steps: how many these were.
    """

    def __init__(self) -> None:
        self.loss: list[float] = []
        self.dice: list[tuple[int, float]] = []
        self.seconds, self.steps = 0.0, 0

    def on_train_epoch_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        self._losses, self._start = torch.zeros(2, device=module.device), time.monotonic()

    def on_train_batch_end(self, trainer: pl.Trainer, module: pl.LightningModule, outputs: Any, *_: Any) -> None:
        loss = outputs["loss"].detach().float()
        self._losses += torch.stack([loss, torch.ones_like(loss)])
        self.steps += 1
        if trainer.is_last_batch:
            total, count = summed(self._losses).tolist()
            self.loss.append(total / count)
            self.seconds += time.monotonic() - self._start

    def on_validation_end(self, trainer: pl.Trainer, *_: Any) -> None:
        self.dice.append((trainer.current_epoch + 1, float(trainer.callback_metrics["dice"])))

    def state_dict(self) -> dict[str, Any]:
        return {"loss": self.loss, "dice": self.dice, "seconds": self.seconds, "steps": self.steps}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.loss, self.dice = list(state_dict["loss"]), list(state_dict["dice"])
        self.seconds, self.steps = state_dict["seconds"], state_dict["steps"]
