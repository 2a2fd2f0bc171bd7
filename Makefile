# Everything a contributor or an operator starts by hand. `make help` lists it.

VENV   := .venv
PY     := $(VENV)/bin/python
STAMPS := .venv/.stamps
# What makes the virtual environment, and fetches the engine before there is one.
PYTHON ?= python3
ANY_PYTHON = $(if $(wildcard $(PY)),$(PY),$(PYTHON))
# The engine in use goes before any other on PATH, for whatever the targets start.
ENGINE := GOBGPD='$(CURDIR)/.engine/bin/gobgpd' PATH='$(CURDIR)/.engine/bin:$(PATH)'
# What the scenarios need from Debian: the far sides of the sessions, and tools.
TEST_PACKAGES := frr bird2 exabgp iproute2 systemd python3 debhelper lintian man-db prometheus zsh keepalived
# What the machines need that boot systemd: their base system, their container, a way in.
MACHINE_PACKAGES := debootstrap systemd-container openssh-client
PROTO  := $(wildcard rr/engine/proto/api/*.proto)
# What writes the generated parts of docs/, each started with that directory.
REFERENCE := $(wildcard rr/*/reference.py tests/*/reference.py)
ARGS   ?=
# Most tests wait for somebody else most of the time, so three files of them run beside each other, on two cores too.
WORKERS ?= 3
PYTEST  = $(ENGINE) $(PY) -m pytest --numprocesses $(WORKERS) --dist loadfile --no-loadscope-reorder

.DEFAULT_GOAL := help
.PHONY: help venv ansible-venv engine engine-api proto demo test lint format bench lock docs deb clean

help:  ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

venv: $(STAMPS)/venv  ## the virtual environment .venv, with everything pinned
$(STAMPS)/venv: requirements-dev.lock pyproject.toml packaging/venv.sh packaging/hatch_build.py packaging/compile_proto.py
	@PYTHON='$(PYTHON)' packaging/venv.sh $(VENV) requirements-dev.lock
	@mkdir -p $(STAMPS) && touch $@ $(STAMPS)/proto

proto: $(STAMPS)/proto  ## compile the engine's API into rr/engine/pb
$(STAMPS)/proto: $(PROTO) packaging/compile_proto.py | $(STAMPS)/venv
	@$(PY) packaging/compile_proto.py
	@touch $@

ansible-venv: $(STAMPS)/ansible
$(STAMPS)/ansible: requirements-ansible.lock | $(STAMPS)/venv
	@$(PY) -m venv $(VENV)/ansible
	@$(VENV)/ansible/bin/python -m pip install -qq --disable-pip-version-check --require-hashes --requirement requirements-ansible.lock
	@touch $@

engine:  ## find gobgpd, or bring Debian's into .engine without root
	@$(ANY_PYTHON) packaging/engine >/dev/null

engine-api:
	@$(ANY_PYTHON) packaging/engine --dev >/dev/null

demo: venv proto engine  ## one appliance, two racks, told as a story (ARGS="--once --json")
	@$(ENGINE) $(VENV)/bin/rrctl demo $(ARGS)

test: venv ansible-venv proto engine-api  ## all tests; without root those in namespaces and on booted machines are left out
	@packaging/test-packages.sh $(TEST_PACKAGES) $(MACHINE_PACKAGES)
	@if [ "$$(id -u)" -eq 0 ]; then \
		PYTHONPATH=.:packaging $(PY) -m tests.machines >/dev/null; \
		$(PYTEST) $(ARGS); \
	else \
		echo 'test: not root, so the scenarios in network namespaces and everything on booted machines are left out; to run them: sudo make test' >&2; \
		$(PYTEST) -m 'not root' $(ARGS); \
	fi

lint: venv ansible-venv proto  ## ruff, mypy --strict, and ansible-lint at its strictest
	@status=0; \
	for check in 'ruff check' 'ruff format --check' mypy; do \
		$(VENV)/bin/$$check || status=1; \
	done; \
	cd ansible && LC_ALL=C.UTF-8 PATH='$(CURDIR)/$(VENV)/ansible/bin':"$$PATH" ansible-lint -q --offline --profile production || status=1; \
	exit $$status

format: venv  ## put the code into ruff's format
	@$(VENV)/bin/ruff check --select I --fix
	@$(VENV)/bin/ruff format

bench: venv proto engine  ## time, CPU and memory beside bare gobgpd and BIRD (root; ARGS="--nodes 100")
	@packaging/test-packages.sh $(TEST_PACKAGES)
	@$(ENGINE) $(PY) -m tests.bench $(ARGS)

lock: venv  ## pin the dependencies anew (UPGRADE=1: to their newest versions)
	@packaging/lock.sh $(VENV)/bin/uv

docs: venv proto  ## write the generated reference pages in docs/
	@for module in $(subst /,.,$(basename $(REFERENCE))); do $(PY) -m $$module docs || exit; done

deb: venv proto  ## the Debian package in dist/, as any user (ARGS="--arch arm64")
	@packaging/test-packages.sh python3 debhelper
	@PYTHONPATH='$(CURDIR)' $(PY) packaging/deb.py $(ARGS) dist

clean:  ## remove everything that was made, the engine and the environment too
	@rm -rf $(VENV) .engine build dist rr/engine/pb .mypy_cache .ruff_cache .pytest_cache .hypothesis *.egg-info
	@find rr tests packaging -name __pycache__ -type d -prune -exec rm -rf {} +
