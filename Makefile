# Everything is done by these targets; `make help` lists them.
# All they need is GNU make and Python 3.11 or newer: the rest is installed into .venv and .venv-demo.

PYTHON ?= python3
# Processes that `make test` spreads the tests over.
WORKERS ?= 2
# Passed on to pytest: make test ARGS="-k polytope"
ARGS ?=

VENV := .venv
DEMO := .venv-demo
PINS := build/pins
AXE := build/axe/package/axe.min.js
PIP := -m pip install --quiet --quiet --disable-pip-version-check --no-input
# One thread of linear algebra a process: the tests are already spread over processes.
ONE_THREAD := OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 MKL_NUM_THREADS=1

.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

define CHECK_PYTHON
import sys
if sys.version_info < (3, 11):
    sys.exit("relucidate needs Python 3.11 or newer; $(PYTHON) is Python %d.%d. "
             "Name a newer one: make PYTHON=python3.12 $(MAKECMDGOALS)" % sys.version_info[:2])
try:
    import ensurepip, venv
except ImportError:
    sys.exit("$(PYTHON) cannot make virtual environments: its venv module is missing "
             "(on Debian and Ubuntu it is the package python3-venv).")
endef
export CHECK_PYTHON

check-python = command -v $(PYTHON) >/dev/null || \
	{ echo "$(PYTHON) not found. relucidate needs Python 3.11 or newer: make PYTHON=/path/to/python3 $(MAKECMDGOALS)" >&2; exit 1; }; \
	$(PYTHON) -c "$$CHECK_PYTHON"

.PHONY: help
help:  ## list the targets
	@sed -n 's/^\([a-z-]*\):.*  ## \(.*\)/\1|\2/p' $(firstword $(MAKEFILE_LIST)) | while IFS='|' read -r name text; do \
		printf '  make %-10s %s\n' "$$name" "$$text"; done

.PHONY: demo
demo: $(DEMO)/.installed  ## run the main job on the bundled example; writes report.html in this folder
	@env -u PYTHONDONTWRITEBYTECODE $(DEMO)/bin/relucidate demo

.PHONY: setup
setup: $(VENV)/.installed  ## build .venv: the package (editable), its extras and the tools, all pinned

.PHONY: test
test: $(VENV)/.installed  ## run the tests, without the slow ones
	@$(ONE_THREAD) $(VENV)/bin/python -m pytest -n $(WORKERS) -q -m "not slow" $(ARGS)

.PHONY: test-long
test-long: $(VENV)/.installed  ## run the slow tests
	@$(VENV)/bin/python -m pytest -q -m "slow and not browser" $(ARGS) || { status=$$?; [ $$status -eq 5 ] || exit $$status; }

.PHONY: test-browser
test-browser: $(VENV)/.installed $(AXE)  ## run the tests that open pages in Chromium; that and npm must be installed
	@$(VENV)/bin/python -m pytest -q -m browser $(ARGS) tests/browser

# The accessibility checker; the tests compare its hash.
$(AXE):
	@command -v npm >/dev/null || { echo "npm not found: it fetches the accessibility checker (on Debian the package npm)" >&2; exit 1; }
	@mkdir -p build/axe
	@cd build/axe && npm pack --silent axe-core@4.14.1 >/dev/null && tar -xzf axe-core-4.14.1.tgz package/axe.min.js
	@touch $@

.PHONY: lint
lint: $(VENV)/.installed  ## check style, formatting, types and the direction of imports
	@status=0; for check in "ruff check ." "ruff format --check ." mypy lint-imports; do \
		echo "== $$check"; $(VENV)/bin/$$check || status=1; done; exit $$status

.PHONY: format
format: $(VENV)/.installed  ## format the code and apply the safe fixes
	$(VENV)/bin/ruff check --fix .
	$(VENV)/bin/ruff format .

.PHONY: bench
bench: $(VENV)/.installed  ## run the benchmarks
	$(VENV)/bin/python benchmarks/run.py

.PHONY: clean
clean:  ## remove the environments, caches and whatever was built
	rm -rf $(VENV) $(DEMO) .bench build dist report.html
	rm -rf .pytest_cache .hypothesis .mypy_cache .ruff_cache .import_linter_cache
	find src tests -name __pycache__ -type d -prune -exec rm -rf {} +

# Each environment has two stamps. Changed pins rebuild it from nothing; a changed pyproject.toml only installs the
# package anew. A stamp is the last thing written, so an interrupted build is begun again.

$(VENV)/.pins: requirements/dev.txt
	@$(check-python)
	@echo "Building $(VENV) from $< (a minute or two, once)"
	@$(PYTHON) -m venv --clear $(VENV)
	@$(VENV)/bin/python $(PIP) -r $<
	@touch $@

# The demonstration imports a small part of what it installs; that part is compiled when it first runs.
$(DEMO)/.pins: requirements/core.txt
	@$(check-python)
	@echo "Building $(DEMO) from $< (under a minute, once)"
	@$(PYTHON) -m venv --clear $(DEMO)
	@$(DEMO)/bin/python $(PIP) --no-compile -r $<
	@touch $@

%/.installed: %/.pins pyproject.toml
	@$*/bin/python $(PIP) --no-deps --editable .
	@touch $@

# The pins: what pip resolves from pyproject.toml in an empty environment of the oldest Python supported, so that every
# version is one that has it. dev.txt is core.txt plus the extras and the tools. Which build of a version (torch's without
# CUDA, say) is left to the machine.

.PHONY: pins
pins:  ## resolve the dependencies anew and rewrite requirements/
	@$(check-python)
	@$(PYTHON) -c 'import sys; sys.exit("The pins are made with Python 3.11: make PYTHON=python3.11 pins" if sys.version_info[:2] != (3, 11) else 0)'
	@rm -rf $(PINS)
	@$(PYTHON) -m venv $(PINS)
	@$(PINS)/bin/python $(PIP) .
	@$(call freeze,core,what the package itself needs)
	@$(PINS)/bin/python $(PIP) --constraint $(PINS)/core.txt '.[all,dev]'
	@$(call freeze,dev,core.txt$(comma) the extras and the tools of contributors)
	@mv $(PINS)/core.txt $(PINS)/dev.txt requirements/
	@rm -rf $(PINS)

comma := ,
freeze = { echo "\# Exact versions for Python 3.11 and newer: $(2)."; \
	echo "\# Made by \`make pins\` from pyproject.toml; change that and run it again."; \
	$(PINS)/bin/python -m pip freeze --exclude relucidate | sed 's/+cpu$$//'; } > $(PINS)/$(1).txt
