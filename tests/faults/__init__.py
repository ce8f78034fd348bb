"""The fault table: every fault at every step of start, stop and swap, on a real Docker Engine and a real Triton server."""
