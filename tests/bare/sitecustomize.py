"""With this folder on PYTHONPATH, Python does not find the packages below, as if they were not installed.

``make test-bare`` runs tests that way: a machine for GPU tests has no more than torch and common packages.
"""

import sys
from importlib.machinery import ModuleSpec, PathFinder
from typing import Any

HIDDEN = {
    "IPython",
    "SimpleITK",
    "batchgenerators",
    "cv2",
    "highdicom",
    "jsonschema",
    "kornia",
    "monai",
    "nibabel",
    "nilearn",
    "nnunetv2",
    "onnx",
    "onnxruntime",
    "onnxscript",
    "pydantic",
    "pydicom",
    "pytorch_lightning",
    "torchmetrics",
}


class Hiding(PathFinder):
    """Finds what Python usually finds, except for the hidden packages."""

    @classmethod
    def find_spec(cls, fullname: str, *given: Any, **named: Any) -> ModuleSpec | None:
        return None if fullname.partition(".")[0] in HIDDEN else super().find_spec(fullname, *given, **named)


sys.meta_path[:] = [Hiding if finder is PathFinder else finder for finder in sys.meta_path]
