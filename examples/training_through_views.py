"""Gradients through both projections: a network is trained on the error of the mean over the views, on the slice.

Needs torch and numpy alone: python examples/training_through_views.py
"""

import torch
from torch import nn

from spuproj import Views

torch.manual_seed(0)
rows, columns = torch.meshgrid(torch.arange(64.0), torch.arange(64.0), indexing="ij")
truth = ((rows - 30) ** 2 + (columns - 36) ** 2 < 100).float()[None, None]  # [B, 1, H, W], a disc
image = truth + 0.3 * torch.randn(1, 1, 64, 64)

views = Views.spherical(size=(64, 64), grid=(2, 2))
network = nn.Sequential(nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 1, 3, padding=1))
optimizer = torch.optim.Adam(network.parameters(), lr=0.02)
for step in range(41):
    stack = views.project(image)  # [B, N, 1, h, w]
    logits = network(stack.flatten(0, 1)).unflatten(0, stack.shape[:2])
    mean, _, _ = views.reduce(logits)  # [B, 1, H, W]
    loss = nn.functional.binary_cross_entropy_with_logits(mean, truth)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    if step % 20 == 0:
        print(f"step {step}: loss {float(loss.detach()):.3f}")
