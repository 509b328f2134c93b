"""Models on the Hub: what arrives at an endpoint that speaks its protocol, and what must not leave this machine."""

from __future__ import annotations

import base64
import json
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
import torch
from training_helpers import digest

from spuproj.training.export.hub import prepare, push
from spuproj.training.models.run import load_run
from spuproj.training.runtime.errors import InputError

pytest_plugins = ["training_fixtures"]

FILES = {"config.json", "model.safetensors", "README.md"}
RECORD = {
    "data": {
        "train": {"cases": ["Smith_John", "p 2"], "sha256": "0123abcd"},
        "validation": {"cases": ["Doe_Jane"], "sha256": "4567"},
    },
    "calibration": {"temperature": 1.5, "cases": ["Doe_Jane"]},
    "metrics": {"loss": 0.2, "dice": 0.8125},
    "versions": {"spuproj": "9.8.7", "torch": "6.5.4"},
}


@dataclass
class Hub:
    """What the endpoint was sent, and how it answers."""

    address: str = ""
    status: dict[str, int] = field(default_factory=dict)
    repository_is_private: bool = True
    files: dict[str, bytes] = field(default_factory=dict)
    created: list[dict[str, Any]] = field(default_factory=list)
    tokens: set[str] = field(default_factory=set)

    def answer(self, path: str, body: bytes) -> dict[str, Any]:
        if path.endswith("/repos/create"):
            self.created.append(json.loads(body))
            return {"url": f"{self.address}/user/name", "id": "user/name"}
        if "/preupload/" in path:
            names = [each["path"] for each in json.loads(body)["files"]]
            return {"files": [{"path": name, "uploadMode": "regular", "shouldIgnore": False} for name in names]}
        if "/commit/" in path:
            for line in map(json.loads, body.splitlines()):
                if line["key"] == "file":
                    self.files[line["value"]["path"]] = base64.b64decode(line["value"]["content"])
            return {"commitUrl": f"{self.address}/user/name/commit/0", "commitOid": "0" * 40}
        if path.endswith("/validate-yaml"):
            return {"errors": [], "warnings": []}
        return {"id": "user/name", "private": self.repository_is_private, "sha": "0" * 40}


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    found = Hub()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            found.tokens.add(self.headers.get("Authorization", "none"))
            path = self.path.partition("?")[0]
            status = next((code for part, code in found.status.items() if part in path), 200)
            content = json.dumps(
                found.answer(path, body) if status == 200 else {"error": "refused", "url": f"{found.address}/user/name"}
            ).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def do_GET(self) -> None:
            self.do_POST()

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    found.address = f"http://127.0.0.1:{server.server_port}"
    # The library reads HF_ENDPOINT and HF_TOKEN; the first one when it is imported.
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", found.address)
    monkeypatch.setenv("HF_TOKEN", "hf_made_up")
    monkeypatch.setenv("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    Thread(target=server.serve_forever, daemon=True).start()
    yield found
    server.shutdown()
    server.server_close()


@pytest.fixture
def run(models: dict[str, Path], tmp_path: Path) -> Path:
    """A finished run with its record, checkpoint and logs."""
    folder = tmp_path / "private" / "run"
    shutil.copytree(models["WT"], folder)
    (folder / "training.json").write_text(json.dumps(RECORD))
    (folder / "last.ckpt").write_text("Smith_John")
    (folder / "logs").mkdir()
    (folder / "logs" / "events").write_text("Smith_John")
    return folder


def test_configuration_weights_and_card_arrive_and_nothing_else(spuproj, hub, run, tmp_path):
    status, printed = spuproj("push", run, "user/name", "--private")
    assert status == 0
    assert printed.strip().splitlines()[-1] == f"{hub.address}/user/name"
    assert set(hub.files) == FILES
    assert [(each["organization"], each["name"], each["visibility"]) for each in hub.created] == [
        ("user", "name", "private")
    ]
    assert "Bearer hf_made_up" in hub.tokens
    for content in hub.files.values():
        for secret in (b"Smith", b"p 2", b"Doe", str(tmp_path).encode()):
            assert secret not in content


def test_what_was_pushed_is_the_same_model(hub, run, tmp_path):
    push(run, "user/name")
    assert "visibility" not in hub.created[0]
    pulled = tmp_path / "pulled"
    pulled.mkdir()
    for name, content in hub.files.items():
        (pulled / name).write_bytes(content)
    (config, network), (wanted, other) = load_run(pulled), load_run(run)
    assert config == wanted
    for name, weights in other.state_dict().items():
        assert torch.equal(network.state_dict()[name], weights)
    assert len(digest(pulled)) == 64


def test_the_card_tells_the_record_without_names(hub, run):
    push(run, "user/name")
    card = hub.files["README.md"].decode()
    assert card.startswith("---\nlicense: apache-2.0\n")
    for text in ("2 cases; SHA-256 of their slices 0123abcd", "Dice 0.812", "of 1 case that", "torch 6.5.4"):
        assert text in card


def test_a_card_of_the_run_is_taken(hub, run):
    (run / "card.md").write_text("# Mine\n\nTrained on BraTS 2023, see https://example.org/data/brats\n")
    push(run, "user/name")
    assert hub.files["README.md"].decode().startswith("# Mine")


def test_a_model_without_a_record_has_a_card(hub, models):
    push(models["ET"], "user/name")
    assert "not described here" in hub.files["README.md"].decode()


def test_a_dry_run_prints_all_and_sends_nothing(spuproj, hub, run):
    status, printed = spuproj("push", run, "user/name", "--dry-run")
    assert status == 0
    assert set(re.findall(r"^([\w.]+), \d+ bytes$", printed, re.MULTILINE)) == FILES
    assert "# WT by own" in printed
    assert (hub.created, hub.files, hub.tokens) == ([], {}, set())


@pytest.mark.parametrize(
    ("card", "message"),
    [
        ("Thanks to Smith_John.", r"card\.md must not name cases, since it would be public, but names Smith_John"),
        ("doe_jane validated", "but names Doe_Jane"),
        ("case p 2, slice 7", "but names p 2"),
        ("Data in /home/me/patients.", "must hold no path of this machine, since it would be public, got /home/me"),
        (r"Data in D:\patients\all.", r"must hold no path of this machine, .* got D:\\patients"),
    ],
)
def test_a_card_that_would_give_patients_away_is_refused(hub, run, card, message):
    (run / "card.md").write_text(card)
    with pytest.raises(InputError, match=message):
        push(run, "user/name")
    assert hub.tokens == set()


def test_names_of_cases_in_the_configuration_are_refused(run, tmp_path):
    config = json.loads((run / "config.json").read_text())
    config["method"]["name"] = "for Smith_John"
    (run / "config.json").write_text(json.dumps(config))
    with pytest.raises(InputError, match="the name of the method must not name cases"):
        prepare(run, tmp_path)


def test_what_others_added_to_the_configuration_stays_here(run, tmp_path):
    config = json.loads((run / "config.json").read_text())
    (run / "config.json").write_text(json.dumps({**config, "source": "/data/Smith_John"}))
    (tmp_path / "made").mkdir()
    prepare(run, tmp_path / "made")
    assert "Smith" not in (tmp_path / "made" / "config.json").read_text()


ANSWERS = [
    ({"create": 401}, "must know you, but there is no valid token; log in with 'hf auth login'"),
    ({"create": 403}, "the token must be allowed to write to user/name, but is not"),
    ({"create": 409}, "user/name exists already on http.*; pass --force to write into it"),
    ({"create": 500}, "refuses user/name"),
    ({"commit": 403}, "is there but incomplete: push again with --force"),
]


@pytest.mark.parametrize(("status", "message"), ANSWERS)
def test_a_refusal_of_the_hub_says_what_to_do(hub, run, status, message):
    hub.status = status
    with pytest.raises(InputError, match=message):
        push(run, "user/name")
    assert hub.files == {}


def test_force_writes_into_a_repository_that_exists_unless_it_is_public_against_the_wish(hub, run):
    hub.status = {"create": 409}
    push(run, "user/name", private=True, force=True)
    assert "config.json" in hub.files
    hub.files.clear()
    hub.repository_is_private = False
    with pytest.raises(InputError, match="must be private, but is public"):
        push(run, "user/name", private=True, force=True)
    assert hub.files == {}


def test_no_answer_and_wrong_names_are_said(hub, run, monkeypatch):
    with pytest.raises(InputError, match="must be named user/name, got 'name'"):
        push(run, "name")
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:1")
    with pytest.raises(InputError, match="must answer, but does not"):
        push(run, "user/name")


def test_an_unfinished_run_is_refused(run, tmp_path):
    (run / "model.safetensors").unlink()
    with pytest.raises(InputError, match=r"must be a finished run of 'spuproj train', but has no model\.safetensors"):
        prepare(run, tmp_path)
