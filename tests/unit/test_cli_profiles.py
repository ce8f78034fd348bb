"""`tritontui profiles …` as a user and a script meet it."""

import io
import json
from pathlib import Path

import pytest
import yaml

from tests.unit.cli_bench import DOCS
from tui.cli import main

Capture = pytest.CaptureFixture[str]
TOKEN = "hf_" + "a1B2" * 6
IMAGE = "vllm/vllm-openai:v0.11.0"
LINE = f"docker run --gpus 1 -e HF_TOKEN={TOKEN} -p 8000:8000 {IMAGE} --model org/model --max-model-len 64"


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """The user's folder of profiles, as `tests.conftest` sets it."""
    return tmp_path / "tritontui" / "config" / "profiles"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def section(command: str) -> str:
    return DOCS.read_text(encoding="utf-8").split(f"\n## profiles {command}")[1].split("\n## ")[0]


# -- check ------------------------------------------------------------------------------------------------------------


def test_check_tells_every_problem_with_its_place(tmp_path: Path, capsys: Capture) -> None:
    (tmp_path / "good.yaml").write_text(
        "name: good\nstack: vllm\nimage: vllm/vllm-openai:v0.11.0\nmodel: org/m\ngpus: 1\n"
    )
    (tmp_path / "bad.yaml").write_text("name: bad\nstack: vllm\nmodle: x\nreday: y\n")
    (tmp_path / "unknown.yaml").write_text(
        "name: c\nstack: vllm\nimage: vllm/vllm-openai:v0.11.0\nmodel: org/m\nengine:\n  seed: 1\n  max_modle_len: 2\n"
    )
    assert main(["profiles", "check", str(tmp_path)]) == 2
    out, err = capsys.readouterr()
    assert f"{tmp_path}/bad.yaml:3: Unknown key `modle`; did you mean `model`?\n" in out
    assert f"{tmp_path}/bad.yaml:4: Unknown key `reday`; did you mean `ready`?\n" in out
    assert f"{tmp_path}/unknown.yaml:7: `max_modle_len` is not an option" in out
    assert err == "3 profiles, 2 wrong.\n"


def test_check_of_a_good_file_is_quiet_and_of_all_knows_the_shipped(tmp_path: Path, own: Path, capsys: Capture) -> None:
    own.mkdir(parents=True)
    (own / "mine.yaml").write_text("name: mine\nstack: triton\n")
    assert main(["profiles", "check", "--json"]) == 2
    found = json.loads(capsys.readouterr().out)
    assert found["wrong"] == 1
    (wrong,) = [one for one in found["profiles"] if one["problems"]]
    assert wrong["path"] == str(own / "mine.yaml")
    assert "`repository` is missing" in wrong["problems"][0]["message"]
    assert {"demo", "llama3-70b"} <= {one["name"] for one in found["profiles"]}
    keys = {*found, *wrong, *wrong["problems"][0]}
    assert not {key for key in keys if f"`{key}`" not in section("check")}


