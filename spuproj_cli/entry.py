"""Entry point of the ``spuproj`` command. Without the extras only ``info`` and ``--version`` run."""

from __future__ import annotations

import os
import sys

_EXTRAS = {"bench": "bench", "dicom": "dicom", "nnunet-predict": "nnunet", "push": "hub"}
"""Commands that need more than the training extra."""


def main() -> None:
    """Runs the command line. If packages of an extra are missing, the error names the extra, unless none is needed."""
    _open_closed_streams()
    try:
        from spuproj_cli.app import run

        run()
    except ImportError as error:
        if not _lacks_a_package(error):
            raise  # A fault of the installation that no extra mends.
        if sys.argv[1:] == ["--version"]:
            from importlib.metadata import version

            print(f"spuproj {version('spuproj')}")
            return
        if sys.argv[1:] == ["info"]:
            from spuproj import info

            print(info.text())
            return
        extra = _EXTRAS.get("".join(sys.argv[1:2]), "training")
        sys.exit(f'error: this needs the {extra} extra ({error}): pip install "spuproj[{extra}]"')


def _lacks_a_package(error: BaseException | None) -> bool:
    """Whether a package besides spuproj is not installed, as the error or its cause says."""
    while error is not None and not isinstance(error, ModuleNotFoundError):
        error = error.__cause__
    return error is not None and not (error.name or "").startswith("spuproj")


def _open_closed_streams() -> None:
    """Lets what is printed vanish where the caller has closed a stream, as for daemons."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115 (for as long as the process lives)
