"""Codes of the dtypes that kernels compute with, those of ``csrc/include/spuproj/element.hpp``."""

import torch

CODES = {torch.float32: 0, torch.float64: 1, torch.float16: 2, torch.bfloat16: 3}
