"""Reports: they need nothing but themselves, show every slice with brain, and warn of what should not be trusted."""

from __future__ import annotations

import base64
import io
import math
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from urllib.parse import unquote

import matplotlib as mpl
import numpy as np
import pytest
from PIL import Image
from scipy.stats import entropy as scipy_entropy
from training_helpers import Page

from helpers import noise
from made_up_case import SHAPE, VOXEL, made_up_case, prediction, seen_once
from spuproj.training.data.case import Case, load_case
from spuproj.training.data.findings import Finding, Level
from spuproj.training.evaluation.metrics import CaseMaps, dice, measure
from spuproj.training.inference.case_prediction import CasePrediction
from spuproj.training.inference.summary import CohortEntry
from spuproj.training.report.colours import COLOURS, colours_of
from spuproj.training.report.pages import entry_of, write_case_report, write_cohort_report
from spuproj.training.report.slice_images import outline, shown_box, shown_channels
from spuproj.training.report.viewer import frame_of
from spuproj.training.report.warnings import case_warnings
from spuproj.uncertainty import to_percent

pytest_plugins = ["training_fixtures"]


@pytest.fixture
def case() -> Case:
    return made_up_case()


DOUBT = Finding(Level.NOTE, "doubt")
FAULT = Finding(Level.WARNING, "fault")


def case_page(
    folder: Path, case: Case, predictions: dict[str, CasePrediction], warnings: Sequence[Finding] = ()
) -> Page:
    return Page(write_case_report(folder / "report.html", case, predictions, warnings))


def cohort_page(folder: Path, *entries: CohortEntry) -> Page:
    return Page(write_cohort_report(folder / "cohort.html", entries))


def pixels(image: str) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(image)))).astype(int)


def corners_of(path: str) -> np.ndarray:
    """Corners ``[n, (x, y)]`` of an SVG path of one line of "M" and relative "l"."""
    start, moves = re.fullmatch(r"M(-?\d+ -?\d+)l([-\d ]+)z", path).groups()
    return np.cumsum([[int(n) for n in start.split()], *np.array(moves.split(), int).reshape(-1, 2)], axis=0)


def test_a_real_case_gives_a_page_that_needs_nothing_else(cohort, tmp_path):
    case = load_case(cohort[1], with_labels=True)
    found = case.target("WT")
    maps = np.where(found, np.float32(0.1), np.float32(0))
    predictions = {name: CasePrediction(maps * 9, found, maps, maps, maps) for name in ("WT", "TC", "ET")}
    for page in (
        case_page(tmp_path, case, predictions, case_warnings(case, predictions)),
        cohort_page(tmp_path, entry_of(case, predictions, "report.html", [DOUBT])),
    ):
        assert "://" not in page.source
        assert page.all("link") == []
        assert all("src" not in attrs for _, attrs in page.tags)
        (policy,) = page.all("meta", **{"http-equiv": "Content-Security-Policy"})
        assert policy["content"].startswith("default-src 'none';")
        assert "Research software, not a medical device." in page.text


def test_every_slice_with_brain_has_one_image_for_each_panel(case, tmp_path):
    page = case_page(tmp_path, case, {"WT": prediction(), "ET": prediction()})
    titles = [attrs["data-title"] for attrs in page.all("figure", **{"class": "panel"})]
    assert titles == ["flair", "t1ce", "WT uncertainty", "ET uncertainty"]
    assert [attrs["alt"] for attrs in page.all("img")] == titles
    assert [each["index"] for each in page.slices()] == [1, 2, 3, 4, 5, 6, 7]
    assert {len(each["images"]) for each in page.slices()} == {4}
    height, width = (part.stop - part.start for part in shown_box(case))
    assert {pixels(image).shape[:2] for each in page.slices() for image in each["images"]} == {(height, width)}
    assert {attrs["viewbox"] for attrs in page.all("svg") if attrs.get("aria-hidden")} == {
        f"0 0 {2 * width} {2 * height}"
    }


