# make demo and make test set everything up on a fresh machine; a second call skips what is done.
PYTHON ?= python3
# For a CPU-only torch: make TORCH="torch torchvision --index-url https://download.pytorch.org/whl/cpu"
TORCH ?= torch torchvision
BIN := .venv/bin
TRACKERS := .venv/trackers

.PHONY: setup demo ablation unknown-cameras demo-dino study-dino demo-cfs study test test-trackers lint format clean

setup: .venv/installed

.venv/installed: setup.py
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(0 if (3, 10) <= v < (3, 14) else \
	    "Python %d.%d does not do, 3.10 to 3.13 does: make PYTHON=python3.12 ..." % v)'
	test -x $(BIN)/pip || $(PYTHON) -m venv .venv
	$(BIN)/pip install $(TORCH)
	$(BIN)/pip install -e '.[dev]'
	$(BIN)/pip install --no-deps fastreid==1.4.0
	touch $@

demo: setup
	$(BIN)/python tools/demo.py

ablation: setup
	$(BIN)/python tools/ablation.py

unknown-cameras: setup
	$(BIN)/python tools/unknown_cameras.py

# The study is the demo with two more seeds; it reuses the demo's runs.
demo-dino: setup
	$(BIN)/python tools/dino_study.py --seeds 1

study-dino: setup
	$(BIN)/python tools/dino_study.py --seeds 1 2 3

# One seed, 600 of the 4,200 images, and no ICS stem, which triples the time of a step.
demo-cfs: setup
	$(BIN)/python tools/cfs_study.py --seeds 1 --images 600 --out logs/cfs_demo \
	    SOURCE.MODEL.BACKBONE.STEM patch TARGET.MODEL.BACKBONE.STEM patch SOURCE.SOLVER.MAX_EPOCH 18 SOURCE.SOLVER.WARMUP_EPOCHS 2

study: setup
	$(BIN)/python tools/cfs_study.py --seeds 1 2 3 --domain

test: setup
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist worksteal

# Trackers in an environment of their own, over .venv: two of them are AGPL-3.0, and some ask for other versions.
# CONFIG=config.yaml WEIGHTS=model_final.pth: with your model instead of a small random one.
test-trackers: setup $(TRACKERS)/installed
	OMP_NUM_THREADS=1 $(TRACKERS)/bin/python -m pytest tests/trackers

$(TRACKERS)/installed: tests/trackers/requirements.txt
	test -x $(TRACKERS)/bin/pip || $(PYTHON) -m venv $(TRACKERS)
	echo "import site; site.addsitedir('$$($(BIN)/python -c 'import timm; print(timm.__path__[0][:-5])')')" > \
	    $$($(TRACKERS)/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/over.pth
	$(TRACKERS)/bin/pip install --no-deps -r tests/trackers/requirements.txt
	touch $@

lint: setup
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: setup
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# Results in logs/ and data sets in datasets/ stay.
clean:
	rm -rf .venv build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache
	find projects tests tools -name __pycache__ -type d -prune -exec rm -rf {} +
