# `make demo` and `make test` set up all that they need; `make help` lists the rest.
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
LOCKS := requirements.lock requirements-local.lock requirements-dev.lock
COMPILE = $(BIN)/uv pip compile --quiet --universal --python-version 3.10 --generate-hashes --no-annotate --no-header

.DEFAULT_GOAL := help
.PHONY: help demo dev test test-slow fuzz bench bench-full lint format pages image-rehearsal licenses screenshots lock clean

help: ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  make %-14s %s\n", $$1, $$2}'

$(VENV)/pip.stamp:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || { echo "marble_images needs Python 3.10 or newer"; exit 1; }
	@$(PYTHON) -m venv $(VENV) || { echo "Python's venv is missing: apt-get install python3-venv"; exit 1; }
	@touch $@

# A stamp names the lock it was made from, so a changed lock reinstalls.
$(VENV)/local.stamp: requirements-local.lock pyproject.toml $(VENV)/pip.stamp
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r requirements-local.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps -e .
	@touch $@

$(VENV)/dev.stamp: requirements-dev.lock pyproject.toml $(VENV)/pip.stamp
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r requirements-dev.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps -e .
	@touch $@ $(VENV)/local.stamp

demo: $(VENV)/local.stamp ## a day from the queue to pyramids, on this machine; FILES=DIR for your own images
	@$(BIN)/marble-images demo $(if $(FILES),--files "$(FILES)")

dev: $(VENV)/local.stamp ## the stand-ins and the Dagster UI on http://127.0.0.1:3000
	@$(BIN)/marble-images dev

test: $(VENV)/dev.stamp lint ## lint, types and tests (under 10 minutes)
	$(BIN)/python -m pytest -n 2 --dist loadscope

test-slow: $(VENV)/dev.stamp ## the slower tests: browser, production, faults, killed runs, fuzzing, soak (under 30 minutes)
	$(BIN)/python -m pytest -m slow

fuzz: $(VENV)/dev.stamp ## convert 20,000 damaged files (about 5 minutes); CASES=, SEED= and KEEP=DIR change it
	$(BIN)/python -m marble_images_tests.pyramid.fuzzing --cases $(or $(CASES),20000) --seed $(or $(SEED),1) --keep $(or $(KEEP),.local/fuzz)

bench: $(VENV)/dev.stamp ## speed, memory and start-up, quickly (3 minutes once its pictures are made)
	$(BIN)/python -m benchmarks --quick

bench-full: $(VENV)/dev.stamp ## all benchmarks (an hour on 2 cores); the figures of docs/performance.md
	$(BIN)/python -m benchmarks

lint: $(VENV)/dev.stamp ## ruff and mypy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(VENV)/dev.stamp ## let ruff format and mend
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

pages: $(VENV)/local.stamp ## write docs/failures.md and the README's table of settings anew from the code
	$(BIN)/python -m marble_images.failures > docs/failures.md
	$(BIN)/python -m marble_images.settings_page README.md

screenshots: $(VENV)/dev.stamp ## take the pictures of docs/operating.md anew from the real UI
	$(BIN)/python -m marble_images_tests.ui.screenshots docs/images

lock: $(VENV)/pip.stamp ## resolve the dependencies anew into the lock files
	$(BIN)/python -m pip install --quiet uv
	$(COMPILE) --upgrade pyproject.toml -o requirements.lock
	$(COMPILE) pyproject.toml --extra local -c requirements.lock -o requirements-local.lock
	$(COMPILE) pyproject.toml --all-extras -c requirements-local.lock -o requirements-dev.lock
	$(COMPILE) --upgrade docker/requirements-build.in -o docker/requirements-build.lock

licenses: $(VENV)/dev.stamp ## list the licenses of the locked packages anew in docs/licenses.md
	$(BIN)/python docker/licenses.py requirements.lock > docs/licenses.md

image-rehearsal: $(VENV)/pip.stamp ## run the Dockerfile's steps in fresh roots, without a container engine (root)
	$(BIN)/python docker/rehearse.py .local/rehearsal

clean: ## remove the environment and all local state
	rm -rf $(VENV) .local
