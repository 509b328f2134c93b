"""What an image is read from: the files, and a hash of their content."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from spuproj.training.data.volumes import itk_file
from spuproj.training.runtime.files import InputError

_CHUNK = 2**20


def source_files(path: Path) -> list[bytes]:
    """The files that an image is read from: its own, and for NRRD and MetaImage those that its header names."""
    named = itk_file.named_paths(path) if path.name.lower().endswith(itk_file.SUFFIXES) else []
    return [os.fsencode(path), *filter(os.path.isfile, named)]


def content_hash(path: Path) -> str:
    """The SHA-256 of an image's file, or of its ``source_files`` one after another. Raises InputError."""
    together = hashlib.sha256()
    try:
        for each in source_files(path):
            with open(each, "rb") as stream:
                while chunk := stream.read(_CHUNK):
                    together.update(chunk)
    except OSError as error:
        raise InputError(f"{path} must be there, but cannot be read: {error.strerror or error}") from None
    return together.hexdigest()
