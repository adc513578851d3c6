# Each target makes .venv by itself where it is absent or older than pyproject.toml.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test lint bench

.venv/.installed: pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	touch $@

demo: .venv/.installed
	$(BIN)/era fit --data digits --epochs 8 --batch-size 64
	$(BIN)/era lr-find --data digits --batch-size 64
	$(BIN)/era eval
	$(BIN)/era misclassified
	$(BIN)/era gradcam --n 10
	$(BIN)/era plot-curves

test: .venv/.installed
	$(BIN)/python -m pytest

lint: .venv/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# Every figure anew, some twenty minutes; not part of the tests. The machine should do nothing else.
bench: .venv/.installed
	$(BIN)/python -m tests.benchmarks
