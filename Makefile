# make study   install when needed, then run a small study to its report
# make test    install when needed, then run every test (ARGS="-k name" passes options to pytest)
# make lint    ruff and mypy
# make mlflow  the MLflow pages of the studies, on this machine only
# make clean   remove what these targets made; studies are left alone

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
# The first interpreter that runs, is new enough and can make an environment. A version manager's
# shim may exist without its interpreter, so each is run.
PYTHON ?= $(shell for python in python3.13 python3.12 python3.11 python3; do \
	"$$python" -c 'import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))' \
	>/dev/null 2>&1 && echo "$$python" && break; done)

# Where this is set, as it is in many images of containers, every process compiles all that it imports.
# Empty is off.
export PYTHONDONTWRITEBYTECODE :=

STUDIES ?= studies
PORT ?= 5000
ARGS ?=
STUDY_ARGS ?= --space cifar_blocks --data digits --name quickstart --trials 24 --max-epochs 12 \
	--budget 7m \
	--studies $(STUDIES)

.PHONY: help study test lint mlflow chromium postgres slurm clean

help:
	@sed -n 's/^# make /make /p' $(firstword $(MAKEFILE_LIST))

# What is imported is compiled then; to compile all there is takes a minute.
$(STAMP): pyproject.toml constraints.txt
	@if [ -z "$(PYTHON)" ]; then \
		echo "No Python >= 3.11 with venv was found; name one: make PYTHON=/path/to/python3" >&2; \
		exit 1; \
	fi
	[ -x $(BIN)/python ] || "$(PYTHON)" -m venv $(VENV)
	@echo "Installing into $(VENV): some minutes and 6 GB the first time"
	$(BIN)/python -m pip install $$([ -t 2 ] || echo -qq) --no-compile \
		--constraint constraints.txt --editable '.[test]'
	@touch $@

study: $(STAMP)
	$(BIN)/python -m study.launch $(STUDY_ARGS)

# Side by side. Of the tests that start whole studies two at once, which mostly wait for Ray. Where one of
# the processes dies all ends: pytest-xdist might wait for ever for the tests that it had.
test: $(STAMP) chromium postgres slurm
ifeq ($(strip $(ARGS)),)
	OMP_NUM_THREADS=1 OMP_WAIT_POLICY=PASSIVE \
		$(BIN)/python -m pytest -m "not gpu" -n auto --dist loadfile --max-worker-restart 0 tests/unit
	$(BIN)/python -m pytest -m "not gpu and not alone" -n 2 --dist loadfile --max-worker-restart 0 \
		--no-loadscope-reorder --durations 30 --ignore tests/unit
	$(BIN)/python -m pytest -m "not gpu and alone" --ignore tests/unit
else
	$(BIN)/python -m pytest -m "not gpu" $(ARGS)
endif

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

mlflow: $(STAMP)
	@if [ ! -f "$(STUDIES)/mlflow.db" ]; then \
		echo "$(STUDIES)/mlflow.db is not there yet: 'make study' makes it" >&2; exit 1; \
	fi
	@echo "Studies: http://127.0.0.1:$(PORT)/#/experiments?workflowType=machine_learning"
	MLFLOW_DISABLE_TELEMETRY=true MLFLOW_SERVER_ENABLE_JOB_EXECUTION=false \
		$(BIN)/mlflow ui --backend-store-uri "sqlite:///$(STUDIES)/mlflow.db" \
		--host 127.0.0.1 --port $(PORT) --workers 1

# The browser tests drive a system Chromium. Where one cannot be installed they are skipped, but
# never under CI, where a skipped test would pass for a green one. Two faults, which not every machine
# can be given, are skipped there too: tests/faults/README.md.
chromium:
	@for browser in chromium chromium-browser google-chrome; do \
		if command -v "$$browser" >/dev/null; then exit 0; fi; \
	done; \
	if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
		export DEBIAN_FRONTEND=noninteractive; \
		if apt-get update -qq && apt-get install -y -qq chromium </dev/null >/dev/null; then exit 0; fi; \
	fi; \
	if [ "$${CI:-}" = true ]; then \
		echo "No Chromium, and it could not be installed: the browser tests cannot run" >&2; exit 1; \
	fi; \
	echo "No Chromium: the browser tests will be skipped (Debian: apt-get install chromium)"

# The tests of a record in a database start a PostgreSQL of their own, on loopback.
postgres:
	@if command -v initdb >/dev/null || ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1; then exit 0; fi; \
	if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
		export DEBIAN_FRONTEND=noninteractive; \
		if apt-get update -qq && apt-get install -y -qq --no-install-recommends postgresql \
			</dev/null >/dev/null; then exit 0; fi; \
	fi; \
	if [ "$${CI:-}" = true ]; then \
		echo "No PostgreSQL, and it could not be installed: its tests cannot run" >&2; exit 1; \
	fi; \
	echo "No PostgreSQL: its tests will be skipped (Debian: apt-get install postgresql)"

# The test of the script for SLURM starts one of its own, in a network that nothing else sees.
# Where networks of one's own are not allowed it is skipped, under CI too.
slurm:
	@if command -v munged >/dev/null && command -v slurmctld >/dev/null && command -v slurmd >/dev/null \
		&& command -v sbatch >/dev/null && command -v ip >/dev/null; then exit 0; fi; \
	if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
		export DEBIAN_FRONTEND=noninteractive; \
		if apt-get update -qq && apt-get install -y -qq --no-install-recommends munge slurmctld slurmd \
			slurm-client slurm-wlm-basic-plugins iproute2 procps </dev/null >/dev/null; then exit 0; fi; \
	fi; \
	if [ "$${CI:-}" = true ]; then \
		echo "No SLURM, and it could not be installed: its test cannot run" >&2; exit 1; \
	fi; \
	echo "No SLURM: its test will be skipped (Debian: apt-get install munge slurmctld slurmd slurm-client)"

clean:
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache .hypothesis build *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
