//! How to fix a refusal: in the configuration or at the proxy. Some refusals are correct.

use policy::origin::Origin;
use policy::{Identity, Peer, Policy, Reason, Refusal, Request};

use super::caller;
use crate::input::Configuration;
use crate::json5::Node;

/// Why the refusal of an origin may be correct.
pub const OTHER_SITE: &str =
    "If it is another site, the refusal is correct: that site must not act through a signed-in user's browser.";

/// Ways to fix a refusal, the most likely first.
pub fn fixes(
    configuration: &Configuration,
    policy: &Policy,
    request: &Request<'_>,
    refusal: &Refusal<'_>,
) -> Vec<String> {
    let place = |path: &str| place(configuration, path);
    let peer = match request.peer {
        Peer::Known(address) => address.ip().to_string(),
        _ => "the peer".to_owned(),
    };
    let user = refusal.user.map(|user| user.iter().copied().map(char::from).collect::<String>()).unwrap_or_default();
    let user_header = String::from_utf8_lossy(policy.user_header()).into_owned();
    let list = if configuration.at(&["filter", "trustedProxies"]).is_some() {
        "filter.trustedProxies"
    } else {
        "gateway.trustedProxies"
    };
    let of_caller = caller::fixes(configuration, policy, request, refusal.reason, &place);
    if !of_caller.is_empty() {
        return of_caller;
    }
    match refusal.reason {
        Reason::NoRequest | Reason::ConfigMissing => Vec::new(),
        Reason::PeerUnknown => vec![
            "Have the proxy connect to Envoy over TCP: a Unix socket or an internal listener has no IP address.".into(),
            "In an Istio waypoint, have Envoy write the peer to filter state, and set filter.peerAddress.".into(),
        ],
        Reason::PeerUnverified => vec![
            "Set use_remote_address: true in the HTTP connection manager, and remove xff_num_trusted_hops and \
             original_ip_detection_extensions.".into(),
            "If that is not possible (in a sidecar), write %DOWNSTREAM_DIRECT_REMOTE_ADDRESS% to filter state, and set \
             filter.peerAddress.".into(),
        ],
        Reason::UntrustedSource => {
            let mut fixes = vec![
                format!("If {peer} is your authenticating proxy, add \"{peer}\" to {}.", place(list)),
                format!("If {peer} is anything else, the refusal is correct: the request bypassed the proxy."),
            ];
            if configuration.at(&["filter", "trustedProxies"]).is_some() && is_listed(configuration.at(&["gateway", "trustedProxies"]), &peer) {
                fixes.insert(0, format!(
                    "{peer} is in gateway.trustedProxies, but the filter has its own list, {}: put Envoy's peers there.",
                    place(list),
                ));
            }
            fixes
        }
        Reason::LoopbackSource => vec![format!(
            "If the proxy runs on the same host as Envoy, set allowLoopback: true in {}. This trusts every process on that host.",
            place("gateway.auth.trustedProxy"),
        )],
        Reason::LocalInterfaceSource => vec![
            "Have the proxy connect from another host, or from a loopback address with allowLoopback.".into(),
            format!("Or remove rejectSameHost from {}.", place("filter")),
        ],
        Reason::PeerCertificate => match request.identity {
            Some(Identity::FilterState(identity)) => vec![format!(
                "If this is the SPIFFE ID of your proxy, add \"{}\" to {}.",
                identity.escape_ascii(),
                place("filter.trustedPeers"),
            )],
            Some(Identity::Certificate(identity)) => vec![format!(
                "If this is your proxy's identity, add \"{}\" to {}. Only the first URI SAN counts.",
                identity.escape_ascii(),
                place("filter.trustedPeers"),
            )],
            None => vec!["Have the listener require client certificates (require_client_certificate, trusted_ca), and give the proxy one \
             with a URI SAN.".into()],
        },
        Reason::AttributionRequired => vec![
            "Have your proxy write the client's address to X-Forwarded-For. Loopback addresses and entries of the lists of \
             proxies do not count as clients.".into(),
            format!("If the client's own address is in {}, that list is too broad: it should contain only proxies.", place("gateway.trustedProxies")),
            "For a Gateway older than 2026.8.1, set filter.gatewayVersion to its release.".into(),
        ],
        Reason::MissingHeader => {
            let header = refusal.header.unwrap_or_default();
            vec![format!(
                "Have your proxy send {header} with every request, including WebSocket handshakes, or remove it from {}.",
                place("gateway.auth.trustedProxy.requiredHeaders"),
            )]
        }
        Reason::HeaderValue => {
            let header = refusal.header.unwrap_or_default();
            vec![
                format!("If the request came through your proxy, have it send its secret in {header}, once, on every request."),
                format!(
                    "To rotate the secret, list the SHA-256 of the new one beside the old one in {}, then change the proxy.",
                    place("filter.requiredValues"),
                ),
                "If it came on another path, the refusal is correct.".into(),
            ]
        }
        Reason::UserMissing => {
            let mut fixes = vec![format!(
                "Have your proxy send {user_header} once the user is signed in, including on WebSocket handshakes. The name of \
                 the header is set in {}.",
                place("gateway.auth.trustedProxy.userHeader"),
            )];
            // A browser's handshake has an Origin.
            if request.is_upgrade() && !request.fields.origin.is_present() {
                fixes.insert(0, caller::delegate(&place));
            }
            fixes.extend(caller::another_identity(request, policy).map(|name| format!("The request has {name}. If that is your proxy's header for the user, set userHeader to it.")));
            fixes
        }
        Reason::UserRepeated | Reason::GroupsRepeated => vec![
            "Have your proxy overwrite the header instead of adding another: a copy from the client must not be passed on.".into(),
        ],
        Reason::CrossSite => vec![
            "If a page of yours embeds the Gateway, serve both from one origin. Otherwise the refusal is correct: that \
             site must not act through a signed-in user's browser."
                .into(),
        ],
        Reason::UserMalformed => vec![format!(
            "Have your proxy write userPrefix before each user, or correct the prefix in {}.",
            place("filter.userPrefix"),
        )],
        Reason::GroupsUnreadable => vec![format!(
            "Have your proxy send the groups as text with a separator, not as JSON, and name the separator in {}.",
            place("filter.scopes"),
        )],
        Reason::AssertionMissing => vec![format!(
            "Run jwt_authn (or oauth2) before this filter, require the token on this route, and write the payload where {} \
             reads it.",
            place("filter.assertion"),
        )],
        Reason::AssertionClaim => vec![format!(
            "Only users whose claims are the boolean true are admitted: see requireTrue in {}, and what the provider puts \
             into the token (\"true\" in quotes is not a boolean).",
            place("filter.assertion"),
        )],
        Reason::AssertionMismatch => vec![
            format!("Have the proxy send the same name in {user_header} as in the signed token. The two must match byte for byte."),
            "Or set filter.assertion.as to \"identity\": then only the token counts.".into(),
        ],
        Reason::UserNotAllowed => {
            let list = "gateway.auth.trustedProxy.allowUsers";
            let mut fixes = vec![format!("If \"{user}\" should have access, add exactly that to {}.", place(list))];
            let entries = configuration.at(&["gateway", "auth", "trustedProxy", "allowUsers"]);
            let as_utf8 = refusal.user.and_then(|user| std::str::from_utf8(user).ok()).filter(|user| !user.is_ascii());
            // The other way round: an entry as UTF-8 reads in Latin-1, and a name that came as Latin-1.
            let latin1_of_utf8: String = user.bytes().map(char::from).collect();
            if let Some(alike) = texts(entries).find(|entry| !user.is_ascii() && entry.trim() == latin1_of_utf8) {
                fixes = vec![format!(
                    "The list has \"{alike}\", which is \"{user}\" for a proxy that sends UTF-8. This name came as Latin-1: for \
                     such a proxy, write \"{user}\" in {}.",
                    place(list),
                )];
            } else if let Some(alike) = texts(entries).find(|entry| Some(entry.trim()) == as_utf8) {
                fixes = vec![format!(
                    "The list has \"{alike}\", but the name came as UTF-8, of which the Gateway reads each byte as one \
                     character (Latin-1): for such a proxy, write \"{user}\" in {}.",
                    place(list),
                )];
            } else if let Some(alike) = texts(entries).find(|entry| entry.trim().to_lowercase() == user.to_lowercase()) {
                fixes.insert(0, format!("The list has \"{alike}\": users are compared byte for byte, so case matters."));
            }
            fixes
        }
        Reason::AssertionExpired => vec![
            "Sign in again: the token has ended.".into(),
            format!(
                "If it happens at once, have the provider issue tokens with a numeric exp, compare the clocks, or remove socketsUntil from {}.",
                place("filter"),
            ),
        ],
        Reason::SocketLimit => vec![
            "Send fewer or shorter headers with the handshake: at most 16 KiB of them are kept.".into(),
            format!("If the worker has too many open sockets, close some, or set socketMaxAge in {}.", place("filter")),
        ],
        Reason::OriginNotAllowed => origin_fixes(configuration, request),
    }
}

