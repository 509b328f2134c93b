"""Views learn where to look: small lesions are shown by coarse views, whose centres and radii are trained.

Needs torch and numpy alone: python examples/learn_where_to_look.py
"""

import torch

from spuproj import LearnableViews, Views

torch.manual_seed(0)
rows, columns = torch.meshgrid(torch.arange(64.0), torch.arange(64.0), indexing="ij")
views = LearnableViews((64, 64), grid=(2, 2), view_size=(24, 24), learn=("centers", "radius"))
optimizer = torch.optim.Adam(views.parameters(), lr=0.1)


def slices(count: int) -> torch.Tensor:  # [B, 1, H, W]
    y, x = 44 + 3 * torch.randn(count, 1, 1, 1), 22 + 3 * torch.randn(count, 1, 1, 1)  # a lesion somewhere around there
    return torch.exp(-((rows - y) ** 2 + (columns - x) ** 2) / 6)


def error(now: Views, image: torch.Tensor) -> torch.Tensor:  # of the mean over the views, relative to the lesions
    return torch.nn.functional.mse_loss(now.reduce(now.project(image))[0], image) / image.square().mean()


test, fixed = slices(32), views.views()
for _ in range(40):
    optimizer.zero_grad()
    error(views.with_gradient(), slices(4)).backward()
    optimizer.step()
print(f"error of fixed views {float(error(fixed, test)):.3f}, of learned views {float(error(views.views(), test)):.3f}")
