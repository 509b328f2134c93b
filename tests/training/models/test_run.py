"""A model on disk, and its views at any resolution."""

from __future__ import annotations

import json
import math
import re
import resource
from collections.abc import Iterator
from dataclasses import asdict, replace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from torch.testing import assert_close
from training_helpers import VALUES, digest, names_file_or_passes

from helpers import ROOT, noise
from spuproj.training.models.config import ModelConfig, make_views
from spuproj.training.models.method import Method, load_method, method_names
from spuproj.training.models.network import make_network
from spuproj.training.models.run import load_run, save_run
from spuproj.training.models.view_sets import Spherical
from spuproj.training.runtime.errors import InputError

SPHERES = Spherical(grid=(2, 3), radius=0.7, lift="stereographic", chart="equal_area")
METHOD = Method("own", SPHERES, channels=(4, 8, 8), epochs=3, batch_size=2, learning_rate=5e-3)
CONFIG = ModelConfig(
    target="TC",
    field=(240.0, 200.0),
    view_size=(16, 24),
    box=(0.1, 0.2, 0.8, 0.9),
    method=METHOD,
    modalities=("t1", "flair"),
    seed=9,
)


@pytest.fixture
def run(tmp_path):
    save_run(tmp_path / "run", CONFIG, make_network(CONFIG))
    return tmp_path / "run"


def test_a_run_comes_back_with_its_configuration_and_weights(tmp_path):
    network = make_network(CONFIG)
    for buffer in network.buffers():
        buffer += 1
    save_run(tmp_path / "run", CONFIG, network)
    config, loaded = load_run(tmp_path / "run")
    assert config == CONFIG
    assert list(loaded.state_dict()) == list(network.state_dict())
    for name, tensor in network.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], tensor), name
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == ["config.json", "model.safetensors"]


def test_the_same_model_is_the_same_file(tmp_path):
    network = make_network(CONFIG)
    for number in range(8):
        save_run(tmp_path / str(number), CONFIG, network, "0a")
    assert len({(tmp_path / str(number) / "model.safetensors").read_bytes() for number in range(8)}) == 1
    assert len({digest(tmp_path / str(number)) for number in range(8)}) == 1


def test_a_loaded_network_is_in_evaluation_mode(run):
    network = load_run(run)[1]
    assert not any(module.training for module in network.modules())
    image = noise(2, 2, 16, 24)
    assert_close(network(image)[:1], network(image[:1]))


