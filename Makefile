# `make help` lists the targets. Their dependencies are installed into .tools. Their output is in dist, target and .run.

ENVOY_VERSION := 1.40.0
# The oldest and the newest Envoy on PyPI, and the last release of each line in between. 1.38.3 on PyPI has no Wasm
# runtime.
ENVOY_HOSTS := 1.36.2 1.36.4 1.37.0 1.38.2 1.39.3 1.40.0
# The Gateway that most tests run, tests/gateway/package.json, and the releases on both sides of each difference.
GATEWAY_VERSION := 2026.9.6
GATEWAY_RELEASES := 2026.4.2 2026.4.26 2026.4.29 2026.5.4 2026.5.12 2026.5.20 2026.6.35 2026.7.1 2026.7.35 2026.8.1 2026.9.3 2026.9.4 2026.9.6
TRAEFIK_VERSION := 3.7.15
# In addition to Debian's: a version that lets a client's own header through `copy_headers`, and one that no longer
# does.
CADDY_VERSIONS := 2.10.2 2.11.7
KUBECTL_VERSION := 1.37.1
CARGO_COMPONENT_VERSION := 0.21.1
CARGO_DENY_VERSION := 0.20.2
CARGO_FUZZ_VERSION := 0.13.2
CARGO_MUTANTS_VERSION := 27.1.0

TARGET := wasm32-wasip1
MODULE := openclaw-trusted-proxy.wasm
COMPONENT_TARGET := wasm32-unknown-unknown
COMPONENT := openclaw-trusted-proxy.component.wasm

# Where cargo builds. Set CARGO_TARGET_DIR to change it.
BUILD := $(or $(CARGO_TARGET_DIR),target)
# Without this, cargo would warn that it cannot reach make's job slots. It uses its own instead.
CARGO := MAKEFLAGS= cargo
# On a terminal cargo shows its progress.
QUIET := $(shell test -t 2 || echo --quiet)
# Runs tests, shows their output, and summarizes them in one line.
TEST := MAKEFLAGS= tools/sum-tests cargo test --locked --no-fail-fast
TESTS := --package openclaw-trusted-proxy-tests
# The tests that `make test-hosts` runs, and the Envoys that it runs them on.
HOST_TESTS := decisions:: websocket:: trap::
HOSTS ?= $(ENVOY_HOSTS)

SHELL := bash
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
MAKEFLAGS += --no-print-directory
include make/tools.mk make/release.mk make/cluster.mk
.PHONY: help run test test-quick attack test-gateway test-gateways test-proxies test-cluster cluster test-hosts observability soak check lint doc audit bench fuzz fuzz-coverage mutants setup clean

help: ## list these targets
	@sed -n 's/^\([a-z-]*\):.*## /  make \1\t/p' $(MAKEFILE_LIST) | expand -t 24
	@echo
	@echo '  Variables of make run: UPSTREAM=host:port POLICY=file HTTP_PORT=10000 HTTPS_PORT=10443'
	@echo '  ADMIN_PORT=9901. ENVOY=/path/to/envoy runs your own Envoy.'

run: setup wasm ## run Envoy with the filter, in front of an echo server or UPSTREAM
	@$(call say,building the program that runs Envoy and the echo server, half a minute)
	@exec env $(CARGO) run $(QUIET) --locked --package openclaw-trusted-proxy-harness --no-default-features --bin run

test: setup sbom trap component ## run all tests that need nothing but Envoy (8 minutes the first time)
	@$(call say,building and running the tests, seven minutes)
	@$(TEST) --workspace

test-quick: wasm ## run the tests that do not need Envoy: policy, tool, module, docs (under a minute once built)
	@$(call say,building and running the quick tests, two minutes)
	@$(TEST) --package openclaw-trusted-proxy-policy --package openclaw-trusted-proxy-cli $(TESTS) \
	  --lib --bins --test contract --test native --test module --test docs

attack: setup wasm ## run the attacks of tests/envoy/attack/RESULTS.md; ATTACKS_MD=write updates that page
	@$(TEST) $(TESTS) --test envoy attack::

test-gateway: setup wasm namespaces clients $(GATEWAY)/.installed $(GATEWAY)-2026.5.4/.installed ## test with a real Gateway, browsers and other clients (as root)
	@$(TEST) --package openclaw-trusted-proxy-cli $(TESTS) --bin openclaw-trusted-proxy --test gateway \
	  --features openclaw-trusted-proxy-cli/gateway,openclaw-trusted-proxy-tests/gateway -- --skip releases::

test-gateways: target $(GATEWAY)/.installed ## compare with the functions of older Gateways: GATEWAYS="2026.10.1" tries others
	@$(MAKE) -j4 $(patsubst %,.tools/gateways/%/.installed,$(filter-out $(GATEWAY_VERSION),$(sort $(GATEWAY_RELEASES) $(GATEWAYS))) node_modules/ipaddr.js node_modules/json5)
	@GATEWAYS='$(GATEWAYS)' $(TEST) $(TESTS) --features gateway --test gateway -- releases::

test-proxies: setup wasm namespaces proxies clients $(TRAEFIK)/.installed-$(TRAEFIK_VERSION) $(CADDY_VERSIONS:%=.tools/caddy-%/.installed) $(PROVIDER)/.installed $(PARTS)/oauth2-proxy/.installed $(GATEWAY)/.installed ## test the files of envoy/proxies with real identity proxies (as root)
	@$(TEST) $(TESTS) --features proxies --test proxies

