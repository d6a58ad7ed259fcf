# Everything runs in .venv/, which `setup` makes once and brings up to date when a requirement changes.
PYTHON ?= python3
BIN := .venv/bin
PIP := -m pip install --quiet --disable-pip-version-check
DEMO := runs/demo
KAGGLE := runs/kaggle

.PHONY: setup demo test test-kaggle-versions kaggle-rehearsal kaggle-push rendered lint clean

setup: .venv/ready

.venv/ready: requirements.txt requirements-dev.txt pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13) and "Python 3.11, 3.12 or 3.13 is needed (make PYTHON=python3.12 …), this is " + sys.version)'
	$(PYTHON) -m venv .venv
	$(BIN)/python $(PIP) --requirement requirements-dev.txt --editable .
	touch $@

demo: setup
	$(BIN)/python -m hpa_utils simulate $(DEMO)/data --train 160 --test 40 --size 512 --seed 0
	$(BIN)/python -m hpa_utils run --data $(DEMO)/data --out $(DEMO)/out --preset demo
	$(BIN)/python -m hpa_utils validate --submission $(DEMO)/out/05_inference/submission.csv --sample $(DEMO)/data/sample_submission.csv
	$(BIN)/python -m hpa_utils score --truth $(DEMO)/data/truth.csv --submission $(DEMO)/out/05_inference/submission.csv --json $(DEMO)/out/score.json
	@echo "pages: $(DEMO)/out/index.html"

# The demo's executed notebooks as Markdown with pictures, for whoever looks at the repository's page
rendered: demo
	$(BIN)/python -m hpa_utils run --data $(DEMO)/data --out $(DEMO)/out --preset demo --notebooks 06
	$(BIN)/python docs/render.py $(DEMO)/out

test: setup
	$(BIN)/python -m pytest --numprocesses 2 --dist worksteal

# The tests on the versions of Kaggle's image, as far as PyPI has them: Python 3.12 by PYTHON=python3.12
test-kaggle-versions:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info[:2] != (3, 12) and "Kaggle has Python 3.12 (make PYTHON=python3.12 …), this is " + sys.version)'
	test -d $(KAGGLE)/versions || $(PYTHON) -m venv $(KAGGLE)/versions
	$(KAGGLE)/versions/bin/python $(PIP) --requirement requirements-kaggle.txt --editable .
	$(KAGGLE)/versions/bin/python -m pytest

# The staged kernels as Kaggle runs them: without internet, inputs read-only, each with its declared sources
kaggle-rehearsal: setup
	$(BIN)/python benchmarks/kaggle_rehearsal.py --out $(KAGGLE)/rehearsal

# Stages and pushes, with Kaggle's command line in an environment of its own; goes on where it stopped. More options, as
# in make kaggle-push PUSH="--from hpa-04-train"
kaggle-push: setup
	test -x $(KAGGLE)/client/bin/kaggle || $(PYTHON) -m venv $(KAGGLE)/client
	test -x $(KAGGLE)/client/bin/kaggle || $(KAGGLE)/client/bin/python $(PIP) 'kaggle>=2.2.5,<3' six
	PATH="$(CURDIR)/$(KAGGLE)/client/bin:$$PATH" $(BIN)/python -m hpa_utils kaggle-stage --out $(KAGGLE)/staged --push $(PUSH)

lint: setup
	$(BIN)/ruff check
	$(BIN)/ruff format --check

clean:
	rm -rf .venv runs
