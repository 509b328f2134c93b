"""The bundle runs by MONAI's own commands, and gives what the package's prediction gives."""

import json
import re
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from monai.bundle import run, verify_net_in_out
from monai.bundle.utils import DEFAULT_METADATA
from training_helpers import changed

import spuproj
from helpers import ROOT
from spuproj.training.data.case import load_case, load_slices
from spuproj.training.inference.case_prediction import predict_case
from spuproj.training.models.run import load_run

BUNDLE = ROOT / "spuproj" / "monai" / "bundle"
INFERENCE, METADATA = str(BUNDLE / "configs" / "inference.json"), str(BUNDLE / "configs" / "metadata.json")

pytest_plugins = ["training_fixtures"]
pytestmark = [
    pytest.mark.usefixtures("one_thread"),
    # MONAI warns of the code that any configuration may hold.
    pytest.mark.filterwarnings("ignore:parsing config_file:UserWarning"),
    # LoadImage registers a reader that says so where pydicom is installed without a GPU.
    pytest.mark.filterwarnings("ignore:NvImgCodecPydicomReader:UserWarning"),
]


@pytest.mark.parametrize("field", [[240.0, 240.0], [200.0, 260.0]])
def test_its_maps_are_those_of_the_package(
    cohort: list[Path], models: dict[str, Path], tmp_path: Path, field: list[float]
) -> None:
    """With slices of the model's field of view, and with slices that are cropped and padded to it."""
    model = changed(models["WT"], tmp_path / "model", field=field)
    run(
        config_file=INFERENCE,
        case=str(cohort[0]),
        model=str(model),
        output_dir=str(tmp_path),
        device="$torch.device('cpu')",
    )
    config, network = load_run(model)
    case = load_case(cohort[0], config.modalities, clip=config.clip)
    prediction = predict_case(config, network, case, lambda _: None)
    for name, wanted in (
        ("mean", prediction.probability),
        ("variance", prediction.variance),
        ("entropy", prediction.entropy),
        ("mutual_information", prediction.mutual_information),
    ):
        path = tmp_path / f"{case.name}_WT_{name}.nii.gz"
        found = nib.Nifti1Image.from_filename(path)
        assert np.allclose(found.affine, case.like.affine)
        np.testing.assert_allclose(load_slices(path), wanted, rtol=0, atol=2e-5, err_msg=name)
    assert prediction.variance.max() > 0.01


@pytest.mark.parametrize(
    ("values", "error", "message"),
    [
        ({"maps": ["mean", "std"]}, ValueError, "maps must be one of mean, variance, .*, got 'std'"),
        ({"maps": ["members"]}, ValueError, "maps must be one of mean, variance, .*, got 'members'"),
        ({"maps": []}, ValueError, "maps must name at least one of mean, .*, got none"),
        ({"maps": "mean"}, TypeError, "maps must be a list of names, any of mean, .*, got 'mean'"),
        ({"slices_per_batch": 0}, ValueError, "slices_per_batch must be a positive whole number, got 0"),
        ({"slices_per_batch": 2.5}, ValueError, "slices_per_batch must be a positive whole number, got 2.5"),
    ],
)
def test_values_that_it_cannot_work_with_are_refused_before_the_case_is_read(values, error, message) -> None:
    with pytest.raises(RuntimeError) as refusal:
        run(config_file=INFERENCE, case="there is no such case", **values)
    assert isinstance(refusal.value.__cause__, error)
    assert re.search(message, str(refusal.value.__cause__))


def test_its_network_takes_and_gives_what_the_metadata_says() -> None:
    verify_net_in_out("network_def", meta_file=METADATA, config_file=INFERENCE, device="cpu", n=2)


def test_the_metadata_has_what_monai_asks_for() -> None:
    metadata = json.loads(Path(METADATA).read_text())
    assert set(DEFAULT_METADATA) <= set(metadata)
    assert metadata["version"] in metadata["changelog"]
    assert metadata["required_packages_version"]["spuproj"] == spuproj.__version__


def test_its_documentation_names_the_values_that_can_be_replaced() -> None:
    values = json.loads(Path(INFERENCE).read_text())
    named = [
        line.split("`")[1] for line in (BUNDLE / "docs" / "README.md").read_text().splitlines() if line[:3] == "| `"
    ]
    assert named
    assert set(named) <= set(values)
