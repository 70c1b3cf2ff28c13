# `make demo` shows a tour, `make test` runs the tests. Both set up .venv first.
PYTHON ?= # default: the Python of .venv, else python3
BIN = .venv/bin
export PYTHON

.PHONY: demo test lint check coverage test-all bench faults attack fuzz long clean

demo:
	@scripts/setup demo
	@$(BIN)/python demo/tour.py

LINT = lint
test:
	@scripts/setup peers
	@$(MAKE) --no-print-directory check $(LINT)

lint:
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

# More processes than cores, since many tests wait for another program or a timeout.
PROCESSES = 6
check:
	$(BIN)/pytest -n $(PROCESSES)

# Separate from `test`, since measuring coverage takes a sixth of the time.
coverage:
	@scripts/setup peers
	$(BIN)/pytest -n $(PROCESSES) --cov --cov-report=term

# Run a part of the tests on each other installed Python from 3.11 on.
test-all:
	@scripts/setup
	$(BIN)/nox

bench:
	@scripts/setup peers
	@$(BIN)/python bench/parse.py
	@$(BIN)/python bench/pull.py $(ARGS)
	@$(BIN)/python bench/split.py
	@$(BIN)/python bench/undisturbed.py
	@$(BIN)/python bench/store.py
	@$(BIN)/python bench/inspecting.py
	@$(BIN)/python bench/archives.py
	@$(BIN)/python bench/push.py
	@$(BIN)/python bench/legacy.py
	@$(BIN)/python bench/unpack.py
	@$(BIN)/python bench/serve.py

faults:
	@scripts/setup peers
	@$(BIN)/python tests/faults/battery.py $(ARGS)

# Hostile servers, archives and stores, and failing system calls. ARGS=--long adds heavy forms.
attack:
	@scripts/setup peers
	$(BIN)/pytest -n $(PROCESSES) tests/attack $(ARGS)

# make fuzz ARGS="--seconds 600 --target archives"
fuzz:
	@scripts/setup
	PYTHONPATH=tests/helpers $(BIN)/python tests/fuzz/run.py $(ARGS)

long:
	@scripts/setup peers
	$(BIN)/pytest -m long

clean:
	rm -rf .venv .nox .bench build dist .coverage* .mypy_cache .ruff_cache .pytest_cache .hypothesis
