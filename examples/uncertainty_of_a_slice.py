"""Uncertainty map of a slice of any NIfTI volume, as a picture.

Needs the training extra: python examples/uncertainty_of_a_slice.py VOLUME.nii.gz SLICE PICTURE.png
"""

import sys

import nibabel as nib
import numpy as np
import torch
from matplotlib.figure import Figure

from spuproj import Views

if len(sys.argv) != 4:
    sys.exit(__doc__)

volume = nib.as_closest_canonical(nib.load(sys.argv[1])).get_fdata(dtype=np.float32)  # axes right, front, up
plane = torch.from_numpy(np.ascontiguousarray(np.rot90(volume[:, :, int(sys.argv[2])])))
views = Views.spherical(plane.shape, grid=(3, 3))

stack = views.project(plane)  # [N, h, w]
brightness = torch.quantile(plane, 0.98)
probability = torch.sigmoid(10 * (stack / brightness - 0.5))  # in place of a network: bright is target
mean, variance, _ = views.reduce(probability)  # [H, W] each

figure = Figure(figsize=(9, 3.2), layout="constrained")
maps = {"slice": plane, "mean": mean, "variance": variance}
for axes, (name, values) in zip(figure.subplots(1, 3), maps.items(), strict=True):
    axes.set_title(name)
    axes.set_axis_off()
    axes.imshow(values.numpy(), cmap="gray" if name == "slice" else "magma")
figure.savefig(sys.argv[3])
