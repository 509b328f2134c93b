"""What an epoch draws: both kinds of slices alike, all views, the same again, and shared by several processes."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spuproj.training.data.sampler import BalancedSampler, Draw, ShardedSampler

FEW = [position < 20 for position in range(200)]


def flat(sampler: BalancedSampler) -> list[Draw]:
    return [draw for batch in sampler for draw in batch]


def test_slices_with_and_without_the_target_are_drawn_equally_often():
    drawn = []
    for epoch in range(20):
        sampler = BalancedSampler(FEW, 9, 8, seed=0)
        sampler.set_epoch(epoch)
        drawn += [FEW[draw.slice] for draw in flat(sampler)]
    assert len(drawn) == 20 * 2 * 20
    assert 0.42 < sum(drawn) / len(drawn) < 0.58


@pytest.mark.parametrize(("batch_size", "steps"), [(7, 5), (8, 5), (9, 4), (40, 1), (41, 1)])
def test_an_epoch_has_no_more_slices_than_twice_those_that_show_the_target_but_a_batch(batch_size, steps):
    sampler = BalancedSampler(FEW, 9, batch_size, seed=0)
    assert len(list(sampler)) == len(sampler) == steps


def test_seed_and_epoch_do_not_stand_for_each_other():
    drawn = []
    for seed, epoch in ((0, 1), (1, 0), (1, 1), (2, 0), (0, 2)):
        sampler = BalancedSampler(FEW, 9, 8, seed)
        sampler.set_epoch(epoch)
        drawn.append(tuple(flat(sampler)))
    assert len(set(drawn)) == 5


def test_every_slice_with_the_target_is_drawn_sooner_or_later():
    sampler, seen = BalancedSampler(FEW, 9, 8, seed=0), set()
    for epoch in range(20):
        sampler.set_epoch(epoch)
        seen |= {draw.slice for draw in flat(sampler) if FEW[draw.slice]}
    assert seen == set(range(20))


@settings(deadline=None)
@given(views=st.integers(1, 12), batch=st.integers(1, 20), epoch=st.integers(0, 1000))
def test_views_are_drawn_as_often_as_each_other(views, batch, epoch):
    sampler = BalancedSampler(FEW, views, batch, seed=3)
    sampler.set_epoch(epoch)
    counts = Counter(draw.view for draw in flat(sampler))
    drawn = len(sampler) * batch
    assert sum(counts.values()) == drawn
    assert {counts[view] for view in range(views)} <= {drawn // views, -(-drawn // views)}
    assert set(counts) <= set(range(views))


def test_an_epoch_is_the_same_whatever_was_drawn_before_it():
    used, fresh = BalancedSampler(FEW, 9, 8, seed=1), BalancedSampler(FEW, 9, 8, seed=1)
    for epoch in range(3):
        used.set_epoch(epoch)
        last = flat(used)
    fresh.set_epoch(2)
    assert flat(fresh) == last
    fresh.set_epoch(1)
    assert flat(fresh) != last
    assert flat(BalancedSampler(FEW, 9, 8, seed=2)) != flat(BalancedSampler(FEW, 9, 8, seed=1))


@pytest.mark.parametrize("world", [2, 3])
def test_processes_share_each_batch(monkeypatch, world):
    whole = list(BalancedSampler(FEW, 9, 8, seed=0))
    parts = []
    for rank in range(world):
        monkeypatch.setattr("spuproj.training.data.sampler.rank_and_world_size", lambda rank=rank: (rank, world))
        parts.append(list(BalancedSampler(FEW, 9, 8, seed=0)))
    for number, batch in enumerate(whole):
        assert sorted(batch) == sorted(pair for part in parts for pair in part[number])
        assert sum(len(part[number]) for part in parts) == 8


@pytest.mark.parametrize("positive", [[True], [False], [True] * 5, [False] * 5])
def test_there_is_a_batch_where_all_slices_are_alike(positive):
    drawn = flat(BalancedSampler(positive, 9, 4, seed=0))
    assert len(drawn) >= 4
    assert {draw.slice for draw in drawn} <= set(range(len(positive)))


@pytest.mark.parametrize(("slices", "world"), [(10, 1), (10, 3), (3, 3), (12, 2)])
def test_processes_validate_each_slice_once_together(monkeypatch, slices, world):
    seen = []
    for rank in range(world):
        monkeypatch.setattr("spuproj.training.data.sampler.rank_and_world_size", lambda rank=rank: (rank, world))
        parts = ShardedSampler(slices, 4)
        batches = list(parts)
        assert len(batches) == len(parts) >= 1
        assert all(1 <= len(batch) <= 4 for batch in batches)
        seen += [draw.slice for batch in batches for draw in batch]
    assert sorted(seen) == list(range(slices))


def test_the_seeds_of_augmentation_differ_between_draws_and_return_with_the_epoch():
    sampler = BalancedSampler(FEW, 9, 8, seed=1)
    first = [draw.seed for draw in flat(sampler)]
    assert len(set(first)) == len(first)
    sampler.set_epoch(1)
    assert set(first).isdisjoint(draw.seed for draw in flat(sampler))
    sampler.set_epoch(0)
    assert [draw.seed for draw in flat(sampler)] == first
