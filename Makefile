# Two commands do everything: `make demo` and `make test`.
PYTHON ?= python3
BIN = .venv/bin
export PYTHON

.PHONY: demo test lint check bench faults long clean

demo:
	@echo "Setting up .venv ..."
	@scripts/setup
	@$(BIN)/python demo/tour.py

test:
	@scripts/setup peers
	@$(MAKE) --no-print-directory check lint

lint:
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

check:
	$(BIN)/pytest -n auto --maxprocesses 8 --cov --cov-report=term

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

long:
	@scripts/setup peers
	$(BIN)/pytest -m long

clean:
	rm -rf .venv .bench build dist .coverage* .mypy_cache .ruff_cache .pytest_cache .hypothesis
