"""Views as augmentation: every sample of a batch is seen through a view of its own, and so are its labels.

Needs torch and numpy alone: python examples/views_as_augmentation.py
"""

import torch

from spuproj import Views

torch.manual_seed(0)
size = (96, 96)
views = Views.spherical(size, grid=(3, 3)) + Views.rigid(size, degrees=[-15, 0, 15], flips=["none", "horizontal"])
images = torch.randn(4, 2, *size)  # [B, C, H, W]
labels = torch.randint(0, 4, (4, 1, *size))  # [B, 1, H, W], classes

for epoch in range(3):
    drawn = torch.randint(len(views), (len(images),))  # a view for each sample
    chosen = views.pick(drawn)
    seen = chosen.project(images)[:, 0]  # [B, C, h, w]
    wanted = chosen.project(labels, interpolation="nearest", fill=0)[:, 0, 0]  # [B, h, w], whole classes
    print(f"epoch {epoch}: views {drawn.tolist()}, inputs {tuple(seen.shape)}, classes {wanted.unique().tolist()}")
