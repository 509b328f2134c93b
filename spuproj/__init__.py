"""spuproj: spherical image projection for uncertainty in medical segmentation."""

from importlib.metadata import PackageNotFoundError, version

from spuproj import functional, ops, reference, uncertainty
from spuproj.geometry import PROFILES, Geometry
from spuproj.views import Views

try:
    __version__ = version("spuproj")
except PackageNotFoundError:
    __version__ = "0.0.0"

__all__ = ["PROFILES", "Geometry", "Views", "functional", "ops", "reference", "uncertainty"]
