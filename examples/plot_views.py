"""The views of a slice as a picture: where each looks, what it shows, and how it bends the grid of the slice.

Needs the plot extra: python examples/plot_views.py PICTURE.png
"""

import sys

import torch

from spuproj import Views

if len(sys.argv) != 2:
    sys.exit(__doc__)

rows, columns = torch.meshgrid(torch.linspace(-1, 1, 96), torch.linspace(-1, 1, 96), indexing="ij")
head = (rows**2 + (1.3 * columns) ** 2 < 0.7).float()
lesion = ((rows + 0.1) ** 2 + (columns - 0.3) ** 2 < 0.02).float()
image = 0.6 * head + 0.4 * lesion  # [H, W]; an array, [C, H, W] or [B, C, H, W] will do as well

views = Views.spherical((96, 96), grid=(2, 3), box=(16, 24, 80, 72), radius=30)
figure = views.plot(image)  # a matplotlib figure; a notebook shows it
figure.savefig(sys.argv[1])
print(f"{len(views)} views are drawn in {sys.argv[1]}")
