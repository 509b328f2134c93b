"""The geometry of views: their parameters, the profiles, and where points land."""

from spuproj.geometry.coordinates import magnification, slice_coordinates, to_slice, to_view, view_coordinates
from spuproj.geometry.profiles import PROFILES
from spuproj.geometry.table import COLUMNS, Geometry

__all__ = [
    "COLUMNS",
    "PROFILES",
    "Geometry",
    "magnification",
    "slice_coordinates",
    "to_slice",
    "to_view",
    "view_coordinates",
]
