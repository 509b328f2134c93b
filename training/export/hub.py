"""Trained models on the Hugging Face Hub: configuration, weights and card, and nothing else of a run."""

from __future__ import annotations

import re
import tempfile
from pathlib import Path

from huggingface_hub import HfApi
from huggingface_hub.errors import HfHubHTTPError, LocalTokenNotFoundError

from spuproj import __version__
from spuproj.training.models.card import CARD, model_card
from spuproj.training.models.config import ModelConfig
from spuproj.training.models.run import RECORD, load_run, save_run
from spuproj.training.models.training_record import Record, read_record
from spuproj.training.runtime.errors import InputError, as_input_error, reason_of
from spuproj.training.runtime.wording import counted

README = "README.md"
"""What the Hub calls a model's card."""

_PATH = re.compile(r"(?<![\w.:/<])(?:/[\w.~-]+){2,}|\b[A-Za-z]:\\[\w.\\-]+")
_LOG_IN = "log in with 'hf auth login', or set HF_TOKEN to a token that may write"


def push(run: Path, repository: str, *, private: bool = False, force: bool = False) -> str:
    """Uploads a model to the Hub, in one commit.

    Args:
        run: folder of a finished ``spuproj train``.
        repository: where to, as ``user/name``. The repository is made.
        private: whether only its owner sees it; otherwise as the owner's settings say, usually all.
        force: write into a repository that exists.

    Returns:
        The address of the repository.

    Raises:
        InputError: as ``prepare`` does; for a name of another form, a repository that exists, one that is public where
            ``private`` is asked for, and where the Hub refuses (no token, no right to write) or does not answer.
    """
    if ".." in repository or not re.fullmatch(r"\w[\w.-]*/\w[\w.-]*", repository, re.ASCII):
        raise InputError(f"the repository must be named user/name, got {repository!r}")
    with tempfile.TemporaryDirectory() as folder:
        config = prepare(run, Path(folder))
        api = HfApi(library_name="spuproj", library_version=__version__)
        with as_input_error(lambda error: _refusal(error, repository, api.endpoint)):
            address = str(api.create_repo(repository, private=private or None, exist_ok=force))
            if private and force and not api.repo_info(repository).private:
                raise InputError(f"{address} must be private, but is public; change its settings, or name another")
        incomplete = f"; {address} is there but incomplete: push again with --force"
        with as_input_error(lambda error: _refusal(error, repository, api.endpoint) + incomplete):
            message = f"{config.target} by {config.method.name}, spuproj {__version__}"
            api.upload_folder(repo_id=repository, folder_path=folder, commit_message=message)
    return address


def prepare(run: Path, folder: Path) -> ModelConfig:
    """Writes what is uploaded of a run: configuration and weights, made anew, and the card as ``README.md``.

    The card is ``card.md`` of the run, if there is one, and is else made from the configuration and the record.

    Raises:
        InputError: for a run that is not finished, and where the name of a case or a path would be made public.
    """
    config, network = load_run(run)
    record = read_record(run) if (run / RECORD).is_file() else Record()
    card = _own_card(run / CARD) if (run / CARD).is_file() else ""
    _refuse_leaks(run, config, record, card)
    save_run(folder, config, network, record.data.train.sha256)
    (folder / README).write_text(card or _card(config, record), encoding="utf-8")
    return config


def _own_card(path: Path) -> str:
    """The card that people wrote. Raises InputError for one that is no text."""
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise InputError(f"{path} must be text in UTF-8, but is not: {error}; save it anew") from None


def _card(config: ModelConfig, record: Record) -> str:
    """The card from what is known, without the names of cases."""
    data = "The data that the model was trained on are not described here."
    dice, cases = record.metrics.dice, counted(len(record.data.validation.cases), "case")
    numbers = (
        "Its quality is not described here."
        if dice is None
        else f"Dice {dice:.3f} on the slices that show the target of {cases} that it was not trained on, but that "
        "were watched during the training."
    )
    return model_card(config, record, data, numbers)


def _refuse_leaks(run: Path, config: ModelConfig, record: Record, card: str) -> None:
    """Raises InputError where what people wrote holds the name of a case, or the card a path."""
    names = record.data.cases.union(record.calibration.cases if record.calibration else ())
    written = {
        str(run / CARD): card,
        "the name of the method": config.method.name,
        "the target": config.target,
        "the modalities": " ".join(config.modalities),
    }
    for place, text in written.items():
        found = [name for name in sorted(names) if re.search(rf"(?<!\w){re.escape(name)}(?!\w)", text, re.IGNORECASE)]
        if found:
            raise InputError(f"{place} must not name cases, since it would be public, but names {found[0]}; change it")
    path = _PATH.search(card)
    if path:
        raise InputError(f"{run / CARD} must hold no path of this machine, since it would be public, got {path[0]}")


def _refusal(error: Exception, repository: str, endpoint: str) -> str:
    """What an error of the Hub means, and what to do."""
    if isinstance(error, LocalTokenNotFoundError):
        return f"{endpoint} must know you, but there is no token; {_LOG_IN}"
    if isinstance(error, HfHubHTTPError):
        known = {
            401: f"{endpoint} must know you, but there is no valid token; {_LOG_IN}",
            403: f"the token must be allowed to write to {repository}, but is not; {_LOG_IN} there",
            409: f"{repository} exists already on {endpoint}; pass --force to write into it, or name another",
        }
        return known.get(error.response.status_code, f"{endpoint} refuses {repository}: {error}")
    # Which library speaks HTTP, and so what a broken connection raises, depends on the version.
    return f"{endpoint} must answer, but does not: {reason_of(error)}"
