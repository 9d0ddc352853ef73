//! How a refusal can be mended: by the operator, at the proxy, or not at all.

use policy::origin::Origin;
use policy::{Peer, Policy, Reason, Refusal, Request};

use crate::input::Configuration;
use crate::json5::{Node, Value};

/// What can be done about a refusal, the likeliest first.
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
    match refusal.reason {
        Reason::NoRequest | Reason::ConfigMissing => Vec::new(),
        Reason::PeerUnknown => vec![
            "Let the proxy connect to Envoy over TCP: a Unix socket or an internal listener shows no IP address.".into(),
            "In front of an Istio waypoint, have Envoy write the peer into filter state and set filter.peerAddress.".into(),
        ],
        Reason::PeerUnverified => vec![
            "Set use_remote_address: true in the HTTP connection manager, and leave xff_num_trusted_hops and original_ip_detection_extensions out.".into(),
            "Where that cannot be (a sidecar), write %DOWNSTREAM_DIRECT_REMOTE_ADDRESS% into filter state and set filter.peerAddress.".into(),
        ],
        Reason::UntrustedSource => {
            let mut fixes = vec![
                format!("If {peer} is your authenticating proxy, add \"{peer}\" to {}.", place(list)),
                format!("If {peer} is anybody else, this refusal is right: whoever comes that way goes round the proxy."),
            ];
            if configuration.at(&["filter", "trustedProxies"]).is_some() && is_listed(configuration.at(&["gateway", "trustedProxies"]), &peer) {
                fixes.insert(0, format!(
                    "{peer} is in gateway.trustedProxies, but the filter has a list of its own, {}: Envoy's peers belong there.",
                    place(list),
                ));
            }
            fixes
        }
        Reason::LoopbackSource => vec![format!(
            "If the proxy runs on Envoy's own host, set allowLoopback: true in {}; that trusts every process on that host.",
            place("gateway.auth.trustedProxy"),
        )],
        Reason::LocalInterfaceSource => vec![
            "Let the proxy connect from another host, or from a loopback address with allowLoopback.".into(),
            format!("Or take rejectSameHost out of {}.", place("filter")),
        ],
        Reason::PeerCertificate => match request.certificate {
            Some(identity) => vec![format!(
                "If this is your proxy's identity, add \"{}\" to {}; only the first URI SAN counts.",
                identity.escape_ascii(),
                place("filter.trustedPeers"),
            )],
            None => vec!["Let the listener ask for client certificates (require_client_certificate, trusted_ca), and the proxy show one with a URI SAN.".into()],
        },
        Reason::AttributionRequired => vec![
            "Let your proxy write the client's address into X-Forwarded-For itself; entries that are loopback or in a list of proxies count as no client.".into(),
            format!("If a client's own address is in {}, the list is too wide: it should name the proxies alone.", place("gateway.trustedProxies")),
            "For Gateways older than 2026.8, set filter.attribution to \"off\".".into(),
        ],
        Reason::MissingHeader => {
            let header = refusal.header.unwrap_or_default();
            vec![format!(
                "Let your proxy send {header} with every request, WebSocket handshakes too; or take it out of {}.",
                place("gateway.auth.trustedProxy.requiredHeaders"),
            )]
        }
        Reason::UserMissing => {
            let mut fixes = vec![format!(
                "Let your proxy send {user_header} once the user is signed in, on WebSocket handshakes too; {} names that header.",
                place("gateway.auth.trustedProxy.userHeader"),
            )];
            fixes.extend(another_identity(request, policy).map(|name| format!("The request has {name}: if that is where your proxy names the user, configure it.")));
            fixes
        }
        Reason::UserRepeated | Reason::GroupsRepeated => vec![
            "Let your proxy overwrite the header instead of adding one: a copy that came from the client must not go on.".into(),
        ],
        Reason::AssertionMissing => vec![format!(
            "Let jwt_authn (or oauth2) run before this filter, require the token on this route, and write the payload where {} reads it.",
            place("filter.assertion"),
        )],
        Reason::AssertionMismatch => vec![
            format!("Let the proxy name in {user_header} whom it names in the signed token: the two must be the same, byte for byte."),
            "Or set filter.assertion.as to \"identity\": then the token alone counts.".into(),
        ],
        Reason::UserNotAllowed => {
            let list = "gateway.auth.trustedProxy.allowUsers";
            let mut fixes = vec![format!("If \"{user}\" may come in, add exactly that to {}.", place(list))];
            let entries = configuration.at(&["gateway", "auth", "trustedProxy", "allowUsers"]);
            if let Some(alike) = texts(entries).find(|entry| entry.trim().to_lowercase() == user.to_lowercase()) {
                fixes.insert(0, format!("The list has \"{alike}\": users are compared byte for byte, with their case."));
            }
            fixes
        }
        Reason::OriginNotAllowed => origin_fixes(configuration, request),
    }
}

fn origin_fixes(configuration: &Configuration, request: &Request<'_>) -> Vec<String> {
    let list = place(configuration, "gateway.controlUi.allowedOrigins");
    let field = &request.fields.origin;
    let sent = field.first().unwrap_or_default().trim_ascii();
    if field.is_repeated() || sent.contains(&b',') {
        return vec!["Origin is there more than once (Envoy joins copies with a comma): a page sends one, so find what adds the other.".into()];
    }
    let Some(origin) = Origin::parse(sent) else {
        return vec![format!(
            "\"{}\" is not an origin of a page that can be listed: open the Control UI by its address, not from a file or a sandboxed frame.",
            sent.escape_ascii(),
        )];
    };
    let mut fixes =
        vec![format!("If \"{}\" is where your Control UI is served, add exactly that to {list}.", origin.as_str())];
    let host = |text: &str| {
        text.split_once("://").map(|(_, rest)| rest.split([':', '/']).next().unwrap_or_default().to_lowercase())
    };
    let entries = configuration.at(&["gateway", "controlUi", "allowedOrigins"]);
    if let Some(alike) = texts(entries).find(|entry| host(entry).is_some() && host(entry) == host(origin.as_str())) {
        fixes.insert(0, format!("The list has \"{alike}\": scheme and port count too, and an entry has no path."));
    }
    fixes
        .push("If it is another site, this refusal is right: that page may not use a signed-in user's browser.".into());
    fixes
}

/// A header of the request in which proxies name users, other than the one that is configured.
fn another_identity<'a>(request: &Request<'a>, policy: &Policy) -> Option<&'a str> {
    const USUAL: [&str; 8] = [
        "x-forwarded-user",
        "x-forwarded-email",
        "x-auth-request-user",
        "x-auth-request-email",
        "x-pomerium-claim-email",
        "tailscale-user-login",
        "cf-access-authenticated-user-email",
        "remote-user",
    ];
    let names = request.headers.iter().filter_map(|(name, _)| std::str::from_utf8(name).ok());
    names.filter(|name| name.as_bytes() != policy.user_header()).find(|name| USUAL.contains(name))
}

/// A path, and where it is in the file.
fn place(configuration: &Configuration, path: &str) -> String {
    configuration
        .excerpt(path)
        .map_or_else(|| path.to_owned(), |found| format!("{path} ({}:{})", found.file, found.line))
}

fn texts(list: Option<&Node>) -> impl Iterator<Item = &str> {
    let items: &[Node] = match list.map(|node| &node.value) {
        Some(Value::List(items)) => items,
        _ => &[],
    };
    items.iter().filter_map(Node::text)
}

fn is_listed(list: Option<&Node>, entry: &str) -> bool {
    texts(list).any(|text| text.trim() == entry)
}
