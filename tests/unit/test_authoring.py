"""Profiles that are made: they read back as they were written, and come back from their lines and containers."""

import resource
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.authoring.check import plan_entry
from engine.authoring.container import of_report
from engine.authoring.docker_line import from_line
from engine.authoring.imported import Imported, imported
from engine.authoring.new import IMAGES, Wish, new_profile, parse_gpus
from engine.authoring.schema import FILE_NAME
from engine.authoring.write import checked, profile_text, save
from engine.by_hand import command_line
from engine.catalog import CatalogEntry, read_profile
from engine.errors import InvalidProfile, OperationFailed, Refused
from engine.profile import Profile
from engine.settings import Settings
from engine.text import clean

HOME = {"HOME": "/home/me"}
TOKEN = "hf_" + "a1B2" * 6
HERE = Path("/home/me/work")
VLLM = "vllm/vllm-openai:v0.11.0"
TRITON = "nvcr.io/nvidia/tritonserver:25.12-py3"


def settings_in(folder: Path) -> Settings:
    return Settings(folder / "config", folder / "state", folder / "cache", (), folder)


def take(line: str, folder: Path = HERE, environ: dict[str, str] = HOME) -> Imported:
    return imported(from_line(line, environ, folder), environ, folder)


# -- there and back ---------------------------------------------------------------------------------------------------


COMPARED = (
    *("name", "stack", "image", "command", "entrypoint", "env", "secrets", "mounts", "ports", "gpus"),
    *("shm_bytes", "host_ipc", "ulimits"),
)


def planned_again(folder: Path, data: dict[str, Any]) -> None:
    """The line of its plan, imported, gives the same launch."""
    (folder / "repo" / "m" / "1").mkdir(parents=True, exist_ok=True)
    (folder / "repo" / "m" / "config.pbtxt").write_text('backend: "python"\n')
    (folder / "repo" / "m" / "1" / "model.py").touch()
    (folder / "weights").mkdir(exist_ok=True)
    own = settings_in(folder)
    first = plan_entry(own, checked(profile_text(data), folder / "p.yaml")).launch
    found = take(command_line(first), folder, {"HOME": str(folder)})
    again = plan_entry(own, checked(profile_text(found.data), folder / "p.yaml")).launch
    for name in COMPARED:
        assert getattr(again, name) == getattr(first, name), (name, found)


PORTS = st.integers(20000, 60000)
PLAIN = st.text(st.characters(codec="utf-8", exclude_categories=("C", "Z")) | st.just(" "), max_size=20).filter(
    lambda text: clean(text) == text
)
ENV = st.dictionaries(st.from_regex(r"[A-Z][A-Z_]{0,8}X", fullmatch=True), PLAIN, max_size=3)
SECRETS = st.dictionaries(
    st.sampled_from(["HF_TOKEN", "VLLM_API_KEY", "OTHER"]),
    st.sampled_from(["env", "env:MINE", "file:/run/a b"]),
    max_size=2,
)
COMMON = {
    "gpus": st.sampled_from([1, 2, "all", [0], [1, 0], ["GPU-abc"]]),
    "env": ENV,
    "secrets": SECRETS,
    "mounts": st.lists(st.sampled_from(["/a b:/x", "/c:/y:rw", "volume:/z"]), unique=True, max_size=2),
    "bind": st.sampled_from(["127.0.0.1", "10.1.2.3", "::1"]),
    "shm_size": st.sampled_from(["1g", "100m", 4096]),
}
VLLM_OPTIONS = st.fixed_dictionaries(
    {},
    optional={
        "max_model_len": st.integers(1, 100000),
        "gpu_memory_utilization": st.sampled_from([0.5, 0.95]),
        "enforce_eager": st.booleans(),
        "enable_prefix_caching": st.booleans(),
        "hf_overrides": st.dictionaries(st.sampled_from(["a", "b"]), st.integers() | PLAIN | st.lists(st.booleans())),
        "chat_template": PLAIN.filter(lambda text: bool(text.strip())),
        "max_num_seqs": st.integers(1, 999),
        "trust_remote_code": st.booleans(),
        "seed": st.integers(0, 9),
    },
)
TRITON_OPTIONS = st.fixed_dictionaries(
    {},
    optional={
        "log_verbose": st.integers(0, 3),
        "backend_config": st.sampled_from(["python,shm-default-byte-size=1", ["python,a=1", "python,b=2"]]),
        "strict_readiness": st.booleans(),
        "exit_timeout_secs": st.integers(1, 90),
    },
)
SERVED = st.sampled_from(["org/model", "./weights"])


