"""Files of profiles: shown as they are, and copied under another name with their comments."""

import threading
from pathlib import Path

import pytest

from engine import profile_files
from engine.catalog import Catalog, CatalogEntry, CatalogReader, read_profile
from engine.errors import InvalidProfile, NotFound, OperationFailed, Refused
from engine.facade import Engine
from engine.observe.gpus import GpuSampler
from engine.observe.monitor import Monitor
from engine.settings import Settings
from engine.snapshot import Snapshot
from engine.store import Journal

ORIGINAL = """\
# ünser own 😀
name:   "old"   # its name
stack: vllm
summary: old   # not the name
image: i:1
model: ./models/m   # beside this file
tokenizer: org/name
lora:
  a: ../adapters/a
  b: org/b
  c: /absolute/c
program: bin/serve
mounts: [./data:/data, "~/x:/x:rw", volume:/v]   # in one line
engine: {max_model_len: 8}
"""


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    settings = Settings(tmp_path / "config", tmp_path / "state", tmp_path / "cache", (), tmp_path)
    (tmp_path / "profiles/bin").mkdir(parents=True)
    (tmp_path / "profiles/bin/serve").touch()
    return settings


def write(settings: Settings, text: str, file: str = "old.yaml") -> Path:
    path = settings.working_dir / "profiles" / file
    path.write_bytes(text.encode())
    return path


def load(settings: Settings) -> Catalog:
    return CatalogReader(settings).load()


def duplicate(settings: Settings, new: str, name: str = "old") -> Path:
    return profile_files.duplicate(load(settings), settings, name, new)


def test_a_copy_keeps_comments_and_means_the_same(settings: Settings) -> None:
    folder = write(settings, ORIGINAL).parent
    copy = duplicate(settings, "new")
    assert copy == settings.config_dir / "profiles/new.yaml"
    expected = ORIGINAL.replace('name:   "old"', "name:   new")
    for relative in ("./models/m", "../adapters/a", "bin/serve"):
        expected = expected.replace(relative, str((folder / relative).resolve()))
    assert copy.read_text() == expected.replace("./data:/data", f'"{folder}/data:/data"')
    entry = load(settings).get("new")
    assert (entry.path, entry.profile.engine) == (copy, {"max_model_len": 8})
    assert copy.stat().st_mode & 0o777 == 0o600
    assert [path.name for path in copy.parent.iterdir()] == ["new.yaml"]


@pytest.mark.parametrize(
    "text",
    [
        "{name: old, stack: triton, repository: r}",
        "stack: triton\r\nrepository: r # there\r\nname: old\r\n",
        "\ufeffname: old\nstack: triton\nrepository: 'it''s'\n",
        "name: >-\n  old\nstack: triton\nrepository: r\n",
        "? name\n: old\nstack: triton\nrepository: &r r\nengine: {a: *r}\n",
        "---\nname: !!str old\nstack: triton\nsummary: &s ./r\nrepository: *s\n",
        "name: old\nstack: triton\nrepository: r\nmounts: [&m './a:/a', *m]\n",
    ],
)
def test_however_it_is_written_the_copy_is_right_or_there_is_none(settings: Settings, text: str) -> None:
    write(settings, text)
    original = load(settings).get("old")
    folder = settings.config_dir / "profiles"
    if "*" in text:
        with pytest.raises(InvalidProfile, match="by hand"):
            duplicate(settings, "new")
        assert list(folder.iterdir()) == []
        return
    copy = read_profile(duplicate(settings, "new"))
    assert isinstance(copy, CatalogEntry)
    assert copy.profile.name == "new"
    assert copy.profile.repository == str(original.path.parent / str(original.profile.repository))
    assert ("\r" in text) is ("\r" in copy.path.read_bytes().decode())


