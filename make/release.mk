# What others use: the module, the component, the tool, the bill of materials, the images.

BILL := dist/$(basename $(MODULE)).cdx.json
.PHONY: wasm trap component component-check cli sbom bill image push test-image reproduce

# The module contains no path of this machine, so that everybody's build has the same bytes. Panics name the files of
# crates, and those of Rust's own library if its source is installed (rustup's rust-src). Setting the flags here also
# overrides flags from the environment, which would change the bytes.
WASM_FLAGS = "$$(printf '%s\037%s' \
  "--remap-path-prefix=$${CARGO_HOME:-$$HOME/.cargo}=/cargo" \
  "--remap-path-prefix=$$(rustc --print sysroot)/lib/rustlib/src/rust=/rustc/$$(rustc -vV | sed -n 's/^commit-hash: //p')")"

# Prints the size of a file: `dist/x: 1234 bytes`.
built = echo "$(1): $$(wc -c <$(1) | tr -d ' ') bytes"

wasm: target ## build dist/openclaw-trusted-proxy.wasm, and its SHA-256 in a file next to it
	@$(call say,building the module, half a minute)
	@CARGO_ENCODED_RUSTFLAGS=$(WASM_FLAGS) \
	  $(CARGO) build $(QUIET) --lib --release --target $(TARGET) --locked --package openclaw-trusted-proxy
	@mkdir -p dist
	@built='$(BUILD)/$(TARGET)/release/openclaw_trusted_proxy.wasm'; to='dist/$(MODULE)'; \
	  $(CARGO) run --quiet --locked --package openclaw-trusted-proxy-pack -- "$$built" "$$to.new" && \
	  if cmp -s "$$to.new" "$$to"; then rm "$$to.new"; else mv "$$to.new" "$$to"; fi
	@cd dist && { sha256sum $(MODULE) 2>/dev/null || shasum -a 256 $(MODULE); } >$(MODULE).sha256
	@$(call built,dist/$(MODULE))

# The filter with a trap on demand, for the trap tests. It is never put into dist.
trap: target
	@$(CARGO) build --quiet --lib --target $(TARGET) --locked --package openclaw-trusted-proxy --features trap-for-tests \
	  --target-dir $(BUILD)/trap
	@cd $(BUILD)/trap/$(TARGET)/debug && $(CARGO) run --quiet --locked --manifest-path '$(CURDIR)/Cargo.toml' \
	  --package openclaw-trusted-proxy-pack -- openclaw_trusted_proxy.wasm packed.wasm

component: target-$(COMPONENT_TARGET) ## build the rules as a component for hosts other than Envoy: docs/component.md
	@$(call say,building the component, half a minute)
	@CARGO_ENCODED_RUSTFLAGS=$(WASM_FLAGS) \
	  $(CARGO) build $(QUIET) --release --target $(COMPONENT_TARGET) --locked --package openclaw-trusted-proxy-component
	@mkdir -p dist
	@$(CARGO) run --quiet --locked --package openclaw-trusted-proxy-componentize -- \
	  '$(BUILD)/$(COMPONENT_TARGET)/release/openclaw_trusted_proxy_component.wasm' dist/$(COMPONENT)
	@$(call built,dist/$(COMPONENT))

component-check: component .tools/bin/cargo-component-$(CARGO_COMPONENT_VERSION) ## check that cargo-component builds the same interface as make component
	@cd component && PATH="$(CURDIR)/.tools/bin:$$PATH" MAKEFLAGS= cargo component build $(QUIET) --release --locked \
	  --target $(COMPONENT_TARGET) --target-dir '$(abspath $(BUILD))/cargo-component'
	@rm -f component/src/bindings.rs # cargo-component generates this file, but the source has its own bindings.
	@$(CARGO) run --quiet --locked --package openclaw-trusted-proxy-componentize -- same-interface dist/$(COMPONENT) \
	  '$(BUILD)/cargo-component/$(COMPONENT_TARGET)/release/openclaw_trusted_proxy_component.wasm'

cli: cargo ## build dist/openclaw-trusted-proxy, the command-line tool: docs/cli.md
	@$(call say,building the command-line tool, half a minute)
	@$(CARGO) build $(QUIET) --release --locked --package openclaw-trusted-proxy-cli
	@mkdir -p dist && cp '$(BUILD)/release/openclaw-trusted-proxy' dist/
	@$(call built,dist/openclaw-trusted-proxy)

sbom: wasm ## list what is inside the module, in CycloneDX: dist/openclaw-trusted-proxy.cdx.json
	@$(CARGO) run --quiet --locked --package openclaw-trusted-proxy-sbom -- dist/$(MODULE) $(BILL)

bill: sbom $(CYCLONEDX)/.installed
	@$(CYCLONEDX)/bin/python tools/sbom/validate.py $(BILL) && echo 'bill of materials: valid'

image: sbom ## build dist/image: OCI images for Istio and Envoy Gateway; prints their digests
	@$(CARGO) run --quiet --locked --package openclaw-trusted-proxy-image -- write dist/$(MODULE) $(BILL) dist/image

push: image ## push dist/image with skopeo: TO=registry.example.com/openclaw-trusted-proxy
	@$(CARGO) run --quiet --locked --package openclaw-trusted-proxy-image -- push dist/image '$(TO)' $(SKOPEO_OPTIONS)

test-image: sbom registry ## push the images to a real registry, and pull them as Istio does
	@$(TEST) --package openclaw-trusted-proxy-image --features registry

reproduce: wasm ## build the module twice more in other folders, compare, and print the SHA-256
	@tools/reproduce
