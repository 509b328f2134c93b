"""The models of the package: they load, fit together and are small; and their cards say what they should."""

from __future__ import annotations

import pytest
from training_helpers import changed

from spuproj.training.models import trained_models as subject
from spuproj.training.models.card import CARD, model_card
from spuproj.training.models.run import WEIGHTS, load_run, load_runs
from spuproj.training.models.trained_models import trained_models
from spuproj.training.models.training_record import Data, Record, Role, Versions
from spuproj.training.runtime.errors import InputError

pytest_plugins = ["training_fixtures"]

MOST_BYTES = 4_000_000


def test_the_packages_models_predict_the_three_targets_together():
    runs, _ = load_runs(trained_models())
    configs = [config for config, _ in runs]
    assert [config.target for config in configs] == ["ET", "TC", "WT"]
    assert {config.modalities for config in configs} == {("t1", "t1ce", "t2", "flair")}
    assert all(config.augmented for config in configs)


def test_the_packages_models_are_small_and_have_cards():
    for folder in trained_models():
        assert (folder / WEIGHTS).stat().st_size < MOST_BYTES
        card = (folder / CARD).read_text()
        assert card.startswith("---\nlicense: apache-2.0\n")
        assert "not a medical device" in card


@pytest.mark.parametrize("target", ["ET", "TC", "WT"])
def test_a_model_of_the_package_with_a_flipped_bit_is_refused(target, tmp_path):
    copied = changed(next(folder for folder in trained_models() if folder.name == target), tmp_path / target)
    content = bytearray((copied / WEIGHTS).read_bytes())
    content[-3] ^= 1
    (copied / WEIGHTS).write_bytes(content)
    with pytest.raises(InputError, match="the SHA-256 that the file tells, but have another: it is damaged"):
        load_run(copied)


def test_an_installation_without_models_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setattr(subject, "FOLDER", tmp_path)
    with pytest.raises(InputError, match=r"must hold the models of the package, but holds none; name models .*--model"):
        trained_models()


def test_every_folder_with_weights_is_a_model(models, monkeypatch):
    monkeypatch.setattr(subject, "FOLDER", models["WT"].parent)
    assert trained_models() == [models[target] for target in ("ET", "TC", "WT")]


def test_the_card_says_what_the_model_is_and_was_trained_on(models):
    config, _ = load_run(models["WT"])
    record = Record(Data(Role(["a", "b"], "0123abcd")), versions=Versions("9.8.7", "6.5.4"))
    card = model_card(config, record, "96 phantoms of seed 7 at 1 mm.", "| Dice | 0.81 |")
    for text in (
        "the whole tumour (WT",
        "t1, t1ce, t2, flair: ",
        "All of them are needed.",
        "predicts 6 views of each slice (method `own`)",
        "96 phantoms of seed 7 at 1 mm.",
        "- 2 cases; SHA-256 of their slices 0123abcd",
        "- spuproj 9.8.7, torch 6.5.4",
        "without augmentation",
        "| Dice | 0.81 |",
        "not a medical device",
        "Apache-2.0",
    ):
        assert text in card


def test_the_card_tells_of_missing_modalities_and_leaves_out_what_is_not_recorded(models, tmp_path):
    config, _ = load_run(changed(models["WT"], tmp_path / "model", augmented=True, target="lesion"))
    card = model_card(config, Record(), "Data.", "Numbers.")
    assert "Some of them may be missing, at least one must be there" in card
    assert "segments lesion on axial slices" in card
    assert "SHA-256" not in card
