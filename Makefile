# make demo and make test are each the only command a fresh Debian or Raspberry Pi OS machine needs.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check -q
# What the tests want from the system; installed where root or sudo allows it.
SYSTEM := mosquitto mosquitto_pub:mosquitto-clients

.PHONY: help demo install test check bench clean format

help:
	@echo "make demo      one stack on the simulated rig, from an MQTT message to a picture"
	@echo "make install   $(VENV)/ with both packages and their commands"
	@echo "make test      the fast suites; installs what they need"
	@echo "make check     ruff, mypy, import-linter"
	@echo "make bench     figures: what fusing costs"

demo: $(VENV)/.installed
	@$(BIN)/focusd-sim demo --config config/sim.toml $(ARGS)

install: $(VENV)/.installed

test: $(VENV)/.developed
	@.ci/need $(SYSTEM)
	@$(BIN)/python -m pytest $(ARGS)

check: $(VENV)/.developed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(VENV)/.developed
	@for bench in tests/bench/bench_*.py; do echo "== $$bench"; $(BIN)/python $$bench || exit 1; done

format: $(VENV)/.developed
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf $(VENV) demo-data build dist

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "focusd needs Python 3.11 or later: make PYTHON=python3.11" >&2; exit 1; }
	@echo "Making $(VENV) ..."
	@$(PYTHON) -m venv $(VENV) || { echo "no venv: apt install python3-venv" >&2; exit 1; }

$(VENV)/.installed: pyproject.toml | $(VENV)/bin/python
	@echo "Installing focusd and the simulator into $(VENV) (a minute) ..."
	@$(PIP) install -e '.[sim]'
	@touch $@

$(VENV)/.developed: pyproject.toml | $(VENV)/.installed
	@echo "Installing what the tests need into $(VENV) ..."
	@$(PIP) install -e '.[dev]'
	@touch $@