def test_unknown_keys_of_a_newer_version_are_left_out_and_told(run, capsys):
    load_run(run)
    assert capsys.readouterr().err == ""
    values = json.loads((run / "config.json").read_text())
    (run / "config.json").write_text(json.dumps(values | {"optimizer": "sgd"}))
    assert load_run(run)[0] == CONFIG
    said = capsys.readouterr().err
    assert said.endswith(
        "config.json: ignored, as this version of spuproj does not know optimizer; "
        "a newer version may predict otherwise\n"
    )


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_a_missing_file_is_an_error_that_names_it_and_the_folder(run, name):
    (run / name).unlink()
    with pytest.raises(InputError, match=rf"run must be a finished run of 'spuproj train', but has no {name}"):
        load_run(run)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "must be a JSON file, but cannot be read"),
        ("", "must be a JSON file, but cannot be read"),
        ("null", "must hold a JSON object, got NoneType"),
        (
            '{"target": "ET"}',
            "must be the configuration of a model, but is not: field must be given; view_size must be",
        ),
    ],
)
def test_a_broken_configuration_is_an_error_that_names_the_file(run, text, message):
    (run / "config.json").write_text(text)
    with pytest.raises(InputError, match=rf"run/config\.json {message}"):
        load_run(run)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"target": 5}, "target must be text, got 5"),
        ({"target": ""}, "target must be text, got ''"),
        (
            {"target": "../../esc"},
            "target must be a plain file name, but it begins with a dot, got '../../esc'",
        ),
        (
            {"modalities": ["t1", "a/b"]},
            "modalities must be a plain file name, but it has a separator of paths, got 'a/b'",
        ),
        ({"field": "x"}, "field must be a list, got 'x'"),
        ({"temperature": 0}, "temperature must be above 0, got 0"),
        ({"temperature": "hot"}, "temperature must be a number, got 'hot'"),
        ({"field": [240.0]}, "field must be a list of at least 2 values, got [240.0]"),
        ({"field": [0, 240]}, "field must be above 0, got 0"),
        ({"view_size": 30000}, "view_size must be a list, got 30000"),
        ({"view_size": [30000, 30000]}, "view_size must be at most 4096, got 30000"),
        ({"view_size": [16.5, 16]}, "view_size must be a whole number, got 16.5"),
        (
            {"view_size": [4096, 4096], "modalities": ["t1"] * 4},
            "view_size must be at most 268435456 values in all, height times width times 6 views times 4 modalities, "
            "got [4096, 4096]",
        ),
        ({"box": [0.1, 0.2, 0.8, 90]}, "box must be at most 1, got 90"),
        (
            {"box": [0.8, 0.2, 0.1, 0.9]},
            "box must be y0, x0, y1, x1 with y0 <= y1 and x0 <= x1, got [0.8, 0.2, 0.1, 0.9]",
        ),
        ({"modalities": []}, "modalities must be a list of at least 1 values, got []"),
        ({"modalities": [1]}, "modalities must be text, got 1"),
        ({"modalities": ["t1ce", "T1Gd"]}, "modalities must each be there once, but t1ce and T1Gd are both 't1ce'"),
        ({"modalities": ["x", "x"]}, "modalities must each be there once, but x and x are both 'x'"),
        ({"seed": "x"}, "seed must be a whole number, got 'x'"),
        ({"seed": 2**32}, "seed must be below 4.29497e+09, got 4294967296"),
        ({"seed": -1}, "seed must be at least 0, got -1"),
        ({"method": {"name": "spu"}}, "method.views must be given"),
        (
            {"method": {"name": "spu", "views": {"kind": "zoom", "factor": -1}}},
            "method.views.factor must be above 0, got -1",
        ),
        ({"target": 5, "seed": None}, "target must be text, got 5; seed must be a whole number, got None"),
    ],
)
def test_a_wrong_setting_is_an_error_that_names_the_file_and_the_setting(run, change, message):
    values = json.loads((run / "config.json").read_text())
    (run / "config.json").write_text(json.dumps(values | change))
    with pytest.raises(InputError) as error:
        load_run(run)
    assert str(error.value) == f"{run / 'config.json'} must be the configuration of a model, but is not: {message}"


def test_configurations_of_the_published_study_hold_and_are_written_the_same():
    for name, entry in json.loads((ROOT / "docs" / "study" / "evaluation" / "models.json").read_text()).items():
        config = ModelConfig(**entry["config"])
        assert config.target == name.split("/")[1]
        assert json.loads(json.dumps(asdict(config))) == entry["config"]


def without(values: dict[str, Any], *names: str) -> dict[str, Any]:
    return {name: value for name, value in values.items() if name not in names}


def test_configurations_from_before_a_setting_was_added_mean_what_they_meant():
    added = ("clip", "augmented", "temperature")
    config = asdict(replace(CONFIG, clip=(0, 1), augmented=False, temperature=1.0))
    views = without(config["method"]["views"], "centered")
    earlier = without(config, *added) | {"method": config["method"] | {"views": views}}
    written = asdict(ModelConfig(**json.loads(json.dumps(earlier))))
    assert json.loads(json.dumps(written)) == json.loads(json.dumps(config))
    assert written["method"]["views"]["centered"] is True


