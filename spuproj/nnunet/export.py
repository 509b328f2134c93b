"""The variance on the grid of the original image, as a NIfTI file, by nnU-Net's own functions."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import nibabel as nib
import numpy as np
from nnunetv2.imageio.base_reader_writer import BaseReaderWriter
from nnunetv2.inference.export_prediction import convert_predicted_logits_to_segmentation_with_correct_shape
from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
from nnunetv2.utilities.label_handling.label_handling import LabelManager
from numpy.typing import NDArray
from torch import Tensor, nn

from spuproj.training.runtime.files import atomic_write


def on_original_grid(predictor: nnUNetPredictor, values: Tensor, properties: dict[str, Any]) -> NDArray[np.float32]:
    """Resamples a map as nnU-Net does a prediction, and puts it where the image was cropped; 0 around that.

    Args:
        predictor: which the map is from.
        values: ``[Z, H, W]``, in the axes and spacing of the preprocessed image.
        properties: what nnU-Net's preprocessing returned about the image.

    Returns:
        float32, in the axes in which nnU-Net reads the image.
    """
    # nnU-Net brings probabilities back. Those of a single region have zeros around them, and here no nonlinearity.
    single_region = LabelManager({"background": 0, "values": [1, 2]}, [1], inference_nonlin=nn.Identity())
    _, restored = convert_predicted_logits_to_segmentation_with_correct_shape(
        values[None],
        predictor.plans_manager,
        predictor.configuration_manager,
        single_region,
        properties,
        return_probabilities=True,
    )
    found: NDArray[np.float32] = restored[0].astype(np.float32)
    return found


def save_map(
    writer: type[BaseReaderWriter], values: NDArray[np.float32], path: Path, properties: dict[str, Any]
) -> None:
    """Writes a map that ``on_original_grid`` returned, with the position that nnU-Net writes a segmentation with.

    Formats without a position (PNG, TIFF) give a NIfTI file of pixels [x, y, z] with the unit matrix as its affine.

    Args:
        writer: nnU-Net's class for the image's format, which has read the image.
        values: float32, in the axes in which nnU-Net reads the image.
        path: of a NIfTI file.
        properties: what nnU-Net's preprocessing returned about the image.
    """
    if ".nii.gz" in writer.supported_file_endings:
        image = _through(writer(), values, properties)
    else:
        image = nib.Nifti1Image(values.transpose(2, 1, 0), np.eye(4))
    with atomic_write(path) as temporary:
        nib.save(image, temporary)


def _through(writer: BaseReaderWriter, values: NDArray[np.float32], properties: dict[str, Any]) -> nib.Nifti1Image:
    """An image with the axes and affine that a writer of nnU-Net gives it.

    The writer knows how the axes of the file were turned when it was read, but it writes whole numbers of 8 bits. So
    the four bytes of each float32 are written one by one, and put together again.
    """
    parts = []
    with TemporaryDirectory() as folder:
        for number, part in enumerate(np.moveaxis(values[..., None].view(np.uint8), -1, 0)):
            file = Path(folder, f"{number}.nii")
            writer.write_seg(part, str(file), properties)
            saved = nib.Nifti1Image.from_filename(file, mmap=False)
            parts.append(np.asarray(saved.dataobj).astype(np.uint8))
    restored = np.stack(parts, axis=-1).view(np.float32)[..., 0]
    image = nib.Nifti1Image(restored, saved.affine, saved.header)
    image.set_data_dtype(np.float32)
    return image