@pytest.mark.parametrize("name", ["1", "1.5", "null", "true", "on", "1e3", "2024-01-01", "0x1f", "a.b-c"])
def test_names_that_yaml_would_read_otherwise_are_quoted(settings: Settings, name: str) -> None:
    write(settings, ORIGINAL)
    duplicate(settings, name)
    assert load(settings).get(name).profile.name == name


@pytest.mark.parametrize("name", ["", "../up", "Upper", "a" * 64, "a\n", "-a", "\x1b[31m"])
def test_what_can_be_no_name(settings: Settings, name: str) -> None:
    write(settings, ORIGINAL)
    with pytest.raises(InvalidProfile, match="cannot be a profile's name") as failure:
        duplicate(settings, name)
    assert "\x1b" not in str(failure.value)


def test_a_name_that_is_taken(settings: Settings) -> None:
    write(settings, ORIGINAL)
    write(settings, ORIGINAL.replace('"old"', "other"), "anything.yaml")
    write(settings, "nonsense: [", "broken.yaml")
    folder = settings.config_dir / "profiles"
    folder.mkdir(parents=True)
    (folder / "hidden.yml").write_text(ORIGINAL.replace('"old"', "third"))
    (folder / "link.yaml").symlink_to("nowhere")
    for name in ("old", "other", "broken", "hidden", "link", "third", "demo"):
        with pytest.raises(Refused, match=f"The name {name} is taken by "):
            duplicate(settings, name)
    assert len(list(folder.iterdir())) == 2


def test_what_cannot_be_copied(settings: Settings) -> None:
    with pytest.raises(NotFound):
        duplicate(settings, "new")
    write(settings, "nonsense: [", "old.yaml")
    with pytest.raises(InvalidProfile, match=r"old\.yaml:2: Not valid YAML"):
        duplicate(settings, "new")
    path = write(settings, ORIGINAL)
    catalog = load(settings)
    path.write_text("[")
    with pytest.raises(InvalidProfile, match="has been changed"):
        profile_files.duplicate(catalog, settings, "old", "new")
    write(settings, ORIGINAL)
    settings.config_dir.write_text("a file")
    with pytest.raises(OperationFailed, match="TRITONTUI_CONFIG_DIR"):
        duplicate(settings, "new")


def test_a_profile_is_shown_cleaned_and_an_invalid_one_too(settings: Settings) -> None:
    write(settings, ORIGINAL)
    broken = write(settings, "name: x\x1b]52;c;aGk=\x07\r\n\tbad", "broken.yaml")
    catalog = load(settings)
    shown = profile_files.source(catalog, settings, "old")
    assert (shown.path.name, shown.text, shown.shipped) == ("old.yaml", ORIGINAL, False)
    assert profile_files.source(catalog, settings, "broken").text == "name: x\n    bad"
    assert profile_files.source(catalog, settings, "demo").shipped
    with pytest.raises(NotFound, match="Did you mean old"):
        profile_files.source(catalog, settings, "olds")
    broken.unlink()
    with pytest.raises(NotFound, match=r"broken\.yaml"):
        profile_files.source(catalog, settings, "broken")


def test_the_list_says_where_each_profile_is(settings: Settings) -> None:
    path = write(settings, ORIGINAL)
    complete = threading.Event()
    monitor = Monitor({}, CatalogReader(settings), Journal(settings.state_dir / "h.sqlite"), GpuSampler())

    def take(snapshot: Snapshot) -> None:
        if not snapshot.loading:
            complete.set()

    monitor.subscribe(take)
    monitor.open()
    assert complete.wait(20)
    monitor.close()
    model = monitor.latest.model("old")
    assert model is not None
    assert model.profile_path == str(path)


def test_the_engine_finds_a_copy_at_once(settings: Settings) -> None:
    write(settings, ORIGINAL)
    engine = Engine(settings)
    copy = engine.duplicate("old", "new")
    assert engine.profile_source("new").path == copy
    with pytest.raises(Refused, match="is taken by"):
        engine.duplicate("old", "new")
