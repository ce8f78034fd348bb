"""The engine of tritontui: knows models, containers and GPUs; knows no screen."""

__version__ = "0.1.0"