def test_the_page_shows_the_image_and_the_standard_deviation(case, tmp_path):
    page = case_page(tmp_path, case, {"WT": prediction(variance=0.09)})
    grey, other, heat = (pixels(image) for image in page.slices()[3]["images"])
    rows, columns = shown_box(case)
    for shown, channel in ((grey, 1), (other, 0)):
        assert np.corrcoef(shown.ravel(), case.image[4, channel, rows, columns].ravel())[0, 1] > 0.9
    wanted = np.array(mpl.colormaps["magma"](0.3 / 0.5, bytes=True)[:3], int)
    block = heat[8 - rows.start : 10 - rows.start, 9 - columns.start : 13 - columns.start]
    assert np.abs(block - wanted).max() < 12


def test_outlines_lie_around_what_was_found_and_the_truth_only_with_labels(case, tmp_path):
    rows, columns = shown_box(case)
    page = case_page(tmp_path, case, {"WT": prediction()})
    outlines = page.slices()[3]["outlines"]
    assert set(outlines) == {"brain", "found0", "truth0"}
    corners = corners_of(outlines["found0"]) / 2 + (columns.start, rows.start)
    np.testing.assert_array_equal(corners.min(axis=0), (7, 6))
    np.testing.assert_array_equal(corners.max(axis=0), (15, 12))
    assert {name for each in page.slices() for name in each["outlines"]} == set(outlines)
    assert {attrs["data-outline"] for attrs in page.all("path")} == set(outlines)
    blind = case_page(tmp_path, replace(case, labels=None, scheme=None), {"WT": prediction()})
    assert "truth0" not in {name for each in blind.slices() for name in each["outlines"]}
    assert {attrs["data-outline"] for attrs in blind.all("path")} == {"brain", "found0"}


@pytest.mark.parametrize("mask", [np.ones((1, 1), bool), np.ones((3, 5), bool), noise(12, 13).numpy() > 0])
def test_an_outline_holds_the_masks_pixels(mask):
    """Corners are cut at a quarter pixel, so each pixel's own area is at least one half and at most one."""
    area = 0.0
    for line in re.findall(r"M[^z]*z", outline(mask)):
        (x, y), (u, v) = corners_of(line).T, np.roll(corners_of(line), -1, axis=0).T
        area += (x * v - u * y).sum() / 2 / 4
    assert 0.4 * mask.sum() <= abs(area) <= 1.1 * mask.sum()


def test_nothing_has_no_outline():
    assert outline(np.zeros((3, 4), bool)) == ""


@pytest.mark.parametrize(
    ("predictions", "first"),
    [
        ({"WT": prediction((5, 6))}, 4),
        ({"WT": prediction((2, 4)), "ET": prediction((3, 4))}, 2),
        ({"WT": replace(prediction((6, 7)), segmentation=np.zeros(SHAPE, bool))}, 5),
        ({"WT": prediction((0, 0))}, 0),
    ],
    ids=["tumour", "most tumour of all targets", "most uncertainty", "nothing at all"],
)
def test_the_slider_starts_where_most_is_to_see(case, tmp_path, predictions, first):
    page = case_page(tmp_path, case, predictions)
    (slider,) = page.all("input", type="range")
    assert (slider["min"], slider["max"], slider["value"]) == ("0", "6", str(first))
    assert f"Slice {page.slices()[first]['index']} " in page.text
    assert page.all("label", **{"for": "slider"})


def test_the_curves_show_the_area_of_every_slice(case, tmp_path):
    page = case_page(tmp_path, case, {"WT": prediction((4, 7), variance=0.125)})
    area, weighted = (attrs["points"] for attrs in page.all("polyline"))
    assert area == weighted == "0,100.0 1,100.0 2,100.0 3,0.0 4,0.0 5,0.0 6,100.0"
    # 48 pixels of 2 x 1 mm, and half of it since the variance is half of the largest.
    assert "Area found, up to 0.96 cm² a slice" in page.text
    assert "Area weighted by uncertainty, up to 0.48 cm² a slice" in page.text


def cells(page: Page) -> list[str]:
    """The numbers of the first target."""
    return [text for _, text in page.rows[1][1:]]


