"""Secrets are read from their references, and never shown."""

from pathlib import Path

import pytest

from engine.errors import Refused
from engine.secrets import LONGEST_FILE_BYTES, resolve_secrets

VALUE = "hf_abcdefghijklmnop"


def test_each_kind_of_reference(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HF_TOKEN", VALUE)
    (tmp_path / "token").write_text(f"  {VALUE}\n")
    given = {"HF_TOKEN": "env", "HUGGING_FACE_HUB_TOKEN": "env:HF_TOKEN", "FROM_FILE": f"file:{tmp_path}/token"}
    assert resolve_secrets(given) == dict.fromkeys(given, VALUE)


@pytest.mark.parametrize(
    ("reference", "said"),
    [
        ("env", "environment variable TOKEN, which is not set"),
        ("env:EMPTY", "environment variable EMPTY, which is not set"),
        ("file:{}/none", "cannot be read: No such file"),
        ("file:~no-such-user/token", "cannot be read: Could not determine home"),
        ("file:{}", "cannot be read: Is a directory"),
        ("file:{}/empty", "is empty"),
        ("file:{}/binary", "is not text"),
        ("file:{}/long", "too long"),
        ("file:", "not given by a reference"),
        (VALUE, "not given by a reference"),
    ],
)
def test_what_cannot_be_read_is_refused_by_name(
    reference: str, said: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("TOKEN", raising=False)
    monkeypatch.setenv("EMPTY", "")
    (tmp_path / "empty").write_text(" \n")
    (tmp_path / "binary").write_bytes(b"\xff" + VALUE.encode())
    (tmp_path / "long").write_text("x" * (LONGEST_FILE_BYTES + 1))
    with pytest.raises(Refused, match=said) as refused:
        resolve_secrets({"TOKEN": reference.format(tmp_path)})
    assert "TOKEN" in str(refused.value)
    assert VALUE not in str(refused.value)
    assert VALUE not in repr(refused.value.__cause__)
