"""Memory that runs out in a prediction: with fewer views at a time it goes on, and says so."""

from __future__ import annotations

import errno
import json
import os
import re
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from helpers import ROOT, run_python
from spuproj.training.data.case import load_case
from spuproj.training.data.readers.case_files import ImageFile
from spuproj.training.data.volumes.image_file import open_volume
from spuproj.training.inference.case_prediction import predict_case
from spuproj.training.models.run import Run, load_run, load_run_and_digest
from spuproj.training.runtime.errors import InputError
from spuproj.training.workflows.predict import predict_cohort
from spuproj_cli import entry

pytest_plugins = ["training_fixtures"]
pytestmark = pytest.mark.usefixtures("one_thread", "no_picture")

# As torch 2.13, NumPy 2.4, cuDNN and cuBLAS say it.
SAYINGS = [
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 3.00 GiB. GPU 0 has"),
    RuntimeError("[enforce fail at alloc_cpu.cpp:124] err == 0. DefaultCPUAllocator: can't allocate memory: you tried"),
    RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
    RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    RuntimeError("std::bad_alloc"),
    MemoryError("Unable to allocate 3.00 GiB for an array with shape (4, 240, 240) and data type float32"),
    MemoryError(),
    RuntimeError("could not create a primitive"),
]


class Roomy(nn.Module):
    """A network on a device with room for so many views."""

    def __init__(self, network: nn.Module, room: int, error: Exception) -> None:
        super().__init__()
        self.network, self.room, self.error = network, room, error
        self.passes: list[int] = []

    def forward(self, stack: Tensor) -> Tensor:
        if len(stack) > self.room:
            raise self.error
        self.passes.append(len(stack))
        found: Tensor = self.network(stack)
        return found


def short_of(monkeypatch: pytest.MonkeyPatch, room: int, error: Exception) -> None:
    """Every network that a prediction loads from now on has room for so many views."""

    def narrow(folder: Path) -> tuple[Run, str]:
        (config, network), sha256 = load_run_and_digest(folder)
        return (config, Roomy(network, room, error)), sha256

    monkeypatch.setattr("spuproj.training.models.run.load_run_and_digest", narrow)


@pytest.mark.parametrize("error", SAYINGS, ids=[f"{type(each).__name__}-{str(each)[:12]}" for each in SAYINGS])
def test_whatever_says_that_memory_ran_out_leads_to_smaller_passes(cohort, models, capsys, error):
    config, network = load_run(models["WT"])
    case, narrow = load_case(cohort[1]), Roomy(network, 7, error)
    found = predict_case(config, narrow, case, lambda _: None)
    slices = np.count_nonzero(case.brain.any(axis=(1, 2)))
    assert narrow.passes == [6] * slices
    assert "Phantom_002, WT: memory ran out (" in capsys.readouterr().err
    wanted = predict_case(config, network, case, lambda _: None)
    np.testing.assert_allclose(found.probability, wanted.probability, atol=1e-5)


@pytest.mark.parametrize(
    ("room", "passes", "words"),
    [(12, [12], ["2 slices"]), (6, [6], ["2 slices", "1 slice"]), (4, [3, 3], ["2 slices", "1 slice", "3 views"]),
     (1, [1] * 6, ["2 slices", "1 slice", "3 views", "1 view"])],
)  # fmt: skip
def test_passes_are_halved_until_they_fit_and_each_time_it_is_said(cohort, models, capsys, room, passes, words):
    config, network = load_run(models["WT"])
    case = load_case(cohort[1])
    notes: list[Any] = []
    narrow = Roomy(network, room, SAYINGS[0])
    found = predict_case(config, narrow, case, notes.append, members=True)
    assert narrow.passes[: len(passes)] == passes
    said = [line.rpartition("going on with ")[2] for line in capsys.readouterr().err.splitlines()]
    assert said == [f"{each} at a time" for each in words]
    # No slice is left out or computed twice.
    assert notes == [f"slice {index}" for index in np.flatnonzero(case.brain.any(axis=(1, 2)))]
    wanted = predict_case(config, network, case, lambda _: None, members=True)
    for name in ("probability", "variance", "entropy", "members"):
        np.testing.assert_allclose(getattr(found, name), getattr(wanted, name), atol=1e-5, err_msg=name)


def test_where_not_even_one_view_fits_an_error_says_what_to_do(cohort, models):
    config, network = load_run(models["WT"])
    with pytest.raises(InputError, match=r"Phantom_002, WT must fit into memory, but .* one view at a time .*; stop"):
        predict_case(config, Roomy(network, 0, SAYINGS[1]), load_case(cohort[1]), lambda _: None)


