# demo: the main job on real photos.  test: the fast tests.  check: what must hold before a commit.
PYTHON ?= python3
TORCH  ?= torch==2.13.0
OUT    ?= demo-output

BIN := .venv/bin
# Touched when an install has finished, so an interrupted one is done again.
STAMP := .venv/.installed

.PHONY: demo test test-slow lint check env clean
# check is lint, then test: pytest's closing line comes last, with `make -j` too.
.NOTPARALLEL:

demo: env
	$(BIN)/python examples/demo.py $(OUT)

test: env
	$(BIN)/python -m pytest

test-slow: env
	$(BIN)/python -m pytest -m slow

lint: env
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy --strict src/vitdsi

check: lint test

env: $(STAMP)

# torch on its own line and first, so that the other packages do not choose its build.
$(STAMP): pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --disable-pip-version-check --quiet $(TORCH)
	$(BIN)/python -m pip install --disable-pip-version-check --quiet -e '.[dev]'
	touch $@

clean:
	rm -rf .venv .mypy_cache .pytest_cache .ruff_cache
