"""A network and its views as one ONNX file, which gives mean and uncertainty without Python.

Needs onnx, onnxscript and onnxruntime too: python examples/export_to_onnx.py [FILE]
"""

import sys

import onnxruntime
import torch
from torch import nn

import spuproj

torch.manual_seed(0)
path = sys.argv[1] if len(sys.argv) > 1 else "maps.onnx"
network = nn.Sequential(nn.Conv2d(2, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 1, 1))  # yours here
views = spuproj.Views.spherical(size=(64, 48), grid=(3, 3))
wrapped = spuproj.wrap(network, views.portable()).eval()  # plain torch operations, which ONNX knows

image = torch.randn(1, 2, 64, 48)
names = ["mean", "variance", "entropy", "mutual_information", "count"]
torch.onnx.export(wrapped, (image,), path, input_names=["image"], output_names=names, dynamo=True, verbose=False)

maps = dict(zip(names, onnxruntime.InferenceSession(path).run(None, {"image": image.numpy()}), strict=True))
wanted = spuproj.wrap(network, views).eval()(image).mean.detach().numpy()
print(f"largest difference of the mean between onnxruntime and spuproj: {abs(maps['mean'] - wanted).max():.1e}")
