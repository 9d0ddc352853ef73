//! The ids of findings: what each means, and what answers it. docs/findings.md is made of this table.

/// An id.
pub struct Id {
    pub id: &'static str,
    /// The severities that it can have.
    pub severity: &'static str,
    /// What was found.
    pub found: &'static str,
    /// What to do.
    pub answer: &'static str,
}

impl Id {
    /// Where the documentation has it.
    pub fn address(&self) -> String {
        format!("docs/findings.md#{}", self.id.replace('.', ""))
    }
}

/// The row of an id.
pub fn of(id: &str) -> Option<&'static Id> {
    ALL.iter().find(|row| row.id == id)
}

const fn row(id: &'static str, severity: &'static str, found: &'static str, answer: &'static str) -> Id {
    Id { id, severity, found, answer }
}

/// All of them, by their names.
pub const ALL: &[Id] = &[
    row(
        "check.bind_loopback",
        "warn; info if `bind` is not set",
        "The Gateway listens on loopback only, and `gateway.trustedProxies` has no loopback address, so nobody whom it \
         trusts can reach it. In a container, or with `--bind`, it listens elsewhere.",
        "If Envoy is on another host, set `bind` to \"lan\" and close the port to everyone else. If it is on the same \
         host, list 127.0.0.1 and set `allowLoopback`.",
    ),
    row(
        "check.changed_after",
        "warn; info for a filter of unknown type",
        "A filter between ours and the router can change headers after ours has checked them: Lua, \
         `header_mutation`, `ext_authz`, `ext_proc`, another Wasm module, a filter of the cluster. Or `jwt_authn` \
         runs after the filter that needs it.",
        "Put the other filter before ours, so that ours is the last before the router.",
    ),
    row(
        "check.config_invalid",
        "error; warn for a release that is not known",
        "A value in an openclaw.json that the Gateway's own validation (`openclaw config validate`) refuses: of a wrong \
         type, out of range, not in the expected form, or missing.",
        "Write what the message says. It has the Gateway's own text where there is one.",
    ),
    row(
        "check.does_not_start",
        "error",
        "Settings that are valid one by one, but with which the Gateway ends when it starts, such as \
         `tailscale.mode: \"serve\"` with a `bind` that is not loopback.",
        "Change one of the two settings that the message names.",
    ),
    row(
        "check.envoy_not_trusted",
        "error; in a plugin configuration warn",
        "The address in `--envoy` is not in `gateway.trustedProxies`, so the Gateway refuses what Envoy sends.",
        "Add Envoy's address to the Gateway's list.",
    ),
    row(
        "check.envoy_on_loopback",
        "error",
        "Envoy connects from a loopback address, and `allowLoopback` is not true, so the Gateway refuses what Envoy \
         sends.",
        "Set `allowLoopback` to true, or let Envoy connect from another host.",
    ),
    row(
        "check.envoy_unknown",
        "info",
        "It is not known from which address Envoy connects to the Gateway, so it is not known whether the Gateway \
         trusts it.",
        "Add `--envoy` with that address.",
    ),
    row(
        "check.fail_open",
        "critical",
        "`failure_policy` or `failStrategy` is FAIL_OPEN, or `fail_open` or `failOpen` is true: everything passes \
         if the filter cannot run.",
        "Let it fail closed ([operations.md](operations.md#when-the-filter-traps)).",
    ),
    row(
        "check.filter_off",
        "critical; warn if Envoy removes the user header early",
        "A route or virtual host switches the filter off or gives it another configuration, or the filter is \
         `disabled` and nothing switches it on, or an upgrade has filters of its own. Or a plugin selects the pods of a \
         waypoint, which no selector reaches, or has a port or `CLIENT` in its `match` there.",
        "Let every route to the Gateway run the filter with its one policy. Attach it to a waypoint with `targetRefs`.",
    ),
    row(
        "check.forwarded_for",
        "warn",
        "The filter is the edge (`filter.edge`), and Envoy does not add its peer to X-Forwarded-For.",
        "Set `use_remote_address` to true, and leave `skip_xff_append` out.",
    ),
    row(
        "check.gateway_tls",
        "info",
        "The Gateway serves TLS itself.",
        "Give Envoy's cluster a TLS transport socket that verifies the Gateway's certificate.",
    ),
    row(
        "check.gateway_version",
        "warn; info if the rules are the same",
        "Another release of the Gateway wrote the file than the one whose rules the filter applies.",
        "If you run that release, set `filter.gatewayVersion` to it.",
    ),
    row(
        "check.header_with_underscores",
        "info; error where Envoy rejects or drops such headers",
        "A header that the policy reads has an underscore. Envoy lets such headers through only if it is told to.",
        "Set `headers_with_underscores_action: ALLOW`, as `render` writes it. The filter removes other spellings.",
    ),
    row(
        "check.local_password",
        "info",
        "`gateway.auth.password` or `OPENCLAW_GATEWAY_PASSWORD` is set: callers that bypass the proxy can use it.",
        "Keep the Gateway's port closed to everyone except Envoy and internal callers. Without such callers, remove \
         it.",
    ),
    row(
        "check.networks",
        "info",
        "A list of proxies trusts whole networks: every host in them can name any user.",
        "List the proxies themselves, if their addresses do not change.",
    ),
    row(
        "check.no_browser_can_come_in",
        "error; warn without any origin",
        "No request of a browser passes: no entry of `allowedOrigins` is an origin that a browser sends.",
        "List the origin of the page as the browser's address bar has it, such as `https://openclaw.example.com`.",
    ),
    row(
        "check.no_websocket",
        "warn",
        "No route of the listener allows WebSockets, or a DestinationRule has `h2UpgradePolicy: UPGRADE`.",
        "Add `upgrade_configs` with `websocket`, as `render` writes it.",
    ),
    row(
        "check.nobody_can_come_in",
        "error",
        "No request passes, whoever sends it. Also in a waypoint, where a peer has neither an address nor a \
         certificate, unless the policy reads its identity from Istio's filter state.",
        "Change the key that the message names: `allowLoopback`, a list of proxies, `allowUsers`, `trustedPeers`, \
         `peerTrust` or `peerIdentity`.",
    ),
    row(
        "check.not_plain_json",
        "warn",
        "A plugin configuration in JSON5. The filter reads plain JSON.",
        "Write plain JSON if Envoy passes the file on unchanged: no comments, no trailing commas, all keys in \
         quotes.",
    ),
    row(
        "check.not_substituted",
        "error",
        "A `${VARIABLE}` or an `$include` where the filter reads the text literally.",
        "Write the value itself. Only the Gateway resolves these, and only in its openclaw.json.",
    ),
    row(
        "check.one_list",
        "info",
        "`gateway.trustedProxies` serves both hops: the Gateway looks for Envoy in it, and the filter for Envoy's \
         peer.",
        "Keep it if both have the same address. Otherwise put Envoy there, and your proxy in \
         `filter.trustedProxies`.",
    ),
    row(
        "check.open_without_filter",
        "warn",
        "A connection manager, an EnvoyFilter or a ClientTrafficPolicy does not remove the header in which the Gateway \
         reads the user, and in Istio nothing writes it once more before the router. Where the filter is missing, the Gateway believes whoever sends it. A listener that leads to \
         the same cluster without the filter is also named.",
        "Let Envoy remove the header before any filter runs, as `render` writes it \
         ([gateway.md](gateway.md#closed-without-the-filter)).",
    ),
    row(
        "check.origin_without_tls",
        "warn",
        "An origin with `http://` that is not this machine: anyone on the network path can read and change the page.",
        "Terminate TLS at the proxy, and list the https origin.",
    ),
    row(
        "check.paths",
        "warn",
        "`normalize_path` or `merge_slashes` is off, `path_with_escaped_slashes_action` changes or refuses `%2F`, \
         or `allow_chunked_length` is set: Envoy, the filter and the Gateway do not read the same path.",
        "Write these settings as `envoy/envoy.yaml` has them.",
    ),
    row(
        "check.peer_from_header",
        "warn",
        "`use_remote_address` is not true, or `xff_num_trusted_hops`, `original_ip_detection_extensions` or \
         `clientIPDetection` is set: Envoy takes the peer from a header, and the filter refuses every such request. \
         Or nothing in the listener sets the filter state of `filter.peerAddress`.",
        "Let Envoy take the peer from the connection.",
    ),
    row(
        "check.placeholder",
        "warn",
        "What an example leaves open: an image's digest of zeros, or a filter without its policy.",
        "Write the digest of your image, and your policy.",
    ),
    row(
        "check.plugin_everywhere",
        "warn",
        "A plugin without a selector in Istio's root namespace is on every workload of the mesh.",
        "Give it a selector or `targetRefs`.",
    ),
    row(
        "check.plugin_order",
        "warn; info where Envoy writes user and scopes once more after the other plugin",
        "Another plugin runs after the filter: with `phase: AUTHN` here, with another WasmPlugin or \
         TrafficExtension (Wasm or Lua) of the workload in a later phase or with a lower priority, or as a later entry \
         of the EnvoyExtensionPolicy. Istio runs a plugin without a priority last in its phase, and one without a \
         phase last of all. Or an EnvoyFilter of the workload inserts an HTTP filter that can run after this one.",
        "Make the filter the last that runs before the router.",
    ),
    row(
        "check.policy_not_found",
        "info",
        "Envoy reads the policy from a file that is not among those that were given.",
        "Give that file too, or the folder with both.",
    ),
    row(
        "check.proxy_assertion",
        "info",
        "The proxy signs who the user is, and nothing verifies it.",
        "Verify it with `filter.assertion` ([assertions.md](assertions.md)).",
    ),
    row(
        "check.proxy_edge",
        "warn",
        "`filter.edge` is true: there is no proxy in front of Envoy.",
        "Remove `filter.edge`, or do not name a proxy.",
    ),
    row(
        "check.proxy_encoding",
        "error where the value is not a name; otherwise warn",
        "A header holds a token, JSON or a certificate, not a name. Or users beyond ASCII, or groups in quotes, are \
         not written as the proxy writes them.",
        "Name another header. Write users and groups as the proxy sends them ([proxies.md](proxies.md)).",
    ),
    row(
        "check.proxy_groups_header",
        "error; warn where the proxy can use other names",
        "The proxy does not list groups in `groupsHeader`, or sends none.",
        "Name the header that the message names.",
    ),
    row(
        "check.proxy_groups_separator",
        "error; warn where the proxy can use another one",
        "`groupsSeparator` is not what the proxy writes between groups.",
        "Set it to the character that the message names.",
    ),
    row(
        "check.proxy_passes",
        "info",
        "The proxy lets a client's own headers pass under some settings.",
        "Check these settings in the proxy's configuration ([proxies.md](proxies.md)).",
    ),
    row(
        "check.proxy_prefix",
        "error where every user is refused; otherwise warn",
        "`userPrefix` is not what the proxy writes before each user, or an entry of `allowUsers` or `scopes.users` \
         has the prefix.",
        "Set `userPrefix`, and write the users without it.",
    ),
    row(
        "check.proxy_required_header",
        "warn; info where the proxy can be told to write it",
        "A client's own copy of a header in `requiredHeaders` passes, so its presence proves nothing.",
        "Name a header that the proxy overwrites, or give `requiredValues` a secret.",
    ),
    row(
        "check.proxy_user_header",
        "error; warn where the proxy can use other names; info for the Gateway's own header",
        "The proxy does not name the user in `userHeader`.",
        "Name the header that the message names ([proxies.md](proxies.md)).",
    ),
    row(
        "check.route_headers",
        "warn; critical if it writes the user or removes the scopes",
        "A route writes an identity header, or removes the user or the scopes, after the filter. Also in a \
         VirtualService or an HTTPRoute.",
        "Remove it from the route: only the filter writes these headers.",
    ),
    row(
        "check.route_rewrites",
        "warn",
        "A route rewrites path or host behind the filter ([contract](contract.md#4-scopes), 4.6). Also `rewrite` in \
         a VirtualService, and URLRewrite in an HTTPRoute.",
        "Let the Gateway have the path that the filter decided about.",
    ),
    row(
        "check.route_timeout",
        "warn",
        "A route has a timeout, or Envoy's default of 15 seconds: an agent may take longer. Routes for a single \
         path are left out.",
        "Set `timeout: 0s`, and an idle timeout instead.",
    ),
    row(
        "check.same_lists",
        "warn",
        "The filter's list of proxies equals the Gateway's, but the two look at different hops.",
        "Put Envoy in the Gateway's list, and your proxy in the filter's. If both have the same address, remove the \
         filter's list.",
    ),
    row(
        "check.shared_name",
        "warn",
        "Two listeners of one Envoy have different policies with the same `config.name`, `root_id` and `vm_id`. For the \
         filter, one is an edit of the other.",
        "Give each policy a `config.name` of its own ([operations.md](operations.md#open-sockets)).",
    ),
    row(
        "check.some_cannot_come_in",
        "warn",
        "Somebody cannot come in: a user of `allowUsers`, or every client with an IPv4 address.",
        "Write the user as the proxy sends it. List the proxies alone.",
    ),
    row(
        "check.stamped_state",
        "error if nobody can come in; otherwise warn",
        "`stampedFilterState` and what writes user and scopes once more after all filters (the patch `openclaw.last` in \
         Istio, the HTTPRoutes in Envoy Gateway) do not fit. Without the key, the Gateway hears of no user. If nothing \
         reads what the filter left, the key closes nothing. Or the two write different headers.",
        "Have both, as `render` writes them, or neither.",
    ),
    row(
        "check.unset_variable",
        "error",
        "A `${VARIABLE}` in the gateway block that nothing sets. The Gateway does not start with it.",
        "Set the variable, or name the file that sets it with `--env-file`.",
    ),
    row(
        "check.user_of_another_filter",
        "info",
        "A policy with `trustedPeers` takes the user as its peers send it. That is right only if they run this filter, \
         which is not in these files.",
        "Give the files of those peers too, or list in `trustedPeers` only what runs this filter.",
    ),
    row(
        "check.webhooks",
        "info",
        "`hooks` is switched on. The senders of webhooks have no user, so the filter refuses them.",
        "If they come through Envoy, add the path of `hooks.path` to `anonymousPaths` \
         ([gateway.md](gateway.md#devices-and-webhooks)).",
    ),
    row(
        "check.yaml_boolean",
        "warn",
        "A word such as `no` or `on` without quotes in YAML: kubectl and Envoy read it as a boolean.",
        "Write it in quotes, or write true or false.",
    ),
    row(
        "filter.anonymous_paths",
        "warn, a reminder",
        "`anonymousPaths` adds paths that pass without an identity.",
        "Keep only those that the Gateway protects in another way, or that may be public.",
    ),
    row(
        "filter.attribution_off",
        "warn",
        "`attribution` is \"off\": requests without an attributable client are admitted, and this release of the Gateway \
         refuses them.",
        "For a Gateway older than 2026.8.1, set `gatewayVersion` instead.",
    ),
    row(
        "filter.broad_proxies",
        "warn",
        "An entry trusts a large network: every host in it can name any user.",
        "List the proxies themselves.",
    ),
    row(
        "filter.config_invalid",
        "error",
        "A value that the filter does not accept. Envoy rejects the whole policy, and the one before it stays in \
         force.",
        "Write what the message says ([configuration.md](configuration.md)).",
    ),
    row(
        "filter.cross_site",
        "warn",
        "`crossSite` is \"allow\", and the login comes with every request of a browser: any web site can make a signed-in \
         browser send GET requests.",
        "Set `crossSite` to \"refuse\".",
    ),
    row(
        "filter.default_ceiling",
        "warn",
        "`scopes.users[\"*\"]` allows scopes that some entry does not: whoever is not recognized as that user or group \
         has more.",
        "Give `\"*\"` no more than every other entry has.",
    ),
    row(
        "filter.delegate_unexplained",
        "info",
        "`webSocketRefusal` is \"delegate\", but the Control UI of this release does not explain a refusal.",
        "Update the Gateway to 2026.9.1 or newer, or use \"close\".",
    ),
    row(
        "filter.edge",
        "warn, a reminder",
        "`edge` is set: no trusted proxy is required, and the login that runs before the filter decides.",
        "Make sure that this login runs on every route.",
    ),
    row(
        "filter.gateway_key",
        "warn",
        "A key that this release of the Gateway does not have, and with which it does not start.",
        "Correct `gatewayVersion`, or remove the key.",
    ),
    row(
        "filter.gateway_version",
        "warn, info",
        "The rules are those of an older release, of two releases around one that was not tried, or of one before \
         yours.",
        "Change `gatewayVersion` when you update the Gateway.",
    ),
    row(
        "filter.groups_header",
        "warn, a reminder",
        "`groupsHeader` is set. A client that can send this header chooses its own groups.",
        "Make sure that the proxy overwrites it on every request, also for users without groups.",
    ),
    row(
        "filter.groups_separator",
        "warn",
        "The proxy that this header belongs to separates groups with another character.",
        "Set `groupsSeparator` to that character.",
    ),
    row(
        "filter.loopback_proxies",
        "warn",
        "A list has only loopback addresses, and `allowLoopback` is not true: everybody is refused.",
        "Set `allowLoopback` to true if the proxy is on this host; otherwise list the proxy's own address.",
    ),
    row(
        "filter.loopback_refused",
        "warn",
        "`filter.allowLoopback` is set, but this release of the Gateway refuses every loopback peer.",
        "Run Envoy on another host than the Gateway, or update the Gateway.",
    ),
    row(
        "filter.mapped_proxies",
        "warn",
        "This release of the Gateway reads an IPv4-mapped block as its first address alone.",
        "Write an IPv4 block instead, such as `10.0.0.0/8`.",
    ),
    row(
        "filter.never_matches",
        "warn",
        "An entry that nothing can match, so that it has no effect.",
        "Correct it, or remove it.",
    ),
    row(
        "filter.no_client",
        "warn",
        "An entry covers every address of a family: each client with one counts as a proxy, and is refused.",
        "List the proxies alone.",
    ),
    row(
        "filter.odd_user",
        "warn",
        "An entry of `allowUsers` that is compared literally, but was hardly meant so: a pattern, a list, a placeholder, \
         or a name beyond ASCII.",
        "Write one entry for each user, as the proxy sends it. To allow all users, leave the list empty.",
    ),
    row(
        "filter.open_sockets",
        "warn",
        "`openSockets` is \"keep\": a user who is removed keeps the WebSockets that are open.",
        "Set it to \"recheck\".",
    ),
    row(
        "filter.own_paths",
        "warn",
        "`scopes.ownPaths` adds paths that are treated as the Gateway's own: a plugin there runs with the Gateway's whole \
         default scopes.",
        "Keep only paths that no plugin serves.",
    ),
    row(
        "filter.own_sockets",
        "warn",
        "`scopes.ownSockets` adds paths that are treated as the Gateway's own: a plugin's WebSocket there is granted a \
         user's whole ceiling.",
        "Keep only paths that no plugin serves.",
    ),
    row(
        "filter.password_in_configuration",
        "warn",
        "`gateway.auth.password` was pasted into the filter's configuration, which proxies and their tools can show.",
        "Remove it there. The filter does not need it.",
    ),
    row(
        "filter.peer_identity",
        "warn",
        "A filter state is believed that is not known to be written before any filter runs.",
        "Make sure that Envoy writes it first, and never from what a client sends.",
    ),
    row(
        "filter.peer_trust_certificate",
        "warn, a reminder",
        "A trusted certificate is enough: the peer's address is not looked up in `trustedProxies`.",
        "Keep it only where addresses cannot be listed.",
    ),
    row(
        "filter.plugin_scopes",
        "critical",
        "`scopes` does not limit plugins' routes at this release of the Gateway.",
        "Update the Gateway to 2026.4.12 or newer.",
    ),
    row(
        "filter.removed_proxies",
        "info",
        "A proxy that is removed from `trustedProxies` counts as a client in X-Forwarded-For from then on.",
        "Remove it from the network first, and from the list afterwards.",
    ),
    row(
        "filter.report_mode",
        "critical",
        "`mode` is \"report\": no request is refused and no header is changed.",
        "Use it only in front of a Gateway that still authenticates users itself; then set it to \"enforce\".",
    ),
    row(
        "filter.required_headers",
        "info",
        "`requiredHeaders` is empty, or names only headers that are in every request: a process on a trusted address \
         needs only the user header.",
        "Name a header that your proxy alone sets, or give `requiredValues` a secret.",
    ),
    row(
        "filter.socket_scopes",
        "critical",
        "`scopes` does not limit WebSockets at this release of the Gateway.",
        "Update the Gateway to 2026.8.1 or newer.",
    ),
    row(
        "filter.trusted_peers",
        "warn, a reminder",
        "`trustedPeers` believes certificates or filter state that the filter cannot verify itself.",
        "Make sure that the listener verifies certificates, or that the mesh alone writes the filter state.",
    ),
    row(
        "filter.trusted_proxies",
        "info",
        "`filter.trustedProxies` names peers that `gateway.trustedProxies` does not.",
        "This is right if Envoy is between those peers and the Gateway.",
    ),
    row(
        "filter.unknown_key",
        "error in an openclaw.json, warn elsewhere",
        "The Gateway does not have this key at this place. All of its blocks are strict about that, except \
         `gateway.tls`.",
        "Write the key that was meant: the message names the nearest one, or the releases that have it.",
    ),
    row(
        "filter.unknown_value",
        "error in an openclaw.json, warn elsewhere",
        "The value is not one of the words that are allowed, such as `bind: \"0.0.0.0\"`. When a Gateway starts, it \
         replaces some old words itself and writes its file anew; `openclaw config validate` refuses them all the same.",
        "Write one of the words that the message lists.",
    ),
    row(
        "filter.unlisted_user",
        "warn",
        "`scopes.users` has the ceiling of a user who is not in `allowUsers`.",
        "Correct the name, or remove the entry.",
    ),
    row(
        "filter.websocket_delegate",
        "warn, a reminder",
        "WebSockets without a valid user reach the Gateway, which must refuse them itself.",
        "Keep it only for a Gateway in this mode.",
    ),
    row(
        "gateway.control_ui.allowed_origins_required",
        "critical",
        "`allowedOrigins` does not name an origin: browsers cannot use the Control UI.",
        "List the origin of the page, or set `controlUi.enabled` to false.",
    ),
    row(
        "gateway.control_ui.allowed_origins_wildcard",
        "critical; warn on loopback",
        "`allowedOrigins` contains \"*\": any web page can use a signed-in user's browser.",
        "List the origins.",
    ),
    row(
        "gateway.control_ui.host_header_origin_fallback",
        "critical; warn on loopback",
        "An origin that equals the Host header is allowed, which DNS rebinding can exploit.",
        "List the origins instead.",
    ),
    row(
        "gateway.real_ip_fallback_enabled",
        "critical",
        "X-Real-IP is trusted when X-Forwarded-For does not name a client.",
        "Make sure that the proxy overwrites it, or switch `allowRealIpFallback` off.",
    ),
    row(
        "gateway.tailscale_funnel",
        "critical",
        "Tailscale Funnel exposes the Gateway to the internet, bypassing Envoy and the filter.",
        "Set `tailscale.mode` to \"off\".",
    ),
    row(
        "gateway.tailscale_serve",
        "info",
        "Tailscale Serve exposes the Gateway to the tailnet, bypassing Envoy and the filter.",
        "Set `tailscale.mode` to \"off\", unless the tailnet is meant to have direct access.",
    ),
    row(
        "gateway.trusted_proxy_allow_loopback",
        "warn; a reminder if a listed proxy is a loopback address",
        "`allowLoopback` trusts every process on this host as it trusts the proxy.",
        "Run nothing else on this host. If no proxy is on it, remove the setting.",
    ),
    row(
        "gateway.trusted_proxy_auth",
        "critical, a reminder",
        "Authentication is left to the proxy. This is what the mode means, so it is always reported.",
        "Close every other network path to the Gateway ([checklist.md](checklist.md)).",
    ),
    row(
        "gateway.trusted_proxy_device_auto_approve",
        "warn",
        "New devices are approved on the proxy's word alone.",
        "Make sure that the proxy is the only way in, and that `allowUsers` lists who may sign in.",
    ),
    row(
        "gateway.trusted_proxy_device_auto_approve_admin",
        "critical",
        "Any user that the proxy names can approve a device with operator.admin.",
        "Remove operator.admin, and approve such devices by hand.",
    ),
    row(
        "gateway.trusted_proxy_no_allowlist",
        "warn",
        "`allowUsers` is empty: everybody whom the proxy authenticates is admitted.",
        "List the users.",
    ),
    row(
        "gateway.trusted_proxy_no_proxies",
        "error",
        "`trustedProxies` is missing or empty: the Gateway does not start in this mode.",
        "List the address from which Envoy connects to the Gateway.",
    ),
    row(
        "gateway.trusted_proxy_no_user_header",
        "error",
        "`userHeader` is missing or blank: the Gateway does not start in this mode.",
        "Name the header in which your proxy names the user.",
    ),
    row(
        "mixed_trusted_proxy_token",
        "error",
        "A token is set next to this mode: `gateway.auth.token`, `gateway.remote.token` (a text or a reference to a \
         secret), or `OPENCLAW_GATEWAY_TOKEN`. The Gateway does not start with both.",
        "Remove the token, also in the Gateway, or keep token authentication and do not use this filter.",
    ),
];
