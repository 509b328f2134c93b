"""A 2-D model that nnU-Net has trained, seen through views: segmentations and variance maps of a folder of images.

Needs the nnunet extra, and nnU-Net's variable nnUNet_results: python examples/nnunet_variance.py IMAGES OUT DATASET
"""

import sys
from pathlib import Path

import nibabel as nib

from spuproj.nnunet import load_predictor, predict_folder

if len(sys.argv) != 4:
    sys.exit(__doc__)

images, out, dataset = sys.argv[1:]
predictor = load_predictor(dataset, "2d")  # of nnUNetTrainer, all folds
for path in predict_folder(predictor, Path(images), Path(out)):
    variance = nib.Nifti1Image.from_filename(path).get_fdata()
    found = nib.Nifti1Image.from_filename(Path(out, path.name.replace("_var", ""))).get_fdata() > 0
    mean = variance[found].sum() / max(found.sum(), 1)
    print(f"{path}: {found.sum()} voxels are segmented, with a mean variance of {mean:.5f}")
