"""Run in a process of its own: acts on the first argument's list of (action, name, options) as a script would.

`plan` gives the plan; the rest is carried out, with options as a request has them. Prints, for each, what came of it.
"""

import json
import sys
from dataclasses import asdict
from typing import Any

from engine.errors import EngineError
from engine.facade import Engine
from engine.request import Action, Request
from engine.settings import Settings

engine = Engine(Settings.load())


def act(action: str, name: str, options: dict[str, Any]) -> dict[str, Any]:
    try:
        if action == "plan":
            return asdict(engine.plan(name, **options))
        return asdict(engine.perform(Request(Action(action), name, **options)))
    except EngineError as error:
        return {"error": type(error).__name__, "message": str(error)}


for action, name, options in json.loads(sys.argv[1]):
    sys.stdout.write(json.dumps(act(action, name, options)) + "\n")
