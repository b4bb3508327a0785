# Two commands do everything on a fresh machine: `make demo` and `make test`. Python 3.11 or later.

VENV := .venv
BIN := $(VENV)/bin
PYTHON := $(firstword $(foreach p,python3.11 python3.12 python3.13 python3.14 python3,$(shell command -v $(p) 2>/dev/null)))
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt

.PHONY: demo test test-vllm check docs bench clean

# The main job, on a small world that is made here: two models are trained, run, compared and judged, and
# the update is mended and judged again. It ends with 0 whatever the verdict.
demo: $(VENV)/.hf
	@rm -rf demo
	@OMP_NUM_THREADS=1 $(BIN)/muscle-gov demo demo

# Threads of torch beyond one a process would only wait for each other.
test: $(VENV)/.dev
	@.ci/browser
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --dist loadfile -q $(ARGS)

# The loader vllm against vLLM itself, in an environment of its own (2.5 GB).
test-vllm:
	@.ci/vllm

# Everything that CI checks beside the tests.
check: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python docs/generate.py --check

# Write the generated docs and schemas anew.
docs: $(VENV)/.dev
	$(BIN)/python docs/generate.py

bench: $(VENV)/.dev
	$(BIN)/python benchmarks/run.py

clean:
	rm -rf $(VENV) .venv-vllm demo dist build .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis

$(VENV)/.venv:
	@test -n "$(PYTHON)" || { echo "no Python 3.11 or later was found"; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "$(PYTHON) is older than Python 3.11"; exit 1; }
	@echo "== making a virtual environment in $(VENV)"
	@$(PYTHON) -m venv $(VENV)
	@$(INSTALL) --upgrade pip
	@touch $@

$(VENV)/.core: $(VENV)/.venv pyproject.toml constraints.txt
	@echo "== installing muscle-gov"
	@$(INSTALL) -e .
	@touch $@

$(VENV)/.hf: $(VENV)/.core
	@echo "== installing torch and transformers, to run models"
	@$(INSTALL) -e '.[hf]'
	@touch $@

$(VENV)/.dev: $(VENV)/.hf
	@echo "== installing what tests and checks need"
	@$(INSTALL) -e '.[dev]'
	@touch $@
