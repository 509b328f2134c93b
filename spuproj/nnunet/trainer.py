"""``nnUNetTrainerSPU``: nnU-Net's trainer, with views as augmentation."""

from __future__ import annotations

from typing import Any

from batchgeneratorsv2.transforms.utils.compose import ComposeTransforms
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

from spuproj import Views
from spuproj.nnunet.augmentation import with_views
from spuproj.nnunet.views import make_views
from spuproj.training.runtime.errors import InputError


class nnUNetTrainerSPU(nnUNetTrainer):  # type: ignore[misc]  # noqa: N801
    """nnU-Net's trainer that shows each training sample through a view, drawn at random (``make_views``).

    One of them is the slice as it is, which nnU-Net's validation and ``nnUNetv2_predict`` show the network. All else is
    as in ``nnUNetTrainer``. For 2-D configurations: others raise InputError when the training starts.
    """

    def initialize(self) -> None:
        _require_2d(self.configuration_manager.patch_size)
        super().initialize()

    @staticmethod
    def get_training_transforms(patch_size: Any, *arguments: Any, **options: Any) -> ComposeTransforms:
        """nnU-Net's transforms for training, with a view after the spatial one."""
        _require_2d(patch_size)
        size = (int(patch_size[0]), int(patch_size[1]))
        transforms = nnUNetTrainer.get_training_transforms(patch_size, *arguments, **options)
        return with_views(transforms, make_views(size) + Views.rigid(size))


def _require_2d(patch_size: Any) -> None:
    if len(patch_size) != 2:
        raise InputError(
            "nnUNetTrainerSPU must train a 2-D configuration, but this one has patches of "
            f"{' x '.join(map(str, patch_size))} voxels; use: nnUNetv2_train DATASET 2d FOLD -tr nnUNetTrainerSPU"
        )
