# A fresh machine needs Python 3.11 to 3.13 and make; everything else is installed into .venv.
PYTHON ?= python3
ARGS ?=
DATA ?=
BIN := .venv/bin
INSTALL := $(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable

.PHONY: help demo run test test-gpu lint bench bench-receive bench-triage bench-findings flood soak corpus phantoms clean

help:
	@echo "make demo       node, demo models and a small PACS on drawn studies (ARGS=--exit ends by itself)"
	@echo "make run        the node, as config.yaml says"
	@echo "make test       every test, with real peers (ARGS=tests/unit picks some)"
	@echo "make test-gpu   the tests that need a CUDA device"
	@echo "make lint       ruff and mypy"
	@echo "make bench      time from arrival to flag, as a table"
	@echo "make bench-triage  speed of the full-size triage model beside a plain loop and the device (ARGS=--quick)"
	@echo "make bench-findings speed of writing with the full-size findings model beside generate and the device's memory (ARGS=--small)"
	@echo "make bench-receive  speed of receiving beside DCMTK, Orthanc and pynetdicom (ARGS=--quick for a first look)"
	@echo "make flood      time to flag while 5000 old studies wait (ARGS='--old 1000 --studies 20')"
	@echo "make soak       20 000 instances over 20 associations: memory, threads, descriptors (ARGS='--engine fast')"
	@echo "make corpus     DATA=folder: send every file below it to a node, and tell what became of each"
	@echo "                (ARGS='--expected TABLE' says what differs from a table, which '--write TABLE' makes)"
	@echo "make phantoms   drawn studies and their truth, written to build/phantoms"
	@echo "make clean      remove .venv and build"

demo: .venv/installed
	$(BIN)/ainode demo $(ARGS)

run: .venv/installed
	$(BIN)/ainode run --config config.yaml $(ARGS)

test: .venv/installed-dev
	scripts/install-test-peers
	$(BIN)/python -m pytest -m "not gpu" --numprocesses auto --dist loadfile $(ARGS)

test-gpu: .venv/installed-dev
	$(BIN)/python -m pytest -m gpu $(ARGS)

lint: .venv/installed-dev
	$(BIN)/ruff check .
	$(BIN)/mypy

bench: .venv/installed
	$(BIN)/python benchmarks/time_to_flag.py $(ARGS)

bench-triage: .venv/installed
	$(BIN)/python benchmarks/triage.py $(ARGS)

bench-findings: .venv/installed
	$(BIN)/python benchmarks/findings.py $(ARGS)

bench-receive: .venv/installed
	$(BIN)/python benchmarks/receive.py $(ARGS)

flood: .venv/installed
	$(BIN)/python benchmarks/flood.py $(ARGS)

soak: .venv/installed
	$(BIN)/python benchmarks/soak.py $(ARGS)

corpus: .venv/installed
	@test -n "$(DATA)" || { echo "make corpus DATA=folder: name a folder with DICOM files"; exit 2; }
	$(BIN)/python scripts/corpus.py "$(DATA)" $(ARGS)

phantoms: .venv/installed
	@echo "Writing drawn studies and truth.json to build/phantoms"
	$(BIN)/ainode demo --write build/phantoms --count 100 --seed 1 $(ARGS)

clean:
	rm -rf .venv build

$(BIN)/pip:
	$(PYTHON) -c 'import sys; sys.exit(None if (3, 11) <= sys.version_info < (3, 14) else "Python 3.11 to 3.13 is needed: make PYTHON=python3.12")'
	$(PYTHON) -m venv .venv || (apt-get update -qq && apt-get install -y -qq python3-venv && $(PYTHON) -m venv --clear .venv)

.venv/installed: pyproject.toml constraints.txt | $(BIN)/pip
	$(INSTALL) .
	touch $@

.venv/installed-dev: pyproject.toml constraints.txt | $(BIN)/pip
	$(INSTALL) '.[dev]'
	touch $@ .venv/installed
