# `make run` opens the console, `make test` runs the tests. Both install what they need into .venv first, and again only
# when pyproject.toml or constraints.txt has changed.
PYTHON ?= python3
BIN := .venv/bin
WORKERS ?= 2
INSTALL := $(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt

.PHONY: run test check screenshot bench faults wheel clean

run: .venv/installed-run
	$(BIN)/tritontui

# Most tests wait, for a server or a daemon. Those that share a part run in one worker. vLLM on the CPU has the machine to
# itself: beside other work its server is so busy with tokens that it answers nobody who looks on. (5: there are none.)
test: .venv/installed-dev
	$(BIN)/pytest -n $(WORKERS) --dist loadgroup -m "not vllm" $(ARGS) || [ $$? = 5 ]
	$(BIN)/pytest -m vllm $(ARGS) || [ $$? = 5 ]

check: .venv/installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

screenshot: .venv/installed-dev
	$(BIN)/python docs/screenshot.py

bench: .venv/installed-dev
	for file in benchmarks/[a-z]*.py; do $(BIN)/python -m "benchmarks.$$(basename "$$file" .py)" || exit 1; done

# Every fault at every step; needs root, a Docker Engine and the image of tests/images/build_triton.sh. Writes docs/faults.md.
faults: .venv/installed-dev
	$(BIN)/python -m tests.faults --write docs/faults.md $(ARGS)

wheel: .venv/created
	$(BIN)/pip wheel --quiet --disable-pip-version-check --no-deps -w dist .

clean:
	rm -rf .venv build dist .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis

.venv/created:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo 'tritontui needs Python 3.11 or newer. Name one with: make $(MAKECMDGOALS) PYTHON=python3.12' >&2; exit 1; }
	$(PYTHON) -m venv .venv
	@touch $@

.venv/installed-run: pyproject.toml constraints.txt | .venv/created
	$(INSTALL) -e '.[demo]'
	@touch $@

.venv/installed-dev: pyproject.toml constraints.txt | .venv/created
	$(INSTALL) -e '.[demo,dev]'
	@touch $@ .venv/installed-run
