# Two commands do everything on a fresh machine with Python >= 3.11: make demo, make test.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
RUN ?= runs/demo
REAL ?= runs/real
PYTEST_WORKERS ?= 2
BRIDGES := $(VENV)-bridges
PIP := $(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt

.PHONY: demo real test test-all test-real test-bridges lint clean

demo: $(VENV)/.installed
	$(BIN)/soo demo --out $(RUN) --force

# SmolLM2 is fetched into the user's cache (93 MB), unless it is there.
real: $(VENV)/.installed-gguf
	$(BIN)/soo demo smollm2-organism --out $(REAL) --force

test: $(VENV)/.installed-dev lint
	$(BIN)/python -m pytest -n $(PYTEST_WORKERS) --dist worksteal

test-all: $(VENV)/.installed-dev lint
	JAX_DISABLE_MOST_OPTIMIZATIONS=0 $(BIN)/python -m pytest -n $(PYTEST_WORKERS) --dist worksteal -m "slow or not slow"

test-real: $(VENV)/.installed-dev
	$(BIN)/python scripts/fetch_models.py smollm2
	$(BIN)/python -m pytest -m real

# inspect_ai wants an older fsspec and an older dateutil than the versions that CI runs on: a venv of its own.
test-bridges: $(BRIDGES)/.installed
	$(BRIDGES)/bin/python -m pytest tests/bridges -m "not slow"

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

$(BIN)/python:
	$(PYTHON) -c 'import sys; sys.exit("soo-jax needs Python 3.11 or newer, found " + sys.version.split()[0]) if sys.version_info < (3, 11) else None'
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: pyproject.toml constraints.txt | $(BIN)/python
	$(PIP) -e .
	touch $@

$(VENV)/.installed-gguf: pyproject.toml constraints.txt | $(BIN)/python
	$(PIP) -e '.[gguf]'
	touch $@

# torch first and alone: whatever asks for it later must find it satisfied, and not fetch a build with CUDA.
$(VENV)/.installed-dev: pyproject.toml constraints.txt | $(BIN)/python
	$(PIP) torch==2.13.0
	$(PIP) -e '.[dev]'
	touch $@ $(VENV)/.installed

$(BRIDGES)/.installed: pyproject.toml constraints.txt constraints-bridges.txt
	$(PYTHON) -m venv $(BRIDGES)
	grep -vE '^(fsspec|python-dateutil)==' constraints.txt | cat - constraints-bridges.txt > $(BRIDGES)/constraints.txt
	$(BRIDGES)/bin/pip install --quiet --disable-pip-version-check torch==2.13.0 -c $(BRIDGES)/constraints.txt
	$(BRIDGES)/bin/pip install --quiet --disable-pip-version-check -e '.[dev,inspect,lm-eval]' -c $(BRIDGES)/constraints.txt
	touch $@

clean:
	rm -rf $(VENV) $(BRIDGES) build dist .pytest_cache .ruff_cache .hypothesis
