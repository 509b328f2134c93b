"""Which slices a training step sees, and through which views."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch.utils.data import Sampler

from spuproj.training.runtime.execution import rank_and_world_size

Batch = list[tuple[int, int]]


class BalancedSampler(Sampler[Batch]):
    """Batches of (slice, view): as many slices with the target as without, every view as often as any other.

    What is drawn depends on the seed and the epoch alone, so that an interrupted training goes on as it would have, and
    several processes share each batch: every one takes its part.

    Args:
        positive: of each slice, whether it shows the target.
        views: how many views there are to draw from.
        batch_size: slices per step, of all processes together.
        seed: of the draws.
    """

    def __init__(self, positive: Sequence[bool], views: int, batch_size: int, seed: int) -> None:
        self.positive, self.views, self.batch_size, self.seed = positive, views, batch_size, seed
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Chooses the epoch whose batches come next."""
        self.epoch = epoch

    def __len__(self) -> int:
        """Steps of an epoch: about as many slices as twice those with the target, at least one batch."""
        return max(2 * sum(self.positive) // self.batch_size, 1)

    def __iter__(self) -> Iterator[Batch]:
        generator = torch.Generator().manual_seed(1_000_003 * self.seed + self.epoch)
        count = len(self) * self.batch_size
        shown = torch.tensor(self.positive)
        with_target = shown.sum().clamp(min=1)
        weights = torch.where(shown, 1 / with_target, 1 / (len(shown) - with_target).clamp(min=1))
        slices = torch.multinomial(weights.double(), count, replacement=True, generator=generator)
        rounds = -(-count // self.views)
        views = torch.rand(rounds, self.views, generator=generator).argsort(dim=1).flatten()[:count]
        rank, world = rank_and_world_size()
        drawn = list(zip(slices.tolist(), views.tolist(), strict=True))
        for start in range(0, count, self.batch_size):
            yield drawn[start : start + self.batch_size][rank::world]


class ShardedSampler(Sampler[Batch]):
    """Each slice once, in batches; every process takes its part. What view is named with a slice has no meaning.

    Args:
        slices: how many there are.
        batch_size: slices at a time, of each process.
    """

    def __init__(self, slices: int, batch_size: int) -> None:
        self.slices, self.batch_size = slices, batch_size

    def __len__(self) -> int:
        return -(-len(self._part()) // self.batch_size)

    def __iter__(self) -> Iterator[Batch]:
        part = self._part()
        for start in range(0, len(part), self.batch_size):
            yield [(index, 0) for index in part[start : start + self.batch_size]]

    def _part(self) -> range:
        rank, world = rank_and_world_size()
        return range(rank, self.slices, world)