def test_a_method_file_from_before_the_fit_contain_keeps_its_box(tmp_path):
    views = {"kind": "spherical", "grid": [3, 3], "cover": "brain", "radius": 0.5, "lift": "gnomonic", "fit": "box"}
    method = {"name": "spu", "views": views, "oversampling": 1.5, "training_views": "all"}
    (tmp_path / "method.json").write_text(json.dumps(method))
    assert load_method(str(tmp_path / "method.json")).views == Spherical(radius=0.5, fit="box", centered=True)


def test_a_configuration_is_written_in_the_order_of_its_settings(run):
    text = (run / "config.json").read_text()
    model = ["target", "field", "view_size", "box", "method"]
    views = ["kind", "grid", "cover", "radius", "lift", "chart", "pose", "fit", "centered", "magnification"]
    rest = ["training_views", "oversampling", "noise", "channels", "epochs", "batch_size", "learning_rate"]
    assert re.findall(r'"(\w+)":', text) == [
        *model,
        "name",
        "views",
        *views,
        *rest,
        "modalities",
        "seed",
        "clip",
        "augmented",
        "temperature",
    ]


def test_a_run_that_fails_to_save_is_not_a_whole_run(tmp_path, monkeypatch):
    def fail(*_, **__):
        raise OSError("disk full")

    monkeypatch.setattr("spuproj.training.models.run.weights_file", fail)
    with pytest.raises(OSError, match="disk full"):
        save_run(tmp_path / "run", CONFIG, make_network(CONFIG))
    with pytest.raises(InputError, match=r"has no model\.safetensors"):
        load_run(tmp_path / "run")
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["config.json"]


def test_those_who_may_read_the_configuration_may_read_the_weights(tmp_path):
    save_run(tmp_path / "run", CONFIG, make_network(CONFIG))
    config, weights = ((tmp_path / "run" / name).stat().st_mode for name in ("config.json", "model.safetensors"))
    assert config == weights


def test_the_network_takes_the_modalities_and_gives_one_logit():
    network = make_network(CONFIG)
    assert network(noise(2, 2, 16, 24)).shape == (2, 1, 16, 24)


def test_an_untrained_network_says_background():
    assert (torch.sigmoid(make_network(CONFIG)(noise(2, 2, 16, 24))) < 0.5).all()


def test_views_are_those_of_the_configuration():
    views = make_views(CONFIG, (31, 21))
    assert len(views) == 6
    assert (views.size, views.view_size) == ((31, 21), (16, 24))
    geometry = views.geometry.double()
    # Cells of the box: rows of (0.8 - 0.1) / 2, columns of (0.9 - 0.2) / 3, over 30 x 20 pixel distances.
    y = [30 * (0.1 + 0.35 * (row + 0.5)) for row in range(2) for _ in range(3)]
    x = [20 * (0.2 + 0.7 / 3 * (column + 0.5)) for _ in range(2) for column in range(3)]
    assert_close(geometry[:, 0], torch.tensor(y, dtype=torch.float64))
    assert_close(geometry[:, 1], torch.tensor(x, dtype=torch.float64))
    assert_close(geometry[:, 2], torch.full((6,), 0.7 * 31, dtype=torch.float64))
    assert geometry[:, 6].tolist() == [1] * 6
    assert geometry[:, 7].tolist() == [3] * 6


@pytest.mark.parametrize(("lift", "chart"), [("gnomonic", "equidistant"), ("stereographic", "equal_area")])
def test_views_show_the_same_points_at_twice_the_resolution(lift, chart):
    config = replace(CONFIG, method=replace(METHOD, views=replace(SPHERES, lift=lift, chart=chart)))
    coarse = make_views(config, (30, 24)).slice_coordinates()
    fine = make_views(config, (60, 48)).slice_coordinates()
    both = torch.isfinite(coarse[0]) & torch.isfinite(fine[0])
    assert both.sum() > 0.9 * torch.isfinite(coarse[0]).sum() > 0
    for small, large in zip(coarse, fine, strict=True):
        # The coarse pixel i covers the fine pixels 2 i and 2 i + 1; half a coarse pixel is a fine one.
        assert (2 * small + 0.5 - large)[both].abs().max() < 1


