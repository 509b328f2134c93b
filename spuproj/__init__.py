"""spuproj: spherical image projection for uncertainty in medical segmentation."""

from importlib.metadata import PackageNotFoundError, version

from spuproj import functional, ops, reference, uncertainty
from spuproj.backends import empty_cache
from spuproj.backends.memory import set_cache_limit
from spuproj.geometry import PROFILES, Geometry
from spuproj.learnable import LearnableViews
from spuproj.views import Views
from spuproj.wrapping import MultiView, Prediction, wrap

try:
    __version__ = version("spuproj")
except PackageNotFoundError:
    __version__ = "0.0.0"

__all__ = [
    "PROFILES",
    "Geometry",
    "LearnableViews",
    "MultiView",
    "Prediction",
    "Views",
    "empty_cache",
    "functional",
    "ops",
    "reference",
    "set_cache_limit",
    "uncertainty",
    "wrap",
]
