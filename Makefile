# `make demo` and `make test` need Python 3.11 or later and make; everything else they set up themselves in .venv.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test check clean

demo: .venv/demo.stamp
	$(BIN)/recsys-ae run pipelines/demo.yaml
	$(BIN)/recsys-ae run pipelines/demo-images.yaml

test: .venv/test.stamp
	$(BIN)/python -m pytest

# What a change must also pass.
check: .venv/dev.stamp
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

clean:
	rm -rf .venv

.venv/%.stamp: setup.cfg pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --editable '.$(EXTRA)'
	touch $@

.venv/test.stamp: EXTRA := [test]
.venv/dev.stamp: EXTRA := [test,dev]
