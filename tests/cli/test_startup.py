"""What the program answers by itself: help, version and completion, quickly and however it is started."""

from __future__ import annotations

import re
from importlib.metadata import version

import pytest
from typer.main import get_group

from helpers import run_python
from processes.forked import run_forked
from spuproj import PROFILES
from spuproj.training.evaluation.metrics import EMPTY
from spuproj.training.inference.case_prediction import AGGREGATIONS
from spuproj.training.runtime.execution import PRECISIONS
from spuproj.uncertainty import SCALINGS
from spuproj_cli.app import app

pytest_plugins = ["training_fixtures"]

HEAVY = (
    *("torch", "numpy", "scipy", "pandas", "matplotlib", "monai", "lightning", "pytorch_lightning", "nibabel"),
    *("nilearn", "skimage", "sklearn", "torchmetrics", "jinja2", "rich", "spuproj"),
)
RUN = f"""
import sys
from spuproj_cli.entry import main
for sys.argv in {{commands!r}}:
    try:
        main()
    except SystemExit as end:
        assert end.code in (0, 2), end.code
print("heavy:", [name for name in {HEAVY!r} if name in sys.modules])
"""


def test_help_and_version_import_nothing_heavy():
    """The time of ``spuproj --help`` is that of its imports."""
    options = [["--help"], ["-h"], ["--version"], ["predict", "--nonsense"]]
    options += [[name, flag] for name in get_group(app).commands for flag in ("--help", "-h")]
    run = run_python(RUN.format(commands=[["spuproj", *option] for option in options]))
    assert run.stdout.splitlines()[-1] == "heavy: []", run.stderr
    assert run.stdout.count("Usage: spuproj ") == len(options) - 2
    assert f"spuproj {version('spuproj')}\n" in run.stdout


def test_completion_knows_commands_and_options():
    environment = {"_SPUPROJ_COMPLETE": "complete_bash", "COMP_CWORD": "1"}
    run = run_python(RUN.format(commands=[["spuproj"]]), COMP_WORDS="spuproj pr", **environment)
    assert run.stdout.split()[:2] == ["predict", "project"], run.stderr
    assert "--install-completion" in app_help()


def test_completion_is_shown_for_a_shell():
    shown = run_python(
        RUN.format(commands=[["spuproj", "--show-completion", "bash"]]),
        _TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION="1",
    )
    assert "complete -o default -F _spuproj_completion spuproj" in shown.stdout, shown.stderr


def app_help(*arguments: str) -> str:
    """Help as ``python -m spuproj`` prints it."""
    code = "import runpy; runpy.run_module('spuproj', run_name='__main__', alter_sys=True)"
    run = run_forked(code, *arguments, "--help")
    assert run.returncode == 0, run.stderr
    return run.stdout


def test_python_m_spuproj_is_the_command(spuproj):
    assert app_help() == spuproj("--help")[1]
    assert app_help("split") == spuproj("split", "--help")[1]


@pytest.mark.parametrize(
    ("command", "option", "choices"),
    [
        ("project", "lift", PROFILES),
        ("project", "chart", PROFILES),
        ("predict", "aggregation", AGGREGATIONS),
        ("train", "precision", PRECISIONS),
        ("evaluate", "scaling", SCALINGS),
        ("evaluate", "empty", EMPTY),
    ],
)
def test_an_option_offers_what_the_library_knows(spuproj, command, option, choices):
    """The command line names the choices itself: to ask the library would import it."""
    assert re.search(rf"--{option} <{re.escape('|'.join(choices))}>\s", spuproj(command, "--help")[1])


def test_every_option_has_a_help_text():
    commands = get_group(app).commands
    assert {"train", "predict"} <= set(commands)
    options = [(name, each) for name, command in commands.items() for each in command.params]
    assert [(name, each.name) for name, each in options if not getattr(each, "help", None)] == []
