"""What projecting costs within a step of training: ``python -m spuproj.benchmarks.step_share`` prints it for a GPU."""

from __future__ import annotations

import time

import torch
from torch import Tensor

from spuproj.training.models.config import ModelConfig, make_views
from spuproj.training.models.method import load_method
from spuproj.training.models.network import make_network

_STEPS = 5


def step_share(device: str, batch: int = 64, side: int = 240) -> float:
    """Percent of a training step that goes into projecting images and labels.

    The step is that of the training layer: one random view for each slice, its U-Net, here in bfloat16, channels-last.
    The device is waited for after each part, which counts against the projection more than overlapping would.

    Args:
        device: where to train.
        batch: slices per step.
        side: of the slices and the views, in pixels.
    """
    size = (side, side)
    config = ModelConfig(
        target="WT", field=(240.0, 240.0), view_size=size, box=(0.2, 0.2, 0.8, 0.8), method=load_method("spu")
    )
    network = make_network(config).to(device, memory_format=torch.channels_last)
    views = make_views(config, size).to(device)
    optimizer = torch.optim.AdamW(network.parameters())
    image = torch.randn(batch, len(config.modalities), *size, device=device)
    label = (image[:, :1] > 1).to(torch.uint8)

    def project() -> tuple[Tensor, Tensor]:
        drawn = views.pick(torch.randint(len(views), (batch,), device=device))
        seen = drawn.project(image, out_dtype=torch.bfloat16, memory_format=torch.channels_last).squeeze(1)
        return seen, drawn.project(label, interpolation="nearest").squeeze(1)

    def learn(seen: Tensor, target: Tensor) -> None:
        with torch.autocast(torch.device(device).type, dtype=torch.bfloat16):
            logits = network(seen)
        torch.nn.functional.binary_cross_entropy_with_logits(logits.float(), target.float()).backward()
        optimizer.step()
        optimizer.zero_grad()

    for _ in range(2):
        learn(*project())
    projecting = whole = 0.0
    for _ in range(_STEPS):
        start = _now(device)
        seen = project()
        between = _now(device)
        learn(*seen)
        projecting, whole = projecting + between - start, whole + _now(device) - start
    return 100 * projecting / whole


def _now(device: str) -> float:
    if device.startswith("cuda"):
        torch.cuda.synchronize()
    return time.perf_counter()


if __name__ == "__main__":
    print(f"{step_share('cuda'):.3f}")
