"""Methods: those of the package, what their views are, files of one's own, and what is wrong with a file."""

from __future__ import annotations

import json
import math
from dataclasses import FrozenInstanceError, asdict, replace
from typing import Any

import pytest
import torch
from torch.testing import assert_close

from helpers import noise
from spuproj import Views
from spuproj.training.inference.case_prediction import make_noise, view_probabilities
from spuproj.training.models.config import ModelConfig, make_views
from spuproj.training.models.method import CONFIGS, Method, load_method, method_names
from spuproj.training.models.network import make_network
from spuproj.training.models.schema import SCHEMA, method_schema
from spuproj.training.models.view_sets import Augmented, Spherical, Zoom
from spuproj.training.runtime.errors import InputError

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
    assert Method(**json.loads(json.dumps(asdict(method)))) == method


def test_a_file_names_a_method_of_ones_own(tmp_path):
    method = replace(load_method("lsu"), name="half", views=Zoom(factor=0.5))
    (tmp_path / "half.json").write_text(json.dumps(asdict(method)))
    assert load_method(str(tmp_path / "half.json")) == method


@pytest.mark.parametrize("name", ["spam", "spam.json"])
def test_an_unknown_method_is_an_error_that_lists_them(name):
    with pytest.raises(InputError, match=rf"method must be one of lsu, spu, unet_tta or a file \.json, got '{name}'"):
        load_method(name)


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"views": {"kind": "cubic"}}, "views.kind must be one of 'spherical', 'zoom', 'augmented', got 'cubic'"),
    ({"views": {}}, "views.kind must be given"),
    ({"views": None}, "views must be an object, got None"),
    ({"views": {"kind": "zoom", "lift": "gnomonic"}}, "views.lift must be one of kind, grid, cover, factor"),
    ({"views": {"kind": "zoom", "factor": 0}}, "views.factor must be above 0, got 0"),
    ({"views": {"kind": "zoom", "factor": "2"}}, "views.factor must be a number, got '2'"),
    ({"views": {"kind": "zoom", "grid": [0, 3]}}, "views.grid must be at least 1, got 0"),
    ({"views": {"kind": "zoom", "grid": [1000, 3]}}, "views.grid must be at most 16, got 1000"),
    ({"views": {"kind": "zoom", "grid": [3]}}, "views.grid must be a list of at least 2 values, got [3]"),
    ({"views": {"kind": "zoom", "grid": [3, 3, 3]}}, "views.grid must be a list of at most 2 values, got [3, 3, 3]"),
    ({"views": {"kind": "spherical", "radius": -3.0}}, "views.radius must be above 0, got -3.0"),
    ({"views": {"kind": "spherical", "radius": math.nan}}, "views.radius must be finite, got nan"),
    ({"views": {"kind": "spherical", "magnification": "no"}}, "views.magnification must be a number, got 'no'"),
    ({"views": {"kind": "spherical", "pose": "up"}}, "views.pose must be one of 'tangent' or 'turned', got 'up'"),
    ({"views": {"kind": "spherical", "cover": 3}}, "views.cover must be one of 'brain' or 'slice', got 3"),
    ({"views": {"kind": "augmented", "angles": []}}, "views.angles must be a list of at least 1 values, got []"),
    ({"views": {"kind": "augmented", "scalings": [-1]}}, "views.scalings must be above 0, got -1"),
    (
        {"views": {"kind": "augmented", "flips": ["up"]}},
        "views.flips must be one of 'none', 'horizontal', 'vertical' or 'both', got 'up'",
    ),
    ({"name": 5}, "name must be text, got 5"),
    ({"name": ""}, "name must be text, got ''"),
    ({"name": "../x"}, "name must be a plain file name, but it begins with a dot, got '../x'"),
    ({"name": "x" * 161}, f"name must be a plain file name, but it has 161 bytes, more than 160, got '{'x' * 80}'"),
    ({"epochs": 0}, "epochs must be at least 1, got 0"),
    ({"epochs": 2.5}, "epochs must be a whole number, got 2.5"),
    ({"epochs": True}, "epochs must be a whole number, got True"),
    ({"batch_size": 10**6}, "batch_size must be at most 1024, got 1000000"),
    ({"learning_rate": 0}, "learning_rate must be above 0, got 0"),
    ({"learning_rate": 3}, "learning_rate must be at most 1, got 3"),
    ({"oversampling": 100}, "oversampling must be at most 8, got 100"),
    ({"noise": -1}, "noise must be at least 0, got -1"),
    ({"channels": [4]}, "channels must be a list of at least 2 values, got [4]"),
    ({"channels": [4, 10**9]}, "channels must be at most 2048, got 1000000000"),
    ({"channels": "many"}, "channels must be a list, got 'many'"),
    ({"training_views": "last"}, "training_views must be one of 'all' or 'first', got 'last'"),
    ({"epochs": 0, "noise": "x"}, "noise must be a number, got 'x'; epochs must be at least 1, got 0"),
]
"""Settings of a method that cannot be, and the sentence about them."""


