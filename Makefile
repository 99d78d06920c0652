# Everything a clone needs. `make run` and `make test` set up what is missing; see README.md.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: run test check bench fuzz soak image wheel clean

run: $(STAMP)  ## environment, engine check, image, the main job
	$(BIN)/harness doctor --fix scenarios/partition.yml
	$(BIN)/harness run scenarios/partition.yml

test: $(STAMP)  ## the whole suite: static checks, unit, property and integration tests
	$(BIN)/harness doctor --fix
	$(MAKE) --no-print-directory check image
	$(BIN)/pytest tests/unit tests/property
	HARNESS_PURE=1 $(BIN)/pytest tests/unit/test_etf_*.py tests/unit/test_dist_*.py tests/property/test_etf_roundtrip.py
	$(BIN)/pytest tests/integration -m "docker and not soak"

check: $(STAMP)  ## ruff, mypy strict, import-linter: no Docker, about a minute
	$(BIN)/ruff format --check harness tests hatch_build.py
	$(BIN)/ruff check harness tests hatch_build.py
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(STAMP)  ## the figures of docs/benchmarks.md
	$(BIN)/python -m tests.bench

SECONDS ?= 60
fuzz: $(STAMP)  ## every fuzz target for SECONDS each: tests/fuzz/README.md
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[fuzz]'
	$(BIN)/python -m tests.fuzz --seconds $(SECONDS)

soak: $(STAMP)  ## longer matrices, for the nightly job
	$(BIN)/harness doctor --fix
	$(MAKE) --no-print-directory image
	$(BIN)/pytest tests -m soak
	$(BIN)/pytest tests/property --hypothesis-profile=default

image: $(STAMP)  ## the example node and the helper, OTP 25 and 27
	$(BIN)/harness image build --otp 25
	$(BIN)/harness image build --otp 27

wheel: $(STAMP)
	$(BIN)/python -m build --wheel --outdir build

clean:
	rm -rf build

# The compiled modules, too, are built by the installation.
$(STAMP): pyproject.toml constraints.txt hatch_build.py $(wildcard harness/*/_speed*.pyx harness/*/_speed*.pxi)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "make: Python 3.11 or newer is needed; set PYTHON=/path/to/python3.11"; exit 4; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || tools/install-venv
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[dev]'
	@touch $@
