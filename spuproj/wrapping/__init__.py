"""Any network as one that gives mean and uncertainty over views: ``spuproj.wrap``, and the reduction that it uses."""

from spuproj.wrapping.multi_view import MultiView, Prediction, wrap
from spuproj.wrapping.reduction import Maps, Moments, blend, blending_weights, reduce_views

__all__ = ["Maps", "Moments", "MultiView", "Prediction", "blend", "blending_weights", "reduce_views", "wrap"]
