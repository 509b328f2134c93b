"""The meaning of label values: published schemes, and the targets that are made up of labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spuproj.training.runtime.errors import InputError
from spuproj.training.runtime.names import plain_name

TARGETS = ("ET", "TC", "WT")
"""Targets of glioma: enhancing tumour; tumour core, with the necrotic core; whole tumour, with the oedema."""

_TISSUES = {"ET": ("ET",), "TC": ("NCR", "NET", "CYST", "ET"), "WT": ("NCR", "NET", "CYST", "ED", "ET")}
# The tissue that stands for what a target adds to the one inside it; the inner targets are painted last.
_PAINTED = {"WT": ("ED",), "TC": ("NCR", "NET"), "ET": ("ET",)}


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

    @property
    def listed(self) -> dict[str, list[int]]:
        """The label values of each target and of ``IGNORED``, from which ``own_scheme`` makes the scheme."""
        of_targets = {value for values in self.targets.values() for value in values}
        ignored = {IGNORED: [value for value in self.known if value not in of_targets]}
        return {name: list(values) for name, values in {**self.targets, **ignored}.items() if values}

    def mask(self, labels: NDArray[np.integer[Any]], target: str) -> NDArray[np.bool_]:
        """Mask of a target, in the shape of the labels, of any integer type.

        Raises:
            InputError: for an unknown target.
        """
        if target not in self.targets:
            raise InputError(f"target must be one of {', '.join(self.targets)} ({self.name}), got {target!r}")
        # Values that the type of the labels cannot hold are not in it; NumPy would compare them as floats.
        limits = np.iinfo(labels.dtype)
        mask = np.zeros(labels.shape, np.bool_)
        for value in self.targets[target]:
            if limits.min <= value <= limits.max:
                mask |= labels == labels.dtype.type(value)
        return mask


def glioma_scheme(name: str, values: Mapping[int, str]) -> LabelScheme:
    """The scheme of glioma labels, given the tissue of each value.

    Args:
        name: of the scheme.
        values: ET (enhancing tumour), NCR (necrotic core), NET (non-enhancing tumour), CYST, ED (oedema), or RC, a
            resection cavity, which is of no target.
    """
    targets = {
        target: tuple(sorted(value for value, tissue in values.items() if tissue in tissues))
        for target, tissues in _TISSUES.items()
    }
    paint = {
        target: next(value for tissue in tissues for value, other in values.items() if other == tissue)
        for target, tissues in _PAINTED.items()
    }
    return LabelScheme(name, tuple(values), targets, paint)


IGNORED = "ignore"
"""In place of a target's name: label values that may be there and are of no target, as in nnU-Net."""


def own_scheme(targets: Mapping[str, Sequence[object]]) -> LabelScheme:
    """A custom scheme: the label values of each target, and of ``IGNORED``.

    Raises:
        InputError: for a target's name that no file can have, a target without values, or a value that is not a whole
            number or is 0, the background.
    """
    for name in targets:
        plain_name(name, "the name of a target")
    found = {name: label_values(name, given) for name, given in targets.items()}
    known = sorted({value for values in found.values() for value in values})
    found.pop(IGNORED, None)
    return LabelScheme("own targets", tuple(known), found, {})


def label_values(target: str, given: object) -> tuple[int, ...]:
    """The label values of a target, as whole numbers. Raises InputError for other values, none, or 0."""
    if not isinstance(given, Sequence) or isinstance(given, str | bytes) or not given:
        raise InputError(
            f"labels must name a scheme or list each target's values, such as [1, 2], but {target} has {given!r:.60}"
        )
    wrong = [value for value in given if not _is_whole(value) or value == 0]
    if wrong:
        raise InputError(
            f"the label values of {target} must be whole numbers other than 0, which is the background, "
            f"got {wrong[0]!r:.60}"
        )
    return tuple(dict.fromkeys(int(value) for value in given))


def _is_whole(value: object) -> bool:
    if isinstance(value, bool):
        return False
    return isinstance(value, int) or (isinstance(value, float) and value.is_integer())


