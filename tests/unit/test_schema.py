"""The JSON Schema of profiles: what editors complete and check by."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from engine.authoring.new import IMAGES, Wish, new_profile
from engine.authoring.schema import COMMENT, FILE_NAME, profile_schema, schema_text
from engine.profile import Profile
from engine.settings import Settings
from engine.stacks import STACKS

SHIPPED = Settings.load().shipped_profiles
FILES = sorted(SHIPPED.glob("*.yaml"))
MINIMAL: dict[str, Any] = {"name": "a", "stack": "vllm"}
FULL: dict[str, Any] = {
    **MINIMAL,
    "gpus": ["GPU-a", 1],
    "reserve": "balanced",
    "shm_size": "1.5 GiB",
    "mounts": ["/a:/b:rw", "cache:/c"],
    "secrets": {"A": "env", "B": "env:C", "D": "file:/e f"},
    "expose": {"http": "auto", "metrics": 8002},
    "ready": {"timeout": "1.5h", "prompt": None},
    "fit": {"gpu_memory": "80g", "model": {"num_hidden_layers": 1, "num_attention_heads": 1, "parameters": 70.6}},
    "engine": {"anything": {"nested": [1, None]}},
}
MISTAKES: dict[str, dict[str, Any]] = {
    "a key misspelt": {"modle": "x"},
    "an unknown stack": {"stack": "tgi"},
    "a name with capitals": {"name": "Llama"},
    "a port that is none": {"expose": {"http": 70000}},
    "a port in words": {"expose": {"http": "free"}},
    "a purpose that is none": {"expose": {"https": 443}},
    "a duration without a unit it knows": {"ready": {"timeout": "2 days"}},
    "a size in words": {"shm_size": "much"},
    "a mount without a target": {"mounts": ["/data"]},
    "a secret by value": {"secrets": {"HF_TOKEN": "hf_abcdefgh"}},
    "a runtime that is none": {"runtime": "podman"},
    "fewer GPUs than none": {"gpus": -1},
    "the whole GPU reserved": {"reserve": 1},
    "a variable that is a number": {"env": {"A": 1}},
    "an adapter with a slash": {"lora": {"a/b": "x"}},
    "a nested key misspelt": {"fit": {"concurency": 2}},
    "half a model": {"fit": {"model": {"num_hidden_layers": 2}}},
}


def test_the_file_that_ships_is_up_to_date() -> None:
    """`tritontui profiles schema > profiles/profile.schema.json` writes it."""
    assert (SHIPPED / FILE_NAME).read_text(encoding="utf-8") == schema_text()


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_shipped_profile_names_the_schema_and_uses_keys_of_it(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert text.splitlines()[0] == COMMENT
    keys = profile_schema()["properties"]
    assert not yaml.safe_load(text).keys() - keys.keys()


def test_it_has_every_key_with_a_description() -> None:
    schema = profile_schema()
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert schema["properties"].keys() == Profile.model_fields.keys()
    assert [name for name, one in schema["properties"].items() if not one.get("description")] == []
    assert schema["properties"]["stack"]["enum"] == list(STACKS)
    assert schema["required"] == ["name", "stack"]
    objects = [one for one in _parts(schema) if "properties" in one]
    assert len(objects) == 7
    assert all(one["additionalProperties"] is False for one in objects)


def test_values_may_be_written_as_yaml_users_write_them() -> None:
    schema = profile_schema()
    timeout = schema["$defs"]["Ready"]["properties"]["timeout"]
    assert {one["type"] for one in timeout["anyOf"]} == {"number", "string"}
    for size in (schema["properties"]["shm_size"], schema["$defs"]["FitWish"]["properties"]["gpu_memory"]):
        assert {one["type"] for one in size["anyOf"]} == {"integer", "string", "null"}
    assert {one.get("const", one["type"]) for one in schema["properties"]["gpus"]["anyOf"]} == {
        "integer",
        "all",
        "array",
    }
    assert {one.get("const", one["type"]) for one in schema["$defs"]["Expose"]["properties"]["http"]["anyOf"]} == {
        "integer",
        "auto",
        "null",
    }


def test_a_validator_takes_what_the_catalog_takes(tmp_path: Path) -> None:
    import jsonschema

    jsonschema.Draft202012Validator.check_schema(profile_schema())
    validator = jsonschema.Draft202012Validator(profile_schema())
    what = {"triton": {"repository": "."}}
    made = [new_profile(Wish("a", stack, tmp_path, **what.get(stack, {"model": "x"}))) for stack in IMAGES]
    for good in (MINIMAL, FULL, *(yaml.safe_load(text) for text in (*map(_text, FILES), *made))):
        assert not [error.message for error in validator.iter_errors(good)], good["name"]
        Profile.model_validate(good)


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_validator_sees_the_usual_mistakes(mistake: str) -> None:
    import jsonschema

    data = {**MINIMAL, **MISTAKES[mistake]}
    assert not jsonschema.Draft202012Validator(profile_schema()).is_valid(data)


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def _parts(schema: Any) -> Iterator[dict[str, Any]]:
    if isinstance(schema, dict):
        yield schema
        for part in schema.values():
            yield from _parts(part)
