"""Where the load test takes the prompt client from."""

from engine.inference.client import PromptClient

__all__ = ["PromptClient"]
