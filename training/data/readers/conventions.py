"""How public data sets name their files: one record for each convention."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

from spuproj.training.data.readers.case_files import SEGMENTATION, SPELLINGS

LABEL, DRAFT, MASK = "label", "draft label", "mask"
"""What a file may be besides a modality: segmentation; segmentation to take where there is no ``LABEL``; brain mask."""

Role = str | tuple[str, ...]
"""A modality, ``LABEL``, ``DRAFT`` or ``MASK``; or the modalities of a file of several volumes, in its order."""


@dataclass(frozen=True)
class Convention:
    """How files are named, in regular expressions that match the whole of a name.

    Attributes:
        name: in the documentation.
        patterns: of a file's path in the data set, without its ending. Group ``case`` is the case's name, which
            ``visit`` ends, ``kind`` says what the file is, ``place`` are folders above, which tell cases of one name
            apart.
        kinds: what each ``kind`` is; the first that matches counts.
        scheme: the name of the label scheme; empty where file names do not tell.
        decided_by: a modality that a case must have for the scheme to be told; any case where empty.
        all_but_one: whether a case that has all but one of the modalities is taken to lack a file.
        own_folder: whether each case has a folder of its own, where other files may be the segmentation.
        published: whether the names are those of a published data set; others are reported for each case.
    """

    name: str
    patterns: tuple[str, ...]
    kinds: Mapping[str, Role] = field(hash=False)
    scheme: str = ""
    decided_by: str = ""
    all_but_one: bool = False
    own_folder: bool = False
    published: bool = True

    @cached_property
    def compiled(self) -> tuple[re.Pattern[str], ...]:
        """The patterns, compiled."""
        return tuple(re.compile(pattern) for pattern in self.patterns)

    @cached_property
    def modalities(self) -> list[str]:
        """The modalities of the convention, in its order."""
        roles = [role for role in self.kinds.values() if role not in (LABEL, DRAFT, MASK)]
        return list(dict.fromkeys(name for role in roles for name in ((role,) if isinstance(role, str) else role)))

    def role(self, kind: str) -> Role | None:
        """What a file of this kind is, or None for a kind that the convention does not have."""
        return next((role for word, role in self.kinds.items() if re.fullmatch(word, kind)), None)


_PLACE = "(?P<place>(?:.*?/)??)"
_SESSION = "(?P<case>sub-[A-Za-z0-9]+(?:_ses-[A-Za-z0-9]+)?)"


def _in_folder(case: str, separator: str) -> str:
    """Files ``<case><separator><kind>`` in a folder ``<case>``."""
    return rf"{_PLACE}(?P<case>{case})/(?P=case){separator}(?P<kind>[^/]+)"


VISIT = (
    r"(?:ses(?:sion)?[ ._-]?[a-z0-9]+"
    r"|(?:visit|vis|v|tp|timepoint|time|fu|follow[ ._-]?up|month|week|day)[ ._-]?\d+(?:[._-]\d+)?[a-z]?"
    r"|(?:pre|post)(?:[ ._-]?op)?|baseline|bl|follow[ ._-]?up|fu|(?:19|20)\d\d[._-]?\d\d[._-]?\d\d)"
)
"""A regular expression of words that name a visit, in lower or upper case; a date is one."""

_OUTSIDE_DERIVATIVES = "(?!(?:.*/)?derivatives/)"
# Of programs that segment the healthy brain: their dseg are tissues or regions.
_ANATOMY = "(?i:fmriprep|smriprep|freesurfer|fastsurfer|synthseg|samseg|qsiprep|aslprep|cat12|mindboggle|nibabies)"
# Of other places than the patient's own structural images.
_ELSEWHERE = (
    r"(?!.*/(?:func|dwi|fmap|perf|pet)/)(?!.*_task-)(?!.*_space-(?!(?:orig|individual|scanner|native|T1w|T2w|FLAIR)_))"
)
_MAGNITUDE = "(?!(?:.+_)?part-(?:phase|real|imag)_)"
# An image after contrast that does not say so as BIDS does is left to the user.
_NO_CONTRAST = r"(?!(?:.+_)?(?:acq|rec|desc)-[^_]*(?i:gd|gad|post|enhanced|(?<!pre)(?<!non)(?<!no)contrast))"
_BRATS_2023 = {"t1n": "t1", "t1c": "t1ce", "t2w": "t2", "t2f": "flair", "seg": LABEL}

CONVENTIONS = (
    Convention(
        "BraTS 2018 to 2021",
        (_in_folder("[^/]+", "_"),),
        {"t1": "t1", "t1ce": "t1ce", "t2": "t2", "flair": "flair", "seg": LABEL},
        scheme="brats2020",
        decided_by="t1ce",
        all_but_one=True,
        own_folder=True,
    ),
    Convention(
        "BraTS 2023 and later: GLI, MEN, MET, SSA",
        (_in_folder(r"BraTS-(?:GLI|MEN|MET|SSA)-\d[^/]*", "-"),),
        _BRATS_2023,
        scheme="brats2023",
        all_but_one=True,
        own_folder=True,
    ),
    Convention(
        "BraTS-PED",
        (_in_folder("BraTS-PED-[^/]+", "-"),),
        _BRATS_2023,
        all_but_one=True,
        own_folder=True,
    ),
    Convention(
        "names of BraTS 2023",
        (_in_folder("(?!BraTS-)[^/]+", "-"),),
        _BRATS_2023,
        scheme="brats2023",
        decided_by="t1",
        all_but_one=True,
        own_folder=True,
        published=False,
    ),
    Convention(
        "BraTS-MEN-RT",
        (_in_folder("BraTS-MEN-RT-[^/]+", "[-_]"),),
        {"t1c": "t1ce", "gtv": LABEL},
        scheme="brats-men-rt",
        own_folder=True,
    ),
    Convention(
        "UCSF-PDGM",
        (rf"{_PLACE}(?P<case>UCSF-PDGM-\d+(?:_FU\d+d)?)(?:_nifti)?/(?P=case)_(?P<kind>[^/]+)",),
        {"T1": "t1", "T1c": "t1ce", "T2": "t2", "FLAIR": "flair", "tumor_segmentation": LABEL},
        scheme="brats2020",
    ),
    Convention(
        "UPENN-GBM",
        (
            rf"{_PLACE}(?:images_structural/)?(?P<case>UPENN-GBM-\d+_\d+)/(?P=case)_(?P<kind>T1|T1GD|T2|FLAIR)",
            rf"{_PLACE}(?:images|automated)_segm/(?P<case>UPENN-GBM-\d+_\d+)_(?P<kind>[^/]+)",
        ),
        {
            "T1": "t1",
            "T1GD": "t1ce",
            "T2": "t2",
            "FLAIR": "flair",
            "segm": LABEL,
            "automated_approx_segm": DRAFT,
        },
        scheme="brats2020",
    ),
    Convention(
        "BIDS",
        (
            rf"{_OUTSIDE_DERIVATIVES}{_PLACE}(?:sub-[^/]+/)?(?:ses-[^/]+/)?anat/{_SESSION}_(?P<kind>[^/]+)",
            rf"{_ELSEWHERE}(?!(?:.*/)?derivatives/(?:.*/)?[^/]*{_ANATOMY}[^/]*/.*dseg)"
            rf"{_PLACE}derivatives/(?:.*/)?{_SESSION}_(?P<kind>(?:[^/]+_)?(?:dseg|mask))",
        ),
        {
            "(?!.*desc-aseg|.*desc-aparc|.*label-(?:GM|WM|CSF|brain))(?:.+_)?dseg": LABEL,
            "(?:.+_)?(?:desc|label)-brain_(?:.+_)?mask": MASK,
            f"{_MAGNITUDE}(?:.+_)?ce-(?:.+_)?T1w": "t1ce",
            f"{_MAGNITUDE}{_NO_CONTRAST}(?:.+_)?T1w": "t1",
            f"{_MAGNITUDE}(?:.+_)?T2w": "t2",
            f"{_MAGNITUDE}(?:.+_)?FLAIR": "flair",
        },
    ),
    Convention(
        "case folders",
        (
            rf"(?i){_OUTSIDE_DERIVATIVES}(?P<place>(?:.*/)?)(?P<case>[^/]+)/(?P<visit>{VISIT})/"
            r"(?:(?P=case)[ ._-])?(?:(?P=visit)[ ._-])?(?P<kind>[^/]+)",
            rf"(?i){_OUTSIDE_DERIVATIVES}(?P<place>(?:.*/)?)(?P<case>[^/]+)/(?:(?P=case)[ ._-])?(?P<kind>[^/]+)",
        ),
        {
            **{f"(?i){spelling}": modality for modality, spelling in SPELLINGS.items()},
            f"(?i){SEGMENTATION}": LABEL,
            "(?i)brain[ _-]?mask": MASK,
        },
        own_folder=True,
        published=False,
    ),
)
"""The conventions of folders without a ``dataset.json``. A file is of the first convention that has its name."""
