"""The ops in extended precision (``numpy.longdouble``, 64 bits of mantissa on x86), against which errors are measured.

Coordinates are those of ``spuproj.reference``, which computes in the precision of its table.
"""

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from spuproj import reference

Exact = NDArray[np.longdouble]


def extended(tensor: torch.Tensor) -> Exact:
    """A tensor's numbers in extended precision."""
    return tensor.detach().double().numpy().astype(np.longdouble)


extended.needed = pytest.mark.skipif(  # type: ignore[attr-defined]
    np.finfo(np.longdouble).nmant < 63, reason="this platform has no type of more precision than float64"
)
