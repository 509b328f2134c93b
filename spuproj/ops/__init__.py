"""The registered ops ``torch.ops.spuproj.*``, one record each.

An op is its schema, its check, the results that it allocates, the method of a backend that fills them, and its
gradient; kernel, fake, autograd, vmap and autocast follow from the record. ``project`` and ``project_adjoint`` are
transposes of each other, and so are ``unproject`` and ``unproject_adjoint``; each differentiates into its partner.

The geometry is a float64 table (``spuproj.geometry.Geometry.table``) without gradient, ``[N, 19]`` shared by the batch
or ``[B, N, 19]`` per sample. Arithmetic is in float32, or float64 for float64. Under autocast the ops take float32, as
``torch.nn.functional.grid_sample`` does.
"""

from spuproj.ops import registration
from spuproj.ops.records import OPS

__all__ = ["OPS", "registration"]
