"""The same bits from any number of threads, after a fork, and from several Python threads at once."""

import textwrap
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch.utils.data import DataLoader, Dataset

from helpers import every_result, noise, random_geometry, same_bits
from processes.forked import run_forked
from spuproj import Views

SIZE, VIEW_SIZE = (120, 110), (100, 130)


@pytest.mark.usefixtures("keep_threads")
@pytest.mark.parametrize(("batch", "channels"), [(1, 4), (4, 1), (3, 6)])
@pytest.mark.parametrize("sharing", ["shared", "per_sample"])
def test_any_number_of_threads_gives_the_same_bits(batch, channels, sharing):
    table = random_geometry(0, SIZE, VIEW_SIZE, "gnomonic", "equidistant", views=5).table()
    if sharing == "per_sample":
        table = table.expand(batch, -1, -1)
    results = []
    for threads in (1, 2, 4):
        torch.set_num_threads(threads)
        results.append(every_result(table, SIZE, VIEW_SIZE, batch, channels))
    for op, expected in results[0].items():
        assert all(same_bits(other[op], expected) for other in results[1:]), op


class Projected(Dataset[torch.Tensor]):
    def __init__(self, views, images):
        self.views, self.images = views, images

    def __len__(self):
        return len(self.images)

    def __getitem__(self, index):
        return self.views.project(self.images[index : index + 1])


def test_forked_loader_workers_give_what_the_parent_gives():
    data = Projected(Views.spherical(SIZE, grid=(2, 2), magnification=0.7), noise(8, 4, *SIZE))
    expected = [data[n] for n in range(len(data))]
    loader = DataLoader(data, batch_size=None, num_workers=2, multiprocessing_context="fork", timeout=60)
    assert same_bits(tuple(loader), tuple(expected))


def test_python_threads_can_call_at_once():
    tables = [
        random_geometry(seed, (40, 50), (30, 60), "gnomonic", "equidistant", 3).table() for seed in range(100, 112)
    ]

    def run(table):
        return every_result(table, (40, 50), (30, 60), 2, 3)

    with ThreadPoolExecutor(4) as pool:
        at_once = list(pool.map(run, tables * 3))
    for table, *repeats in zip(tables, at_once[:12], at_once[12:24], at_once[24:], strict=True):
        expected = run(table)
        for op in expected:
            assert all(same_bits(repeat[op], expected[op]) for repeat in repeats), op


@pytest.mark.usefixtures("keep_threads")
def test_other_python_threads_run_during_a_long_call():
    torch.set_num_threads(1)
    views = Views.spherical((128, 128), grid=(8, 8), magnification=0.7)
    stack = noise(1, 64, 1, 128, 128).expand(64, -1, 4, -1, -1)
    views.unproject(stack[:1])
    times = []

    def call():
        start = time.perf_counter()
        torch.ops.spuproj.project_adjoint(stack, views.geometry, (128, 128))
        times.append(time.perf_counter() - start)

    worker = threading.Thread(target=call)
    longest_wait, last = 0.0, time.perf_counter()
    worker.start()
    while worker.is_alive():
        time.sleep(0.001)
        now = time.perf_counter()
        longest_wait, last = max(longest_wait, now - last), now
    worker.join()
    assert longest_wait < times[0] / 2


def test_a_forked_child_may_use_several_threads():
    script = """
        import os, signal, torch
        from spuproj import Views
        views, image = Views.zoom((128, 128), [(64.0, 64.0)] * 8), torch.rand(2, 4, 128, 128)
        torch.set_num_threads(2)
        expected = views.project(image).numpy()
        child = os.fork()
        if child == 0:
            signal.alarm(30)
            os._exit(0 if (views.project(image).numpy() == expected).all() else 1)
        print("child", os.waitpid(child, 0)[1])
    """
    assert "child 0" in run_forked(textwrap.dedent(script)).stdout
