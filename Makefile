# `make demo` shows edgekit at work; `make test` is what CI runs.  Both install what they need into
# .venv, from the pinned set in constraints.txt, and do so once.

PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
SUDO := $(shell test "$$(id -u)" = 0 || echo sudo)
READY := $(VENV)/.ready

.PHONY: demo test lint types unit test-all conformance board boards kotlin swift install clean

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "edgekit needs Python 3.11 or newer; set PYTHON=/path/to/it")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	touch $@

install: $(READY)

demo: $(READY)
	$(BIN)/python scripts/run_blocks.py README.md

test: lint types unit

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(READY)
	$(BIN)/mypy

# A third process computes while two wait for the programs that they started.  Each takes whole
# files, so that what the tests of a file share is made once.
unit: $(READY)
	$(BIN)/pytest -n 3 --dist loadfile -q

# The suites that need an environment of their own, and those marked slow.
test-all: test
	$(BIN)/pytest -n 2 --dist loadfile -q -m slow
	$(BIN)/python scripts/private_env.py tflite_runtime
	$(BIN)/python scripts/private_env.py tensorflow
	$(BIN)/python scripts/accuracy.py --check

# The suites of docs/conformance.md, all formats, beside the vendors' converters; hours.
conformance: $(READY)
	for suite in zoo operators; do \
	    $(BIN)/python scripts/conformance.py $$suite --fresh && \
	    $(BIN)/python scripts/conformance.py $$suite --fresh --raw || exit 1; done

# Packages of all sample models on an emulated arm64 board; asks for root.
board: $(READY)
	$(BIN)/python scripts/sample_artifacts.py build/samples
	$(SUDO) scripts/board.sh make
	$(SUDO) $(BIN)/python scripts/package_on_board.py build/samples/*.onnx build/samples/*.tflite

# Transports, and whole runs of all sample models, on an emulated board behind sshd and a phone behind
# adbd; asks for root.  SELECT leaves some out.
boards: SELECT ?= boards
boards: $(READY)
	scripts/board.sh devices & devices=$$!; \
	    $(BIN)/python scripts/sample_artifacts.py build/samples onnx tflite && wait $$devices
	$(BIN)/pytest -n 3 --dist loadfile -q -m '$(SELECT)' tests/devices

# The Android wrappers in kotlinc, against ONNX Runtime's classes; both come from npm.
kotlin: $(READY)
	$(BIN)/python scripts/sample_artifacts.py build/samples
	$(BIN)/python scripts/package_kotlin.py build/samples/*.onnx

# The types of the Swift wrappers, by Debian's swiftc; asks for root.
swift: $(READY)
	$(BIN)/python scripts/sample_artifacts.py build/samples
	test -d build/board/swift || $(SUDO) scripts/board.sh swift
	$(SUDO) $(BIN)/python scripts/package_swift.py build/samples/*.mlpackage

clean:
	rm -rf build out dist
