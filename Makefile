# Each target is self-sufficient: it makes .venv, installs the pinned set (torch first), and runs.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
# More threads than cores slow small volumes down many times.
THREADS ?= $(shell $(PYTHON) -c "import os; print(min(os.cpu_count() or 1, 8))")
export OMP_NUM_THREADS ?= $(THREADS)
export MKL_NUM_THREADS ?= $(THREADS)
# Threads that wait must not spin: on a busy machine spinning costs several times the work.
export OMP_WAIT_POLICY ?= PASSIVE
export MPLBACKEND ?= Agg

.PHONY: install demo demo-asl demo-ct demo-semivae test lint bench label label-test docs clean

install: $(READY)

$(READY): pyproject.toml constraints.txt setup.py
	@$(PYTHON) -c "import sys; sys.exit(None if sys.version_info >= (3, 11) else 'Python 3.11 or newer is needed; use make PYTHON=python3.11')"
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet -c constraints.txt torch==2.13.0
	$(BIN)/python -m pip install --quiet -c constraints.txt -e ".[dev]"
	touch $@

demo: $(READY)
	$(BIN)/revoxel demo -o out/demo --overwrite

demo-asl: $(READY)
	rm -rf out/demo-asl
	$(BIN)/revoxel asl simulate -o out/demo-asl/bids
	$(BIN)/revoxel asl quantify out/demo-asl/bids -o out/demo-asl --method auto

demo-ct: $(READY)
	rm -rf out/demo-ct
	$(BIN)/revoxel ct simulate -o out/demo-ct/chests --patients 2 --size 128 --spacing-mm 1.5
	$(BIN)/revoxel ct prepare out/demo-ct/chests -o out/demo-ct/set --spacing-mm 1.5
	$(BIN)/revoxel ct refine out/demo-ct/set/coarse/chest-00.nii.gz -o out/demo-ct --truth out/demo-ct/set/fine/chest-00.nii.gz
	$(BIN)/revoxel ct evaluate --data out/demo-ct/set --refinement-checkpoint ct_upsampler_64_256 --num-patients 1 -o out/demo-ct/scores

demo-semivae: $(READY)
	rm -rf out/demo-semivae
	$(BIN)/revoxel semivae synthesise -o out/demo-semivae/cohort --patients 12 --visits 3-4 --voxel-mm 4 --seed 7
	$(BIN)/revoxel semivae features out/demo-semivae/cohort/study.json -o out/demo-semivae/features.json --voxel-mm native --workers 1
	$(BIN)/revoxel semivae encode out/demo-semivae/cohort -o out/demo-semivae/latents
	$(BIN)/revoxel semivae evaluate out/demo-semivae/cohort --fold fold0 -o out/demo-semivae/evaluation
	$(BIN)/revoxel semivae traverse out/demo-semivae/cohort/phantom-7-00000/phantom-7-00000-0-*.nii.gz -o out/demo-semivae/traversal
	$(BIN)/revoxel semivae growth out/demo-semivae/latents/latents.csv -o out/demo-semivae/growth

test: $(READY)
	OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 $(BIN)/python -m pytest -n $(THREADS) --dist worksteal --cov --cov-report=term

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/revoxel bundles check

# The benchmarks of speed, which need no data; the others take arguments, and their docstrings show the command.
bench: $(READY)
	$(BIN)/python benchmarks/table.py

# The MONAI Label server has an environment of its own: its requirements contradict those of the rest.
LABEL_VENV := .venv-label
LABEL_BIN := $(LABEL_VENV)/bin
LABEL_READY := $(LABEL_VENV)/.ready
SAMPLE := out/label/study
STUDIES ?= $(SAMPLE)
LABEL_HOST ?= 127.0.0.1
LABEL_PORT ?= 8000
export MONAI_LABEL_SESSION_PATH ?= $(CURDIR)/out/label/sessions

$(LABEL_READY): requirements/monailabel.txt pyproject.toml setup.py
	@$(PYTHON) -c "import sys; sys.exit(None if (3, 11) <= sys.version_info < (3, 13) else 'MONAI Label needs Python 3.11 or 3.12; use make PYTHON=python3.11')"
	test -x $(LABEL_BIN)/python || $(PYTHON) -m venv $(LABEL_VENV)
	$(LABEL_BIN)/python -m pip install --quiet -c constraints.txt torch==2.13.0
	$(LABEL_BIN)/python -m pip install --quiet --no-deps -r requirements/monailabel.txt
	$(LABEL_BIN)/python -m pip install --quiet --no-deps -e .
	touch $@

label: $(LABEL_READY)
	@test "$(STUDIES)" != "$(SAMPLE)" || $(LABEL_BIN)/python -m revoxel.label.sample $(SAMPLE)
	@echo "Server: http://$(LABEL_HOST):$(LABEL_PORT) with the scans of $(STUDIES); Ctrl-C stops it."
	@echo "3D Slicer: module MONAI Label, server http://$(LABEL_HOST):$(LABEL_PORT), Next Sample, model sagnef, Run."
	@echo "The result is $(STUDIES)/labels/sagnef/ID.nii.gz (File, Add Data); see docs/slicer.md."
	$(LABEL_BIN)/python -m monailabel.main start_server --app app --studies $(STUDIES) --host $(LABEL_HOST) --port $(LABEL_PORT)

# The real server, driven by the real client. Without monailabel its tests would be skipped: that fails here.
label-test: $(LABEL_READY)
	$(LABEL_BIN)/python -c "import monailabel.client"
	OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 $(LABEL_BIN)/python -m pytest tests/label

docs: $(READY)
	$(BIN)/python -m pip install --quiet -c constraints.txt -e ".[docs]"
	$(BIN)/mkdocs build --strict

clean:
	rm -rf $(VENV) $(LABEL_VENV) build dist site out app/*.egg-info app/bin app/lib app/logs app/model
