"""Where nnU-Net finds the trainer: it imports every file of the folders that ``nnUNet_extTrainer`` names."""

from spuproj.nnunet.trainer import nnUNetTrainerSPU

__all__ = ["nnUNetTrainerSPU"]
