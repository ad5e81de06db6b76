# run, test and measure; everything happens in .venv.
PYTHON ?= python3
CONFIG ?=

.PHONY: run test bench

.venv/installed: setup.py
	$(PYTHON) -m venv .venv
	.venv/bin/pip install -q -e '.[dev]'
	touch $@

run: .venv/installed
	.venv/bin/twistd -n --pidfile= llmux $(if $(CONFIG),--config $(CONFIG))

test: .venv/installed
	.venv/bin/python -m twisted.trial -j2 tests

# BENCH passes options on: make bench BENCH='--profile full --rounds 3'
bench: .venv/installed
	.venv/bin/python -m bench $(BENCH)
