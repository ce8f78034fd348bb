"""How the logs of tests/samples/logs are made: real servers, each broken in one way."""
