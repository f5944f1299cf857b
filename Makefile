# `make quickstart` and `make test` do everything, on a machine that has Python 3.11 or newer and make.
# PYTHON=python3.12 chooses the interpreter, VENV=path the folder of the environment.

PYTHON ?= python3
VENV ?= .venv
bin := $(VENV)/bin

.PHONY: help quickstart test check results bench clean

help:
	@echo "make quickstart   set up $(VENV), train a low-bit spiking network on real images, prove it, report"
	@echo "make test         set up $(VENV) for development, check the code, run all tests"
	@echo "make check        formatting, lint, types, layers and doctests only"
	@echo "make results      write the table of results in README.md from benchmarks/records"
	@echo "make bench        set up $(VENV) with the peers, measure every benchmark, write docs/performance.md"
	@echo "make clean        remove $(VENV) and everything that was built"
	@echo "PYTHON=python3.12 make ...   choose the interpreter"

quickstart: $(VENV)/.installed
	$(bin)/bitspike run quickstart

test: $(VENV)/.installed-dev
	PYTHON=$(bin)/python scripts/check
	$(bin)/python -m pytest

check: $(VENV)/.installed-dev
	PYTHON=$(bin)/python scripts/check

results: $(VENV)/.installed
	$(bin)/python scripts/results

# Every case takes minutes; a case that fails does not keep the others from running, and the document is written either way.
bench: $(VENV)/.installed-bench
	$(bin)/python -m benchmarks all; status=$$?; $(bin)/python -m benchmarks table && exit $$status

$(VENV)/.installed-bench: pyproject.toml | $(bin)/pip
	$(bin)/python -m pip install --disable-pip-version-check --editable '.[bench]'
	@touch $@ $(VENV)/.installed

# torch is large: the first installation takes minutes, so pip shows its progress.
# A stamp is written only after its installation has succeeded, so an interrupted one starts again.
$(VENV)/.installed-dev: pyproject.toml | $(bin)/pip
	$(bin)/python -m pip install --disable-pip-version-check --editable '.[dev]'
	@touch $@ $(VENV)/.installed

$(VENV)/.installed: pyproject.toml | $(bin)/pip
	$(bin)/python -m pip install --disable-pip-version-check --editable .
	@touch $@

# pip arrives last in an environment: where it is missing, making the environment was interrupted.
$(bin)/pip:
	@command -v $(PYTHON) >/dev/null 2>&1 || { \
		echo "bitspike needs Python 3.11 or newer and '$(PYTHON)' was not found; install it, or name one: PYTHON=python3.12 make $(MAKECMDGOALS)" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "bitspike needs Python 3.11 or newer and '$(PYTHON)' is older; name a newer one: PYTHON=python3.12 make $(MAKECMDGOALS)" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
		echo "bitspike sets up a virtual environment and '$(PYTHON)' cannot make one; on Debian or Ubuntu: apt install python3-venv" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)

clean:
	rm -rf $(VENV) build dist src/*.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
