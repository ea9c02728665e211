# One file of verbs. Each bootstraps .venv by itself; a second call finds the stamp and starts at once.
#   make tour    the whole job in minutes: prepare, train, evaluate on the embedded model and data
#   make test    every test        (make test ARGS="tests/config -x" for a part)
#   make lab     JupyterLab on the notebooks
#   make check   lint, types, arrows, notebooks, docs, shell
#   make setup   .venv alone       (PYTHON=python3.12 EXTRAS=test,hub,bench make setup)
SHELL := /bin/bash
.DEFAULT_GOAL := help
.PHONY: help setup tour test lab check

# The stamp's name is a checksum of what the environment is made from: a checkout's file times do not matter.
STAMP := .venv/.setup-$(shell cat pyproject.toml constraints.txt scripts/setup | cksum | cut -d' ' -f1)
BIN := $(CURDIR)/.venv/bin
ARGS ?=

help:
	@sed -n '2,6s/^# *//p' Makefile

setup: $(STAMP)

$(STAMP):
	scripts/setup
	@touch $@

tour: setup
	@$(BIN)/python scripts/tour.py $(ARGS)

# Three workers with one thread each (on two cores: they wait a lot) for what may share the machine, then alone what measures time or kills processes.
test: setup
	@scripts/test $(ARGS)

lab: setup
	@$(BIN)/jupyter lab notebooks

check: setup
	@scripts/check
