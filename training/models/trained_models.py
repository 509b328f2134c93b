"""The models that come with the package."""

from __future__ import annotations

from pathlib import Path

from spuproj.training.models.run import WEIGHTS
from spuproj.training.runtime.errors import InputError

FOLDER = Path(__file__).with_name("trained")
"""Holds a folder for each target, with ``config.json``, ``model.safetensors`` and ``card.md``, which describes it."""

PACKAGED = "those of the package, trained on phantoms alone"
"""What is said of these models where they are used."""


def trained_models() -> list[Path]:
    """The folders of the models that come with the package, one for each of ET, TC and WT.

    Raises:
        InputError: where the installation has none.
    """
    folders = sorted(path.parent for path in FOLDER.glob(f"*/{WEIGHTS}"))
    if not folders:
        raise InputError(
            f"{FOLDER} must hold the models of the package, but holds none; name models of 'spuproj train' (--model), "
            "or install spuproj again"
        )
    return folders
