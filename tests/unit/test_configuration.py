"""The configuration files, what makes tritontui read-only, and settings on their way to another process."""

import json
from pathlib import Path

import pytest

from engine.configuration import InvalidConfiguration
from engine.errors import Exit, Refused
from engine.settings import Settings, refuse_read_only
from tests.unit.test_imports import imported_by


@pytest.fixture(autouse=True)
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRITONTUI_CONFIG_DIR", str(tmp_path / "user"))
    monkeypatch.setenv("TRITONTUI_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.setenv("TRITONTUI_SYSTEM_CONFIG", str(tmp_path / "etc" / "config.yaml"))
    monkeypatch.delenv("TRITONTUI_READ_ONLY", raising=False)


@pytest.fixture
def system(tmp_path: Path) -> Path:
    (tmp_path / "etc").mkdir()
    return tmp_path / "etc" / "config.yaml"


@pytest.fixture
def user(tmp_path: Path) -> Path:
    (tmp_path / "user").mkdir()
    return tmp_path / "user" / "config.yaml"


def test_without_a_file_everything_may_be_done_and_nothing_heavy_is_imported(tmp_path: Path) -> None:
    settings = Settings.load()
    assert (settings.read_only, settings.drain_s) == ("", 60.0)
    assert settings.audit_path == tmp_path / "state" / "audit.jsonl"
    refuse_read_only(settings, "start llama")
    code = "from engine.settings import Settings\nassert not Settings.load().read_only"
    assert not imported_by(code) & {"pydantic", "yaml", "pydantic_core"}


def test_a_file_says_all_that_it_can(user: Path, tmp_path: Path) -> None:
    user.write_text("read_only: yes\naudit: ../shared/audit.jsonl\ndrain: 2m\n")
    settings = Settings.load()
    assert settings.read_only == str(user)
    assert settings.audit_path == tmp_path / "shared" / "audit.jsonl"
    assert settings.drain_s == 120.0


@pytest.mark.parametrize("text", ["", "\n# nothing yet\n", "---\n", "{}\n", "read_only: false\n"])
def test_a_file_may_say_nothing(user: Path, text: str) -> None:
    user.write_text(text)
    settings = Settings.load()
    assert (settings.read_only, settings.drain_s, settings.audit) == ("", 60.0, None)


def test_the_user_cannot_undo_what_the_machine_says_but_may_wait_as_long_as_he_likes(system: Path, user: Path) -> None:
    system.write_text("read_only: true\naudit: /var/log/tritontui/audit.jsonl\ndrain: 10\n")
    user.write_text("read_only: false\naudit: ~/audit.jsonl\ndrain: 90s\n")
    settings = Settings.load()
    assert settings.read_only == str(system)
    assert settings.audit_path == Path("/var/log/tritontui/audit.jsonl")
    assert settings.drain_s == 90.0
    user.unlink()
    assert Settings.load().drain_s == 10.0


def test_a_home_in_a_path_is_the_users(user: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    user.write_text("audit: ~/audit.jsonl\n")
    assert Settings.load().audit_path == tmp_path / "audit.jsonl"


def test_what_says_read_only_is_told(user: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    user.write_text("read_only: true\n")
    for value, said in (("", str(user)), ("0", str(user)), ("False", str(user)), ("1", "TRITONTUI_READ_ONLY")):
        monkeypatch.setenv("TRITONTUI_READ_ONLY", value)
        assert Settings.load().read_only == said
    monkeypatch.setenv("TRITONTUI_READ_ONLY", "please")
    settings = Settings.load(read_only=True)
    assert settings.read_only == "--read-only"
    with pytest.raises(Refused) as caught:
        refuse_read_only(settings, "swap a → b")
    assert str(caught.value) == (
        "Nothing may be changed from here: tritontui is read-only (--read-only). Not done: swap a → b."
        " Run it without --read-only."
    )
    assert caught.value.exit_code is Exit.REFUSED


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("readonly: true", ":1: Unknown key `readonly`; did you mean `read_only`?"),
        ("# all\n\nport: 80", ":3: Unknown key `port`; valid keys: read_only, audit, drain, bell, keep_prompts."),
        ("name: x", ":1: Unknown key `name`; valid keys: read_only, audit, drain, bell, keep_prompts."),
        ("drain: 2m\nread_only: 'yes'", ":2: `read_only` is 'yes': it must be true or false."),
        ("read_only:", ":1: `read_only` is empty: it must be true or false."),
        ("drain: soon", ":1: `drain`: a duration is a number with ms, s, m or h, e.g. 300ms or 30m."),
        ("drain: 0", ":1: `drain` is 0: it must be more than 0."),
        ("audit: ''", ":1: `audit` is '': it must be text of at least 1 character."),
        ("audit: ~nobody-of-that-name/a", ": `audit` is ~nobody-of-that-name/a, which is no path:"),
        ("audit: [a]", ":1: `audit` is [a]: it must be text."),
        ("audit: 7", ":1: `audit` is 7: it must be text; put it in quotes."),
        ("read_only: true\nread_only: false", ":2: The key `read_only` stands twice."),
        ("- read_only", ":1: A configuration is a mapping of keys to values; valid keys: read_only, audit, drain, "),
        ("read_only", ":1: A configuration is a mapping of keys to values"),
        ("read_only: ]", ":1: Not valid YAML:"),
        ("audit: \x07", ":1: It contains a control character."),
        ("1: true", ":1: "),
        ("drain: " + "[" * 500, ":1: It is nested more than 64 levels deep."),
    ],
)
def test_what_is_wrong_is_told_with_its_line_and_nothing_is_done(user: Path, text: str, words: str) -> None:
    user.write_text(text)
    with pytest.raises(InvalidConfiguration) as caught:
        Settings.load()
    assert str(caught.value).startswith(f"{user}{words}")
    assert caught.value.exit_code is Exit.INVALID
    assert len(str(caught.value)) < len(str(user)) + 300


def test_every_problem_of_a_file_is_told_in_its_order(user: Path) -> None:
    user.write_text("drain: soon\nreadonly: true\naudit: 1\n")
    with pytest.raises(InvalidConfiguration) as caught:
        Settings.load()
    parts = str(caught.value).split(f"{user}:")[1:]
    assert [part[:2] for part in parts] == ["1:", "2:", "3:"]


@pytest.mark.parametrize("kind", ["folder", "link to nothing", "too large", "not text"])
def test_a_file_that_cannot_be_read_is_not_taken_for_none(system: Path, kind: str) -> None:
    if kind == "folder":
        system.mkdir()
    elif kind == "link to nothing":
        system.symlink_to("nowhere")
    else:
        system.write_bytes(b"#" * 100_000 if kind == "too large" else b"\xff")
    with pytest.raises(InvalidConfiguration, match=r"a regular file|larger than 64 KiB|not UTF-8 text"):
        Settings.load()


def test_settings_reach_another_process_whole(user: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    user.write_text("read_only: true\naudit: /a/b.jsonl\ndrain: 1s\n")
    settings = Settings.load((Path("/p"), Path("/q\udcff")))
    assert Settings.from_json(settings.to_json()) == settings
    assert Settings.from_json(Settings.load().to_json()) == Settings.load()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TRITONTUI_STATE_DIR", "here")
    moved = Settings.from_json(Settings.load((Path("profiles"),)).to_json())
    assert moved.profiles_dirs == (tmp_path / "profiles",)
    assert moved.state_dir == tmp_path / "here"
    with pytest.raises(KeyError):
        Settings.from_json("{}")
    with pytest.raises(TypeError):
        Settings.from_json(json.dumps({**json.loads(settings.to_json()), "more": 1}))


def test_the_user_says_whether_notices_ring(system: Path, user: Path) -> None:
    assert Settings.load().bell
    system.write_text("bell: false\n")
    assert not Settings.load().bell
    assert not Settings.from_json(Settings.load().to_json()).bell
    user.write_text("bell: true\n")
    assert Settings.load().bell
