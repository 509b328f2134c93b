"""The ``spuproj`` command, also where the training extra is not installed."""

from __future__ import annotations

import sys

from spuproj import info


def main() -> None:
    """Runs the command line; without the training extra only ``spuproj info`` works, and the rest says what to do."""
    try:
        from spuproj.training import cli

        cli.run()
    except ImportError as error:
        if sys.argv[1:] != ["info"]:
            sys.exit(f"error: this needs the training extra ({error}): pip install 'spuproj[training]'")
        print(info.text())
