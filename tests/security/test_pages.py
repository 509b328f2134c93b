"""Hostile names and words in every page, in a real browser: they are shown as text, and nothing of them runs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import markdown
import numpy as np
import pytest
from pydantic import ValidationError

from fuzz_readers.readers import SEEDS
from headless.chromium import Chromium, Tab, needs_chromium, started
from made_up_case import made_up_case, prediction
from spuproj.training.data.findings import Finding, Level
from spuproj.training.inference.summary import CohortEntry
from spuproj.training.models.card import model_card
from spuproj.training.models.config import ModelConfig
from spuproj.training.models.run import load_run
from spuproj.training.models.training_record import Record, Versions
from spuproj.training.report.explorer import write_explorer
from spuproj.training.report.pages import write_case_report, write_cohort_report

pytestmark = needs_chromium

HOSTILE = (
    "</script><script>window.ran = 1</script>",
    "<img src=x onerror='window.ran = 1'>",
    '"><svg onload=window.ran=1>',
    "' onmouseover='window.ran = 1' autofocus onfocus='window.ran = 1' x='",
    "javascript:window.ran=1",
    "</title></style></textarea><script>window.ran = 1</script>",
    "<!--<script>window.ran = 1</script>",
    "${window.ran = 1}`;window.ran=1;//\\",
    "];window.ran=1;[\u2028window.ran=1;",
    "<meta http-equiv=refresh content='0;url=data:text/html,<script>1</script>'><base href=//evil.example>",
    "red;background:url(//evil.example/x)",
    "{{ 7 * 7 }}{% include 'case.js' %}",
    "\u202ereversed\u202c \x1b[1m \ufeff \u2066x",
    "$\\frac{$",
)

TOGETHER = ("".join(HOSTILE), "".join(reversed(HOSTILE)), "javascript:window.ran=1")
"""Pages are large: all in one name, in both orders since one may hide the next, and what must come first in a link."""


@pytest.fixture(scope="module")
def browser(tmp_path_factory) -> Iterator[Chromium]:
    with started(tmp_path_factory.mktemp("profile")) as browser:
        yield browser


TOUCH = """document.querySelectorAll('*').forEach((each) => {
  each.focus?.();
  for (const kind of ['mouseover', 'mouseenter', 'mousemove', 'mouseout'])
    each.dispatchEvent(new MouseEvent(kind, {bubbles: true, clientX: 1, clientY: 1}));
})"""


def require_harmless(tab: Tab, path: Path) -> None:
    """Nothing ran, no handler waits, nothing was asked for, and no link leads to a script."""
    # The browser takes a frame for each place of its own pointer, so that goes to a few.
    tab.call("Runtime.evaluate", expression=TOUCH)
    tab.pointer(*[(x, y) for y in range(20, 800, 240) for x in range(20, 1300, 320)])
    assert tab.evaluate("window.ran === undefined && document.readyState === 'complete'")
    names = "[...document.querySelectorAll('*')].flatMap((one) => one.getAttributeNames())"
    assert tab.evaluate(f"{names}.filter((name) => name.startsWith('on'))") == []
    assert tab.evaluate("[...document.links].filter((one) => one.protocol !== 'file:').map((one) => one.href)") == []
    assert tab.evaluate("[...document.querySelectorAll('base, meta[http-equiv=refresh], iframe, object')].length") == 0
    requested = [event["request"]["url"] for event in tab.events("Network.requestWillBeSent")]
    assert [url for url in requested if not url.startswith(("data:image/", path.as_uri()))] == []
    assert tab.events("Runtime.exceptionThrown", "Page.javascriptDialogOpening") == []


def every_name(path: Path, name: str) -> Path:
    """The report of a case in which every name and word is this one."""
    case = replace(made_up_case(), name=name, labels=None, scheme=None, modalities=(name, f"{name}2"))
    return write_case_report(path, case, {name: prediction()}, [Finding(Level.WARNING, f"{name} on slice 4")], name)


def everything(path: Path) -> Path:
    one = {name: {name: 1.0} for name in HOSTILE}
    entries = [
        CohortEntry(name, f"{name}.html", each, each, each, each, (Finding(Level.NOTE, name),), None)
        for name, each in one.items()
    ]
    return write_cohort_report(path, [*entries, *(CohortEntry(name, error=name) for name in HOSTILE)])


def test_the_report_of_a_case_shows_hostile_words_as_text(browser, tmp_path):
    for number, name in enumerate(TOGETHER):
        path = every_name(tmp_path / f"{number}.html", name)
        tab = browser.open(path)
        require_harmless(tab, path)
        shown = tab.evaluate("document.querySelector('h1').textContent")
        assert shown == name.replace("\x00", "")


def test_the_report_of_a_cohort_shows_hostile_words_as_text(browser, tmp_path):
    path = everything(tmp_path / "report.html")
    tab = browser.open(path)
    require_harmless(tab, path)
    assert set(tab.evaluate("[...document.querySelectorAll('tbody th')].map((one) => one.textContent)")) == set(HOSTILE)


def test_the_page_of_explore_shows_hostile_titles_as_text(browser, tmp_path):
    plane = np.linspace(0, 1, 30 * 24, dtype=np.float32).reshape(30, 24)
    for number, name in enumerate(TOGETHER):
        path = write_explorer(tmp_path / f"{number}.html", plane, (1.0, 1.0), (15.0, 12.0), name)
        tab = browser.open(path)
        require_harmless(tab, path)
        assert tab.evaluate("document.title.length") > 0


# Names that a model may have; others are refused when its configuration is read.
PLAIN = (
    "<img src=x onerror='window.ran = 1'>",
    "<svg onload=window.ran=1>",
    "javascript:window.ran=1",
    "[a](javascript:window.ran=1)",
    "![x](x)",
    "`<b>`",
    "a|b",
    "&lt;script&gt;",
    "https:evil.example",
)


@pytest.fixture(scope="module")
def config(tmp_path_factory) -> ModelConfig:
    folder = tmp_path_factory.mktemp("model")
    for file, kind in (("config.json", "model_config"), ("model.safetensors", "model_weights")):
        (folder / file).write_bytes((SEEDS / kind / "tiny").read_bytes())
    return load_run(folder)[0]


@pytest.mark.parametrize("name", PLAIN)
def test_a_models_card_shows_hostile_names_as_text(browser, config, tmp_path, name):
    """As the site of the documentation and the Hub render Markdown, HTML in it included. Versions are no names."""
    with pytest.raises(ValidationError):
        Versions(name, name)
    named = replace(config, target=name, modalities=(name,), method=replace(config.method, name=name))
    card = model_card(named, Record(), "", "")
    path = tmp_path / "card.html"
    path.write_text(
        f"<title>card</title>{markdown.markdown(card.split('---', 2)[2], extensions=['tables'])}", encoding="utf-8"
    )
    tab = browser.open(path)
    assert tab.evaluate("document.querySelector('h1').textContent") == f"{name} by {name}"
    assert tab.evaluate("document.body.querySelectorAll('img, script, svg, b, table').length") == 0
    assert tab.evaluate("[...document.links].filter((one) => one.textContent.includes('ran')).length") == 0
    assert tab.evaluate("window.ran") is None
