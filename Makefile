# Two commands do everything, set-up included:
#   make run     the main job: rounds of self-training on the built-in katas, then a report
#   make test    the tests that need neither Docker nor a GPU
PYTHON ?= python3
BIN := .venv/bin
export PIP_DISABLE_PIP_VERSION_CHECK = 1
export OMP_NUM_THREADS ?= 1
export TOKENIZERS_PARALLELISM = false

.PHONY: run test test-boxes check format setup clean

run: .venv/ready
	$(BIN)/plateau run configs/katas.yaml --or-resume

test: .venv/ready
	$(BIN)/pytest -q -n 2

# The rest: boxes, engines and long tests. With CI=true a missing engine is a failure, else a visible skip.
test-boxes: .venv/ready
	$(BIN)/pytest -q -m "docker or slow or exploits or escapes" --durations=10 -rs

check: .venv/ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: .venv/ready
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

setup: .venv/ready

.venv/ready: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "plateau needs Python 3.11 or newer; say which: make $(MAKECMDGOALS) PYTHON=python3.12"; exit 1; }
	@echo "setting up .venv (once; a few minutes, about 1.5 GB)"
	@$(PYTHON) -m venv .venv 2>/dev/null \
	  || { echo "python's venv module is incomplete; trying to install it"; \
	       { [ "$$(id -u)" = 0 ] && apt-get install -y -q python3-venv || sudo -n apt-get install -y -q python3-venv; } >/dev/null 2>&1 \
	       && $(PYTHON) -m venv .venv; } \
	  || { echo "type this, then try again: sudo apt-get install python3-venv"; exit 1; }
	@$(BIN)/python -m pip install -q --progress-bar on -c constraints.txt -e '.[dev]'
	@touch .venv/ready

clean:
	rm -rf .venv .mypy_cache .pytest_cache .ruff_cache .hypothesis
