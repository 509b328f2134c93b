"""Mean and uncertainty of a MONAI network over a volume, slice by slice; the maps keep the volume's affine.

Needs the monai extra: python examples/monai_inferer.py
"""

import torch
from monai.data import MetaTensor
from monai.inferers import SliceInferer, SlidingWindowInferer
from monai.networks.nets import UNet

from spuproj import Views
from spuproj.monai import ViewsInferer

torch.manual_seed(0)
network = UNet(2, in_channels=1, out_channels=1, channels=(8, 16, 32), strides=(2, 2)).eval()  # yours here
spacing = torch.diag(torch.tensor([1.0, 1.0, 5.0, 1.0]))
volume = MetaTensor(torch.randn(1, 1, 64, 48, 6), affine=spacing)  # [B, C, X, Y, Z], as MONAI loads it

inferer = ViewsInferer(
    Views.factory("spherical", grid=(3, 3)),  # nine views of each slice, whatever its size
    SlidingWindowInferer(roi_size=(32, 32), sw_batch_size=16, overlap=0.25),  # windows over each view
    slice_inferer=SliceInferer(roi_size=(-1, -1), spatial_dim=2, sw_batch_size=2),  # slices along z
)
with torch.inference_mode():
    prediction = inferer(volume, network)
assert isinstance(prediction.variance, MetaTensor)
print(f"mean and variance {tuple(prediction.variance.shape)}, voxels of {prediction.variance.pixdim.tolist()} mm")
print(f"largest standard deviation over the views: {float(prediction.variance.nan_to_num().max().sqrt()):.3f}")
