"""JSON files: any Unicode encoding is read, and what is no JSON object is an error that names the file."""

from __future__ import annotations

import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from spuproj.training.runtime.errors import InputError
from spuproj.training.runtime.json_file import read_json


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-32"])
def test_json_is_read_in_any_unicode_encoding(tmp_path, encoding):
    (tmp_path / "a.json").write_bytes(json.dumps({"ä": "π"}, ensure_ascii=False).encode(encoding))
    assert read_json(tmp_path / "a.json") == {"ä": "π"}


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    content=st.binary(max_size=40) | st.sampled_from([b"[" * 10**5, b'{"a":' * 10**5, b'{"a":' + b"9" * 10**4 + b"}"])
)
def test_any_other_content_is_an_error_that_names_the_file(tmp_path, content):
    path = tmp_path / "a.json"
    path.write_bytes(content)
    try:
        assert read_json(path) == json.loads(content)
    except InputError as error:
        assert str(path) in str(error)  # noqa: PT017


def test_json_that_names_a_field_twice_is_an_error(tmp_path):
    (tmp_path / "a.json").write_text('{"a": {"b": 1, "b": 2}}')
    with pytest.raises(InputError, match=r"a\.json must be a JSON file, but cannot be read: 'b' is there twice"):
        read_json(tmp_path / "a.json")


@pytest.mark.parametrize("kind", ["folder", "link", "nothing"])
def test_json_that_is_no_file_is_an_error(tmp_path, kind):
    path = tmp_path / "a.json"
    if kind == "folder":
        path.mkdir()
    elif kind == "link":
        path.symlink_to(path)
    with pytest.raises(InputError, match=r"a\.json must be a JSON file, but (it is a|there is no)"):
        read_json(path)
