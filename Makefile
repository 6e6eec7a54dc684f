# Wharf: what a person types. `make help` lists it.

# Where the demo keeps its records, files and engine.
DEMO_ROOT ?= $(CURDIR)/demo-root
# Cargo's own variable moves the build.
CARGO_TARGET_DIR ?= $(CURDIR)/target
export CARGO_TARGET_DIR

CARGO ?= cargo
SUDO := $(shell [ "$$(id -u)" = 0 ] || echo sudo)
# What a shell has in the background ignores Ctrl-C, and so does whatever is started from there; tests send it.
AS_ROOT := $(SUDO) env --default-signal=INT,QUIT \
	$(if $(SUDO),"PATH=$$PATH" "HOME=$$HOME" CARGO_TARGET_DIR="$(CARGO_TARGET_DIR)")
# sudo forgets the environment, so what counts is said again.
DEMO := $(SUDO) env DOCKER_HOST="$(DOCKER_HOST)" DEMO_ROOT="$(DEMO_ROOT)" \
	WHARF="$(CARGO_TARGET_DIR)/release/wharf" tests/demo.sh

.PHONY: help build install uninstall demo demo-clean test service appliance check fuzz bench bench-db bench-guard bench-templates

help: ## Show this list
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 14

build: ## Build the release program
	$(CARGO) build --release --locked

# Packagers: DESTDIR, and on SME Server TOOLDIR=/usr/libexec/wharf, where e-smith's own tools stay in their place.
PREFIX ?= /usr
SBINDIR ?= $(PREFIX)/sbin
# Of the tools that have e-smith's names.
TOOLDIR ?= $(SBINDIR)
DATADIR ?= $(PREFIX)/share
MANDIR ?= $(DATADIR)/man
DOCDIR ?= $(DATADIR)/doc/wharf
SYSCONFDIR ?= /etc
UNITDIR ?= $(PREFIX)/lib/systemd/system
PRESETDIR ?= $(PREFIX)/lib/systemd/system-preset
TMPFILESDIR ?= $(PREFIX)/lib/tmpfiles.d
SYSUSERSDIR ?= $(PREFIX)/lib/sysusers.d
# RCLINKS=yes: the link rcwharfd, as packages of openSUSE have it.
RCLINKS ?=
INSTALL_DIRS = RCLINKS="$(RCLINKS)" SBINDIR="$(SBINDIR)" TOOLDIR="$(TOOLDIR)" DATADIR="$(DATADIR)" MANDIR="$(MANDIR)" \
	DOCDIR="$(DOCDIR)" SYSCONFDIR="$(SYSCONFDIR)" UNITDIR="$(UNITDIR)" PRESETDIR="$(PRESETDIR)" \
	TMPFILESDIR="$(TMPFILESDIR)" SYSUSERSDIR="$(SYSUSERSDIR)"

# Which of cargo's builds is installed.
BUILT ?= $(CARGO_TARGET_DIR)/release

install: ## Install what `make build` has built (DESTDIR=, PREFIX=/usr, TOOLDIR= for db, config, signal-event ...)
	@$(INSTALL_DIRS) systemd/install.sh "$(BUILT)" "$(DESTDIR)"

uninstall: ## Remove what `make install` has installed; records, data and settings stay
	@$(INSTALL_DIRS) systemd/install.sh --remove "$(DESTDIR)"

demo: ## Bring two containers up from nothing, installing what is missing
	@tests/setup.sh demo
	@$(MAKE) --no-print-directory build
	@$(DEMO) up

demo-clean: ## Remove everything that the demo made
	@$(DEMO) down

# What is asked of Podman again: kills, way back, data that would be lost, drift, links.
ON_PODMAN := engine::kill::a engine::way_back::a_record engine::way_back::one_that engine::loss::data \
	engine::drift::what_others \
	engine::pass::twenty engine::pass::what_somebody engine::pass::whose