@settings(max_examples=60, deadline=None)
@given(
    st.fixed_dictionaries(
        {"model": SERVED, "engine": VLLM_OPTIONS, "expose": st.fixed_dictionaries({"http": PORTS})},
        optional={**COMMON, "served_model_name": st.sampled_from(["x", "y z", "7"])},
    )
)
def test_a_plan_of_vllm_comes_back_by_its_line(tmp_path_factory: pytest.TempPathFactory, data: dict[str, Any]) -> None:
    planned_again(tmp_path_factory.mktemp("there"), {"name": "p", "stack": "vllm", "image": VLLM, **data})


@settings(max_examples=60, deadline=None)
@given(
    st.fixed_dictionaries(
        {
            "engine": TRITON_OPTIONS,
            "expose": st.lists(PORTS, unique=True, min_size=3, max_size=3).flatmap(
                lambda ports: st.sampled_from(
                    [{"http": ports[0]}, dict(zip(("http", "grpc", "metrics"), ports, strict=True))]
                )
            ),
        },
        optional={**COMMON, "ipc": st.just("host")},
    ).filter(lambda data: not {"ipc", "shm_size"} <= data.keys())
)
def test_a_plan_of_triton_comes_back_by_its_line(
    tmp_path_factory: pytest.TempPathFactory, data: dict[str, Any]
) -> None:
    folder = tmp_path_factory.mktemp("there")
    planned_again(folder, {"name": "p", "stack": "triton", "image": TRITON, "repository": "./repo", **data})


# -- written and read -------------------------------------------------------------------------------------------------

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | PLAIN,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(PLAIN, inner, max_size=3),
    max_leaves=8,
)
WORDS = st.sampled_from(
    ["yes", "null", "1e3", "0x1F", "12:30:45", "- a", "a: b", "#", "*a", "&a", "!x", "'", '"', "~", ""]
)


@settings(max_examples=150, deadline=None)
@given(
    st.fixed_dictionaries(
        {"name": st.from_regex(r"[a-z0-9][a-z0-9.-]{0,20}", fullmatch=True), "stack": st.sampled_from([*IMAGES])},
        optional={
            "summary": PLAIN | WORDS,
            "model": PLAIN | WORDS,
            "engine": st.dictionaries(PLAIN | WORDS, JSON | WORDS, max_size=4),
            "env": ENV,
            "secrets": SECRETS,
            "gpus": st.sampled_from([0, 3, "all", [0, "GPU-a"]]),
            "expose": st.fixed_dictionaries({}, optional={"http": PORTS | st.just("auto"), "grpc": PORTS}),
            "ready": st.fixed_dictionaries(
                {}, optional={"timeout": st.sampled_from(["30m", 90]), "prompt": PLAIN | WORDS}
            ),
            "lora": st.dictionaries(st.from_regex(r"[a-z][a-z.]{0,5}", fullmatch=True), PLAIN, max_size=2),
        },
    ),
    st.lists(PLAIN, max_size=3),
)
def test_what_is_written_reads_back_the_same(
    tmp_path_factory: pytest.TempPathFactory, data: dict[str, Any], notes: list[str]
) -> None:
    path = tmp_path_factory.mktemp("written") / "p.yaml"
    path.write_text(profile_text(data, head=notes, comments=dict.fromkeys(data, " ".join(notes)), tail=notes))
    entry = read_profile(path)
    assert isinstance(entry, CatalogEntry), entry
    assert entry.profile == Profile.model_validate(data)


def test_saving_keeps_what_is_there_and_lays_the_schema_beside(tmp_path: Path) -> None:
    text = profile_text({"name": "a", "stack": "triton"})
    path = save(text, tmp_path / "new", "a")
    assert (path.parent / "profile.schema.json").is_file()
    with pytest.raises(Refused, match="exists already"):
        save(text, path.parent, "a")
    save(text + "summary: other\n", path.parent, "a", overwrite=True)
    assert "other" in path.read_text()
    with pytest.raises(InvalidProfile, match="Unknown key"):
        save("name: a\nstack: triton\nnonsense: 1\n", tmp_path, "b")
    assert not (tmp_path / "b.yaml").exists()


def test_a_profile_that_cannot_be_written_over_stays_as_it_was(tmp_path: Path) -> None:
    text = profile_text({"name": "a", "stack": "triton"})
    path = save(text, tmp_path / "new", "a")
    path.chmod(0o640)
    size = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(text), size[1]))  # as a disk that is nearly full
    try:
        with pytest.raises(OperationFailed, match="cannot be written"):
            save(f"{text}summary: other\n", path.parent, "a", overwrite=True)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, size)
    assert path.read_text() == text
    save(f"{text}summary: other\n", path.parent, "a", overwrite=True)
    assert path.read_text().endswith("summary: other\n")
    assert path.stat().st_mode & 0o777 == 0o640
    assert {one.name for one in path.parent.iterdir()} == {"a.yaml", FILE_NAME}


