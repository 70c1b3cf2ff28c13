# Two commands do everything: `make demo` and `make test`.
PYTHON ?= # python3, or what .venv was made with
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

# More processes than cores: many tests wait for a peer or a time-out.
PROCESSES = 6
check:
	$(BIN)/pytest -n $(PROCESSES)

# All of the tests once more; measuring takes a sixth of the time.
coverage:
	@scripts/setup peers
	$(BIN)/pytest -n $(PROCESSES) --cov --cov-report=term

# A short run on each other Python from 3.11 on that is installed.
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

faults:
	@scripts/setup peers
	@$(BIN)/python tests/faults/battery.py $(ARGS)

# Hostile servers, archives, stores and failing system calls; ARGS=--long for the heavy forms.
attack:
	@scripts/setup peers
	$(BIN)/pytest -n $(PROCESSES) tests/attack $(ARGS)

# make fuzz ARGS="--seconds 600 --target archives"
fuzz:
	@scripts/setup
	$(BIN)/python tests/fuzz/run.py $(ARGS)

long:
	@scripts/setup peers
	$(BIN)/pytest -m long

clean:
	rm -rf .venv .nox .bench build dist .coverage* .mypy_cache .ruff_cache .pytest_cache .hypothesis
