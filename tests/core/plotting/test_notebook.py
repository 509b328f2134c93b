"""Views that end a cell of a notebook: a picture inside the page, with a text for those who cannot see it."""

from __future__ import annotations

import base64
import io
from html.parser import HTMLParser

import pytest
import torch
from PIL import Image

from spuproj import Views


class Shown(HTMLParser):
    """The tags, the attributes of the image, and the text of a piece of HTML."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.image: dict[str, str | None] = {}
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        if tag == "img":
            self.image = dict(attrs)

    def handle_data(self, data: str) -> None:
        self.text += data


def test_a_notebook_shows_a_small_picture_with_a_text():
    views = Views.spherical((240, 240), grid=(3, 3), radius=60)
    shown = Shown(views._repr_html_())
    assert shown.tags == ["figure", "img", "figcaption"]
    assert shown.image["alt"] == shown.text == repr(views)
    kind, data = shown.image["src"].split(",")
    assert kind == "data:image/png;base64"
    with Image.open(io.BytesIO(base64.b64decode(data))) as picture:
        assert 500 < picture.width < 1000
    assert len(data) < 100_000


def test_of_many_views_the_first_are_drawn():
    few, many = (Views.spherical((20, 24), grid=(1, columns)) for columns in (2, 13))
    assert "drawn" not in Shown(few._repr_html_()).text
    assert "drawn" not in Shown(many[:12]._repr_html_()).text
    assert Shown(many._repr_html_()).image["src"] == Shown(many[:12]._repr_html_()).image["src"]
    assert Shown(many._repr_html_()).text.endswith("; the first 12 are drawn")


@pytest.mark.parametrize("centers", [[[[5.0, 6.0]], [[12.0, 20.0]]], [[5.0, 6.0]]])
def test_views_shared_or_by_sample_are_shown(centers):
    assert "img" in Shown(Views.spherical((20, 24), centers)._repr_html_()).tags


def test_views_without_numbers_are_shown_as_text():
    views = Views.spherical((20, 24), torch.zeros(3, 2, device="meta"), magnification=1.0)
    assert Shown(views._repr_html_()).tags == ["pre"]
