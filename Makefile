# Each target installs what it needs first, and is quick when nothing is missing.
PYTHON ?= $(shell test -x /usr/bin/python3 && echo /usr/bin/python3 || command -v python3 || echo /usr/bin/python3)
VENV ?= .venv
BIN := $(VENV)/bin
# Everything that a part of Synergy may use; setup.cfg says what each of them brings.
EXTRAS := service,mysql,postgresql,plots
ALGORITHM ?= fair_tree
DEMO_ARGS ?=
# One process for each processor; a file stays in one, since its tests share what they start. In the
# order of the folders, so that the long files of functional are begun first.
BESIDE ?= -n auto --dist loadfile --no-loadscope-reorder

# Where it is set, each program that a test starts, and pytest itself, compiles every module anew.
unexport PYTHONDONTWRITEBYTECODE

SHELL_FILES := devstack/settings devstack/override-defaults devstack/plugin.sh devstack/lib/synergy tests/unit/devstack_functions.sh

.PHONY: all alerts demo servers test test-slow functional cover openstack endurance tempest openstack-down lint bench soak lint-deploy doc sample notes wheel release constraints clean
all: lint test

# A folder and a Python with its venv module are all that is needed; Debian splits the module off.
$(BIN)/python:
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || { \
	  if command -v apt-get >/dev/null && [ "$$(id -u)" = 0 ]; then \
	    echo "Installing python3-venv"; \
	    apt-get -qq update && DEBIAN_FRONTEND=noninteractive apt-get -qq install -y python3 python3-venv git >/dev/null; \
	  else echo "Python at $(PYTHON) has no venv module: install python3-venv, or set PYTHON=" >&2; exit 1; fi; }
	@$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: requirements.txt test-requirements.txt upper-constraints.txt setup.cfg setup.py pyproject.toml | $(BIN)/python
	@echo "Installing into $(VENV) (about a minute the first time)"
	@rm -rf synergy.egg-info build # what an older tree left there would hide new entry points
	@$(BIN)/pip install --quiet --disable-pip-version-check -c upper-constraints.txt -e '.[$(EXTRAS)]' -r test-requirements.txt
	@touch $@

demo: $(VENV)/.installed
	$(BIN)/synergy demo --algorithm $(ALGORITHM) $(DEMO_ARGS)

# A test of a real server is skipped where it is missing; so what can be installed is.
servers: $(VENV)/.installed
	@$(BIN)/python -m lab packages

test: servers
	$(BIN)/python -m pytest $(BESIDE) -m "not slow and not openstack"

test-slow: servers
	$(BIN)/python -m pytest $(BESIDE) -m slow

functional: servers
	$(BIN)/python -m pytest $(BESIDE) -m "not slow and not openstack" tests/functional

# How much of the code the unit tests run; below the floor in pyproject.toml it fails. Apart from
# `test`, since measuring slows everything down.
cover: servers
	$(BIN)/python -m pytest $(BESIDE) -m "not slow and not openstack" --cov --cov-report=term:skip-covered tests/unit

# A real Keystone, Placement, Glance and Nova on RabbitMQ and MariaDB, below .openstack/.
openstack: $(VENV)/.installed
	$(BIN)/python -m lab up
	$(BIN)/python -m pytest -m "openstack and not endurance" tests/openstack tests/contract tests/unit/db

# Hundreds of servers through kills of Synergy and a restart of the broker.
endurance: $(VENV)/.installed
	$(BIN)/python -m lab up
	$(BIN)/python -m pytest -s -m endurance tests/openstack

# OpenStack's own tests: without Synergy, with it, and with every project managed. An hour, or less
# with TEMPEST_ARGS="--only keypairs". The lab is started anew, with hosts that have room for the
# default quotas of all projects together, and stopped in the end.
TEMPEST_ARGS ?=
tempest: export LAB_DRIVER = FakeDriver
tempest: $(VENV)/.installed
	$(BIN)/python -m lab down
	$(BIN)/python -m lab up
	@status=0; $(BIN)/python -m tests.tempest $(TEMPEST_ARGS) || status=$$?; \
	  $(BIN)/python -m lab down; exit $$status

openstack-down: $(BIN)/python
	$(BIN)/python -m lab down

lint: $(VENV)/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/shellcheck --shell bash --exclude SC1091,SC2034 $(SHELL_FILES)
	$(BIN)/bashate --ignore E005,E006 $(SHELL_FILES)
	@$(MAKE) --no-print-directory alerts

