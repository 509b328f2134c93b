"""The geometry of views: their parameters, the profiles, and where points land."""

from spuproj.geometry.border import border_weights
from spuproj.geometry.coordinates import magnification, slice_coordinates, to_slice, to_view, view_coordinates
from spuproj.geometry.profiles import PROFILES
from spuproj.geometry.table import COLUMNS, Geometry

__all__ = [
    "COLUMNS",
    "PROFILES",
    "Geometry",
    "border_weights",
    "magnification",
    "slice_coordinates",
    "to_slice",
    "to_view",
    "view_coordinates",
]
