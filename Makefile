# make demo: install, then lip-sync the sample clip.  make test: ruff, mypy, pytest.  make bench: the benchmark tables.
# Everything is installed into .venv (its gpu_lipsync is a tree of links in build/); README says what has to be there.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
GPU_PYTHON ?= $(if $(filter gpu-lipsync,$(notdir $(CONDA_PREFIX))),$(CONDA_PREFIX)/bin/python,$(BIN)/python)
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt
# Strict: type checkers see the folders under their import names only through the links that it makes.
EDITABLE := --config-settings editable_mode=strict --editable
DEMO := results/demo.mp4
# Processes that share the tests, 3 to 5 GB each.
WORKERS ?= 2
# glibc keeps freed pictures for the next ones, where it would give them back and have each page zeroed and mapped anew:
# up to nine tenths of an operation's time on virtual machines. The program itself asks for few enough not to gain by it.
# (Seen with glibc 2.36; before 2.35 the second may be at most 33554432.)
KEPT := MALLOC_TRIM_THRESHOLD_=4000000000 MALLOC_MMAP_THRESHOLD_=4000000000

# What a goal makes others remove or use: one .venv, one build/.
.NOTPARALLEL:
.PHONY: demo test lint types pytest bench bench-quick gpu-check clean

demo: $(VENV)/.installed
	$(BIN)/python inference_fast.py --checkpoint_path checkpoints/demo.safetensors \
		--face samples/face.mp4 --audio samples/speech.wav --outfile $(DEMO)
	@echo "The video is at $(CURDIR)/$(DEMO)"

test: lint types pytest

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

# Type-checked where every folder has its import name: among the links of a fresh editable install, tools beside them.
types: $(VENV)/.dev
	rm -rf build
	$(PIP) --no-deps --no-build-isolation $(EDITABLE) .
	cd build/__editable__.*/ && ln -s "$(CURDIR)/tools" gpu_lipsync/tools && \
		"$(CURDIR)/$(BIN)/mypy" --config-file "$(CURDIR)/pyproject.toml" -p gpu_lipsync

pytest: $(VENV)/.dev
	$(KEPT) $(BIN)/python -m pytest -n $(WORKERS) --dist worksteal

bench: $(VENV)/.dev
	$(BIN)/python -m bench

bench-quick: $(VENV)/.dev
	$(BIN)/python -m bench --quick

# Where environment.yml's environment is active, with its Python: it has torchcodec beside what .venv has.
gpu-check: $(if $(filter $(BIN)/python,$(GPU_PYTHON)),$(VENV)/.dev)
	@echo "Testing $(GPU_PYTHON); another by GPU_PYTHON=…"
	GPU_LIPSYNC_REQUIRE_CUDA=1 $(GPU_PYTHON) -m pytest tests/process/test_residency.py
	$(GPU_PYTHON) -m bench.gpu_check

# An older Python is told before it leaves a .venv behind, which `PYTHON=` alone would not repair.
$(VENV)/.made:
	@$(PYTHON) -c 'import sys; (3, 11) <= sys.version_info[:2] <= (3, 14) or sys.exit("error: this is Python " + \
		sys.version.split()[0] + "; use 3.11 to 3.14, as in: make demo PYTHON=python3.12")'
	$(PYTHON) -m venv $(VENV)
	touch $@

$(VENV)/.installed: $(VENV)/.made pyproject.toml constraints.txt
	$(PIP) $(EDITABLE) .
	touch $@

$(VENV)/.dev: $(VENV)/.made pyproject.toml constraints.txt
	$(PIP) $(EDITABLE) .[dev]
	touch $(VENV)/.installed $@

clean:
	rm -rf $(VENV) build $(DEMO) *.egg-info
