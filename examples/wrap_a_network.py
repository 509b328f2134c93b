"""Mean and uncertainty from any segmentation network, in one call: wrap it, and call it as before.

Needs torch and numpy alone: python examples/wrap_a_network.py
"""

import torch
from torch import nn

import spuproj

torch.manual_seed(0)
network = nn.Sequential(nn.Conv2d(4, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 3, 1))  # yours here: logits of 3 classes
views = spuproj.Views.factory("spherical", grid=(3, 3))  # nine centres, for slices of any size
wrapped = spuproj.wrap(network, views, activation="softmax", chunk=4).eval()  # four views in a forward pass

with torch.inference_mode():
    for size in ((96, 96), (80, 64)):
        maps = wrapped(torch.randn(2, 4, *size))  # [B, C, H, W]
        classes = maps.mean.argmax(dim=1)  # [B, H, W]
        print(f"{tuple(classes.shape)}: mean entropy {float(maps.entropy.mean()):.3f} nats, of which")
        print(f"  {float(maps.mutual_information.nanmean()):.3f} is disagreement between the views")
        alone = float(maps.variance.isnan().float().mean())
        print(f"  {100 * alone:.1f} % of the pixels are seen by too few views for a variance")
