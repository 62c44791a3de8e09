# make demo    installs, then runs the whole path on two virtual phones: campaign, predictors, splits, packages
# make test    installs, then runs the tests
# make faults  injects every fault 20 times, at places that a new seed chooses; prints a table
# make lint    ruff, mypy --strict, clang-format
# make bench   benchmarks, as ratios against a peer in the same run
# make clean   removes what the above made, runs/ excepted

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
comma := ,
FOLDERS := kernels predictors pipeline infra agent
# A strict editable install links each file, so a new file needs a new install: the stamp names the list of files.
FILES := $(shell find $(FOLDERS) -type f -not -path '*/__pycache__/*' | LC_ALL=C sort | cksum | cut -d' ' -f1)
STAMP := $(VENV)/.installed-$(FILES)
# Machines without a C++ compiler or without a linker (PoCL calls one at run time) get both from a wheel.
NATIVE := $(shell { command -v c++ || command -v g++ || command -v clang++; } >/dev/null 2>&1 && command -v ld >/dev/null 2>&1 && echo yes)
EXTRAS := fleet,mlflow,opencl,models,virtual-phone,test$(if $(NATIVE),,$(comma)toolchain)
# What is imported is compiled then: doing so for all of every package takes as long as its installation.
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile --config-settings editable_mode=strict --editable

.PHONY: demo test test-fleet test-pipeline test-faults test-agent test-models faults bench lint clean install

install: $(STAMP)

$(STAMP): pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit("Splitfleet needs Python 3.11 or newer; set PYTHON=...") if sys.version_info < (3, 11) else None'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(INSTALL) '.[$(EXTRAS)]'
	rm -f $(VENV)/.installed-*
	touch $@

demo: install
	$(BIN)/python -m splitfleet.infra.demo

# Five processes side by side: much of the time is waiting for phones and compilers. Not file by file: Ray keeps what it
# was told at its first start in a process, so the files with a fleet share one, in their order, and so does the main job.
# What only computes gives way to the others, in which programs wait for each other with deadlines.
FLEET := $(addprefix tests/pipeline/test_,adaptive.py cli.py doctor.py fault_campaign.py fleet.py hosts.py links.py \
	probes_and_sisters.py ray_session.py training.py tuning.py)
test: install
	$(MAKE) --no-print-directory --keep-going --jobs=5 --output-sync=line test-fleet test-pipeline test-faults test-agent test-models

test-fleet:
	$(BIN)/python -m pytest $(FLEET)

test-pipeline:
	$(BIN)/python -m pytest tests/pipeline $(FLEET:%=--ignore=%)

test-faults:
	$(BIN)/python -m pytest tests/faults tests/infra

test-agent:
	nice -n 10 $(BIN)/python -m pytest tests/agent

test-models:
	nice -n 10 $(BIN)/python -m pytest tests/kernels tests/predictors tests/runtime

# The seed of a failed run is in its test's name: SPLITFLEET_FAULT_SEED=... SPLITFLEET_FAULT_RUNS=1 injects it again.
# Several processes, each with phones of its own: most of the time is waiting.
faults: install
	SPLITFLEET_FAULT_RUNS=$${SPLITFLEET_FAULT_RUNS:-20} SPLITFLEET_FAULT_SEED=$${SPLITFLEET_FAULT_SEED:-$$(date +%s)} \
		$(BIN)/python -m pytest tests/faults -n $${SPLITFLEET_FAULT_PROCESSES:-2}

bench: install
	$(BIN)/python -m pytest tests/bench -s -q -o python_files='bench_*.py' -o python_functions='bench_*'

lint: install
	$(INSTALL) '.[lint]'
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy -p splitfleet.kernels -p splitfleet.predictors -p splitfleet.pipeline -p splitfleet.infra
	$(BIN)/clang-format --dry-run --Werror $(shell find agent kernels infra -name '*.cpp' -o -name '*.hpp' -o -name '*.cl')

clean:
	rm -rf $(VENV) build .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
	rm -rf splitfleet.egg-info
