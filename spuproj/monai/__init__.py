"""Views in MONAI: an inferer and a transform. Needs ``pip install "spuproj[monai]"``."""

try:
    import monai  # noqa: F401
except ImportError as error:
    raise ImportError('spuproj.monai needs MONAI: pip install "spuproj[monai]"') from error

from spuproj.monai.rand_view import RandViewd
from spuproj.monai.views_inferer import ViewsInferer

__all__ = ["RandViewd", "ViewsInferer"]
