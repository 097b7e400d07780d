PYTHON ?= python3
TORCH  ?= torch==2.13.0
OUT    ?= demo-output
# The photos of web-demo; without any, those of demo.
PHOTOS ?= $(wildcard ../shared/data/coco2017mini/images)

BIN := .venv/bin
# Touched when an install has finished, so that an interrupted one is done again.
STAMP := .venv/.installed

.DEFAULT_GOAL := help
.PHONY: help env demo web-demo test test-slow coverage lint docs examples check audit clean
# check is lint, then test: pytest's closing line comes last, with `make -j` too.
.NOTPARALLEL:

help: ## Show this list
	@echo "make TARGET, where TARGET is one of"
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo "Variables: PYTHON=$(PYTHON)  TORCH='$(TORCH)'  OUT=$(OUT)  PHOTOS=$(PHOTOS)"

env: $(STAMP) ## Install everything into .venv, again only when pyproject.toml changes

demo: env ## Index some hundreds of real photos and search them; writes OUT/results.html
	$(BIN)/python examples/demo.py $(OUT)

web-demo: env ## Write a page that searches PHOTOS without a server to OUT/web
	$(BIN)/python examples/web_demo.py $(OUT) $(PHOTOS)

test: env ## Run the fast tests
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto

test-slow: env ## Run the tests that are marked slow
	$(BIN)/python -m pytest -m slow

coverage: env ## Run the fast tests and report which lines and branches they reach
	$(BIN)/python -m coverage run -m pytest
	@echo "The paper's wing (src/vitdsi/paper):"
	$(BIN)/python -m coverage report --include='src/vitdsi/paper/*'
	@echo "The product (everything else):"
	$(BIN)/python -m coverage report --omit='src/vitdsi/paper/*'

lint: env ## Check style, formatting, types, and that generated pages are up to date
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy --strict src/vitdsi
	$(BIN)/python docs/generate.py --check

docs: env ## Write the generated pages and build the documentation into site/
	$(BIN)/python docs/generate.py
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict --quiet

examples: env ## Run the examples that CI runs
	.ci/examples

check: lint test ## What must hold before a commit: lint and test

# Strict: a package that nothing is known about is an error. torch is known by its version without the kind of build.
audit: env ## Look for known weaknesses of installed packages; needs the network
	$(PYTHON) -m venv .venv/audit
	.venv/audit/bin/python -m pip install --disable-pip-version-check --quiet pip-audit
	$(BIN)/python -m pip freeze --exclude-editable | sed 's/+[a-z0-9.]*$$//' > .venv/audit/installed.txt
	.venv/audit/bin/pip-audit --strict --disable-pip --no-deps -r .venv/audit/installed.txt

clean: ## Delete the environment and everything that was built
	rm -rf .venv .mypy_cache .pytest_cache .ruff_cache .coverage site

# torch on its own line and first, so that the other packages do not choose its build.
$(STAMP): pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --disable-pip-version-check --quiet $(TORCH)
	$(BIN)/python -m pip install --disable-pip-version-check --quiet -e '.[dev]'
	touch $@
