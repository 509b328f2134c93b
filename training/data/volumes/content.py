"""What an image is read from: the files, and a hash of their content."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from spuproj.training.data.volumes import itk_file
from spuproj.training.runtime.errors import InputError
from spuproj.training.runtime.files import why_no_file

_CHUNK = 2**20


def source_files(path: Path) -> list[bytes]:
    """The files that an image is read from: its own, and for NRRD and MetaImage those of its voxels that are there.

    Raises:
        InputError: where there is no such file, or its header cannot be read.
    """
    # A pipe would be waited for.
    if not os.path.isfile(path):
        raise InputError(f"{path} must be a file, but {why_no_file(path)}")
    if not path.name.lower().endswith(itk_file.SUFFIXES):
        return [os.fsencode(path)]
    try:
        return [os.fsencode(path), *filter(os.path.isfile, itk_file.voxel_files(path))]
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read: {error}") from None


def content_hash(path: Path) -> str:
    """The SHA-256 of an image's file, or of the sizes and contents of its ``source_files``. Raises InputError."""
    sources = source_files(path)
    together = hashlib.sha256()
    try:
        for each in sources:
            if len(sources) > 1:
                together.update(f"{os.path.getsize(each)} ".encode())
            with open(each, "rb") as stream:
                while chunk := stream.read(_CHUNK):
                    together.update(chunk)
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}") from None
    return together.hexdigest()
