"""Entry point of the ``spuproj`` command, which also works where its extras are not installed."""

from __future__ import annotations

import sys


def main() -> None:
    """Runs the command line. Where packages of an extra are missing, it says which extra; ``info`` needs none."""
    try:
        from spuproj_cli.app import run

        run()
    except ImportError as error:
        if sys.argv[1:] == ["info"]:
            from spuproj import info

            print(info.text())
            return
        extra = "bench" if sys.argv[1:2] == ["bench"] else "training"
        sys.exit(f"error: this needs the {extra} extra ({error}): pip install 'spuproj[{extra}]'")