def test_the_picture_is_as_wide_and_high_as_the_slice_in_millimetres(case):
    rows, columns = shown_box(case)
    width, height = 2 * (columns.stop - columns.start), 1 * (rows.stop - rows.start)
    assert frame_of(case).aspect_ratio == f"{width}/{height}"


@pytest.mark.parametrize(("variance", "percent_of_it"), [(0.125, "50.0"), (0.002, "0.8")])
def test_the_numbers_are_those_of_an_evaluation(case, tmp_path, variance, percent_of_it):
    made = prediction((4, 8), variance)
    page = case_page(tmp_path, case, {"ET": made})
    x, y, z = case.spacing
    percent = to_percent(made.variance, "variance-1")
    maps = CaseMaps(
        case.target("ET"), made.segmentation, made.probability.astype(float), percent, case.brain, (z, y, x)
    )
    metrics, _ = measure(maps)
    measured = [f"{value:.3f}" for value in (metrics.dice, metrics.sensitivity, metrics.score, metrics.baseline)]
    measured.insert(2, f"{metrics.hd95:.1f}")
    # The probability is 0.9 inside and 0 outside: 2 * 0.9 / (0.9 + 1).
    found = [f"{192 * VOXEL:.2f}", "0.95", f"{metrics.mean_uncertainty:.2f}", percent_of_it, "-"]
    assert cells(page) == [*found, *measured]
    # Two of three slices were found, and two more.
    assert (metrics.dice, metrics.sensitivity) == pytest.approx((4 / 7, 2 / 3))
    assert [heading in page.text for heading in ("Dice", "HD95, mm", "Score of zeros")] == [True] * 3


def test_the_share_of_interpolation_is_of_the_variance_that_is_known(case, tmp_path):
    made = prediction(variance=0.02)
    floor = np.where(made.variance > 0, np.float32(0.005), np.float32(0.1))
    whole = case_page(tmp_path, case, {"ET": replace(made, interpolation=floor)})
    assert cells(whole)[4] == "25"
    unknown = np.where(np.arange(case.brain.shape[0])[:, None, None] == 4, np.nan, made.variance).astype(np.float32)
    part = case_page(
        tmp_path, case, {"ET": replace(made, variance=unknown, entropy=np.zeros_like(floor), interpolation=floor)}
    )
    assert cells(part)[4] == "25"
    certain = replace(made, variance=np.zeros_like(floor), interpolation=floor)
    assert cells(case_page(tmp_path, case, {"ET": certain}))[4] == "-"


def test_without_labels_there_are_no_numbers_of_truth(case, tmp_path):
    page = case_page(tmp_path, replace(case, labels=None, scheme=None), {"ET": prediction(variance=0.125)})
    assert len(cells(page)) == 5
    assert "QU-BraTS" not in page.source
    assert not re.search(r'class="(key dashed|truth)"', page.source)


@pytest.mark.parametrize(
    ("names", "wanted"),
    [
        (("t1", "t1ce", "t2", "flair"), {3: "flair", 1: "t1ce"}),
        (("t1", "t2", "t1ce"), {2: "t1ce", 0: "t1"}),
        ((), {0: "channel 1", 1: "channel 2"}),
        (("t2",), {0: "t2"}),
    ],
)
def test_flair_and_t1ce_are_shown_or_else_the_first_modalities(case, names, wanted):
    image = np.zeros((9, len(names) or 2, 20, 24), np.float32)
    shown = shown_channels(replace(case, image=image, modalities=names))
    assert list(shown.items()) == list(wanted.items())


def test_a_read_case_knows_the_names_of_its_channels(cohort):
    assert load_case(cohort[0], ("flair", "t1")).modalities == ("flair", "t1")


HOSTILE = """</script><script>alert('1')</script><b a="2">&amp;{{ 7 * 7 }}{% endblock %}ü☃"""


