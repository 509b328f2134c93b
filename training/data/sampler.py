"""Samplers: which slices a step sees, and through which views."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from torch.utils.data import Sampler

from spuproj.training.runtime.execution import rank_and_world_size


class Draw(NamedTuple):
    """What one sample of a batch is: the number of its slice, that of its view, and the seed of its augmentation."""

    slice: int
    view: int
    seed: int


class BalancedSampler(Sampler[list[Draw]]):
    """Random batches: on average half of the slices show the target; all views are equally frequent.

    Batches depend on the seed and the epoch alone, so that a resumed training sees what it would have seen. Several
    processes share each batch.

    Args:
        positive: for each slice, whether it shows the target.
        views: number of views.
        batch_size: slices per step, over all processes.
        seed: of the random numbers.
    """

    def __init__(self, positive: Sequence[bool], views: int, batch_size: int, seed: int) -> None:
        self.positive, self.views, self.batch_size, self.seed = positive, views, batch_size, seed
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Sets the epoch of the next batches."""
        self.epoch = epoch

    def __len__(self) -> int:
        """Steps per epoch: twice as many slices as show the target, at least one batch."""
        return max(2 * sum(self.positive) // self.batch_size, 1)

    def __iter__(self) -> Iterator[list[Draw]]:
        generator = torch.Generator().manual_seed(1_000_003 * self.seed + self.epoch)
        count = len(self) * self.batch_size
        shown = torch.tensor(self.positive)
        with_target = shown.sum().clamp(min=1)
        weights = torch.where(shown, 1 / with_target, 1 / (len(shown) - with_target).clamp(min=1))
        slices = torch.multinomial(weights.double(), count, replacement=True, generator=generator)
        rounds = -(-count // self.views)
        views = torch.rand(rounds, self.views, generator=generator).argsort(dim=1).flatten()[:count]
        seeds = torch.randint(2**31, (count,), generator=generator)
        rank, world = rank_and_world_size()
        drawn = [Draw(*each) for each in zip(slices.tolist(), views.tolist(), seeds.tolist(), strict=True)]
        for start in range(0, count, self.batch_size):
            yield drawn[start : start + self.batch_size][rank::world]


class ShardedSampler(Sampler[list[Draw]]):
    """Every slice once, in batches, shared among processes. View and seed are always 0: validation uses all
    views, and no augmentation.

    Args:
        slices: number of slices.
        batch_size: slices per batch and process.
    """

    def __init__(self, slices: int, batch_size: int) -> None:
        self.slices, self.batch_size = slices, batch_size

    def __len__(self) -> int:
        return -(-len(self._part()) // self.batch_size)

    def __iter__(self) -> Iterator[list[Draw]]:
        part = self._part()
        for start in range(0, len(part), self.batch_size):
            yield [Draw(index, 0, 0) for index in part[start : start + self.batch_size]]

    def _part(self) -> range:
        rank, world = rank_and_world_size()
        return range(rank, self.slices, world)
