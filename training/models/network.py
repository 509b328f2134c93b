"""The U-Net."""

from __future__ import annotations

from monai.networks.nets import UNet
from torch import nn

from spuproj.training.models.config import ModelConfig


def make_network(config: ModelConfig) -> nn.Module:
    """The U-Net (MONAI): C modalities in, one logit out; its input sides must be multiples of 2 ** (levels - 1)."""
    channels = config.method.channels
    network = UNet(
        spatial_dims=2,
        in_channels=len(config.modalities),
        out_channels=1,
        channels=channels,
        strides=(2,) * (len(channels) - 1),
        act="RELU",
        norm="BATCH",
    )
    # Targets are small: training starts from "background" rather than from one half.
    last = [module for module in network.modules() if isinstance(module, nn.ConvTranspose2d)][-1]
    assert last.bias is not None
    nn.init.constant_(last.bias, -3.0)
    return network
