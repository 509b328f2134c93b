"""Entry point of the ``spuproj`` command, which also works without the extras (then only ``info`` runs)."""

from __future__ import annotations

import sys

_EXTRAS = {"bench": "bench", "dicom": "dicom", "nnunet-predict": "nnunet", "push": "hub"}
"""Commands that need more than the training extra."""


def main() -> None:
    """Runs the command line. If packages of an extra are missing, the error names the extra; ``info`` needs none."""
    try:
        from spuproj_cli.app import run

        run()
    except ImportError as error:
        if sys.argv[1:] == ["info"]:
            from spuproj import info

            print(info.text())
            return
        extra = _EXTRAS.get("".join(sys.argv[1:2]), "training")
        sys.exit(f"error: this needs the {extra} extra ({error}): pip install 'spuproj[{extra}]'")
