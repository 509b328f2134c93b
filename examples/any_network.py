"""Segmentation and uncertainty from any PyTorch network: project, predict every view, reduce.

Needs torch and numpy alone: python examples/any_network.py
"""

import torch
from torch import nn

from spuproj import Views
from spuproj.uncertainty import entropy

torch.manual_seed(0)
network = nn.Sequential(nn.Conv2d(4, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 1, 1), nn.Sigmoid())  # yours here
images = torch.randn(2, 4, 96, 96)  # [B, C, H, W]: two slices of four modalities

views = Views.spherical(size=(96, 96), grid=(3, 3), box=(16, 16, 80, 80))  # nine centres over the box
with torch.inference_mode():
    stack = views.project(images)  # [B, N, C, h, w]
    probability = network(stack.flatten(0, 1)).unflatten(0, stack.shape[:2])  # [B, N, 1, h, w]
    mean, variance, count = views.reduce(probability)  # [B, 1, H, W] each

print(f"{len(views)} views; a pixel is seen by {int(count.min())} to {int(count.max())} of them")
print(f"segmented: {int((mean > 0.5).sum())} pixels; mean entropy {float(entropy(mean).mean()):.3f} nats")
print(f"mean variance over the views: {float(variance.mean()):.2e}")
