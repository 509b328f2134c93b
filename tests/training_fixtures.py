"""Plugin with fixtures that several files share: artificial patients, untrained models, the command line."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from spuproj.training.models.config import ModelConfig
from spuproj.training.models.method import Method
from spuproj.training.models.network import make_network
from spuproj.training.models.run import save_run
from spuproj.training.models.view_sets import Spherical
from spuproj.training.phantom.cohort import write_cohort
from spuproj_cli import entry


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """One thread: with tests in parallel, threads that compete for cores make these networks ten times slower."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Three case folders of 30 x 30 x 19 voxels; the first shows no enhancing tumour."""
    return write_cohort(tmp_path_factory.mktemp("cohort"), 3, 2, 8.0)


@pytest.fixture(scope="session")
def fine_case(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The cohort's first patient at twice the resolution."""
    return write_cohort(tmp_path_factory.mktemp("fine"), 1, 2, 4.0)[0]


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """One run per target: random networks whose probabilities lie on both sides of one half."""
    folder, runs = tmp_path_factory.mktemp("models"), {}
    for seed, target in enumerate(("ET", "TC", "WT")):
        torch.manual_seed(seed)
        method = Method("own", Spherical(grid=(2, 3)), channels=(4, 8))
        config = ModelConfig(target, (240.0, 240.0), (32, 32), (0.17, 0.23, 0.9, 0.8), method)
        network = make_network(config)
        with torch.no_grad():
            for parameter in network.parameters():
                parameter.copy_(torch.randn_like(parameter) / 3)
        save_run(folder / target, config, network)
        runs[target] = folder / target
    return runs


@pytest.fixture
def no_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pictures take most of the time of a prediction, and have tests of their own."""
    monkeypatch.setattr(
        "spuproj.training.workflows.write_prediction.case_figure",
        lambda case, predictions, config, path, truth: path.write_text("picture"),
    )


@pytest.fixture
def spuproj(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[object, str]]:
    """Runs the command in this process; returns its exit status (or its message) and what it printed."""

    def run(*arguments: object) -> tuple[object, str]:
        monkeypatch.setattr(sys, "argv", ["spuproj", *map(str, arguments)])
        with pytest.raises(SystemExit) as end:
            entry.main()
        printed = capsys.readouterr()
        return end.value.code, printed.out + printed.err

    return run
