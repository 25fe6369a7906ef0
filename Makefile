# Everything a newcomer or a CI machine needs: `make run`, `make test`. Both set themselves up on a machine that has only
# Python 3.11-3.13, make and a C compiler, and start at once the second time.

SHELL := /bin/sh
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

VENV := .venv
PY := $(VENV)/bin/python
WORKERS ?= 2
STUDY ?= examples/heart-disease.toml

# Set-up is redone when the pins or the package's own declaration change, and only then; the environment is made anew when
# the folder has moved, since its scripts name their place.
MADE := $(VENV)/made-in-$(shell pwd | cksum | cut -d ' ' -f 1)
KEY := $(shell { pwd; cat constraints.txt pyproject.toml; } | cksum | cut -d ' ' -f 1)
RUN_READY := $(VENV)/ready-to-run-$(KEY)
TEST_READY := $(VENV)/ready-to-test-$(KEY)

# Compiled modules are cached whatever the caller's shell says: without them each start compiles torch anew.
unexport PYTHONDONTWRITEBYTECODE
# Two test processes with one thread each; and the same sums on every machine.
export OMP_NUM_THREADS := 1
export OPENBLAS_NUM_THREADS := 1
export MKL_NUM_THREADS := 1

PIP_INSTALL := $(PY) -m pip install --quiet --disable-pip-version-check --no-compile --prefer-binary

.PHONY: help run test lint types layers unit docs format bench generated constraints clean distclean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' Makefile

run: $(RUN_READY) ## Run a study (STUDY=examples/heart-disease.toml) and say where its page is
	@$(VENV)/bin/sealround run $(STUDY)

test: lint types layers unit docs ## Everything that must be green

lint: $(TEST_READY) ## ruff: every rule, and the format
	@$(VENV)/bin/ruff check
	@$(VENV)/bin/ruff format --check

types: $(TEST_READY) ## mypy, strict
	@$(VENV)/bin/mypy

layers: $(TEST_READY) ## import-linter: imports point down only
	@$(VENV)/bin/lint-imports --no-logo

unit: $(TEST_READY) ## pytest, all of tests/ (ARGS="-k name" for some)
	@$(PY) -m pytest -n $(WORKERS) --dist worksteal $(ARGS)

docs: $(TEST_READY) ## The documentation, warnings as errors, and its examples
	@$(VENV)/bin/sphinx-build -q -W -n --keep-going -b html -d docs/_build/doctrees docs docs/_build/html
	@$(VENV)/bin/sphinx-build -q -W -n --keep-going -b doctest -d docs/_build/doctrees docs docs/_build/doctest
	@echo "documentation: docs/_build/html/index.html"

format: $(TEST_READY) ## Let ruff format, and fix what it can
	@$(VENV)/bin/ruff format
	@$(VENV)/bin/ruff check --fix

bench: $(RUN_READY) ## The speed claims, as ratios in one run
	@for file in benchmarks/*.py; do echo "== $$file"; $(PY) "$$file" || exit 1; done

generated: $(TEST_READY) ## Rewrite what is made from the code: the study file's page and schema, the public names
	@$(VENV)/bin/sealround schema --markdown > docs/reference/study-file.md
	@$(VENV)/bin/sealround schema > docs/reference/study.schema.json
	@$(PY) tools/public_names.py > tests/docs/public_names.txt

constraints: ## Resolve the newest versions anew and pin them (review the difference)
	@sh tools/resolve_constraints.sh

clean: ## Remove what was built, keep the environment
	@rm -rf docs/_build build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache .coverage*
	@find src tests tools benchmarks -name __pycache__ -prune -exec rm -rf {} + 2>/dev/null || true

distclean: clean ## Remove the environment too
	@rm -rf $(VENV)

# --- Set-up -----------------------------------------------------------------------------------------------------------
# Three steps: an interpreter in range, exact versions of everything, the package itself from this checkout. The second
# reads plain requirement lists, so that the pip of the oldest supported Python is good enough and need not be replaced;
# the third builds with the hatchling of the second, so that nothing unpinned is fetched.

$(MADE):
	@for python in $(PYTHON) python3 python3.13 python3.12 python3.11; do \
	  if "$$python" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null; then \
	    echo "Setting up once in $(VENV), with $$("$$python" --version); about a minute ..."; \
	    if "$$python" -m venv --clear $(VENV); then touch $@; exit 0; fi; \
	    rm -rf $(VENV); \
	    echo "That Python has no venv module: install it (Debian, Ubuntu: apt-get install python3-venv)." >&2; exit 1; \
	  fi; \
	done; \
	echo "sealround needs Python 3.11, 3.12 or 3.13; found $$(python3 --version 2>&1). Name one: make PYTHON=/path/to/python" >&2; \
	exit 1

# 1: names of requirement lists (see tools/requirements.py)
define install
	@$(PY) tools/requirements.py $(1) > $(VENV)/requirements.txt
	@$(PIP_INSTALL) --constraint constraints.txt --requirement $(VENV)/requirements.txt
	@$(PIP_INSTALL) --no-build-isolation --no-deps --editable .
endef

$(RUN_READY): | $(MADE)
	$(call install,build core learning backbone privacy)
	@rm -f $(VENV)/ready-to-*
	@touch $@

$(TEST_READY): | $(MADE)
	$(call install,build core learning backbone privacy test lint docs)
	@rm -f $(VENV)/ready-to-*
	@touch $@ $(RUN_READY)