def test_a_schema_of_an_older_version_is_replaced_and_a_strangers_is_not(tmp_path: Path) -> None:
    schema = tmp_path / "profile.schema.json"
    schema.write_text('{"title": "A profile of tritontui"}')
    save(profile_text({"name": "a", "stack": "triton"}), tmp_path, "a")
    assert "properties" in schema.read_text()
    schema.write_text("{}")
    save(profile_text({"name": "b", "stack": "triton"}), tmp_path, "b")
    assert schema.read_text() == "{}"


@pytest.mark.parametrize("stack", IMAGES)
@pytest.mark.parametrize("gpus", [None, 0, 4, "all", [0, 1]])
def test_a_new_profile_is_valid_and_its_parallel_size_is_that_of_its_gpus(
    stack: str, gpus: Any, tmp_path: Path
) -> None:
    what = {"repository": "repo"} if stack == "triton" else {"model": "org/model"}
    text = new_profile(Wish("new", stack, tmp_path, gpus=gpus, **what))
    profile = checked(text, tmp_path / "new.yaml").profile
    count = {None: 1, "all": None}.get(gpus, gpus) if not isinstance(gpus, list) else len(gpus)
    if stack == "triton":
        assert profile.repository == str(tmp_path / "repo")
        assert profile.engine == {}
    else:
        assert profile.engine.get("tensor_parallel_size") == (count or None)
    assert all(line.startswith("#") for line in text.splitlines() if "HF_TOKEN" in line)


@pytest.mark.parametrize("stack", ["vllm", "triton-vllm", "triton-trtllm"])
def test_a_new_profile_can_be_planned(stack: str, tmp_path: Path) -> None:
    text = new_profile(Wish("new", stack, tmp_path, model="org/model", gpus=2))
    assert plan_entry(settings_in(tmp_path), checked(text, tmp_path / "new.yaml")).launch.name == "new"


def test_gpus_as_typed() -> None:
    assert [parse_gpus(text) for text in ("2", "all", "0,1", " 0 , GPU-a-b ")] == [2, "all", [0, 1], [0, "GPU-a-b"]]
    for wrong in ("", "many", "0;1"):
        with pytest.raises(InvalidProfile):
            parse_gpus(wrong)


# -- containers -------------------------------------------------------------------------------------------------------


def test_a_container_as_docker_reports_it() -> None:
    image = {"Config": {"Env": ["PATH=/bin", "VLLM_USAGE_SOURCE=image"], "User": "", "WorkingDir": "/w"}}
    report = {
        "Name": "/my-llm",
        "Config": {
            "Image": VLLM,
            "Entrypoint": ["vllm", "serve"],
            "Cmd": ["org/model", "--max-model-len", "4096"],
            "Env": ["PATH=/bin", "VLLM_USAGE_SOURCE=mine", f"HF_TOKEN={TOKEN}"],
            "User": "1000",
            "WorkingDir": "/w",
        },
        "HostConfig": {
            "PortBindings": {"8000/tcp": [{"HostIp": "0.0.0.0", "HostPort": "9000"}]},
            "DeviceRequests": [{"Driver": "", "Count": 0, "DeviceIDs": ["0", "1"], "Capabilities": [["gpu"]]}],
            "ShmSize": 64 << 20,
            "IpcMode": "private",
            "NetworkMode": "bridge",
            "RestartPolicy": {"Name": "always"},
            "Privileged": True,
            "Runtime": "runc",
        },
        "Mounts": [
            {"Type": "bind", "Source": "/data", "Destination": "/data", "RW": False},
            {"Type": "volume", "Name": "f" * 64, "Source": "/x", "Destination": "/anonymous", "RW": True},
        ],
    }
    found = imported(of_report(report, image), HOME, HERE)
    assert found.data == {
        "name": "my-llm",
        "summary": "org/model",
        "stack": "vllm",
        "image": VLLM,
        "model": "org/model",
        "engine": {"max_model_len": 4096},
        "gpus": [0, 1],
        "env": {"VLLM_USAGE_SOURCE": "mine"},
        "secrets": {"HF_TOKEN": "env"},
        "expose": {"http": 9000},
        "mounts": ["/data:/data"],
    }
    for words in ("--privileged", "--restart", "--user", "HF_TOKEN is not kept", "bound to 127.0.0.1"):
        assert any(words in note for note in found.notes), found.notes
    assert TOKEN not in " ".join(found.notes)
