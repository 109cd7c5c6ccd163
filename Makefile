# From a fresh clone, with nothing but Python 3.11 or later:
#
#   make demo    the whole life of a model, end to end
#   make test    lint, formatting, types and every test
#   make lint    the first three of those
#   make bench   the benchmarks
#   make lock    write requirements/*.txt anew (needs uv)
#   make clean   remove the virtual environment
#
# Each makes .venv once.  pip's own settings hold: PIP_INDEX_URL, HTTPS_PROXY, PIP_CERT, and without
# a network PIP_NO_INDEX=1 PIP_FIND_LINKS=/folder/of/wheels.

PYTHON ?= $(shell for p in python3 python3.14 python3.13 python3.12 python3.11 python; do \
	"$$p" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
	&& { echo "$$p"; break; }; done)
VENV := .venv
BIN := $(VENV)/bin

export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: demo test lint bench lock clean
.DELETE_ON_ERROR:

demo: $(VENV)/.demo
	$(BIN)/python -m assay.demo

test: $(VENV)/.dev
	PYTHON=$(BIN)/python scripts/test

lint: $(VENV)/.dev
	PYTHON=$(BIN)/python scripts/lint

bench: $(VENV)/.dev
	PYTHON=$(BIN)/python scripts/bench

lock:
	scripts/lock $(if $(UPGRADE),--upgrade)

clean:
	rm -rf $(VENV)

$(BIN)/python:
	@test -n "$(PYTHON)" || { echo "assay needs Python 3.11 or later with venv:" \
	  "install it, or name it with 'make PYTHON=/path/to/python'" >&2; exit 1; }
	"$(PYTHON)" -m venv $(VENV)

# --no-deps: the lock is complete, so pip has nothing to resolve and nothing to add.
$(VENV)/.%: requirements/%.txt pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --require-hashes --no-deps -r $<
	$(BIN)/python -m pip install --no-deps --no-build-isolation --editable .
	@touch $@

# Everything the demo needs is in the developers' lock.
ifneq ($(wildcard $(VENV)/.dev),)
$(VENV)/.demo: $(VENV)/.dev
	@touch $@
endif
