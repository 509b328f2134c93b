"""Views built on the meta device, or while torch's default device is another one."""

import copy

import numpy as np
import pytest
import torch

from small_views import IMAGE, SIZE, STACK, VIEW_SIZE, NetworkOfViews, four_views
from spuproj import Views

CONSTRUCTORS = {
    "list": lambda: Views.spherical(SIZE, [[3, 4], [5, 6]], view_size=VIEW_SIZE),
    "tensor": lambda: Views.spherical(SIZE, torch.tensor([[3.0, 4.0], [5.0, 6.0]]), view_size=VIEW_SIZE),
    "per_sample": lambda: Views.spherical(SIZE, torch.tensor([[[3.0, 4.0], [5.0, 6.0]]] * 2), magnification=1.0),
    "grid": lambda: Views.spherical(SIZE, grid=(2, 2)),
    "box": lambda: Views.spherical(SIZE, grid=(2, 2), box=(1, 1, 8, 8), fit="box"),
    "turned": lambda: Views.spherical(SIZE, [[3, 4], [5, 6]], pose="turned", radius=50),
    "turned_tensor": lambda: Views.spherical(SIZE, torch.tensor([[3.0, 4.0]]), pose="turned", radius=50),
    "zoom": lambda: Views.zoom(SIZE, [[3, 4], [5, 6]]),
    "zoom_tensor": lambda: Views.zoom(SIZE, torch.tensor([[3.0, 4.0], [5.0, 6.0]])),
    "rigid": lambda: Views.rigid(SIZE, degrees=[0, 30], flips=("none", "both")),
    "spaced": lambda: Views.spherical(SIZE, grid=(1, 2), spacing=(3, 1)),
}
each_constructor = pytest.mark.parametrize("make", CONSTRUCTORS.values(), ids=CONSTRUCTORS)


@each_constructor
def test_views_are_built_on_the_meta_device_and_filled_afterwards(make):
    with torch.device("meta"):
        views = make()
    wanted = make()
    assert views.geometry.is_meta
    assert views.geometry.shape == wanted.geometry.shape
    assert views.geometry.dtype == torch.float64
    assert (views.size, views.view_size) == (wanted.size, wanted.view_size)
    assert views.project(torch.empty(2, 3, *SIZE, device="meta")).shape == wanted.project(IMAGE).shape
    filled = copy.deepcopy(views).to_empty(device="cpu")
    filled.load_state_dict(wanted.state_dict())
    views.load_state_dict(wanted.state_dict(), assign=True)
    for loaded in (filled, views):
        assert loaded.geometry.dtype == torch.float64
        assert torch.equal(loaded.project(IMAGE), wanted.project(IMAGE))


@pytest.mark.parametrize(
    "make",
    [
        lambda points: Views.spherical(SIZE, points),
        lambda points: Views.spherical(SIZE, points, pose="turned"),
        lambda points: Views.spherical(SIZE, points, magnification=2.0, spacing=(3, 1)),
        lambda points: Views.zoom(SIZE, points),
    ],
    ids=["spherical", "turned", "magnified", "zoom"],
)
@pytest.mark.parametrize("shape", [(2, 2), (3, 2, 2)], ids=str)
def test_centres_without_numbers_give_views_without_numbers(make, shape):
    views = make(torch.empty(shape, device="meta"))
    assert views.geometry.is_meta
    assert views.geometry.shape == (*shape[:-1], 19)
    assert views[0].geometry.is_meta
    assert views.magnification().shape == (*shape[:-1], *SIZE)


def test_a_network_is_built_on_the_meta_device():
    with torch.device("meta"):
        network = NetworkOfViews()
    wanted = NetworkOfViews()
    network.load_state_dict(wanted.state_dict(), assign=True)
    assert torch.equal(network(IMAGE), wanted(IMAGE))
    with torch.device("meta"):
        network = NetworkOfViews()
    network.to_empty(device="cpu").load_state_dict(wanted.state_dict())
    assert torch.equal(network(IMAGE), wanted(IMAGE))


def test_views_with_numbers_work_while_the_default_device_is_another():
    """The default device is that of new tensors; views with numbers stay on theirs."""
    views, image = four_views(), IMAGE
    wanted = views.project(image, fill=2.0), views.pick([0, 3]).project(image)
    moments = views.reduce(STACK)
    fresh = four_views()
    with torch.device("meta"):
        assert torch.equal(fresh.project(image, fill=2.0), wanted[0])
        assert all(torch.equal(*pair) for pair in zip(fresh.reduce(STACK), moments, strict=True))
        assert torch.equal(fresh[1:].project(image, fill=2.0), wanted[0][:, 1:])
        assert torch.equal(fresh.pick([0, 3]).project(image), wanted[1])
        assert fresh.state_dict()["_extra_state"].tolist() == [*SIZE, *VIEW_SIZE]
        assert isinstance(fresh.project(image.numpy()), np.ndarray)


def test_views_are_indexed_while_the_default_device_is_another():
    """A network that is built on the meta device may take a part of its views."""
    views = four_views()
    with torch.device("meta"):
        built = four_views()
        for part in (built[0], built[[0]], built[np.array([0])], built[:1], next(iter(built)), built.pick([0])):  # type: ignore[index]
            assert part.geometry.is_meta
        for part in (views[1], views[[1]], views[np.array([1])], views[1:2]):  # type: ignore[index]
            assert torch.equal(part.geometry, views.geometry[1:2])
