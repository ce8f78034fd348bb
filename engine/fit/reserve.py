"""The share of each GPU's memory that is left to another job, such as training."""

RESERVED: dict[str, float] = {"inference-heavy": 0.2, "balanced": 0.5, "training-heavy": 0.8}
"""By the names that a profile may use instead of a number"""
