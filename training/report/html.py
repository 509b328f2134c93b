"""HTML pages from the templates of this folder: self-contained files."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from spuproj.training.report.numbers import as_text
from spuproj.training.runtime.files import atomic_write

_TEMPLATES = Environment(
    loader=FileSystemLoader(Path(__file__).with_name("templates")),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_TEMPLATES.filters["number"] = as_text
_TEMPLATES.policies["json.dumps_kwargs"] = {"separators": (",", ":")}


_GENERATOR = b'<meta name="generator" content="spuproj">'
"""In the head of every page."""


def is_page(path: Path) -> bool:
    """Whether a file is a page that ``write_page`` wrote."""
    with suppress(OSError), path.open("rb") as stream:
        return _GENERATOR in stream.read(512)
    return False


def write_page(path: Path, template: str, **values: object) -> Path:
    """Writes a page of ``templates/``, which appears whole or not at all. Values are escaped in the templates."""
    text = _TEMPLATES.get_template(template).render(values)
    with atomic_write(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
    return path