fn origin_fixes(configuration: &Configuration, request: &Request<'_>) -> Vec<String> {
    let list = place(configuration, "gateway.controlUi.allowedOrigins");
    let field = &request.fields.origin;
    let sent = field.first().unwrap_or_default().trim_ascii();
    if field.is_repeated() || sent.contains(&b',') {
        return vec![
            "Origin appears more than once (Envoy joins copies with a comma). A browser sends one, so find what adds the other."
                .into(),
        ];
    }
    let Some(origin) = Origin::parse(sent) else {
        return vec![format!(
            "\"{}\" cannot be listed as an origin: open the Control UI by its address, not from a file or a sandboxed frame.",
            sent.escape_ascii(),
        )];
    };
    let mut fixes =
        vec![format!("If your Control UI is served from \"{}\", add exactly that to {list}.", origin.as_str())];
    let host = |text: &str| {
        text.split_once("://").map(|(_, rest)| rest.split([':', '/']).next().unwrap_or_default().to_lowercase())
    };
    let entries = configuration.at(&["gateway", "controlUi", "allowedOrigins"]);
    if let Some(alike) = texts(entries).find(|entry| host(entry).is_some() && host(entry) == host(origin.as_str())) {
        fixes.insert(
            0,
            format!("The list has \"{alike}\": the scheme and the port must match too, and an entry has no path."),
        );
    }
    fixes.push(OTHER_SITE.into());
    fixes
}

/// A path, with its location in the file.
fn place(configuration: &Configuration, path: &str) -> String {
    configuration
        .excerpt(path)
        .map_or_else(|| path.to_owned(), |found| format!("{path} ({}:{})", found.file, found.line))
}

fn texts(list: Option<&Node>) -> impl Iterator<Item = &str> {
    list.into_iter().flat_map(Node::items).filter_map(Node::text)
}

fn is_listed(list: Option<&Node>, entry: &str) -> bool {
    texts(list).any(|text| text.trim() == entry)
}
