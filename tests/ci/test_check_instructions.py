"""``.ci/check_instructions.py``: which counts it accepts, what it says of others, and how it reads callgrind."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import pytest

from helpers import ROOT

_spec = importlib.util.spec_from_file_location("check_instructions", ROOT / ".ci/check_instructions.py")
check = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(check)

BUDGET = {"avx2 project": 4.0, "avx2 taps": 200.0}

# Stands for valgrind: writes a dump as callgrind does, and prints what the driver prints.
VALGRIND = """#!/bin/sh
for option; do case $option in --callgrind-out-file=*) out=${option#*=} ;; esac; done
printf 'desc: Trigger: Client Request: project\\ntotals: 4000\\n' > "$out.1"
printf 'GNU 12.2.0\\n%s\\nproject\\t1000\\n' "$SPUPROJ_SIMD"
"""


def test_the_recorded_counts_and_small_changes_of_them_are_accepted():
    assert list(check.faults(BUDGET, BUDGET)) == []
    assert list(check.faults({"avx2 project": 4.03, "avx2 taps": 198.5}, BUDGET)) == []


@pytest.mark.parametrize(("count", "change"), [(4.2, "+5.0 %"), (3.0, "-25.0 %")])
def test_a_kernel_that_needs_more_or_fewer_is_named_with_the_change(count, change):
    (fault,) = check.faults({**BUDGET, "avx2 project": count}, BUDGET)
    assert fault == f"avx2 project must need 4.00 instructions per element, got {count:.2f}, {change}"


def test_kernels_that_only_one_side_knows_are_named():
    new, gone = check.faults({"avx2 reduce": 9.0, "avx2 taps": 200.0}, BUDGET)
    assert "avx2 project has a budget" in new
    assert "avx2 reduce must have a budget" in gone


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Runs the check with a budget of this content; returns what the budget holds then."""
    program = tmp_path / "valgrind"
    program.write_text(VALGRIND)
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    budget = tmp_path / "budget.json"

    def run(content, record=False):
        budget.write_text(json.dumps(content))
        check.main(Path("driver"), budget, record)
        return json.loads(budget.read_text())

    return run


MEASURED = {"baseline project": 4.0, "avx2 project": 4.0}


def test_counts_are_taken_from_callgrind_at_every_level_and_recorded_beside_those_of_other_compilers(run):
    assert run({"Clang 19.1.0": BUDGET}, record=True) == {"Clang 19.1.0": BUDGET, "GNU 12.2.0": MEASURED}


def test_counts_within_the_budget_pass_and_say_how_many(run, capsys):
    run({"GNU 12.2.0": MEASURED})
    assert capsys.readouterr().out == "2 kernels need as many instructions as recorded, within 1% (GNU 12.2.0)\n"


def test_a_failure_says_how_to_record_a_new_budget(run):
    with pytest.raises(SystemExit, match=r"avx2 project must need 8\.00 .*\n.*make instructions RECORD=1$"):
        run({"GNU 12.2.0": {**MEASURED, "avx2 project": 8.0}})


def test_another_compiler_is_refused_with_the_names_of_those_that_are_recorded(run):
    with pytest.raises(SystemExit, match=r"must hold counts of GNU 12\.2\.0, but holds those of Clang 19\.1\.0"):
        run({"Clang 19.1.0": BUDGET})
