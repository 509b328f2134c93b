"""Views as plain torch operations, which exporters know: ``Views.portable``."""

from spuproj.portable.portable_views import PortableViews

__all__ = ["PortableViews"]