# Tests of engines wait more than they compute.
TEST_THREADS ?= $(shell expr $$(nproc) \* 2)

# What the appliance test upgrades to; built as the user, too.
NEXT := $(CARGO_TARGET_DIR)/appliance/next

# The engine tests need root. Built as the user, run as root, so that the build stays the user's.
# The small parts come first: a reader of the last lines looks for the summary of the many.
test: ## Pass all tests, installing what they need
	@tests/setup.sh test
	$(CARGO) test --locked --doc
	$(CARGO) test --locked --no-run
	@if command -v mmdebstrap >/dev/null; then \
		CARGO="$(CARGO)" tests/appliance/next.sh "$(NEXT)" && \
		$(AS_ROOT) CARGO="$(CARGO)" NEXT="$(NEXT)" tests/appliance/service.sh bookworm; \
	else echo "NOT TESTED: the service on a booted Debian, since there is no mmdebstrap here"; fi
	$(AS_ROOT) RUST_TEST_THREADS=$(TEST_THREADS) WHARF_REQUIRE_ENGINE=1 WHARF_TEST_ENGINE=podman WHARF_KILLS=10 WHARF_ENGINE_KILLS=2 \
		$(CARGO) test --locked --test it -- $(ON_PODMAN) --skip system_call
	$(AS_ROOT) RUST_TEST_THREADS=$(TEST_THREADS) WHARF_REQUIRE_ENGINE=1 $(CARGO) test --locked --lib --bins --tests

service: ## Install, use, cut off, upgrade, attack and remove the service in booted Debians (RELEASES="bookworm trixie")
	@tests/setup.sh test
	$(CARGO) test --locked --test it --no-run
	@CARGO="$(CARGO)" tests/appliance/next.sh "$(NEXT)"
	@for release in $(or $(RELEASES),bookworm trixie); do \
		$(AS_ROOT) CARGO="$(CARGO)" NEXT="$(NEXT)" tests/appliance/service.sh $$release || exit 1; \
	done

# Built as the user, so that the build stays the user's. Needs Debian's mirror; not a part of `test`.
appliance: ## Ask by real packets inside booted Debian appliances (RELEASES="bookworm trixie" PARTS="tests gateway podman")
	@tests/setup.sh appliance
	$(CARGO) test --locked --test it --no-run
	@for release in $(or $(RELEASES),bookworm trixie); do \
		$(AS_ROOT) CARGO="$(CARGO)" tests/appliance/matrix.sh $$release $(PARTS) || exit 1; \
	done

check: ## Check the form: rustfmt and clippy, warnings are errors
	$(CARGO) fmt --check
	$(CARGO) fmt --check --manifest-path fuzz/Cargo.toml
	$(CARGO) clippy --locked --all-targets -- -D warnings

# The fuzzer is C++; a first build takes two minutes.
fuzz: ## Feed all that reads records with made-up input (FUZZ_SECONDS=60 for each target)
	@tests/setup.sh test
	@CARGO="$(CARGO)" fuzz/run.sh

bench: ## Measure wharf beside the plain engine calls for the same work (N="1 10 50 200")
	@tests/setup.sh bench
	@$(MAKE) --no-print-directory build
	@CARGO="$(CARGO)" SUDO="$(SUDO)" benches/apply.sh $(N)

bench-templates: ## Measure expand-template and signal-event beside the cost of an empty process (RUNS=31)
	@tests/setup.sh bench
	@CARGO="$(CARGO)" benches/templates.sh $(RUNS)

bench-guard: ## Measure the guard of a thousand ports: rendering, loading, and what a flow through it costs
	@tests/setup.sh bench
	@$(AS_ROOT) CARGO="$(CARGO)" benches/guard.sh

bench-db: ## Measure db on both stores beside the cost of an empty process (RUNS=41)
	@tests/setup.sh bench
	@CARGO="$(CARGO)" benches/db.sh $(RUNS)
	@CARGO="$(CARGO)" benches/writers.sh
