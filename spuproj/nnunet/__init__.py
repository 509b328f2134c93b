"""Views for nnU-Net v2: a trainer that augments with them, and a predictor that writes the variance over them.

Both are for 2-D configurations. nnU-Net finds the trainer in the folder ``TRAINERS`` if its environment variable
``nnUNet_extTrainer`` names it.
"""

try:
    import nnunetv2  # noqa: F401
except ImportError as error:
    raise ImportError(f'spuproj.nnunet needs nnU-Net ({error}): pip install "spuproj[nnunet]"') from error

from spuproj.nnunet.augmentation import ViewTransform, with_views
from spuproj.nnunet.inference import ViewsPredictor
from spuproj.nnunet.loading import TRAINERS, load_predictor
from spuproj.nnunet.prediction import predict_folder
from spuproj.nnunet.trainer import nnUNetTrainerSPU
from spuproj.nnunet.views import make_views

__all__ = [
    "TRAINERS",
    "ViewTransform",
    "ViewsPredictor",
    "load_predictor",
    "make_views",
    "nnUNetTrainerSPU",
    "predict_folder",
    "with_views",
]