@pytest.mark.parametrize("argv", [["nowhere.yaml"], ["."]])
def test_check_of_nothing_is_wrong_usage(argv: list[str], tmp_path: Path, capsys: Capture) -> None:
    assert main(["profiles", "check", *argv]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1


# -- schema -----------------------------------------------------------------------------------------------------------


def test_schema_is_json_alone(capsys: Capture) -> None:
    assert main(["profiles", "schema"]) == 0
    assert "2020-12" in json.loads(capsys.readouterr().out)["$schema"]


# -- new --------------------------------------------------------------------------------------------------------------


def test_new_writes_a_file_that_is_found_and_says_what_comes_next(own: Path, capsys: Capture) -> None:
    assert main(["profiles", "new", "mine", "--stack", "vllm", "--model", "org/model", "--gpus", "0,1"]) == 0
    out, err = capsys.readouterr()
    path = own / "mine.yaml"
    assert out == f"{path}\n"
    assert err == "Next: tritontui plan mine\n"
    data = yaml.safe_load(path.read_text())
    assert (data["gpus"], data["engine"]["tensor_parallel_size"]) == ([0, 1], 2)
    assert path.read_text().startswith("# yaml-language-server: $schema=./profile.schema.json\n")
    assert (own / "profile.schema.json").is_file()
    assert main(["profiles", "check", str(path)]) == 0
    assert main(["profiles", "new", "mine", "--stack", "vllm", "--model", "other"]) == 3
    assert "exists already" in capsys.readouterr().err
    assert main(["profiles", "new", "mine", "--stack", "vllm", "--model", "other", "--force", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["text"] == path.read_text()
    assert not {key for key in found if f"`{key}`" not in section("new")}


def test_new_elsewhere_says_how_to_find_it(tmp_path: Path, capsys: Capture) -> None:
    assert main(["profiles", "new", "x", "--stack", "vllm", "--model", "org/m", "--to", str(tmp_path / "to")]) == 0
    assert capsys.readouterr().err == f"Next: tritontui plan x --profiles {tmp_path / 'to'}\n"


def test_new_says_when_what_it_wrote_cannot_be_started(tmp_path: Path, own: Path, capsys: Capture) -> None:
    argv = ["profiles", "new", "x", "--stack", "triton", "--repository", "./nowhere"]
    assert main(argv) == 2
    out, err = capsys.readouterr()
    assert out == f"{own / 'x.yaml'}\n"
    assert "cannot be started as it stands" in err
    assert "nowhere is not a folder" in err
    assert "Next:" not in err
    assert main([*argv, "--print"]) == 2
    out, err = capsys.readouterr()
    assert out.startswith("# What `tritontui plan`")
    assert str(own) not in err  # it is in no file


def test_a_link_is_not_written_through(tmp_path: Path, capsys: Capture) -> None:
    theirs = tmp_path / "theirs.txt"
    theirs.write_text("keep")
    to = tmp_path / "to"
    to.mkdir()
    (to / "x.yaml").symlink_to(theirs)
    (to / "profile.schema.json").symlink_to(theirs)
    argv = ["profiles", "new", "--stack", "vllm", "--model", "org/m", "--to", str(to), "--force"]
    assert main([*argv, "x"]) == 3
    assert "is a link to another file" in capsys.readouterr().err
    assert main([*argv, "y"]) == 0
    assert theirs.read_text() == "keep"


def test_a_schema_that_cannot_be_written_leaves_no_half_done_work(tmp_path: Path, capsys: Capture) -> None:
    to = tmp_path / "to"
    (to / "profile.schema.json").mkdir(parents=True)
    assert main(["profiles", "new", "x", "--stack", "vllm", "--model", "org/m", "--to", str(to)]) == 0
    assert (to / "x.yaml").is_file()
    assert main(["profiles", "new", "x", "--stack", "vllm", "--model", "org/m", "--to", "~nobody-of-that-name/x"]) == 2
    assert "cannot be found" in capsys.readouterr().err


def test_without_a_standard_input_nothing_is_asked(monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    monkeypatch.setattr("sys.stdin", None)
    assert main(["profiles", "new"]) == 2
    assert "where there is no terminal" in capsys.readouterr().err
    assert main(["profiles", "import"]) == 2


def test_new_says_when_another_folder_has_the_name(tmp_path: Path, capsys: Capture) -> None:
    (tmp_path / "profiles").mkdir()
    (tmp_path / "profiles" / "mine.yaml").write_text("name: mine\nstack: triton\n")
    assert main(["profiles", "new", "mine", "--stack", "vllm", "--model", "org/model"]) == 0
    assert "has that name too, and is found first" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        ([], "--stack, --model and NAME must be given"),
        (["a", "--stack", "triton"], "--repository must be given"),
        (["a", "--stack", "tgi", "--model", "m"], "one of triton-vllm"),
        (["A b", "--stack", "vllm", "--model", "m"], "NAME: It takes lower-case"),
        (["a", "--stack", "vllm", "--model", "m", "--gpus", "many"], "names no GPUs"),
    ],
)
def test_new_in_a_script_names_what_is_missing_or_wrong(
    argv: list[str], words: str, own: Path, capsys: Capture
) -> None:
    assert main(["profiles", "new", *argv]) == 2
    out, err = capsys.readouterr()
    assert words in err
    assert out == ""
    assert not own.exists()


def test_new_asks_on_a_terminal_until_the_answer_will_do(
    own: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", Terminal("tgi\nvllm\norg/Model-7B\n\nsome\n2\n"))
    assert main(["profiles", "new"]) == 0
    out, err = capsys.readouterr()
    assert out == f"{own / 'model-7b.yaml'}\n"
    assert "It is one of triton-vllm" in err
    assert "[model-7b]" in err
    assert yaml.safe_load((own / "model-7b.yaml").read_text())["gpus"] == 2


def test_new_ends_cleanly_when_whoever_is_asked_has_had_enough(
    own: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", Terminal("vllm\n"))
    assert main(["profiles", "new"]) == 130
    assert "Traceback" not in capsys.readouterr().err
    assert not own.exists()


# -- import -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("argv", [[LINE], LINE.split(), ["-"]])
def test_import_takes_a_line_in_every_way(
    argv: list[str], own: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(LINE))
    assert main(["profiles", "import", "--name", "mine", *argv]) == 0
    out, err = capsys.readouterr()
    assert out == f"{own / 'mine.yaml'}\n"
    assert "note: The value of HF_TOKEN is not kept" in err
    assert err.endswith("Next: tritontui plan mine\n")
    text = (own / "mine.yaml").read_text()
    assert yaml.safe_load(text)["engine"] == {"max_model_len": 64}
    assert "# - The value of HF_TOKEN is not kept" in text
    assert TOKEN not in out + err + text


def test_import_to_standard_output_writes_nothing(own: Path, capsys: Capture) -> None:
    assert main(["profiles", "import", "--print", LINE]) == 0
    assert yaml.safe_load(capsys.readouterr().out)["model"] == "org/model"
    assert not own.exists()


def test_import_tells_what_its_plan_would_refuse(own: Path, capsys: Capture) -> None:
    assert main(["profiles", "import", "--json", f"{LINE} --max-modle-len 64"]) == 2
    out, err = capsys.readouterr()
    found = json.loads(out)
    assert "max_modle_len" in found["problem"]
    assert "It cannot be started as it stands" in err
    assert Path(found["path"]).read_text() == found["text"]
    assert not {key for key in found if f"`{key}`" not in section("import")}


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        ([], "no line to import"),
        (["make", "coffee"], "no `docker run` line"),
        (["--container", "x", "docker", "run", "y"], "Both a line and a container"),
        (["--name", "Not a name", LINE], "`name` takes lower-case"),
    ],
)
def test_import_of_nothing_useful_is_one_line(argv: list[str], words: str, own: Path, capsys: Capture) -> None:
    assert main(["profiles", "import", *argv]) == 2
    out, err = capsys.readouterr()
    assert words in err
    assert (out, err.count("\n")) == ("", 1)
    assert not own.exists()


def test_import_of_a_container_without_docker_says_so(
    tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/nobody.sock")
    assert main(["profiles", "import", "--container", "x"]) == 4
    assert "No Docker Engine runs here" in capsys.readouterr().err
