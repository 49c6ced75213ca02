# Requires Python 3.11 or newer and make. Every target creates .venv at its first run, from the pinned and hashed
# versions in requirements/.

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.SUFFIXES:
MAKEFLAGS += --no-builtin-rules

VENV   := .venv
BIN    := $(VENV)/bin
CODE   := src sdk/src tests examples $(wildcard benchmarks)
SERVER := $(VENV)/.ready-server
DEV    := $(VENV)/.ready-dev
# The development tools include the requirements of the server: with them, a demo installs nothing.
EITHER := $(if $(wildcard $(DEV)),$(DEV),$(SERVER))

export PIP_DISABLE_PIP_VERSION_CHECK = 1
export PIP_NO_INPUT = 1

.PHONY: help
help: ## Show this list
	@awk 'BEGIN { FS = ":.*## " } /^[a-z][a-z-]*:.*## / { printf "  make %-9s %s\n", $$1, $$2 }' Makefile

.PHONY: demo
demo: $(EITHER) ## Start a server on a small database and print requests to paste (PORT=4000)
	@$(BIN)/keystead demo $(if $(PORT),--port $(PORT))

.PHONY: example
example: $(DEV) ## Start the demo and, beside it, a FastAPI application of the SDK (PORT=4000 APP_PORT=8000)
	@$(BIN)/python examples/run.py $(if $(PORT),--port $(PORT)) $(if $(APP_PORT),--app-port $(APP_PORT))

.PHONY: test
test: $(DEV) ## Run the tests (FULL=1: every one on both databases; ARGS="-k login" picks some)
	@$(if $(FULL),KEYSTEAD_TEST_FULL=1) $(BIN)/pytest -n 2 --dist worksteal $(ARGS)

.PHONY: check
check: $(DEV) ## Check style, types, layers and house rules
	@$(BIN)/ruff check $(CODE)
	@$(BIN)/ruff format --check $(CODE)
	@$(BIN)/mypy $(CODE)
	@$(BIN)/lint-imports
	@$(BIN)/pytest -q tests/house_rules

.PHONY: format
format: $(DEV) ## Format the code
	@$(BIN)/ruff check --fix --quiet $(CODE)
	@$(BIN)/ruff format $(CODE)

.PHONY: bench
bench: $(DEV) ## Run the benchmarks, each with its target
	@$(BIN)/python -m benchmarks $(ARGS)

.PHONY: attacks
attacks: $(DEV) ## Run the tests of the attack cases
	@$(BIN)/pytest -m attack $(ARGS)

.PHONY: races
races: $(DEV) ## Repeat the race tests 200 times
	@KEYSTEAD_RACE_ROUNDS=200 $(BIN)/pytest -m race --timeout 1800 $(ARGS)

.PHONY: growth
growth: $(DEV) ## Check the plans of all statements with ten times the rows of make test
	@KEYSTEAD_GROWTH_USERS=200000 $(BIN)/pytest tests/growth --timeout 1800 $(ARGS)

.PHONY: dist
dist: $(DEV) ## Build wheel and sdist of the server and of the SDK into dist/
	@$(BIN)/python -m build --no-isolation --outdir dist .
	@$(BIN)/python -m build --no-isolation --outdir dist sdk

.PHONY: lock
lock: $(DEV) ## Write requirements/*.lock again (UPGRADE=1 for newer versions)
	@$(BIN)/uv pip compile pyproject.toml --group build $(LOCK_OPTIONS) --output-file requirements/server.lock
	@$(BIN)/uv pip compile pyproject.toml --group dev $(LOCK_OPTIONS) --output-file requirements/dev.lock \
		--constraints requirements/server.lock

.PHONY: clean
clean: ## Remove the virtual environment and every cache
	@rm -rf $(VENV) build dist src/*.egg-info sdk/build sdk/src/*.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	@find src sdk tests examples -name __pycache__ -type d -prune -exec rm -rf {} +

# --------------------------------------------------------------------------------------------------------- set-up

LOCK_OPTIONS := --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-emit-index-url \
	$(if $(UPGRADE),--upgrade)

# A candidate must run, be new enough and have venv and ensurepip.
CANDIDATES   := $(PYTHON) python3 python3.13 python3.12 python3.11 python3.14
IS_SUITABLE  := import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))
IS_NEW       := import sys, pip; sys.exit(sys.version_info < (3, 11))

# $(call install,NAME): the pinned packages of requirements/NAME.lock, then this package itself; for development the SDK
# too, from the same checkout.
define install
	@if ! $(BIN)/python -c '$(IS_NEW)' 2>/dev/null; then \
		python=; \
		for candidate in $(CANDIDATES); do \
			if $$candidate -c '$(IS_SUITABLE)' 2>/dev/null; then python=$$candidate; break; fi; \
		done; \
		if [ -z "$$python" ]; then \
			echo 'keystead needs Python 3.11 or newer with venv (on Debian: apt install python3-venv), or make PYTHON=/path/to/python3' >&2; \
			exit 1; \
		fi; \
		echo "making $(VENV) with $$($$python --version)"; \
		$$python -m venv --clear $(VENV); \
	fi
	@echo 'installing requirements/$(1).lock'
	@$(BIN)/python -m pip install --quiet --require-hashes --requirement requirements/$(1).lock
	@$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	@if [ $(1) = dev ]; then $(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --editable ./sdk; fi
	@touch $@
endef

$(SERVER): requirements/server.lock pyproject.toml
	$(call install,server)

$(DEV): requirements/dev.lock pyproject.toml sdk/pyproject.toml
	$(call install,dev)
