"""The registered ops ``torch.ops.spuproj.*``, one record each (``spuproj.ops.records``).

Under autocast they take float32, as ``torch.nn.functional.grid_sample`` does.
"""

from spuproj.ops import registration
from spuproj.ops.records import OPS

__all__ = ["OPS", "registration"]
