"""The card of a model: a page in Markdown that says what it is, what it was trained on, how good it is, its limits."""

from __future__ import annotations

import re

from spuproj.training.models.config import ModelConfig
from spuproj.training.models.training_record import Record
from spuproj.training.runtime.wording import counted

CARD = "card.md"

_TARGETS = {
    "ET": "the enhancing tumour (ET) of gliomas of adults",
    "TC": "the tumour core (TC: enhancing tumour, necrosis and non-enhancing tumour) of gliomas of adults",
    "WT": "the whole tumour (WT: tumour core and oedema) of gliomas of adults",
}

# The lines between --- are for model hubs.
_CARD = """\
---
license: apache-2.0
library_name: spuproj
pipeline_tag: image-segmentation
tags: [medical-imaging, mri, uncertainty]
---

# {target} by {method}

A U-Net that segments {meaning} on axial slices of MRI, and maps the uncertainty of the segmentation.
It predicts {views} views of each slice (method `{code}`): their mean is the probability, their variance the
uncertainty.

    spuproj predict --model FOLDER --case PATIENT --out maps

## Input

{modalities}: images of one patient on one voxel grid, skull-stripped. {missing}

## Training

{data}

{record}

## Numbers

{numbers}

## Limits

- It is not a medical device. It was made for research, and no decision on a patient may rest on it.
- It knows only images like those that it was trained on. On other scanners, sequences, diseases or ages, or after
  treatment, it can be wrong without being uncertain: where all views make one mistake, the variance is small.
- Images with a skull, or not registered to each other, give wrong results.

## Licence

Apache-2.0, as spuproj ({url}).
"""

_URL = "https://github.com/spuproj/spuproj"


def model_card(config: ModelConfig, record: Record, data: str, numbers: str) -> str:
    """The card of a model.

    Args:
        config: of the model.
        record: of its training; what it lacks is left out.
        data: what it was trained on, in Markdown: for phantoms their seed, number and voxel size.
        numbers: how good it is, on which cases that it was not trained on, in Markdown.
    """
    return _CARD.format(
        target=_literal(config.target),
        meaning=_TARGETS.get(config.target, _literal(config.target)),
        method=_literal(config.method.name),
        # Between backticks only a backtick means more than itself.
        code=config.method.name.replace("`", "'"),
        views=config.method.views.count,
        modalities=", ".join(map(_literal, config.modalities)),
        missing=_missing(config),
        data=data.strip(),
        record=_training(config, record),
        numbers=numbers.strip(),
        url=_URL,
    )


def _literal(name: str) -> str:
    """A name in Markdown that makes no tag, entity, link, code or cell of a table."""
    return re.sub(r"[<>&\[\]`:|@]", lambda found: f"&#{ord(found[0])};", name)


def _missing(config: ModelConfig) -> str:
    if len(config.modalities) == 1:
        return ""
    if config.augmented:
        return "Some of them may be missing, at least one must be there; the results are then less reliable."
    return "All of them are needed."


def _training(config: ModelConfig, record: Record) -> str:
    """The settings of the training, a line for each that is known."""
    train, versions = record.data.train, record.versions
    cases = counted(len(train.cases), "case")
    lines = [
        f"- {config.method.epochs} epochs, batches of {config.method.batch_size} slices, seed {config.seed}, "
        f"{'with' if config.augmented else 'without'} augmentation",
        f"- {cases}; SHA-256 of their slices {_literal(train.sha256)}" if train.cases else "",
        f"- spuproj {_literal(versions.spuproj)}, torch {_literal(versions.torch)}" if versions else "",
    ]
    return "\n".join(filter(None, lines))
