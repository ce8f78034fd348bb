"""Fixtures that several files of unit tests share."""

from tests.unit.operations_bench import bench, ready, server

__all__ = ["bench", "ready", "server"]
