"""Hook of mkdocs: links that leave the documentation lead to the repository."""

import posixpath
import re
from typing import Any

LINK = re.compile(r"(?<=\]\()(?![a-z]+:|#|/)([^)\s#]+)(?=[)#])")


def on_page_markdown(markdown: str, *, page: Any, config: Any, **_: Any) -> str:
    """A page's text, with links to files outside of docs/ as addresses of the repository."""
    folder = posixpath.dirname(page.file.src_uri)

    def placed(match: re.Match[str]) -> str:
        path = posixpath.normpath(posixpath.join("docs", folder, match[1]))
        if path.startswith("docs/"):
            return match[1]
        kind = "raw" if path.endswith(".png") else "blob"
        return f"{config.repo_url}/{kind}/main/{path}"

    return LINK.sub(placed, markdown)
