# `make quickstart` and `make test` do everything, on a machine that has Python 3.11 or newer and make.
# PYTHON=python3.12 chooses the interpreter, VENV=path the folder of the environment, TESTS_AT_ONCE=8 how many tests run at
# the same time, each on one thread and with some 1.5 GB.

PYTHON ?= python3
VENV ?= .venv
TESTS_AT_ONCE ?= 2
bin := $(VENV)/bin

# What the native parts are compiled from. Compiled once, they are kept in build/native: another installation takes them from there.
native := setup.py $(wildcard src/bitspike/kernels/*/*.cpp src/bitspike/kernels/*/*.h)

# pip downloads visibly and compiles silently, so what is about to happen is said before.
say_environment = echo "bitspike: sets up $(VENV) with PyTorch (some 6 GB on Linux, where it brings CUDA; minutes, once), then compiles our C++ loops into src/bitspike/kernels"
say_install = echo "bitspike: pip installs into $(VENV); when all is downloaded it compiles in silence, half a minute on two processors, nothing if build/native has it"
say_missing = for part in $(native_parts); do [ -f "src/bitspike/kernels/$$part.native" ] || \
	echo "bitspike: '$$part' was not compiled and runs through plain torch, slower; '$(bin)/python -m pip install -v -e .' shows why."; done
native_parts := activation bits engine neuron norm pool

.PHONY: help quickstart test check docs results bench clean

help:
	@echo "make quickstart   set up $(VENV), train a low-bit spiking network on real images, prove it, report"
	@echo "make test         set up $(VENV) for development, check the code, run all tests"
	@echo "make check        formatting, lint, types, layers and doctests only"
	@echo "make docs         set up $(VENV) with Sphinx, write all pages, the API and the command line into build/site/html"
	@echo "make results      write the table of results in README.md from benchmarks/records"
	@echo "make bench        set up $(VENV) with the peers, measure every benchmark, write docs/performance.md"
	@echo "make clean        remove $(VENV) and everything that was built"
	@echo "PYTHON=python3.12 make ...   choose the interpreter"

quickstart: $(VENV)/.installed
	$(bin)/bitspike run quickstart

test: $(VENV)/.installed-dev
	PYTHON=$(bin)/python scripts/check
	$(bin)/python -m pytest --numprocesses $(TESTS_AT_ONCE) --dist worksteal

check: $(VENV)/.installed-dev
	PYTHON=$(bin)/python scripts/check

# Every warning is an error: a link that leads nowhere, a page that nothing leads to, a name that does not exist.
docs: $(VENV)/.installed-docs
	$(bin)/python docs/site/build.py

results: $(VENV)/.installed
	$(bin)/python scripts/results

# Every case takes minutes; a case that fails does not keep the others from running, and the document is written either way.
bench: $(VENV)/.installed-bench
	$(bin)/python -m benchmarks all; status=$$?; $(bin)/python -m benchmarks table && exit $$status

$(VENV)/.installed-docs: pyproject.toml $(native) | $(bin)/pip
	@$(say_install)
	$(bin)/python -m pip install --disable-pip-version-check --editable '.[docs]'
	@$(say_missing)
	@touch $@ $(VENV)/.installed

$(VENV)/.installed-bench: pyproject.toml $(native) | $(bin)/pip
	@$(say_install)
	$(bin)/python -m pip install --disable-pip-version-check --editable '.[bench]'
	@$(say_missing)
	@touch $@ $(VENV)/.installed

# torch is large: the first installation takes minutes, so pip shows its progress.
# A stamp is written only after its installation has succeeded, so an interrupted one starts again.
$(VENV)/.installed-dev: pyproject.toml $(native) | $(bin)/pip
	@$(say_install)
	$(bin)/python -m pip install --disable-pip-version-check --editable '.[dev]'
	@$(say_missing)
	@touch $@ $(VENV)/.installed

$(VENV)/.installed: pyproject.toml $(native) | $(bin)/pip
	@$(say_install)
	$(bin)/python -m pip install --disable-pip-version-check --editable .
	@$(say_missing)
	@touch $@

# pip arrives last in an environment: where it is missing, making the environment was interrupted.
$(bin)/pip:
	@command -v $(PYTHON) >/dev/null 2>&1 || { \
		echo "bitspike needs Python 3.11 or newer and '$(PYTHON)' was not found; install it, or name one: PYTHON=python3.12 make $(MAKECMDGOALS)" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "bitspike needs Python 3.11 or newer and '$(PYTHON)' is older; name a newer one: PYTHON=python3.12 make $(MAKECMDGOALS)" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
		echo "bitspike sets up a virtual environment and '$(PYTHON)' cannot make one; on Debian or Ubuntu: apt install python3-venv" >&2; exit 1; }
	@$(say_environment)
	$(PYTHON) -m venv $(VENV)

clean:
	rm -rf $(VENV) build dist src/bitspike/kernels/*.native src/*.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
