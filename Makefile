# make demo and make test do their own set-up on a fresh Debian 12 machine (as root).
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
# The lab alone: without what only tests use, which is most of the download.
LAB_STAMP := $(VENV)/.installed-lab
# The package as one folder of links, for mypy (setup.py says why).
TREE := build/tree/nvscope
SUBPACKAGES := probes exporter analysis lab

INSTALL := $(BIN)/pip -qq --disable-pip-version-check install
NOT_INSTALLED := { echo "the Python packages could not be installed: is PyPI in reach?" >&2; exit 3; }

.DEFAULT_GOAL := help
.PHONY: help demo test tools check lint unit live fuzz test-debug test-matrix docs man deb test-deb clean

help: ## show this help
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: $(LAB_STAMP) ## set up, boot the lab, watch a nested guest's metrics (KEEP=1 keeps it up)
	@$(BIN)/nvscope lab demo $(if $(KEEP),--keep)

test: tools check live ## set up, then all tests: unit and, in the lab, live

tools: $(STAMP)
	@$(BIN)/nvscope lab build --test-tools

check: lint unit ## what needs no lab: lint, types, unit tests (four minutes)

lint: $(STAMP) $(TREE)
	@$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy

unit: $(STAMP) ## unit tests alone
	@$(BIN)/pytest tests/unit -n 2

live: $(STAMP) ## live tests alone; one of them: .venv/bin/pytest tests/live -k NAME
	@$(BIN)/nvscope lab build --kernel lab
	@$(BIN)/nvscope lab build --kernel tracking
	@$(BIN)/nvscope lab build --kernel stock
	@$(BIN)/pytest tests/live -n 2 --dist loadgroup --durations=10

fuzz: $(STAMP) ## made-up requests, configurations and files, FUZZ_SECONDS each (an hour in all)
	@$(BIN)/python -m tests.fuzz --seconds $(FUZZ_SECONDS)

test-debug: $(STAMP) ## the workloads and KVM's selftests on a kernel with lockdep and KASAN (make test does not)
	@$(BIN)/nvscope lab build --debug
	@$(BIN)/pytest tests/debug

# Beside those of `make live`; NVSCOPE_KERNELS in the environment names others.
NVSCOPE_KERNELS ?= 6.16 6.17 6.18 6.19 7.0 7.1 7.2 7.3 6.18-rt 7.3-rt 6.18-16k 7.3-16k
# For each target of `make fuzz`.
FUZZ_SECONDS ?= 900

test-matrix: $(STAMP) ## every kernel of the field from 6.16 on, two hours (make test has 6.18, 7.0 and 7.3)
	@NVSCOPE_KERNELS="$(NVSCOPE_KERNELS)" $(BIN)/pytest tests/live/test_kernels.py -n 2 --dist loadgroup --timeout=3600
	@$(BIN)/python -m tests.live.tables

docs: $(STAMP) ## tables, picture and notebook of the documentation, from code and samples
	@$(BIN)/python docs/make.py
	@$(BIN)/nvscope report analysis/samples/linux.arrows -o build/report.html
	@chromium --headless --no-sandbox --hide-scrollbars --window-size=1000,860 \
	  --screenshot=docs/report.png build/report.html 2>/dev/null

man: $(STAMP) ## the manual pages, in build/man/man1
	@$(BIN)/nvscope man build/man/man1

deb: ## the Debian package, in build/deb
	@sh debian/build.sh

test-deb: $(STAMP) ## the package: built, installed in a fresh Debian, run in the lab (make test does not)
	@$(BIN)/nvscope lab build --kernel lab
	@$(BIN)/pytest tests/deb --durations=5

clean: ## remove .venv and build products of the checkout (the cache: nvscope lab clean)
	rm -rf $(VENV) build nvscope.egg-info

$(LAB_STAMP): setup.cfg setup.py pyproject.toml
	@$(PYTHON) -c 'import ensurepip, sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
	  || sh lab/install-python.sh
	@echo "Python environment in $(VENV) ..."
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(INSTALL) -e . || $(NOT_INSTALLED)
	@touch $@

$(STAMP): $(LAB_STAMP)
	@echo "Python packages for tests ..."
	@$(INSTALL) -e '.[dev]' || $(NOT_INSTALLED)
	@touch $@

$(TREE): Makefile $(wildcard nvscope/*.py)
	@mkdir -p $@
	@for file in nvscope/*.py; do ln -sf ../../../$$file $@/; done
	@for subpackage in $(SUBPACKAGES); do ln -sfn ../../../$$subpackage $@/$$subpackage; done
	@touch $@
