"""Observation: what runtimes, servers and GPUs report, made into snapshots."""
