"""File patterns that people type for data sets of their own, such as ``{case}/{case}_post.nii.gz``."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from spuproj.training.data.readers.case_files import require_modality, without_suffix
from spuproj.training.data.readers.conventions import LABEL, MASK, Convention
from spuproj.training.runtime.errors import InputError
from spuproj.training.runtime.names import repeated

CASE = "{case}"

_SUGGESTED = 6


def typed_conventions(images: Mapping[str, str], label: str | None, mask: str | None) -> list[Convention]:
    """A convention for each pattern: paths in the data set, with ``{case}`` for its name and ``*`` for anything.

    Args:
        images: pattern of each modality, by any spelling of its name.
        label: pattern of segmentations, or None.
        mask: pattern of brain masks, or None.

    Raises:
        InputError: for a pattern without ``{case}``, two spellings of one modality, or the name of a segmentation or
            mask as that of a modality.
    """
    names = [require_modality(name, "") for name in images]
    if twice := repeated(names):
        alike = [name for name in images if require_modality(name, "") == twice[0]]
        raise InputError(f"each modality must have one pattern, but {' and '.join(alike)} are both {twice[0]!r}")
    roles = {**dict(zip(names, images.values(), strict=True)), LABEL: label, MASK: mask}
    return [
        Convention(f"the pattern {pattern}", (_expression(role, pattern),), {"": role})
        for role, pattern in roles.items()
        if pattern
    ]


def _expression(role: str, pattern: str) -> str:
    """A regular expression of paths without their ending."""
    if CASE not in pattern:
        raise InputError(
            f"the pattern of {role} must have {CASE} in place of the case's name, such as {CASE}/{CASE}_{role}.nii.gz, "
            f"got {pattern!r:.200}"
        )
    stem = without_suffix(pattern.removeprefix("./")) or pattern
    before, *after = (re.escape(part).replace(r"\*", "[^/]*") for part in stem.split(CASE))
    return f"{before}(?P<case>[^/]+){'(?P=case)'.join(after)}"


def suggested(paths: Iterable[str]) -> list[str]:
    """The commonest patterns of files, as ``typed_conventions`` takes them; folders above a case's own are ``*``."""
    counts = Counter(map(_pattern, paths))
    return [pattern for pattern, _ in counts.most_common(_SUGGESTED)]


def _pattern(path: str) -> str:
    *folders, name = path.split("/")
    if folders:
        # A case's folder is one whose name the file's name has, at its beginning or elsewhere; or else the last one.
        last = len(folders) - 1
        at = next((place for place in range(last, -1, -1) if folders[place] in name), last)
        own = folders[at]
        return "*/" * at + "/".join([CASE, *folders[at + 1 :], name.replace(own, CASE)])
    stem, separator, kind = _cut(name)
    return f"{CASE}{separator}{kind}" if stem else f"{CASE}/{name}"


def _cut(name: str) -> tuple[str, str, str]:
    """A file's name before and after the last ``_`` or ``-`` in it."""
    found = re.fullmatch(r"(.+)([_-])([^_-]+)", name)
    return (found[1], found[2], found[3]) if found else ("", "", "")


def asked_for(paths: Sequence[str]) -> str:
    """What to type for files that no convention names: options of ``spuproj manifest``, made from the files."""
    patterns = suggested(paths)
    options = [f"--image NAME='{pattern}'" for pattern in patterns]
    return (
        f"spuproj manifest FOLDER --out manifest.json {' '.join(options)}; give each NAME of a modality, such as t1 or "
        f"t1ce, and --label instead of --image NAME= for the segmentation; {CASE} is the name of the case, * anything"
    )
