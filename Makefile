# `make demo` and `make test` need Python 3.11 or later and make; they set up everything else in .venv.
PYTHON ?= python3
BIN := .venv/bin
comma := ,

# Two workers, one thread each (tests/conftest.py); what one worker has left is stolen by the other.
PYTEST := $(BIN)/python -m pytest --numprocesses 2 --dist worksteal

.PHONY: demo test quick check docs clean

demo: .venv/demo.stamp
	$(BIN)/recsys-ae run pipelines/demo.yaml
	$(BIN)/recsys-ae run pipelines/demo-images.yaml

test: .venv/test.stamp
	$(PYTEST)

# All but what is marked slow.
quick: .venv/test.stamp
	$(PYTEST) -m "not slow"

# What a change must also pass.
check: .venv/dev.stamp
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# The site, in site/. Warnings, such as links that lead nowhere, are errors.
docs: .venv/docs.stamp
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

clean:
	rm -rf .venv site

.venv/%.stamp: setup.cfg pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --editable '.$(EXTRA)'
	touch $@

# The tests with Spark need Java, without which they are skipped.
TEST := test$(if $(shell command -v java),$(comma)spark)
.venv/test.stamp: EXTRA := [$(TEST)]
.venv/dev.stamp: EXTRA := [$(TEST),dev]
.venv/docs.stamp: EXTRA := [docs]
