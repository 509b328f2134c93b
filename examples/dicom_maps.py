"""A finished prediction as DICOM, on the slices of the series that it was predicted from, and what the files are.

Needs the dicom extra: python examples/dicom_maps.py MAPS SERIES OUT, with MAPS from 'spuproj predict'
"""

import sys
from pathlib import Path

import pydicom

from spuproj.training.export.dicom import write_dicom

if len(sys.argv) != 4:
    sys.exit(__doc__)

predictions, series, out = map(Path, sys.argv[1:4])
for path in write_dicom(predictions, series, out):
    header = pydicom.dcmread(path, stop_before_pixels=True)
    print(
        f"{path.name}: {header.SeriesDescription}, {header.NumberOfFrames} frames of {header.Rows} x {header.Columns}"
    )