@pytest.mark.parametrize(("change", "message"), WRONG)
def test_a_wrong_setting_is_an_error_that_names_the_file_and_the_setting(tmp_path, change, message):
    path = tmp_path / "own.json"
    path.write_text(json.dumps(asdict(load_method("spu")) | change))
    with pytest.raises(InputError) as error:
        load_method(str(path))
    assert str(error.value) == f"{path} must be the configuration of a method, but is not: {message}"


def test_an_unknown_setting_is_an_error_that_lists_the_known_ones(tmp_path):
    (tmp_path / "own.json").write_text(json.dumps(asdict(load_method("spu")) | {"epoch": 3}))
    with pytest.raises(InputError, match=r"own\.json must be .*: epoch must be one of name, views, training_views, "):
        load_method(str(tmp_path / "own.json"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "must be a JSON file, but cannot be read"),
        ("[]", "must hold a JSON object, got list"),
        ("{}", "must be the configuration of a method, but is not: name must be given; views must be given"),
    ],
)
def test_a_file_that_is_no_configuration_is_an_error(tmp_path, text, message):
    (tmp_path / "own.json").write_text(text)
    with pytest.raises(InputError, match=rf"own\.json {message}"):
        load_method(str(tmp_path / "own.json"))


@pytest.mark.parametrize("name", ["epochs", "batch_size"])
def test_epochs_and_batch_size_of_ones_own_must_hold_too(name):
    assert getattr(load_method("spu", **{name: 3}), name) == 3
    with pytest.raises(InputError, match=f"^{name} must be at least 1, got 0$"):
        load_method("spu", **{name: 0})


def test_settings_from_python_are_checked_and_cannot_be_changed():
    with pytest.raises(ValueError, match="radius"):
        Spherical(radius=-1)
    with pytest.raises(ValueError, match="factor"):
        replace(Zoom(), factor="2")  # type: ignore[arg-type]
    with pytest.raises(FrozenInstanceError):
        load_method("spu").epochs = 3  # type: ignore[misc]


@pytest.mark.parametrize("views", [Spherical(grid=(2, 4)), Zoom(grid=(1, 3)), Augmented((0.0, 9.0), ("both",), (0.5,))])
def test_the_count_is_that_of_the_views(views):
    assert views.count == len(views.views(SIZE, SIZE, BOX))


def test_the_schema_is_up_to_date():
    assert json.loads(SCHEMA.read_text()) == method_schema(), "python -m spuproj.training.models.schema writes it"


@pytest.mark.parametrize("name", method_names())
def test_the_methods_of_the_package_name_the_schema_for_editors(name):
    values = json.loads((CONFIGS / f"{name}.json").read_text())
    assert (CONFIGS / values["$schema"]).resolve() == SCHEMA.resolve()


def test_the_schema_accepts_and_refuses_what_a_method_does():
    jsonschema = pytest.importorskip("jsonschema")
    validator = jsonschema.Draft202012Validator(json.loads(SCHEMA.read_text()))
    for name in method_names():
        validator.validate(json.loads((CONFIGS / f"{name}.json").read_text()))
        validator.validate(json.loads(json.dumps(asdict(load_method(name)))))
    for change, message in WRONG:
        # JSON has no NaN.
        values = json.loads(json.dumps(asdict(load_method("spu")) | change).replace("NaN", '"nan"'))
        assert not validator.is_valid(values), message


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


def test_a_missing_modality_gets_no_noise_and_the_others_keep_theirs():
    method = Method("own", Augmented(), noise=0.05, channels=(2, 4))
    config = ModelConfig("WT", (48.0, 40.0), SIZE, (0.1, 0.1, 0.9, 0.9), method, modalities=("t1", "t2"))
    views = make_views(config, SIZE)
    made, whole = make_noise(config, views, ("t1",)), make_noise(config, views)
    assert not made[:, 0].any()
    assert torch.equal(made[:, 1], whole[:, 1])


def test_noise_reaches_what_the_network_sees():
    method = Method("own", Augmented(), channels=(2, 4))
    config = ModelConfig("WT", (48.0, 40.0), SIZE, (0.1, 0.1, 0.9, 0.9), method, modalities=("t1",))
    network, views, image = make_network(config).eval(), make_views(config, SIZE), noise(1, 1, *SIZE)
    added = torch.linspace(-1, 1, 48 * 40).reshape(1, 1, *SIZE)
    expected = torch.sigmoid(network(image + added))
    assert_close(view_probabilities(network, views, image, added)[:, 0], expected)
