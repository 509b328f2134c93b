"""The LightningModule of the U-Net: loss, validation and optimiser."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import pytorch_lightning as pl
import torch
from monai.losses import DiceCELoss
from torch import Tensor

from spuproj.training.data.dataset import Batch
from spuproj.training.fit.resume import CONFIG_KEY
from spuproj.training.inference.case_prediction import view_probabilities
from spuproj.training.models.config import ModelConfig, make_views
from spuproj.training.models.network import make_network
from spuproj.training.runtime.execution import Hardware, all_reduce_sum
from spuproj.wrapping import blend, blending_weights


class Segmenter(pl.LightningModule):
    """A U-Net trained on one view of each slice per step, and validated on all views."""

    weights: Tensor

    def __init__(self, config: ModelConfig, size: tuple[int, int], total_steps: int, hardware: Hardware) -> None:
        super().__init__()
        self.config, self.total_steps, self.hardware = config, total_steps, hardware
        self.network = make_network(config)
        # torch's types leave this argument out.
        self.network.to(memory_format=hardware.memory_format)  # type: ignore[call-overload]
        if hardware.compile:
            self.network.compile()
        self.views = make_views(config, size)
        self.register_buffer("weights", blending_weights(self.views), persistent=False)
        self.loss = DiceCELoss(sigmoid=True, batch=True)
        self.overlap = torch.zeros(2)

    def look(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Projects a batch: the network's input ``[B, C, h, w]``, and the target mask in the same views, uint8."""
        image, label, seen = batch
        views, hardware = self.views.pick(seen), self.hardware
        view = views.project(image, out_dtype=hardware.dtype, memory_format=hardware.memory_format)
        target = views.project(label, interpolation="nearest")
        return view.squeeze(1), target.squeeze(1)

    def learn(self, view: Tensor, target: Tensor) -> Tensor:
        """The loss (Dice and cross-entropy), in float32."""
        loss: Tensor = self.loss(self.network(view).float(), target)
        return loss

    def training_step(self, batch: Batch, _: int) -> Tensor:
        loss = self.learn(*self.look(batch))
        self.log("loss", loss, prog_bar=True)
        return loss

    def on_validation_epoch_start(self) -> None:
        self.overlap = torch.zeros(2, device=self.device)

    def validation_step(self, batch: Batch, index: int) -> None:
        image, label, _ = batch
        seen = view_probabilities(self.network, self.views, image.float())
        found = blend(self.views, seen, self.weights).mean > 0.5
        self.overlap += torch.stack([2.0 * (found & (label > 0)).sum(), found.sum() + label.sum()])

    def on_validation_epoch_end(self) -> None:
        both, each = all_reduce_sum(self.overlap)
        self.log("dice", both / each if each > 0 else torch.ones_like(both), prog_bar=True, sync_dist=True)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint[CONFIG_KEY] = asdict(self.config)

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.AdamW(self.network.parameters(), lr=self.config.method.learning_rate, weight_decay=1e-4)
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimizer, self.config.method.learning_rate, total_steps=max(self.total_steps, 10), pct_start=0.2
        )
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}