# Prometheus' own checker of alert rules, and histories that raise them. It is in Debian's package of
# the server, which is only unpacked: nothing is installed or started.
PROMTOOL ?= $(shell command -v promtool || echo build/promtool/usr/bin/promtool)
build/promtool/usr/bin/promtool:
	@mkdir -p build/promtool
	@command -v apt-get >/dev/null || { echo "set PROMTOOL= to promtool of Prometheus" >&2; exit 1; }
	@cd build/promtool && { apt-get -qq download prometheus 2>/dev/null || { apt-get -qq update && apt-get -qq download prometheus; }; }
	@cd build/promtool && dpkg-deb -x prometheus_*.deb . && rm prometheus_*.deb

alerts: $(PROMTOOL)
	$(PROMTOOL) check rules etc/synergy/alerts.yaml
	$(PROMTOOL) test rules tests/data/alerts_test.yaml

# Units, containers and the role of Kolla-Ansible, by the tools of their fields, which share no
# environment with Synergy.
DEPLOY := build/lint-deploy
$(DEPLOY)/.installed: contrib/requirements-lint.txt | $(BIN)/python
	@echo "Installing ansible-lint and hadolint into $(DEPLOY)"
	@$(PYTHON) -m venv $(DEPLOY)
	@$(DEPLOY)/bin/pip install --quiet --disable-pip-version-check -r contrib/requirements-lint.txt
	@touch $@

lint-deploy: $(DEPLOY)/.installed
	$(DEPLOY)/bin/hadolint contrib/container/Containerfile contrib/kolla/Containerfile
	cd contrib/kolla && PATH=$(CURDIR)/$(DEPLOY)/bin:$$PATH ansible-lint --offline -q synergy.yml roles
	PATH=$(CURDIR)/$(DEPLOY)/bin:$$PATH ANSIBLE_LIBRARY=tests/data/kolla/library ANSIBLE_ROLES_PATH=contrib/kolla/roles:tests/data/kolla/roles \
	  ansible-playbook -i localhost, --syntax-check contrib/kolla/synergy.yml

bench: $(VENV)/.installed
	@for script in $(filter-out benchmarks/bench_soak.py,$(wildcard benchmarks/bench_*.py)); do $(BIN)/python $$script || exit 1; done

# Half an hour of churn in a real service: what grows, and what it burns while it has nothing to do.
soak: $(VENV)/.installed
	$(BIN)/python benchmarks/bench_soak.py

sample: $(VENV)/.installed
	$(BIN)/oslo-config-generator --config-file etc/synergy/config-generator.conf
	$(BIN)/oslopolicy-sample-generator --config-file etc/synergy/policy-generator.conf
	$(BIN)/python tools/client_types.py

doc: $(VENV)/.installed
	$(BIN)/python -m sphinx -q -W -b html doc/source doc/build/html
	@echo "Documentation: doc/build/html/index.html"

notes: $(VENV)/.installed
	$(BIN)/reno -q lint .
	@mkdir -p build
	$(BIN)/reno -q report --output build/release-notes.rst .

wheel: $(VENV)/.installed
	$(BIN)/python -m build --wheel --outdir dist .

# What goes out, below dist/: sdist and wheel, both checked, and the notes. pbr takes the version from
# the tag: without one it would be a development version of that number.
release: version = $(shell sed -n 's/^version = //p' setup.cfg)
release: notes
	@git diff --quiet HEAD || { echo "Commit first: a release is made of what is committed" >&2; exit 1; }
	@test "$$(git cat-file -t "refs/tags/$(version)" 2>/dev/null)" = tag && \
	  test "$$(git rev-parse "$(version)^{commit}")" = "$$(git rev-parse HEAD)" || \
	  { echo "Tag this commit first: git tag -a $(version) -m 'Synergy $(version)'" >&2; exit 1; }
	rm -rf dist build/release
	$(PYTHON) -m venv build/release
	build/release/bin/pip install --quiet --disable-pip-version-check -c upper-constraints.txt build twine
	build/release/bin/python -m build --outdir dist .
	build/release/bin/twine check --strict dist/*
	@test -e "dist/synergy-$(version).tar.gz" && test -e dist/synergy-$(version)-*.whl
	cp build/release-notes.rst dist/
	@echo "Release $(version): $$(ls dist | tr '\n' ' ')"

# The newest releases that work together, found in an environment that has nothing else.
constraints:
	rm -rf build/constraints
	$(PYTHON) -m venv build/constraints
	build/constraints/bin/pip install --quiet --disable-pip-version-check '.[$(EXTRAS)]' -r test-requirements.txt twine
	build/constraints/bin/pip freeze --quiet --exclude synergy > upper-constraints.txt

clean:
	@test ! -d .openstack/run || $(PYTHON) -m lab down
	rm -rf .openstack $(VENV) build dist doc/build demo-output *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .tox .coverage htmlcov
