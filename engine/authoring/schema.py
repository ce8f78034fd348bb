"""The JSON Schema of a profile, by which editors complete and check."""

import json
from typing import Any

FILE_NAME = "profile.schema.json"
COMMENT = f"# yaml-language-server: $schema=./{FILE_NAME}"
"""First line of a profile, for the language server behind most editors' YAML support; relative to the profile"""
TITLE = "A profile of tritontui"


def profile_schema() -> dict[str, Any]:
    """Draft 2020-12, of what may be written in YAML: durations as 30m, sizes as 1g, ports as auto."""
    from pydantic.json_schema import GenerateJsonSchema

    from engine.profile import Profile
    from engine.stacks import STACKS

    class Described(GenerateJsonSchema):
        """Without titles, which would repeat each key's name beside its description."""

        def field_title_should_be_set(self, schema: Any) -> bool:  # noqa: ARG002
            return False

        def dict_schema(self, schema: Any) -> dict[str, Any]:
            """Keys that must look like something: no others."""
            made = super().dict_schema(schema)
            return {**made, "additionalProperties": False} if "patternProperties" in made else made

    schema = Profile.model_json_schema(schema_generator=Described)
    schema["properties"]["stack"]["enum"] = list(STACKS)
    for definition in (schema, *schema["$defs"].values()):
        definition.pop("title", None)
    return {"$schema": Described.schema_dialect, "title": TITLE, **schema, "description": "What to serve and how."}


def schema_text() -> str:
    return json.dumps(profile_schema(), indent=2, ensure_ascii=False) + "\n"


def is_ours(text: str) -> bool:
    """Written by some version of tritontui, so that it may be replaced."""
    try:
        found = json.loads(text)
    except ValueError:
        return False
    return isinstance(found, dict) and found.get("title") == TITLE
