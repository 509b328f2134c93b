"""Voxels of image files: reading, orientation, the brain, intensities, label maps."""
