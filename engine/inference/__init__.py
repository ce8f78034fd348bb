"""Clients of the inference protocols: one prompt, streamed, with its timings."""
