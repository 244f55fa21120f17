# make demo and make test are each the only command a fresh Debian or Raspberry Pi OS machine needs.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check -q
# What the tests want from the system; installed where root or sudo allows it.
SYSTEM := mosquitto mosquitto_pub:mosquitto-clients chromium gcc /usr/include/stdint.h:libc6-dev \
	libturbojpeg.so.0:libturbojpeg0
# And what runs the kernel as an ARM would.
CROSS := aarch64-linux-gnu-gcc:gcc-aarch64-linux-gnu /usr/aarch64-linux-gnu/include/stdint.h:libc6-dev-arm64-cross \
	qemu-aarch64-static:qemu-user-static

# The compiled loops: installing makes them, where there is a compiler, and again when they are out of date.
KERNEL := $(wildcard daemon/focusd/fusion/*.[ch] daemon/focusd/drivers/*.c) daemon/build_kernel.py
LIBRARY := daemon/focusd/fusion/_kernel.so daemon/focusd/drivers/_pulses.so
COMPILER := $(shell command -v "$${CC:-cc}")
ABSENT := $(if $(filter-out $(wildcard $(LIBRARY)),$(LIBRARY)),$(if $(COMPILER),absent))

.PHONY: help demo install test test-kernel test-hardware test-long check bench clean format absent

help:
	@echo "make demo         one stack on the simulated rig, from an MQTT message to a picture"
	@echo "make install      $(VENV)/ with both packages and their commands"
	@echo "make test         the fast suites; installs what they need"
	@echo "make test-kernel  the C loops on several machines, bit for bit; and sanitizers"
	@echo "make test-hardware  the unit on a real kernel's GPIO under systemd, from a wheel"
	@echo "make test-long    installing on a Debian bookworm and a trixie as they come; root only"
	@echo "make check        ruff, mypy, import-linter"
	@echo "make bench        figures: what fusing costs"

demo: $(VENV)/.installed
	@$(BIN)/focusd-sim demo --config config/sim.toml $(ARGS)

install: $(VENV)/.installed

# Make looks for the compiler anew once it has been installed. With ARGS one pytest runs what they say; else the
# suites without processes of their own share all processors, and then the system tests have them to themselves.
test:
	@.ci/need $(SYSTEM)
	@$(MAKE) --no-print-directory $(VENV)/.developed
ifdef ARGS
	@$(BIN)/python -m pytest $(ARGS)
else
	@$(BIN)/python -m pytest -n auto --dist worksteal tests/unit tests/contract tests/scenario; quick=$$?; \
	$(BIN)/python -m pytest tests/system && exit $$quick
endif

test-kernel:
	@.ci/need $(SYSTEM)
	@[ "$$(uname -m)" = aarch64 ] || .ci/need $(CROSS)
	@$(MAKE) --no-print-directory $(VENV)/.developed
	@$(BIN)/python .ci/kernel.py

# A real kernel's GPIO and systemd, booted over this machine's own files. Needs what is named in its README.
test-hardware: $(VENV)/.developed
	@.ci/hardware
	@.ci/libcamera
	@$(BIN)/python -m pytest tests/hardware $(ARGS)

# What systemd/install.sh leaves in roots of Debian of their own, which are made once.
test-long:
	@.ci/need debootstrap /usr/share/keyrings/debian-archive-keyring.gpg:debian-archive-keyring
	@$(MAKE) --no-print-directory $(VENV)/.developed
	@$(BIN)/python -m pytest tests/install $(ARGS)

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
	rm -rf $(VENV) demo-data build dist $(LIBRARY)

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "focusd needs Python 3.11 or later: make PYTHON=python3.11" >&2; exit 1; }
	@echo "Making $(VENV) ..."
	@$(PYTHON) -m venv $(VENV) || { echo "no venv: apt install python3-venv" >&2; exit 1; }

$(VENV)/.installed: pyproject.toml $(KERNEL) | $(VENV)/bin/python
	@echo "Installing focusd and the simulator into $(VENV) (a minute) ..."
	@$(PIP) install -e '.[sim]'
	@touch $@

$(VENV)/.developed: pyproject.toml $(KERNEL) $(ABSENT) | $(VENV)/bin/python
	@echo "Installing focusd and what its tests need into $(VENV) (two minutes) ..."
	@$(PIP) install -e '.[dev]'
	@touch $(VENV)/.installed $@
