# Winnow's commands. `make` alone lists them. Everything may be run again; what is up to date takes a moment.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

PYTHON ?= python3.11
# cpu: torch's CPU build (about 200 MB). Empty: what the configured index gives, on Linux from PyPI the CUDA build (several GB).
TORCH ?=
TORCH_INDEX_cpu := https://download.pytorch.org/whl/cpu
CORES ?= all

BIN := $(CURDIR)/.venv/bin
RUNTIME := .venv/.runtime
TESTING := .venv/.testing
export PATH := $(BIN):$(PATH)

.PHONY: help reproduce test lint report mlflow mlflow-sync verify bench schema papers audit crate dag unlock lock clean

help: ## list the commands
	@awk -F':.*## ' '/^[a-z-]+:.*## / { printf "%-12s %s\n", $$1, $$2 }' Makefile

reproduce: $(RUNTIME) ## run the whole chain and write the report
	snakemake --cores $(CORES)
	@[ report.html -nt results/claims.parquet ] || snakemake --report report.html
	@echo
	@echo "report:       $(CURDIR)/report.html"
	@echo "MLflow store: $${MLFLOW_TRACKING_URI:-sqlite:///$(CURDIR)/mlflow.db}   (make mlflow opens it)"

test: $(TESTING) ## the whole suite; pytest's closing line comes last
	@python -m pytest -n logical --dist loadfile --no-loadscope-reorder -q

lint: $(TESTING) ## style, types, layers and the workflow's own checks
	ruff check .
	ruff format --check .
	snakefmt --check Snakefile stages
	snakemake --lint
	mypy
	lint-imports

report: $(RUNTIME) ## write report.html: plots, claims and provenance in one file
	snakemake --report report.html

mlflow: $(RUNTIME) ## open the MLflow UI on this machine only
	mlflow ui --host 127.0.0.1 --port $${PORT:-5000}

mlflow-sync: $(RUNTIME) ## log runs again that MLflow missed
	python -m snakemake_logger_plugin_mlflow.sync

verify: $(RUNTIME) ## run twice from nothing and compare every byte
	python -m winnow.pipeline.verify

bench: export TORCH_INDEX := $(TORCH_INDEX_$(TORCH))
bench: $(TESTING) ## side by side with peers; writes docs/benchmarks.md
	@for script in $(filter-out benchmarks/test_% benchmarks/_%,$(wildcard benchmarks/*.py)); do echo "== $$script"; python "$$script"; done
	python -m winnow.pipeline.benchmarks

schema: $(RUNTIME) ## docs/params.schema.json, for editors
	python -m winnow.pipeline.params

papers: $(RUNTIME) ## docs/papers.md and README's table from the claims ledger
	python -m winnow.pipeline.papers

audit: $(TESTING) ## plant faults in FILE and list those that no test catches
	@[ -n "$(FILE)" ] || { echo "make audit FILE=winnow/<family>/<method>.py"; exit 2; }
	python -m winnow.pipeline.audit $(FILE)

crate: $(RUNTIME) ## export a finished run as RO-Crate: crate.zip
	python -m winnow.pipeline.crate

dag: $(RUNTIME) ## docs/dag.svg, the picture of the rules (needs graphviz)
	@command -v dot >/dev/null || { echo "make dag: no graphviz here; on Debian: apt-get install graphviz"; exit 2; }
	@# tred leaves out an arrow where a longer way says the same
	snakemake --rulegraph dot | tred | dot -Tsvg >docs/dag.svg

unlock: $(RUNTIME) ## free the folder after a run was killed
	snakemake --unlock

lock: ## resolve envs/*.in again and write the locks
	envs/lock.sh $(PYTHON)

clean: ## remove the environment and caches; results and their provenance stay
	rm -rf .venv .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache build *.egg-info
	find . -name __pycache__ -type d -prune -not -path './.cache/*' -exec rm -rf {} +

# The marker is written last: an interrupted installation is taken up again.
$(RUNTIME): envs/requirements.lock pyproject.toml
	@command -v $(PYTHON) >/dev/null || { echo "Winnow needs Python 3.11; name it with PYTHON=/path/to/python3.11"; exit 2; }
	[ -x $(BIN)/python ] || $(PYTHON) -m venv .venv
	@echo "installing envs/requirements.lock into .venv (once; some minutes)"
	$(if $(TORCH_INDEX_$(TORCH)),python -m pip install --index-url $(TORCH_INDEX_$(TORCH)) "$$(grep '^torch==' $<)")
	python -m pip install --quiet -r $<
	python -m pip install --quiet --no-deps --no-build-isolation -e . --config-settings editable_mode=compat
	@touch $@

$(TESTING): envs/requirements-test.lock $(RUNTIME)
	python -m pip install --quiet -r envs/requirements.lock -r $<
	@touch $@
