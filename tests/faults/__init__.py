"""The fault table: each fault at each step of start, stop and swap, on the real Docker Engine and Triton server."""