def test_a_hostile_case_has_the_page_of_any_other(case, tmp_path):
    """Names of case, target and modality and a warning come out as they are and make no tag."""

    def page(name: str) -> Page:
        bare = replace(case, name=name, labels=None, scheme=None, modalities=(name, "t1"))
        return case_page(tmp_path, bare, {name: prediction()}, [Finding(Level.NOTE, f"{name} on slice 4")])

    plain, hostile = page("plain"), page(HOSTILE)
    assert [tag for tag, _ in hostile.tags] == [tag for tag, _ in plain.tags]
    for (_, found), (_, usual) in zip(hostile.tags, plain.tags, strict=True):
        assert found == {key: value and value.replace("plain", HOSTILE) for key, value in usual.items()}
    assert hostile.words == [text.replace("plain", HOSTILE) for text in plain.words]
    assert hostile.scripts == plain.scripts
    assert HOSTILE in hostile.rows[1][0][1]


def test_a_hostile_cohort_has_the_page_of_any_other(tmp_path):
    """Names of cases, targets and files, warnings and errors come out as they are and make no tag."""

    def page(name: str) -> Page:
        warning = Finding(Level.WARNING, name)
        found = CohortEntry(name, f"{name}.html", {name: 1.0}, {name: 1.0}, {name: 1.0}, {name: 1.0}, (warning,))
        return cohort_page(tmp_path, found, CohortEntry("lost", error=name))

    plain, hostile = page("plain"), page(HOSTILE)
    assert [tag for tag, _ in hostile.tags] == [tag for tag, _ in plain.tags]
    assert hostile.words == [text.replace("plain", HOSTILE) for text in plain.words]
    assert [[text for _, text in row] for row in hostile.rows] == [
        [text.replace("plain", HOSTILE) for _, text in row] for row in plain.rows
    ]
    (link,) = hostile.all("a")
    assert unquote(link["href"]) == f"{HOSTILE}.html"
    assert re.fullmatch(r"[\w%./-]+", link["href"])
    assert hostile.all("th", **{"data-value": HOSTILE})


def test_a_slice_in_a_warning_is_a_link_where_it_is_shown(case, tmp_path):
    page = case_page(tmp_path, case, {"WT": prediction()}, [Finding(Level.NOTE, "odd on slice 4 and slice 8")])
    assert [attrs["data-position"] for attrs in page.all("button")] == ["3"]
    assert "odd on slice 4 and slice 8" in page.text
    assert "No check raised a warning" not in page.text
    assert "No check raised a warning" in case_page(tmp_path, case, {"WT": prediction()}).text


def test_a_report_is_whole_or_absent(case, tmp_path, monkeypatch):
    def fail(self, text, **_):
        self.write_bytes(text[:100].encode())
        raise OSError("disk full")

    monkeypatch.setattr(Path, "write_text", fail)
    with pytest.raises(OSError, match="disk full"):
        write_case_report(tmp_path / "report.html", case, {"WT": prediction()})
    with pytest.raises(OSError, match="disk full"):
        write_cohort_report(tmp_path / "report.html", [])
    assert list(tmp_path.iterdir()) == []


def test_slices_without_brain_inside_the_brain_are_named_and_left_out(case, tmp_path):
    brain = case.brain.copy()
    brain[[2, 6]] = False
    holed = replace(case, brain=brain)
    (warning,) = case_warnings(holed, {"WT": prediction((3, 6))})
    assert warning.message.startswith("no brain on slices 2, 6, though")
    page = case_page(tmp_path, holed, {"WT": prediction((3, 6))}, [warning])
    assert [each["index"] for each in page.slices()] == [1, 3, 4, 5, 7]


def test_targets_have_colours_of_their_own():
    colours = colours_of(dict.fromkeys(("WT", "liver", "ET", "lesion")))
    assert colours["WT"] == COLOURS["WT"]
    assert len(set(colours.values())) == 4


def test_a_page_shows_and_counts_the_entropy_of_voxels_that_one_view_saw(case, tmp_path):
    made = seen_once(prediction(variance=0.02), np.s_[4])
    page = case_page(tmp_path, case, {"ET": made}, case_warnings(case, {"ET": made}))
    share = scipy_entropy([0.9, 0.1]) / math.log(2)
    rows, columns = shown_box(case)
    heat = pixels(page.slices()[3]["images"][-1])
    heat = heat[8 - rows.start : 10 - rows.start, 9 - columns.start : 13 - columns.start]
    assert np.abs(heat - np.array(mpl.colormaps["magma"](math.sqrt(share), bytes=True)[:3], int)).max() < 25
    mean = (48 * share + 96 * 0.08) / case.brain.sum()
    assert cells(page)[2:4] == [f"{100 * mean:.2f}", f"{100 * share:.1f}"]
    # 48 pixels of 2 x 1 mm.
    assert f"Area weighted by uncertainty, up to {0.96 * share:.2f} cm² a slice" in page.text
    assert "too few views see 224 voxels of the brain" in page.text


