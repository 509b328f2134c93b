"""Data sets in nnU-Net's raw format."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from spuproj.training.data.labels import scheme_of_names
from spuproj.training.data.readers.case_files import CaseFiles, ImageFile, modality_named
from spuproj.training.runtime.files import InputError, read_json


def recognises(source: Path) -> bool:
    """Whether the folder holds a ``dataset.json``."""
    return (source / "dataset.json").is_file()


def read(source: Path) -> Iterator[CaseFiles]:
    """nnU-Net's raw format: ``imagesTr/<id>_0000.nii.gz`` by channel, ``labelsTr/<id>.nii.gz``, ``dataset.json``."""
    description = read_json(source / "dataset.json")
    channels, ending = description.get("channel_names"), description.get("file_ending", ".nii.gz")
    if not isinstance(channels, dict) or not channels:
        raise InputError(f"{source / 'dataset.json'} must name the channels (channel_names), but does not")
    modalities = {int(number): modality_named(str(name)) for number, name in channels.items()}
    named = description.get("labels", {})
    plain = isinstance(named, dict) and all(isinstance(value, int) for value in named.values())
    scheme = scheme_of_names({value: name for name, value in named.items()}) if plain else None
    for path in sorted((source / "imagesTr").glob(f"*_0000{ending}")):
        name = path.name.removesuffix(f"_0000{ending}")
        images = {
            modality: ImageFile(path.with_name(f"{name}_{number:04d}{ending}"))
            for number, modality in sorted(modalities.items())
        }
        label = source / "labelsTr" / f"{name}{ending}"
        yield CaseFiles(name, images, label if os.path.lexists(label) else None, None, scheme)
