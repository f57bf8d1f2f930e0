# Everything from a fresh clone. Each target first makes the environment that it needs, once; the second run finds it.
# Someone with a vLLM of their own needs none of this: pip install -e . && pytest

PY := .venv/bin/python
PINNED_PY := .venv-pinned/bin/python
DEMO := demo

.PHONY: help env env-pinned demo test test-unit test-pinned test-0.8.4 test-arpo test-faults test-mutations lint clean-env

help: ## this list
	@sed -n 's/^\([a-z0-9.-]*\):.*## /  make \1\t/p' Makefile | expand -t 22

env: ## .venv: a recent vLLM on the CPU (3.5 to 7 GB, made once)
	@scripts/make_env.sh latest

env-pinned: ## .venv-pinned: the versions that ARPO pins, V0 engine (6.6 GB, made once)
	@scripts/make_env.sh pinned

demo: env ## three recorded steps of a toy agent on a real vLLM engine, a table and a figure
	.venv/bin/arpo-entropy record --model toy --steps 3 -o $(DEMO)
	.venv/bin/arpo-entropy stats $(DEMO)
	.venv/bin/arpo-entropy plot $(DEMO) -o $(DEMO)/entropy_increase.png

test: env ## the tests on the recent vLLM
	$(PY) -m pytest -m "not arpo and not faults" $(ARGS)
	@echo "NOT RUN: the V0 engine of ARPO's pins (make test-pinned), ARPO itself (make test-arpo ARPO_ROOT=...),"
	@echo "NOT RUN: the tests that take minutes (make test-faults)"

test-unit: ## tests/unit alone, in a new environment that has what '.[test]' brings and nothing else
	@scripts/test_bare.sh $(ARGS)

test-pinned: env-pinned ## the tests on the vLLM that ARPO pins
	$(PINNED_PY) -m pytest -m "not arpo and not faults" $(ARGS)

test-0.8.4: env-pinned ## the same tests on vLLM 0.8.4 itself, ARPO's exact pin (0.3 GB more)
	@scripts/lay_vllm_0_8_4.sh
	PYTHONPATH=$(CURDIR)/.venv-pinned/vllm-0.8.4 $(PINNED_PY) -m pytest -m "not arpo and not faults" $(ARGS)

test-arpo: env-pinned ## the tests on ARPO itself: make test-arpo ARPO_ROOT=path/to/clone
	@test -n "$(ARPO_ROOT)" || { echo "name a clone: make test-arpo ARPO_ROOT=path/to/ARPO" >&2; exit 2; }
	ARPO_ROOT="$(ARPO_ROOT)" $(PINNED_PY) -m pytest -m arpo $(ARGS)

test-faults: env ## the tests that take minutes: recorder broken, processes killed, disks full, reader fuzzed, long runs
	$(PY) -m pytest -m faults -s $(ARGS)

test-mutations: env ## break the code in a copy, edit by edit: each named test must fail (ARGS=unit/ for the quick ones)
	$(PY) tests/helpers/mutations.py $(ARGS)

lint: env ## ruff and mypy
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m mypy

clean-env: ## take both environments away
	rm -rf .venv .venv-pinned