def test_an_entry_holds_what_was_found(case):
    made = prediction(variance=0.125)
    entry = entry_of(case, {"ET": made}, "cases/made_up.html", [DOUBT])
    mean = 50.0 * 144 / case.brain.sum()
    assert entry == CohortEntry(
        "made_up",
        "cases/made_up.html",
        {"ET": pytest.approx(144 * VOXEL)},  # type: ignore[dict-item]
        {"ET": pytest.approx(mean)},  # type: ignore[dict-item]
        {"ET": dice(case.target("ET"), made.segmentation)},
        {"ET": pytest.approx(1.8 / 1.9)},  # type: ignore[dict-item]
        (DOUBT,),
    )
    assert entry_of(replace(case, labels=None), {"ET": made}, None, []).dice is None


def test_the_cohort_lists_the_least_trustworthy_first(tmp_path):
    page = cohort_page(
        tmp_path,
        CohortEntry("calm", None, {"WT": 4.0}, {"WT": 9.0}, None, {"WT": 0.99}),
        CohortEntry(
            "shaky", "shaky.html", {"WT": 3.0, "ET": 1.0}, {"WT": 0.2, "ET": 7.0}, None, {"WT": 0.9, "ET": 0.5}
        ),
        CohortEntry("absurd", "absurd.html", {"WT": 1800.0}, {"WT": 0.0}, None, {"WT": 1.0}, (FAULT, DOUBT)),
        CohortEntry("lost", error="no images"),
        CohortEntry("empty", None, {"WT": 0.0}, {"WT": 0.0}, None, {"WT": 0.0}, (DOUBT,)),
        CohortEntry("worse", None, {"WT": 4.0}, {"WT": 5.0}, None, {"WT": 0.2}, (FAULT,)),
    )
    order = ["lost", "worse", "absurd", "empty", "shaky", "calm"]
    assert [attrs["data-value"] for attrs in page.all("th", scope="row")] == order
    assert "6 cases: 1 could not be predicted, 2 with serious warnings" in page.text
    assert "ET uncertainty, %" in page.text
    assert not any(text.endswith("Dice") for _, text in page.rows[0])
    assert page.all("a") == [{"href": "absurd.html"}, {"href": "shaky.html"}]
    assert [row[1][1] for row in page.rows[1:]] == ["", "0.20", "1.00", "0.00", "0.50", "0.99"]
    assert [row[2][0]["data-value"] for row in page.rows[1:]] == ["Infinity", "1001", "1002", "1", "0", "0"]
    assert page.rows[1][2] == ({"class": "words error", "data-value": "Infinity"}, "Error: no images")
    assert page.rows[3][2][1] == "2, 1 seriousfaultdoubt"
    assert {len(row) for row in page.rows} == {len(page.rows[0])}


def test_the_cohort_shows_dice_where_any_case_has_it(tmp_path):
    page = cohort_page(
        tmp_path,
        CohortEntry("known", None, {"WT": 4.0}, {"WT": 0.1}, {"WT": 0.875}),
        CohortEntry("unknown", None, {"WT": 4.0}, {"WT": 0.1}),
    )
    headings = ["Case", "Expected Dice, lowest", "Warnings", "WT volume, ml", "WT uncertainty, %", "WT Dice"]
    assert [text for _, text in page.rows[0]] == headings
    assert [row[5] for row in page.rows[1:]] == [({"data-value": "0.875"}, "0.875"), ({"data-value": ""}, "")]


def test_an_empty_cohort_gives_a_page_too(tmp_path):
    assert "0 cases" in cohort_page(tmp_path).text
