"""HTTP/1.1 to servers at hand, at the least cost: one request and its answer, each block with the time of its arrival.

Bare sockets and a parser in C take a third of the processor time of httpx (`python -m benchmarks.targets`). Whatever
else a client of the web does is left out on purpose: no redirect is followed, no proxy asked, nothing unfolded.
"""
