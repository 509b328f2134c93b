"""The tables that a benchmark prints."""

from __future__ import annotations

from made_up_rows import some_record, some_rows
from spuproj.benchmarks.goals import Goal
from spuproj.benchmarks.ops.contenders import COPY, OURS
from spuproj.benchmarks.text import aligned, goals_table, main_table, text


def test_the_table_shows_each_peer_once_and_names_who_is_missing():
    lines = main_table(some_rows()).splitlines()
    assert lines[2] == (
        "project, B=1 C=4 N=9, 240x240: 1 thread, 50 % of the points valid; "
        "without skimage, cv2, kornia, MONAI Warp, MONAI Resample, torch.compile"
    )
    assert [line.split(",")[0].split()[0] for line in lines[3:]] == [OURS, OURS, "scipy", "grid_sample", COPY, COPY]
    # A stack of 8.3 MB is written and a slice of a ninth of that is read, in 0.8 s.
    assert lines[5].split() == ["scipy", "800", "4", "386", "0.0115", "1e-06", "50x", "40x"]


def test_columns_are_aligned_and_empty_ones_left_out():
    assert aligned([("a", "bb", "head"), ("ccc", "d", "")]) == ["a    bb", "ccc   d"]


def test_the_goals_table_tells_goal_floor_and_outcome():
    goals = [Goal("ours over copy", 1.5, 1.2, 1.7, smaller_is_better=True), Goal("other", None, 1000, 1000)]
    lines = [line.split() for line in goals_table(goals).splitlines()[1:]]
    assert lines[0] == ["ours", "over", "copy", "1.5x", "<=", "1.2x", "<=", "1.7x", "not", "met"]
    assert lines[1] == ["other", ">=", "1000x", ">=", "1000x", "not", "measured"]


def test_the_text_holds_all_tables():
    printed = text(some_record())
    for words in ("/spuproj", "as called: the time of stack", "memory beyond input and outputs", "floor"):
        assert words in printed
