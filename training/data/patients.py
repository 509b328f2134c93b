"""Which cases are visits of one patient."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence

from spuproj.training.data.readers.case_files import CaseFiles
from spuproj.training.data.readers.conventions import VISIT
from spuproj.training.runtime.wording import some_of

# Names of public data sets: the patient comes first, the rest is the visit.
_PUBLISHED = re.compile(
    r"(BraTS-MEN-RT-\d+|BraTS-[A-Za-z]+-\d+)-\d{1,3}|(UPENN-GBM-\d+)_\d+|(UCSF-PDGM-\d+)_FU\d+d|(sub-[A-Za-z0-9]+)(?:_.*)?"
)
_VISIT = re.compile(rf"(?i)(.*[^ ._-])[ ._-]+{VISIT}")
_NUMBERED = re.compile(r"(.*[^ ._-])[ ._-]+([A-Za-z]?\d{1,3}|[A-Za-z])")
# A word without a number that more cases begin with names a site or the data set.
_MOST_VISITS = 10
_EXAMPLES = 3


def patient_of(case: CaseFiles) -> str:
    """The patient of a case: as the data set says, or else the case's name without what names a visit.

    Known are the numbers of visits in names of public data sets (BraTS-GLI-00008-103), BIDS subjects, words such as
    ``_ses-1``, ``_visit2``, ``_tp2``, ``_v1``, ``_pre``, ``_post``, ``_baseline``, ``_followup``, and dates.
    """
    return case.patient or patient_named(case.name)


def patient_named(name: str) -> str:
    """The patient of a case of this name, where the data set does not say."""
    published = _PUBLISHED.fullmatch(name)
    if published:
        return str(next(filter(None, published.groups())))
    while found := _VISIT.fullmatch(name):
        name = found[1]
    return name


def shared_stems(cases: Sequence[CaseFiles]) -> list[str]:
    """Sentences on cases that may be of one patient by their names, and count as several patients.

    Those are names that differ in a last number or letter (pat0001_1 and pat0001_2), and names that another one
    begins with. A beginning that names the data set (BraTS2021_00000, Phantom_001) is none of a patient.
    """
    patients = sorted({patient_of(case) for case in cases if not case.patient})
    stem_of = {patient: _stem(patient) for patient in patients}
    stems = Counter(filter(None, stem_of.values()))
    shared = {stem for stem, count in stems.items() if count > 1 and _is_patient(stem, count, len(patients))}
    groups: dict[str, list[str]] = {}
    longer: dict[str, list[str]] = {}
    for name, stem in stem_of.items():
        for each in shared & {name, stem}:
            groups.setdefault(each, []).append(name)
        for beginning in {name, *_beginnings(name)}:
            longer.setdefault(beginning, []).append(name)
    for patient in patients:
        shortest = next((start for start in _beginnings(patient) if start in stem_of), None)
        if shortest is not None and shortest not in groups:
            groups[shortest] = longer[shortest]
    if not groups:
        return []
    shown = "; ".join(some_of(group, 4) for group in list(groups.values())[:_EXAMPLES])
    more = f"; and {len(groups) - _EXAMPLES} groups more" if len(groups) > _EXAMPLES else ""
    return [
        f"by their names these cases may be visits of one patient, but they count as different patients: {shown}"
        f"{more}; if they are of one patient, name it in the field 'patient' of a manifest ('spuproj manifest')"
    ]


def _stem(name: str) -> str:
    """What comes before a short last number or a last letter; empty where there is none."""
    found = _NUMBERED.fullmatch(name)
    if found is None:
        return ""
    last = re.split(r"[ ._-]", found[1])[-1]
    # After a word without a number, 001 counts patients; 1 or b may count visits.
    is_visit = bool(re.search(r"\d", last)) or not re.fullmatch(r"0\d+|\d{3}", found[2])
    return found[1] if is_visit else ""


def _is_patient(stem: str, count: int, patients: int) -> bool:
    """Whether a beginning names a patient rather than the data set, which all or very many cases share."""
    numbered = re.search(r"\d[^ ._-]*$", stem) is not None
    if not numbered and count > _MOST_VISITS:
        return False
    return count < patients or (numbered and patients <= _EXAMPLES)


def _beginnings(name: str) -> Iterable[str]:
    """The beginnings of a name, up to each separator."""
    return [name[: found.start()] for found in re.finditer(r"[ ._-]", name) if found.start()]