def test_another_error_of_a_library_is_no_lack_of_memory(cohort, models):
    config, network = load_run(models["WT"])
    narrow = Roomy(network, 7, RuntimeError("mat1 and mat2 shapes cannot be multiplied"))
    with pytest.raises(RuntimeError, match="mat1 and mat2"):
        predict_case(config, narrow, load_case(cohort[1]), lambda _: None)
    assert narrow.passes == []


def test_a_case_that_is_too_large_for_memory_does_not_stop_the_others(cohort, models, monkeypatch, tmp_path):
    short_of(monkeypatch, 0, SAYINGS[0])
    outcome = predict_cohort([models["WT"]], cohort[0].parent, tmp_path / "out")
    assert list(outcome.failed) == [case.name for case in cohort]
    assert all("must fit into memory" in reason for reason in outcome.failed.values())


LACKS = [*SAYINGS, OSError(errno.EMFILE, os.strerror(errno.EMFILE))]


@pytest.mark.parametrize("error", LACKS, ids=[f"{type(each).__name__}-{str(each)[:12]}" for each in LACKS])
def test_a_file_is_not_called_damaged_where_the_machine_lacks_memory_or_open_files(cohort, error):
    def fail() -> Any:
        raise error

    volume = open_volume(ImageFile(cohort[0] / f"{cohort[0].name}_t1ce.nii.gz"))
    with pytest.raises(type(error)) as lack:
        replace(volume, read=fail).numbers()
    assert lack.value is error
    error = ValueError("crc")
    with pytest.raises(InputError, match="is damaged: crc"):
        replace(volume, read=fail).numbers()


@pytest.mark.parametrize(
    ("error", "said"), [(SAYINGS[5], " (Unable to allocate 3.00 GiB "), (MemoryError(), "; stop ")]
)
def test_a_command_whose_memory_runs_out_says_so_in_a_line(cohort, monkeypatch, tmp_path, error, said):
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr("spuproj.training.phantom.cohort.draw_patient", fail)
    monkeypatch.setattr(sys, "argv", ["spuproj", "phantom", "--out", str(tmp_path / "new"), "--spacing", "8"])
    with pytest.raises(SystemExit, match=rf"^error: memory ran out{re.escape(said)}"):
        entry.main()


LIMITED = """
import io, json, resource, sys
sys.path.insert(0, {tests!r})
import numpy as np
import torch
from made_up_case import made_up_case
from spuproj import empty_cache
from spuproj.training.inference.case_prediction import predict_case
from spuproj.training.models.config import ModelConfig
from spuproj.training.models.method import Method
from spuproj.training.models.network import make_network
from spuproj.training.models.view_sets import Spherical
from spuproj.training.runtime.errors import InputError

torch.set_num_threads(1)
case, method = made_up_case(), Method("own", Spherical(grid=(2, 2)), channels=(16, 32))
config = ModelConfig("WT", (28.0, 32.0), (256, 256), (0.2, 0.2, 0.8, 0.8), method, ("t1ce", "flair"))
network = make_network(config).eval()
wanted = predict_case(config, network, case, lambda _: None)
for room in (512, 256, 128, 64, 32, 16, 8, 4, 2, 1):
    empty_cache()
    pages = int(open("/proc/self/statm").read().split()[0])
    most = pages * resource.getpagesize() + room * 2**20
    resource.setrlimit(resource.RLIMIT_AS, (most, resource.RLIM_INFINITY))
    sys.stderr = said = io.StringIO()
    try:
        found = predict_case(config, network, case, lambda _: None)
        end = "right" if np.abs(found.probability - wanted.probability).max() < 1e-5 else "wrong"
    except InputError as error:
        end = str(error)
    sys.stderr = sys.__stderr__
    resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    print(json.dumps([end, said.getvalue().count("made_up, WT: memory ran out (")]))
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="limits the memory of a process as Linux does")
def test_under_a_real_limit_of_memory_a_prediction_goes_on_or_says_what_to_do():
    """From all the room that 16 views at a time need, some 200 MiB, down to less than one needs."""
    # Blocks are mapped one by one, so that what is freed is free: else the room depends on what the heap keeps.
    done = run_python(LIMITED.format(tests=str(ROOT / "tests")), MALLOC_MMAP_THRESHOLD_="65536")
    assert done.returncode == 0, done.stderr
    ends = [json.loads(line) for line in done.stdout.splitlines()]
    too_little = "made_up, WT must fit into memory, but does not even with one view at a time"
    assert all(end == "right" or end.startswith(too_little) for end, _ in ends), ends
    assert ends[0] == ["right", 0]
    assert any(end == "right" and halvings for end, halvings in ends), ends
    assert ends[-1][0] != "right"