@pytest.mark.parametrize("name", method_names())
def test_a_finer_slice_of_the_same_field_is_seen_through_the_same_views(name):
    config = ModelConfig("WT", (240.0, 200.0), (72, 60), (0.2, 0.25, 0.8, 0.75), load_method(name))
    coarse, fine = make_views(config, (48, 40)), make_views(config, (144, 120))
    # Where a view pixel looks, as a fraction of the slice.
    for one, other, side, finer in zip(
        coarse.slice_coordinates(), fine.slice_coordinates(), (48, 40), (144, 120), strict=True
    ):
        seen, again = (one + 0.5) / side, (other + 0.5) / finer
        both = ~(seen.isnan() | again.isnan())
        assert both.double().mean() > 0.5
        assert (seen - again)[both].abs().max() < 0.65 / side


def keys(values: object, at: tuple[object, ...] = ()) -> Iterator[tuple[object, ...]]:
    """The place of every value in nested JSON."""
    parts = values.items() if isinstance(values, dict) else enumerate(values) if isinstance(values, list) else ()
    for key, part in parts:
        yield (*at, key)
        yield from keys(part, (*at, key))


WRITTEN = json.loads(json.dumps(asdict(CONFIG)))


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole") / "run"
    save_run(folder, CONFIG, make_network(CONFIG))
    return folder


@settings(max_examples=100)
@given(st.sampled_from([*keys(WRITTEN), ("new",), ("method", "new"), ("self",)]), VALUES)
def test_a_configuration_with_any_value_changed_is_read_or_refused(whole, place, value):
    changed = json.loads(json.dumps(WRITTEN))
    part = changed
    for key in place[:-1]:
        part = part[key]
    part[place[-1]] = value
    (whole / "config.json").write_text(json.dumps(changed))
    with names_file_or_passes(whole):
        load_run(whole)
    (whole / "config.json").write_text(json.dumps(WRITTEN))


@settings(max_examples=60)
@given(st.data())
def test_damaged_weights_are_read_or_refused(whole, data):
    path = whole / "model.safetensors"
    good = path.read_bytes()
    bad = bytearray(good[: data.draw(st.just(len(good)) | st.integers(0, len(good)))])
    for _ in range(data.draw(st.integers(0, 4)) if bad else 0):
        bad[data.draw(st.integers(0, min(len(bad), 400) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(bad)
    with names_file_or_passes(whole):
        load_run(whole)
    path.write_bytes(good)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_weights_that_are_not_finite_are_refused(run, value):
    weights = load_file(run / "model.safetensors")
    next(each for each in weights.values() if each.is_floating_point()).flatten()[0] = value
    save_file(weights, run / "model.safetensors")
    with pytest.raises(InputError, match=r"\(model\.safetensors\): weights must be finite, but .* NaN or Inf"):
        load_run(run)


def test_weights_of_half_precision_are_loaded_as_full(run):
    weights = {name: tensor.half() if tensor.is_floating_point() else tensor for name, tensor in
               load_file(run / "model.safetensors").items()}  # fmt: skip
    save_file(weights, run / "model.safetensors")
    assert {tensor.dtype for tensor in load_run(run)[1].parameters()} == {torch.float32}


def test_memory_follows_the_weights_and_not_what_the_configuration_claims(run):
    values = json.loads((run / "config.json").read_text())
    values["method"]["channels"] = [2048] * 8
    (run / "config.json").write_text(json.dumps(values))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(InputError, match="does not load"):
        load_run(run)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 500_000


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_what_is_there_but_no_file_is_not_called_absent(run, name):
    (run / name).unlink()
    (run / name).symlink_to("nowhere")
    with pytest.raises(InputError, match=f"{name} cannot be used: it is a link to nowhere, which is not there"):
        load_run(run)
    (run / name).unlink()
    (run / name).mkdir()
    with pytest.raises(InputError, match=f"{name} cannot be used: it is a folder"):
        load_run(run)
