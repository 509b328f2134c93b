"""``spuproj bench``: what it writes, and what it needs."""

from __future__ import annotations

import pytest

from made_up_rows import some_record
from processes.forked import run_forked
from spuproj.benchmarks import __main__ as command


def test_the_command_prints_the_tables_writes_three_files_and_overwrites_only_when_forced(
    tmp_path, monkeypatch, capsys
):
    pytest.importorskip("cv2")
    measured = []
    monkeypatch.setattr(command, "collect", lambda short: measured.append(short) or some_record())
    out = tmp_path / "bench"
    paths = command.run_bench(out, short=True, force=False)
    assert "/spuproj" in capsys.readouterr().out
    assert sorted(path.name for path in out.iterdir()) == sorted(path.name for path in paths)
    assert [path.suffix for path in paths] == [".json", ".png", ".png"]
    with pytest.raises(ValueError, match="exists already"):
        command.run_bench(out, short=True, force=False)
    command.run_bench(out, short=False, force=True)
    assert measured == [True, False]


IMPORTED = """
import sys
from spuproj.benchmarks import __main__
heavy = ("spuproj.training", "cv2", "kornia", "monai", "skimage")
print([name for name in sys.modules if name.startswith(heavy)])
"""


def test_the_benchmark_of_the_ops_imports_no_training_layer_and_peers_only_where_they_take_part():
    run = run_forked(IMPORTED)
    assert run.stdout.strip() == "[]", run.stderr


WITHOUT = """
import sys
sys.modules["cv2"] = None
sys.argv = ["spuproj", "bench", "--out", "nowhere"]
from spuproj_cli import entry
entry.main()
"""


def test_without_a_part_of_the_bench_extra_the_command_says_what_to_install():
    run = run_forked(WITHOUT)
    assert run.returncode == 1
    assert 'pip install "spuproj[bench]"' in run.stderr
