"""The load test: what is sent when, what came of it, and what that says of the server."""
