# make help lists what there is. Only Python 3.11-3.13 and make are needed; everything else goes into .venv.
PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.installed
RUN := PYTHONPATH=src $(BIN)/python
JOBS ?= 2
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest
.DEFAULT_GOAL := help
.PHONY: help setup train test test-slow smoke lint types assets lock clean

help:  ## list the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1|/' | awk -F'|' '{printf "  make %-10s %s\n", $$1, $$2}'

setup: $(STAMP)  ## make .venv and install the pinned packages; does nothing when nothing changed

$(STAMP): requirements.lock
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(None if (3, 11) <= v <= (3, 13) else "fovea needs Python 3.11 to 3.13, this is %d.%d; try: make PYTHON=python3.12" % v)'
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check "uv>=0.8"
	$(BIN)/uv pip sync --quiet --python $(BIN)/python --compile-bytecode requirements.lock
	@touch $@

train: $(STAMP)  ## train the default experiment (vit_digits: real MNIST digits, no download)
	$(BIN)/python src/train.py $(ARGS)

test: $(STAMP)  ## run the tests, without the slow ones, in JOBS=2 processes
	$(PYTEST) -n $(JOBS) -m "not slow and not alone" $(ARGS)
	$(PYTEST) -m "alone and not slow" $(ARGS)

test-slow: $(STAMP)  ## run the slow tests: resume, distributed, sweeps, real results
	$(PYTEST) -n $(JOBS) -m "slow and not alone" $(ARGS)
	$(PYTEST) -m "alone and slow" $(ARGS)

smoke: $(STAMP)  ## build every experiment and run one batch of it (random weights, generated images)
	$(BIN)/python -m pytest tests/test_experiments.py -m "slow or not slow" $(ARGS)

lint: $(STAMP)  ## check style with ruff
	$(BIN)/ruff check . && $(BIN)/ruff format --check .

types: $(STAMP)  ## check types with mypy
	$(BIN)/mypy src/fovea

assets: $(STAMP)  ## fill the offline caches: Fashion-MNIST, MobileNetV2 and EfficientNet-Lite0 weights
	$(RUN) tools/offline_assets.py

lock: $(STAMP)  ## pin the newest packages that pyproject.toml allows
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --extra dev --no-emit-index-url \
		--no-annotate --no-header --upgrade pyproject.toml -o requirements.lock

clean:  ## delete caches and .venv; runs and data stay
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache build src/*.egg-info
	find src tests benchmarks tools -name __pycache__ -type d -prune -exec rm -rf {} +