_VALUES: dict[str, dict[int, str]] = {
    "brats2020": {1: "NCR", 2: "ED", 4: "ET"},
    "brats2023": {1: "NCR", 2: "ED", 3: "ET"},
    "brats2024": {1: "NCR", 2: "ED", 3: "ET", 4: "RC"},
    "nnunet": {1: "ED", 2: "NCR", 3: "ET"},
    "msd": {1: "ED", 2: "NET", 3: "ET"},
    "brats2015": {1: "NCR", 2: "ED", 3: "NET", 4: "ET"},
    "brats-ped2023": {1: "NCR", 2: "ED", 3: "ET"},
    "brats-ped2024": {1: "ET", 2: "NET", 3: "CYST", 4: "ED"},
}
SCHEMES = {
    **{name: glioma_scheme(name, values) for name, values in _VALUES.items()},
    "brats-men-rt": LabelScheme("brats-men-rt", (1,), {"GTV": (1,)}, {}),
}
"""The published schemes. In brats-ped2023, NCR is all of the core that does not enhance. The target of brats-men-rt is
the gross tumour volume."""


def scheme_named(name: str) -> LabelScheme:
    """A published scheme. Raises InputError for an unknown name."""
    if name not in SCHEMES:
        raise InputError(f"labels must be one of {', '.join(SCHEMES)}, got {name!r:.60}")
    return SCHEMES[name]


def unclear(where: object) -> InputError:
    """The error for labels of unknown scheme."""
    return InputError(
        f"the labels of {where} must be named, since their values do not tell: 4 is enhancing tumour in brats2020 and "
        f"a resection cavity in brats2024, and 1 and 2 swap in nnunet and msd; pass one of {', '.join(SCHEMES)}"
    )


def scheme_of_names(names: Mapping[int, str], prefer: str = "nnunet") -> LabelScheme | None:
    """The published scheme with these names of label values (as in nnU-Net's dataset.json), or None.

    ``prefer`` is the scheme to take where several have these names.
    """
    tissues = _core_as_one({value: _tissue(name) for value, name in names.items() if value != 0})
    return _preferred([name for name, values in _VALUES.items() if _core_as_one(values) == tissues], prefer)


def scheme_of_regions(regions: Mapping[str, Sequence[int]], prefer: str = "nnunet") -> LabelScheme | None:
    """The published scheme whose targets are these regions of label values, or None.

    Regions may be named like targets (WT, TC, ET) or in words (whole tumour, tumour core, enhancing tumour).
    """
    targets = {_region(name): tuple(sorted(values)) for name, values in regions.items()}
    known = {value for values in targets.values() for value in values}
    alike = [name for name in _VALUES if SCHEMES[name].targets == targets and set(SCHEMES[name].known) == known]
    return _preferred(alike, prefer) if len(targets) == len(regions) else None


def _preferred(names: Sequence[str], prefer: str) -> LabelScheme | None:
    return SCHEMES[prefer if prefer in names else names[0]] if names else None


def _core_as_one(tissues: Mapping[int, str]) -> dict[int, str]:
    """The same with NET called NCR where only one of them is there: the core that does not enhance has both names."""
    both = {"NCR", "NET"} <= set(tissues.values())
    return {value: "NCR" if tissue == "NET" and not both else tissue for value, tissue in tissues.items()}


def _tissue(name: str) -> str:
    word = name.lower()
    if "necro" in word or word == "ncr":
        return "NCR"
    if "non" in word or word in ("net", "netc"):
        return "NET"
    if "edema" in word or word in ("ed", "snfh"):
        return "ED"
    if "enhanc" in word or word == "et":
        return "ET"
    if "cyst" in word or word == "cc":
        return "CYST"
    return "RC" if "cavity" in word or word == "rc" else word


def _region(name: str) -> str:
    word = " ".join(name.lower().replace("_", " ").replace("-", " ").split())
    word = word.removesuffix(" tumour").removesuffix(" tumor").removeprefix("tumour ").removeprefix("tumor ")
    return {"whole": "WT", "wt": "WT", "core": "TC", "tc": "TC", "enhancing": "ET", "et": "ET"}.get(word, name)
