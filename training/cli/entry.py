"""The ``spuproj`` command, also where its extras are not installed."""

from __future__ import annotations

import sys


def main() -> None:
    """Runs the command line; where a command's extra is missing it says which. ``spuproj info`` works without."""
    try:
        from spuproj.training.cli.app import run

        run()
    except ImportError as error:
        if sys.argv[1:] == ["info"]:
            from spuproj import info

            print(info.text())
            return
        extra = "bench" if sys.argv[1:2] == ["bench"] else "training"
        sys.exit(f"error: this needs the {extra} extra ({error}): pip install 'spuproj[{extra}]'")
