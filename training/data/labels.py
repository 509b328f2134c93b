"""The meaning of label values: published schemes, and the targets that are made up of labels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spuproj.training.runtime.files import InputError

TARGETS = ("ET", "TC", "WT")
"""Targets of glioma: enhancing tumour; tumour core, with the necrotic core; whole tumour, with the oedema."""

_TISSUES = {"ET": ("ET",), "TC": ("NCR", "ET"), "WT": ("NCR", "ED", "ET")}
# The inner targets are painted last.
_PAINTED = {"WT": "ED", "TC": "NCR", "ET": "ET"}


@dataclass(frozen=True)
class LabelScheme:
    """The meaning of label values.

    Attributes:
        name: in options and messages.
        known: all values that a label map may have besides 0.
        targets: the label values of each target.
        paint: for a merged label map, the value of each target in the order of painting; empty where none can be made.
    """

    name: str
    known: tuple[int, ...]
    targets: Mapping[str, tuple[int, ...]]
    paint: Mapping[str, int]

    def mask(self, labels: NDArray[np.integer[Any]], target: str) -> NDArray[np.bool_]:
        """Mask of a target, in the shape of the labels. Raises InputError for an unknown target."""
        if target not in self.targets:
            raise InputError(f"target must be one of {', '.join(self.targets)} ({self.name}), got {target!r}")
        return np.isin(labels, self.targets[target])


def glioma_scheme(name: str, values: Mapping[int, str]) -> LabelScheme:
    """The scheme of glioma labels: ``values`` names the tissue of each (NCR, ED, ET, or RC, a resection cavity)."""
    value_of = {tissue: value for value, tissue in values.items()}
    targets = {
        target: tuple(sorted(value for value, tissue in values.items() if tissue in tissues))
        for target, tissues in _TISSUES.items()
    }
    return LabelScheme(name, tuple(values), targets, {target: value_of[tissue] for target, tissue in _PAINTED.items()})


def own_scheme(targets: Mapping[str, tuple[int, ...]]) -> LabelScheme:
    """A custom scheme: targets with their label values."""
    known = tuple(sorted({value for values in targets.values() for value in values}))
    return LabelScheme("own targets", known, dict(targets), {})


_VALUES: dict[str, dict[int, str]] = {
    "brats2020": {1: "NCR", 2: "ED", 4: "ET"},
    "brats2023": {1: "NCR", 2: "ED", 3: "ET"},
    "brats2024": {1: "NCR", 2: "ED", 3: "ET", 4: "RC"},
    "nnunet": {1: "ED", 2: "NCR", 3: "ET"},
    "msd": {1: "ED", 2: "NCR", 3: "ET"},
}
SCHEMES = {name: glioma_scheme(name, values) for name, values in _VALUES.items()}
"""The published schemes. ``msd`` calls the non-enhancing core NET where others say NCR."""


def scheme_named(name: str) -> LabelScheme:
    """A published scheme. Raises InputError for an unknown name."""
    if name not in SCHEMES:
        raise InputError(f"labels must be one of {', '.join(SCHEMES)}, got {name!r}")
    return SCHEMES[name]


def unclear(where: object) -> InputError:
    """The error for labels of unknown scheme."""
    return InputError(
        f"the labels of {where} must be named, since their values do not tell: 4 is enhancing tumour in brats2020 and "
        f"a resection cavity in brats2024, and 1 and 2 swap in nnunet and msd; pass one of {', '.join(SCHEMES)}"
    )


def scheme_of_names(names: Mapping[int, str]) -> LabelScheme | None:
    """The published scheme with these names of label values (as in nnU-Net's dataset.json), or None."""
    tissues = {value: _tissue(name) for value, name in names.items() if value != 0}
    for name, values in _VALUES.items():
        if values == tissues:
            return SCHEMES[name]
    return None


def _tissue(name: str) -> str:
    word = name.lower()
    if "non" in word or "necro" in word or word in ("ncr", "net"):
        return "NCR"
    if "edema" in word or "oedema" in word or word in ("ed", "snfh"):
        return "ED"
    if "enhanc" in word or word == "et":
        return "ET"
    return "RC" if "cavity" in word or word == "rc" else word
