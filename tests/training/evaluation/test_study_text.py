"""The study's text says what its files hold: every number of its tables, and what it concludes from the phantoms."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from scipy import stats

from spuproj.training.evaluation.statistics import compare

STUDY = Path(__file__).parents[3] / "docs" / "study"
LINES = (STUDY / "README.md").read_text().splitlines()
TEXT = " ".join(" ".join(LINES).split())
METHODS, TARGETS = ("SPU", "TTA", "LSU"), ("ET", "TC", "WT")
HEADINGS = {
    "Dice": "dice", "HD95, mm": "hd95", "score": "score", "score of zeros": "baseline", "AUROC": "auroc",
    "AP": "average_precision", "AURC": "aurc", "90 % of errors in": "flagged_90", "ECE": "ece", "NLL": "nll",
    "share of the brain with 90 % of the errors": "flagged_90", "Dice, 5 % corrected": "corrected_5",
    "mean uncertainty, %": "mean_uncertainty", "round trip": "round_trip",
}  # fmt: skip
SETTINGS = {"radius 0.25": "radius=0.25", "radius 0.35 (default)": "default", "radius 0.7": "radius=0.7",
            "flat": "lift=equidistant"}  # fmt: skip


def tables() -> list[list[list[str]]]:
    """The tables, each a list of lines of cells."""
    found: list[list[list[str]]] = [[]]
    for line in LINES:
        if line.startswith("|"):
            found[-1].append([cell.strip(" *") for cell in line.strip("|").split("|")])
        elif found[-1]:
            found.append([])
    return [table for table in found if table]


def is_rounded(cell: str, value: float) -> bool:
    """Whether a cell is a value with the digits that it shows; ``%`` stands behind a part of 1."""
    digits = cell.removesuffix("%").strip()
    value = 100 * value if cell.endswith("%") else value
    return f"{value:.{len(digits.partition('.')[2])}f}" == digits


def means(name: str) -> pd.Series:
    return pd.read_csv(STUDY / "evaluation" / name).set_index(["target", "method", "measure"])["mean"]


@pytest.mark.parametrize(("place", "name"), [(0, "table.csv"), (1, "patients.csv"), (7, "twelve-patients.csv")])
def test_the_tables_of_methods_show_the_files(place, name):
    (_, _, *headings), _, *lines = tables()[place]
    assert len(lines) == 9
    for target, method, *cells in lines:
        for heading, cell in zip(headings, cells, strict=True):
            assert is_rounded(cell, means(name)[target, method, HEADINGS[heading]]), (target, method, heading)


@pytest.mark.parametrize(
    ("place", "name"), [(3, "curvature-patients"), (4, "curvature"), (5, "today-patients"), (6, "today")]
)
def test_the_tables_of_settings_show_the_files(place, name):
    (_, *headings), _, *lines = tables()[place]
    values = pd.read_csv(STUDY / "variations" / f"{name}.csv").set_index("setting")
    assert len(lines) == len(values)
    names = [
        HEADINGS.get(one) or f"calibrated_{HEADINGS[before]}"
        for before, one in zip(["", *headings[:-1]], headings, strict=True)
    ]
    for setting, *cells in lines:
        for measure, cell in zip(names, cells, strict=True):
            value = values[measure][SETTINGS.get(setting, "oversampling=1.0")]
            assert is_rounded(cell, value), (setting, measure)


def phantoms(measure: str, target: str) -> dict[str, dict[str, float]]:
    """One measure of each method by phantom."""
    rows = pd.read_csv(STUDY / "evaluation" / "per_case.csv")
    return {each: dict(rows[(rows.method == each) & (rows.target == target)][["case", measure]].values)
            for each in METHODS}  # fmt: skip


def p_values(measure: str, first: str, second: str) -> list[tuple[float, float]]:
    """For each target, p of the difference of two methods, before and after the correction."""
    found = (compare(phantoms(measure, target)) for target in TARGETS)
    return [
        (each.p, each.adjusted) for pairs in found for each in pairs if (each.first, each.second) == (first, second)
    ]


def test_the_differences_on_phantoms_are_those_of_the_tests():
    dice, auroc, score, hd95 = (p_values(name, "SPU", "TTA") for name in ("dice", "auroc", "score", "hd95"))
    assert f"Dice (p at least {min(dice)[0]:.2f}), in AUROC (p at least {min(auroc)[0]:.2f})" in TEXT
    assert f"(p at least {min(adjusted for _, adjusted in score):.2f} after correction)" in TEXT
    assert [adjusted < 0.05 for _, adjusted in hd95] == [False, True, True]
    assert f"p {hd95[1][1]:.3f} and {hd95[2][1]:.4f} after correction" in TEXT
    lsu = max(p for first in ("SPU", "TTA") for p, _ in p_values("auroc", first, "LSU"))
    assert f"(p at most {lsu:.3f} on phantoms, before correction)" in TEXT
    lower = {f"{p_values('dice', first, 'LSU')[2][1]:.3f}" for first in ("SPU", "TTA")}
    assert [f"(p {each} against either, after correction)" in TEXT for each in lower] == [True]


def test_the_correlations_on_phantoms_are_those_of_the_files():
    rows = pd.read_csv(STUDY / "evaluation" / "per_case.csv")
    loss = rows.baseline - rows.score
    filtered, marked = (stats.spearmanr(loss, rows[name]).statistic for name in ("auc_ftp", "mean_uncertainty"))
    assert f"(`auc_ftp`) is {filtered:.2f}, with the mean uncertainty of the brain {marked:.2f}." in TEXT
    for target, words in {"WT": "{0:.2f} to {1:.2f}, ", "ET": "{1:.2f} to {0:.2f}"}.items():
        groups = (rows[(rows.method == method) & (rows.target == target)] for method in METHODS)
        found = [stats.spearmanr(each.dice, each.mean_uncertainty).statistic for each in groups]
        assert words.format(max(found), min(found)) in TEXT


def test_the_phantoms_with_et_have_the_numbers_of_the_file():
    rows = pd.read_csv(STUDY / "evaluation" / "per_case.csv")
    without = [f"Phantom_{number}" for number in ("006", "012", "024", "038", "045")]
    found = rows[(rows.target == "ET") & ~rows.case.isin(without)].groupby("method")[["dice", "sensitivity", "hd95"]]
    dice, sensitivity, hd95 = (found.mean().loc[list(METHODS), name] for name in ("dice", "sensitivity", "hd95"))
    assert f"Dice is {dice.min():.2f} to {dice.max():.2f}, the sensitivity {sensitivity['SPU']:.2f} (SPU)" in TEXT
    assert f"{sensitivity['TTA']:.2f} (TTA) and {sensitivity['LSU']:.2f} (LSU)" in TEXT
    assert "HD95 {:.0f}, {:.0f} and {:.0f} mm".format(*hd95) in TEXT


def test_the_order_of_the_methods_depends_on_the_seed():
    orders = []
    for name in ("patients.csv", "seed-1-patients.csv"):
        values = means(name)
        orders.append(sorted(METHODS, key=lambda method: -values["WT", method, "dice"]))
    assert orders == [["LSU", "TTA", "SPU"], ["SPU", "LSU", "TTA"]]
    assert "SPU from last to first" in TEXT