test-cluster: setup sbom namespaces registry clients cluster-parts $(PROVIDER)/.installed $(GATEWAY)/.installed ## test with real control planes: Kubernetes, Istio, Envoy Gateway (as root; half an hour to build them once)
	@$(TEST) $(TESTS) --features cluster --test cluster

cluster: setup sbom namespaces registry cluster-parts $(PROVIDER)/.installed $(GATEWAY)/.installed ## run a Kubernetes API server with Istio to look at (as root): CONTROL_PLANE=envoy-gateway runs that one
	@exec env $(CARGO) run $(QUIET) --locked --package openclaw-trusted-proxy-harness --bin cluster
export CONTROL_PLANE

test-hosts: wasm trap $(HOSTS:%=.tools/envoy-%/.installed) ## test decisions, WebSockets and traps on other Envoys: HOSTS="1.36.2 1.40.0"
	@failed=; for version in $(HOSTS); do \
	    echo "== Envoy $$version"; \
	    ENVOY="$(CURDIR)/.tools/envoy-$$version/bin/envoy" $(TEST) $(TESTS) --test envoy -- $(HOST_TESTS) \
	      || failed="$$failed $$version"; \
	  done; test -z "$$failed" || { echo "failed on Envoy$$failed" >&2; exit 1; }

observability: setup wasm prometheus ## test the rules and the dashboard with a real Prometheus; PICTURE=write draws the dashboard
	@$(TEST) $(TESTS) --features prometheus --test observability
export PICTURE

soak: setup wasm ## run ten minutes of load and changes: SOAK_SECONDS=60 SOAK_RATE=2000
	@exec env $(CARGO) run $(QUIET) --locked --package openclaw-trusted-proxy-harness --bin soak

check: lint doc bill audit ## check format, lints, docs and dependencies

lint: target
	@$(call say,format and lints, three minutes)
	@$(CARGO) fmt --all --check
	@$(CARGO) clippy $(QUIET) --workspace --all-targets --all-features --locked -- -D warnings
	@$(CARGO) clippy $(QUIET) --lib --target $(TARGET) --locked --package openclaw-trusted-proxy -- -D warnings
	@$(CARGO) clippy $(QUIET) --lib --target $(TARGET) --locked --package openclaw-trusted-proxy --features trap-for-tests -- -D warnings
	@$(CARGO) fmt --manifest-path fuzz/Cargo.toml --check
	@$(CARGO) clippy $(QUIET) --manifest-path fuzz/Cargo.toml --target-dir $(BUILD)/fuzz --no-default-features --locked -- -D warnings
	@echo 'format and lints: OK'

doc: target
	@RUSTDOCFLAGS=-Dwarnings $(CARGO) doc $(QUIET) --workspace --no-deps --locked
	@RUSTDOCFLAGS=-Dwarnings $(CARGO) doc $(QUIET) --no-deps --locked --document-private-items --target $(TARGET) --package openclaw-trusted-proxy
	@echo 'code documentation: OK'

# The advisory database is fetched in a separate step, so that a missing network is not reported as a finding.
audit: $(DENY)
	@$(DENY) --log-level error --locked --workspace check bans licenses sources
	@$(DENY) --log-level error --locked --exclude-dev --target $(TARGET) --config deny-module.toml check bans licenses sources
	@if log=$$($(DENY) --log-level error --locked fetch db 2>&1); then \
	    $(DENY) --log-level error --locked --workspace --offline check advisories && echo 'dependencies: OK'; \
	  else \
	    echo 'dependencies: OK, but advisories were NOT CHECKED: the database could not be fetched; try again with network access' >&2; \
	  fi

# The benchmark reads ROUNDS=15 and ONLY=pass,growth. The comment at the top of its source explains them.
bench: setup wasm h2load ## measure the cost, compared with native filters and Lua (30 minutes): ROUNDS=15 ONLY=pass,latency,policy
	@$(CARGO) build $(QUIET) --release --target $(TARGET) --locked --package openclaw-trusted-proxy-reference --examples
	@mkdir -p dist/bench
	@test '$(ONLY)' = policy || REFERENCE='$(abspath $(BUILD))/$(TARGET)/release/examples' \
	  $(CARGO) run $(QUIET) --locked --package openclaw-trusted-proxy-bench
	@case ',$(or $(ONLY),policy),' in *,policy,*) $(CARGO) bench $(QUIET) --locked --package openclaw-trusted-proxy-policy-bench | tee dist/bench/policy.txt;; esac
export ROUNDS ONLY

fuzz: nightly .tools/bin/cargo-fuzz-$(CARGO_FUZZ_VERSION) ## run every fuzz target for FUZZ_SECONDS (60), and print a table of the results
	@mkdir -p .run
	@fuzz/run

fuzz-coverage: nightly ## show which lines the fuzz inputs reach
	@mkdir -p .run/fuzz
	@fuzz/coverage

mutants: target .tools/bin/cargo-mutants-$(CARGO_MUTANTS_VERSION) ## run mutation tests (hours): SETS=native or SETS=wasm, docs/mutants.md
	@PATH="$(CURDIR)/.tools/bin:$$PATH" MAKEFLAGS= tests/mutants/run $(SETS)

setup: target $(SETUP_ENVOY) ## install the wasm target and Envoy, which the other targets need

clean: ## remove everything that was built or installed here
	@rm -rf target dist .run .tools
