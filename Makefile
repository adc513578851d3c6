# Each target creates .venv if it is missing or older than pyproject.toml.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test faults lint bench pictures

.venv/.installed: pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	touch $@

# The digits are 8x8: at 16 px a training step costs a quarter of one at 32 px, and layer2 still has 4x4 cells.
demo: .venv/.installed
	$(BIN)/era fit --data digits --image-size 16 --epochs 8 --batch-size 64
	$(BIN)/era lr-find --data digits --image-size 16 --batch-size 64
	$(BIN)/era eval
	$(BIN)/era misclassified
	$(BIN)/era gradcam --which uncertain --layer layer2
	$(BIN)/era plot-curves
	$(BIN)/era report

test: .venv/.installed
	$(BIN)/python -m pytest

# Every fault there is, about half an hour; the sharpest are part of the tests.
faults: .venv/.installed
	$(BIN)/python -m tests.faults

lint: .venv/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# Every figure again, about half an hour; not part of the tests. The machine should do nothing else.
bench: .venv/.installed
	$(BIN)/python -m tests.benchmarks

# Every picture of the documentation, from a finished run: make pictures RUN=runs/cifar10-1 DATA=data
pictures: .venv/.installed
	$(BIN)/python -m tests.pictures $(RUN) $(DATA)
