"""From files to cases: the files that conventions name, grouped, and what speaks against them."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from spuproj.training.data.findings import Finding, Level
from spuproj.training.data.labels import SCHEMES, LabelScheme
from spuproj.training.data.readers.case_files import MODALITIES, CaseFiles, ImageFile, without_suffix
from spuproj.training.data.readers.conventions import DRAFT, LABEL, MASK, Convention, Role

# A segmentation under another name, as that of case 355 of BraTS 2020: W39_1998.09.19_Segm.nii.
_SEGMENTATION = re.compile(r"(?i)(?!.*brain)(.*[^a-z])?segm?(entation)?([^a-z].*)?")


@dataclass(frozen=True)
class Match:
    """A file that a convention names: its path in the data set, the word that says what it is, and what that is."""

    path: str
    convention: Convention
    kind: str
    role: Role


@dataclass
class Group:
    """The files of a case.

    Attributes:
        place: path of the folder that holds the case, with a slash at the end; empty for the data set itself.
        name: of the case.
        matches: its files.
        unusual: files beside them that may be the segmentation, if no other file is.
    """

    place: str
    name: str
    matches: list[Match] = field(default_factory=list)
    unusual: list[str] = field(default_factory=list)

    def of(self, role: str) -> list[str]:
        """The paths of the files of a role; of a modality also those that hold it beside others."""
        return [match.path for match in self.matches if role == match.role or role in _modalities(match.role)]

    @property
    def twice(self) -> list[str]:
        """The modalities, or ``LABEL`` or ``MASK``, that several files stand for."""
        roles = {name for match in self.matches for name in _modalities(match.role)} - {DRAFT}
        return sorted(role for role in roles if len(self.of(role)) > 1)

    @property
    def modalities(self) -> list[str]:
        """The modalities that the case has, in the order of its convention, or else the usual one."""
        found = {name for match in self.matches for name in match.convention.modalities if self.of(name)}
        order = [*(self.convention.modalities if self.convention else MODALITIES), *sorted(found)]
        return sorted(found, key=order.index)

    @property
    def convention(self) -> Convention | None:
        """The convention of the case; None where its files are of several.

        Its brain mask may be called otherwise, and so may files of which there are several, which are not used.
        """
        single = [match for match in self.matches if match.role != MASK and match.role not in self.twice]
        found = [match.convention for match in single or self.matches]
        return found[0] if found and all(each is found[0] for each in found) else None


def _modalities(role: Role) -> tuple[str, ...]:
    return (role,) if isinstance(role, str) else role


def grouped(paths: Iterable[str], conventions: Sequence[Convention]) -> tuple[list[Group], list[str]]:
    """The cases that the conventions find among files, and the files that are of none.

    Args:
        paths: of files in the data set, with endings of ``SUFFIXES``.
        conventions: the first that names a file takes it.
    """
    groups: dict[tuple[str, str], Group] = {}
    others = []
    for path in paths:
        found = _match(path, conventions)
        if found is None:
            others.append(path)
        else:
            place, name, match = found
            groups.setdefault((place, name), Group(place, name)).matches.append(match)
    return list(groups.values()), _without_unusual(groups.values(), others)


def _match(path: str, conventions: Sequence[Convention]) -> tuple[str, str, Match] | None:
    stem = without_suffix(path) or ""
    for convention in conventions:
        for pattern in convention.compiled:
            found = pattern.fullmatch(stem)
            if found is None:
                continue
            words = found.groupdict(default="")
            kind, visit = words.get("kind", ""), words.get("visit", "")
            role = convention.role(kind)
            if role is not None:
                name = f"{words['case']}_{visit}" if visit else words["case"]
                return words.get("place", ""), name, Match(path, convention, kind, role)
    return None


def _without_unusual(groups: Iterable[Group], others: Sequence[str]) -> list[str]:
    """Gives files that may be a segmentation to the cases that lack one; returns the rest.

    One that is named for another case is that case's.
    """
    groups = list(groups)
    lacking = {
        os.path.dirname(group.matches[0].path): group
        for group in groups
        if not group.of(LABEL) and group.modalities and any(match.convention.own_folder for match in group.matches)
    }
    rest = []
    for path in others:
        group, name = lacking.get(os.path.dirname(path)), without_suffix(os.path.basename(path)) or ""
        if group is not None and _SEGMENTATION.fullmatch(name) and not _names_another(name, group, groups):
            group.unusual.append(path)
        else:
            rest.append(path)
    return rest


def _names_another(text: str, group: Group, groups: Iterable[Group]) -> bool:
    """Whether the name of another case is in a text, apart from that of a group."""
    rest = text.replace(group.name, " ")
    return any(
        other.name in rest and re.search(rf"(?<![^\W_]){re.escape(other.name)}(?![^\W_])", rest)
        for other in groups
        if other.name != group.name
    )


def case_of(root: Path, group: Group) -> CaseFiles:
    """The files of a case, with what is unusual about them. Where two files stand for one thing, neither is used.

    Args:
        root: the folder that the group's paths are relative to.
        group: the case; it has at least one image.
    """
    twice = [name for name in (*group.modalities, LABEL, MASK) if name in group.twice]
    images = {name: _image(root, group, name) for name in group.modalities if name not in twice}
    images.update({name: ImageFile(root / path) for name, path in _lacking(group).items()})
    label, about_label = _label(group)
    mask = next(iter(group.of(MASK)), None)
    scheme = _scheme(group, (*group.modalities, *images))
    return CaseFiles(
        group.name,
        images,
        root / label if label and LABEL not in twice else None,
        root / mask if mask and MASK not in twice else None,
        scheme,
        (*(_twice(name, group.of(name)) for name in twice), *about_label, *_taken(group, scheme)),
    )


def _image(root: Path, group: Group, name: str) -> ImageFile:
    """The file of a modality, and its number in a file of several."""
    match = next(match for match in group.matches if name in _modalities(match.role))
    several = isinstance(match.role, tuple) and len(match.role) > 1
    return ImageFile(root / match.path, match.role.index(name) if several else None)


def _twice(role: str, paths: Sequence[str]) -> Finding:
    what = {LABEL: "the segmentation", MASK: "the brain mask"}.get(role, f"the modality {role}")
    return Finding(
        Level.ERROR,
        f"{what} must be one file, but {' and '.join(paths)} are {'both' if len(paths) == 2 else 'all'} named so, and "
        "none is used; remove or rename all but one, or write a manifest ('spuproj manifest') and name one there",
    )


def _lacking(group: Group) -> dict[str, str]:
    """The one modality that a case lacks of its convention, with the file that is expected."""
    convention = group.convention
    if convention is None or not convention.all_but_one:
        return {}
    lacking = [name for name in convention.modalities if name not in group.modalities]
    if len(lacking) != 1:
        return {}
    word = next(word for word, role in convention.kinds.items() if role == lacking[0])
    return {lacking[0]: expected(next(match for match in group.matches if match.role in convention.modalities), word)}


def expected(like: Match, kind: str) -> str:
    """The path of the file that is named like another one and is of another kind."""
    stem = without_suffix(like.path) or ""
    return stem.removesuffix(like.kind) + kind + like.path[len(stem) :]


def _label(group: Group) -> tuple[str | None, list[Finding]]:
    """The segmentation, and a note on an unusual name."""
    usual = group.of(LABEL) or group.of(DRAFT)
    if usual or not group.unusual:
        return (usual[0] if usual else None), []
    names = [os.path.basename(path) for path in group.unusual]
    seg = os.path.basename(expected(next(match for match in group.matches if match.role not in (MASK, DRAFT)), "seg"))
    if len(names) == 1:
        return group.unusual[0], [Finding(Level.NOTE, f"the segmentation is {names[0]}, where {seg} is expected")]
    message = f"there is no {seg}, and {' and '.join(names)} may each be the segmentation; none of them is used"
    return None, [Finding(Level.WARNING, f"{message}: rename one, or name it in a manifest")]


def _scheme(group: Group, images: Iterable[str]) -> LabelScheme | None:
    convention = group.convention
    if convention is None or not convention.scheme:
        return None
    decided = not convention.decided_by or convention.decided_by in images
    return SCHEMES[convention.scheme] if decided else None


def _taken(group: Group, scheme: LabelScheme | None) -> list[Finding]:
    """A note that says what was taken for what, where the names are not those of a published data set."""
    roles = {
        match.role: f"{match.role if match.role != LABEL else 'segmentation'} from {match.kind!r}"
        for match in group.matches
        if not match.convention.published and not any(len(group.of(role)) > 1 for role in _modalities(match.role))
    }
    if not roles:
        return []
    message = f"the files are known by words in their names: {', '.join(roles.values())}; check that they are meant so"
    if scheme is not None and LABEL in roles:
        message += f", and that the labels are those of {scheme.name} (--labels names others)"
    return [Finding(Level.NOTE, message)]
