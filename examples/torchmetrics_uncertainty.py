"""How well an uncertainty finds the errors of a segmentation, over several batches, with torchmetrics.

Needs the training extra: python examples/torchmetrics_uncertainty.py
"""

import torch
from torchmetrics import MetricCollection

from spuproj.metrics import ErrorAUROC, QUBraTS, RiskCoverage

torch.manual_seed(0)
metrics = MetricCollection([QUBraTS(), ErrorAUROC(), RiskCoverage()])
for _ in range(3):  # batches of four slices
    truth = torch.rand(4, 1, 32, 32) > 0.7
    views = (truth + 0.5 * torch.randn(9, 4, 1, 32, 32)).clamp(0, 1)  # in place of what nine views predict
    metrics.update(preds=views.mean(0), target=truth, uncertainty=views.var(0, correction=0))

for name, value in metrics.compute().items():
    print(f"{name}: {float(value):.3f}")
