"""Methods: those of the package, what their views are, files of one's own, and what is wrong with a file."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import pytest
import torch
from torch.testing import assert_close

from helpers import noise
from spuproj import Views
from spuproj.training.inference.multi_view import make_noise, reduce_views
from spuproj.training.models.config import ModelConfig, make_views
from spuproj.training.models.method import Method, load_method, method_names, method_of, values_of
from spuproj.training.models.network import make_network
from spuproj.training.models.view_sets import Augmented, Spherical, Zoom
from spuproj.training.runtime.files import InputError

SIZE = (48, 40)
BOX = (8.0, 6.0, 40.0, 33.0)


def test_three_methods_come_with_the_package():
    assert method_names() == ["lsu", "spu", "unet_tta"]
    assert [load_method(name).name for name in method_names()] == method_names()


def test_methods_differ_in_their_views_alone():
    methods = [load_method(name) for name in method_names()]
    assert len({(each.channels, each.epochs, each.batch_size, each.learning_rate) for each in methods}) == 1
    assert {len(load_method(name).views.views(SIZE, SIZE, BOX)) for name in method_names()} == {9}


def test_every_pixel_is_seen_and_the_brain_s_by_several_views_but_for_zooms():
    counts = {}
    for name in method_names():
        views = load_method(name).views.views(SIZE, SIZE, BOX)
        counts[name] = views.reduce(torch.ones(1, 9, 1, *SIZE))[2]
    assert counts["spu"].min() >= 1
    brain = counts["spu"][..., 8:41, 6:34]
    assert brain.min() >= 2
    assert brain.float().mean() > 4
    assert counts["lsu"].unique().tolist() == [1, 2, 4]
    assert counts["unet_tta"].min() >= 2
    assert counts["unet_tta"].max() == 9


def test_zooms_show_twice_as_much_detail_about_a_grid_over_the_slice():
    views = Zoom(grid=(2, 3)).views(SIZE, SIZE, BOX)
    centers = [(47 * y, 39 * x) for y in (0.25, 0.75) for x in (1 / 6, 0.5, 5 / 6)]
    assert_close(views.geometry, Views.zoom(SIZE, centers, factor=2.0).geometry)
    inside = Zoom(grid=(1, 1), cover="brain").views(SIZE, SIZE, BOX)
    assert_close(inside.geometry[0, :2], torch.tensor([24.0, 19.5], dtype=torch.float64))


def test_augmentations_are_rotations_with_flips_and_then_scalings():
    views = Augmented(angles=(0, 90), flips=("none", "horizontal"), scalings=(0.5,)).views(SIZE, SIZE, BOX)
    rigid = Views.rigid(SIZE, angles=[0, math.pi / 2], flips=["none", "horizontal"])
    zoom = Views.zoom(SIZE, [(23.5, 19.5)], factor=0.5)
    assert_close(views.geometry, torch.cat([rigid.geometry, zoom.geometry]))
    assert torch.equal(views.project(noise(1, 1, *SIZE))[:, 0], noise(1, 1, *SIZE))


@pytest.mark.parametrize(
    "views", [Spherical(), Spherical(magnification=1.5), Zoom(), Augmented((0, 20), ("both",), (0.8,))]
)
def test_a_finer_view_shows_the_same_in_more_pixels(views):
    fine = views.views(SIZE, (96, 80), BOX).geometry
    coarse = views.views(SIZE, SIZE, BOX).geometry
    # Equal but for where the pole lands, and for the scale; contained views keep half a pixel's margin on all sides.
    same = [column for column in range(19) if column not in (3, 4, 5)]
    assert torch.equal(fine[:, same], coarse[:, same])
    assert_close(fine[:, 3] / coarse[:, 3], torch.full((len(fine),), 2.0, dtype=torch.float64), rtol=0.03, atol=0)


def test_a_method_comes_back_from_its_values():
    method = Method("own", Spherical(grid=(2, 4), pose="turned", cover="slice"), noise=0.1, channels=(2, 4))
    assert method_of(json.loads(json.dumps(values_of(method)))) == method


def test_a_file_names_a_method_of_ones_own(tmp_path):
    method = replace(load_method("lsu"), name="half", views=Zoom(factor=0.5))
    (tmp_path / "half.json").write_text(json.dumps(values_of(method)))
    assert load_method(str(tmp_path / "half.json")) == method


@pytest.mark.parametrize("name", ["spam", "spam.json"])
def test_an_unknown_method_is_an_error_that_lists_them(name):
    with pytest.raises(InputError, match=rf"method must be one of lsu, spu, unet_tta or a file \.json, got '{name}'"):
        load_method(name)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"views": {"kind": "cubic"}}, "views must have a kind of spherical, zoom, augmented, got 'cubic'"),
        ({"views": None}, "views must have a kind of"),
        ({"views": {"kind": "zoom", "lift": "gnomonic"}}, "lift must be one of grid, cover, factor"),
        ({"views": {"kind": "zoom", "factor": 0}}, "factor must be positive and finite, got 0"),
        ({"views": {"kind": "zoom", "grid": [0, 3]}}, "grid must be two positive whole numbers"),
        ({"views": {"kind": "spherical", "radius": -3.0}}, "radius must be positive and finite, got -3.0"),
        ({"views": {"kind": "spherical", "chart": "flat"}}, "chart must be one of gnomonic, .* got 'flat'"),
        ({"views": {"kind": "spherical", "cover": "skull"}}, "cover must be one of brain, slice, got 'skull'"),
        ({"views": {"kind": "augmented", "flips": ["up"]}}, "flips must be one of none, .* got 'up'"),
        ({"views": {"kind": "augmented", "scalings": [-1]}}, "scalings must be positive and finite, got -1"),
        ({"epoch": 3}, "epoch must be one of name, views, "),
        ({"epochs": 0}, "epochs must be at least 1, got 0"),
        ({"batch_size": 0}, "batch_size must be at least 1, got 0"),
        ({"learning_rate": 0}, "learning_rate must be positive and finite, got 0"),
        ({"oversampling": 0}, "oversampling must be positive and finite, got 0"),
        ({"noise": -1}, "noise must be finite and not negative, got -1"),
        ({"channels": [4]}, r"channels must be at least two positive numbers, got \(4,\)"),
        ({"training_views": "last"}, "training_views must be one of all, first, got 'last'"),
    ],
)
def test_what_a_file_says_must_hold(tmp_path, change, message):
    (tmp_path / "own.json").write_text(json.dumps(values_of(load_method("spu")) | change))
    with pytest.raises(InputError, match=rf"own\.json must be the configuration of a method, but is not: {message}"):
        load_method(str(tmp_path / "own.json"))


@pytest.mark.parametrize("text", ["{", "[]", "{}"])
def test_a_file_that_is_no_configuration_is_an_error(tmp_path, text):
    (tmp_path / "own.json").write_text(text)
    with pytest.raises(InputError, match="must be the configuration of a method, but is not"):
        load_method(str(tmp_path / "own.json"))


def test_noise_is_the_methods_own_and_the_same_each_time():
    method = Method("own", Augmented(flips=("none", "both")), noise=0.05, channels=(2, 4))
    config = ModelConfig("WT", (48.0, 40.0), SIZE, (0.1, 0.1, 0.9, 0.9), method, modalities=("t1", "t2"))
    views = make_views(config, SIZE)
    made = make_noise(config, views)
    assert made.shape == (2, 2, *SIZE)
    assert made.std() == pytest.approx(0.05, rel=0.05)
    assert torch.equal(made, make_noise(config, views))
    assert not torch.equal(made, make_noise(replace(config, seed=1), views))
    assert make_noise(replace(config, method=replace(method, noise=0.0)), views) is None


def test_noise_reaches_what_the_network_sees():
    method = Method("own", Augmented(), channels=(2, 4))
    config = ModelConfig("WT", (48.0, 40.0), SIZE, (0.1, 0.1, 0.9, 0.9), method, modalities=("t1",))
    network, views, image = make_network(config).eval(), make_views(config, SIZE), noise(1, 1, *SIZE)
    added = torch.linspace(-1, 1, 48 * 40).reshape(1, 1, *SIZE)
    expected = torch.sigmoid(network(image + added))
    assert_close(reduce_views(network, views, image, added)[0], expected)
