//! A reference model of the contract, against which the tests check the filter's policy.
//!
//! It is deliberately naive. It reads the configuration's JSON again for every request, turns every header into a
//! string as Node does, and walks lists from end to end. It assumes that configurations are valid. Nothing here comes
//! from the filter's sources; only [`subject`] uses them, and runs them on the same case.

mod address;
pub mod breaks;
pub mod choices;
pub mod generate;
mod headers;
mod origin;
mod path;
mod release;
mod scopes;
pub mod sockets;
pub mod subject;
pub mod targets;
mod upstream;

use std::collections::BTreeSet;
use std::fmt;

use serde_json::Value;

use address::Literal;
use headers::Headers;
pub use headers::{latin1, trim};
use release::Release;
pub use scopes::KNOWN as SCOPES;
pub use upstream::BUILT_IN as IDENTITY_HEADERS;

/// One request, as Envoy passes it to the filter.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Request {
    /// The attribute or the filter state that the configuration selects for the peer's address.
    pub peer: Option<Vec<u8>>,
    /// The attribute `destination.address`.
    pub destination: Option<Vec<u8>>,
    /// The dynamic metadata of `filter.assertion`, if it is a string.
    pub assertion: Option<Vec<u8>>,
    /// The last names of the paths of the claims that are the boolean `true`.
    pub true_claims: Vec<String>,
    /// The filter states by key, other than the peer's address.
    pub filter_states: Vec<(String, Vec<u8>)>,
    /// Whether the connection is TLS with a client certificate.
    pub mtls: bool,
    /// The certificate's first URI SAN.
    pub uri_san: Option<Vec<u8>>,
    /// Names and values in order of arrival, including the pseudo headers.
    pub headers: Vec<(Vec<u8>, Vec<u8>)>,
}

/// One line each, as a person would write it.
impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = |value: &Option<Vec<u8>>| value.as_ref().map(|value| value.escape_ascii().to_string());
        writeln!(f, "peer {:?}, at {:?}", shown(&self.peer), shown(&self.destination))?;
        writeln!(f, "asserted {:?}, mTLS {} with {:?}", shown(&self.assertion), self.mtls, shown(&self.uri_san))?;
        writeln!(f, "true {:?}, filter states {:?}", self.true_claims, self.filter_states)?;
        for (name, value) in &self.headers {
            writeln!(f, "{}: {}", name.escape_ascii(), value.escape_ascii())?;
        }
        Ok(())
    }
}

/// The outcome of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is refused, with this code.
    Refused(String),
    /// It is forwarded.
    Passed {
        /// The grounds on which it passed.
        kind: Kind,
        /// The headers that the upstream receives. Names keep their case; stamped headers are at the end.
        headers: Vec<(String, String)>,
    },
}

/// The grounds on which a request passes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// As this user.
    Identified(String),
    /// By `anonymousPaths`.
    Anonymous,
    /// By `webSocketRefusal: "delegate"`; otherwise this code would have refused it.
    Delegated(String),
}

/// The model's verdict on a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// The outcome according to the contract.
    pub outcome: Outcome,
    /// The code with which the filter is still permitted to refuse the request, by section 8.
    pub or_refused: Option<String>,
}

/// The configuration, read again for every question.
struct Rules<'a> {
    gateway: &'a Value,
    filter: &'a Value,
}

impl<'a> Rules<'a> {
    fn trusted_proxy(&self) -> &'a Value {
        &self.gateway["auth"]["trustedProxy"]
    }

    /// The filter's own list if it has one, otherwise the Gateway's.
    fn proxies(&self) -> Vec<String> {
        if self.filter["trustedProxies"].is_array() {
            texts(&self.filter["trustedProxies"]).into_iter().map(str::to_owned).collect()
        } else {
            self.gateway_proxies()
        }
    }

    /// The Gateway's list, as its release reads it: an IPv4-mapped block may be its first address alone.
    fn gateway_proxies(&self) -> Vec<String> {
        let whole = Release::of(self).reads_mapped_blocks();
        let one = |entry: &str| match entry.split_once('/') {
            Some((first, _)) if !whole && first.to_lowercase().contains("::ffff:") => first.to_owned(),
            _ => entry.to_owned(),
        };
        texts(&self.gateway["trustedProxies"]).into_iter().map(one).collect()
    }

    fn allow_loopback(&self) -> bool {
        self.filter["allowLoopback"].as_bool().unwrap_or(is_true(&self.trusted_proxy()["allowLoopback"]))
    }

    fn edge(&self) -> bool {
        is_true(&self.filter["edge"])
    }

    fn user_header(&self) -> &'a str {
        self.trusted_proxy()["userHeader"].as_str().unwrap_or_default()
    }

    fn upstream_user_header(&self) -> &'a str {
        self.filter["upstreamUserHeader"].as_str().unwrap_or(self.user_header())
    }

    fn groups_header(&self) -> Option<&'a str> {
        self.filter["scopes"]["groupsHeader"].as_str()
    }

    fn required_headers(&self) -> Vec<&'a str> {
        texts(&self.trusted_proxy()["requiredHeaders"])
    }

    /// Whether the verified identity is the user, regardless of the user header.
    fn identity_is_asserted(&self) -> bool {
        self.filter["assertion"]["as"] == "identity"
    }
}

/// The strings of a list; empty if there is no list.
fn texts(list: &Value) -> Vec<&str> {
    list.as_array().into_iter().flatten().filter_map(Value::as_str).collect()
}

/// Trims configured text as the Gateway does: with JavaScript's `trim`.
fn trim_configured(text: &str) -> &str {
    const SPACES: &str = "\t\n\u{B}\u{C}\r \u{A0}\u{1680}\u{2028}\u{2029}\u{202F}\u{205F}\u{3000}\u{FEFF}";
    text.trim_matches(|c| SPACES.contains(c) || ('\u{2000}'..='\u{200A}').contains(&c))
}

fn is_true(value: &Value) -> bool {
    value.as_bool() == Some(true)
}

/// The paths of all keys of a configuration.
pub fn paths(config: &Value, above: &str, into: &mut BTreeSet<String>) {
    for (key, value) in config.as_object().into_iter().flatten() {
        let path = format!("{above}{key}");
        paths(value, &format!("{path}."), into);
        into.insert(path);
    }
}

/// Section 3: the decision.
pub fn decide(config: &Value, request: &Request) -> Verdict {
    let rules = Rules { gateway: &config["gateway"], filter: &config["filter"] };
    let headers = Headers::of(&request.headers);
    let passed = |kind: Kind, scopes: Option<Vec<&str>>| Outcome::Passed {
        headers: upstream::headers(&rules, &headers, &kind, scopes),
        kind,
    };

    // Rule 0.
    if is_anonymous(&rules, &headers) {
        let outcome = passed(Kind::Anonymous, scopes::without_user(&rules, &headers));
        return Verdict { outcome, or_refused: None };
    }

    let delegates = rules.filter["webSocketRefusal"] == "delegate" && headers.is_websocket();
    let mut delegated: Option<String> = None;
    let mut or_refused = None;
    let mut user = None;
    for rule in RULES {
        match rule(&rules, request, &headers, &mut user) {
            Ruling::Pass => {}
            Ruling::PassUnlessStricter(code) => or_refused = Some(code.to_owned()),
            Ruling::Refuse(code) => {
                return Verdict { outcome: Outcome::Refused(code), or_refused: None };
            }
            // Rules 6, 7 and 9 leave the decision to the Gateway; the other rules still apply.
            Ruling::RefuseOrDelegate(code) if delegates => {
                delegated.get_or_insert(code);
            }
            Ruling::RefuseOrDelegate(code) => {
                return Verdict { outcome: Outcome::Refused(code), or_refused: None };
            }
        }
    }
    let outcome = match (delegated, user) {
        (Some(code), _) => passed(Kind::Delegated(code), scopes::without_user(&rules, &headers)),
        (None, Some(user)) => {
            let scopes = scopes::granted(&rules, &headers, &user);
            passed(Kind::Identified(user), scopes)
        }
        (None, None) => Outcome::Refused("the model has found no user".to_owned()),
    };
    Verdict { outcome, or_refused }
}

/// Whether the Gateway of the configuration knows a scope.
pub fn knows_scope(config: &Value, scope: &str) -> bool {
    let rules = Rules { gateway: &config["gateway"], filter: &config["filter"] };
    SCOPES.contains(&scope) && Release::of(&rules).knows_scope(scope)
}

/// Whether the request upgrades to one of the Gateway's own sockets, where a scopes header is a literal cap.
pub fn is_own_socket(config: &Value, request: &Request) -> bool {
    let rules = Rules { gateway: &config["gateway"], filter: &config["filter"] };
    let headers = Headers::of(&request.headers);
    headers.is_upgrade() && path::is_own_socket(&rules, &headers.path())
}

/// The ruling of one rule.
enum Ruling {
    Pass,
    /// It passes, but the filter is permitted to refuse it with this code.
    PassUnlessStricter(&'static str),
    Refuse(String),
    /// Refused, unless WebSockets without a valid user are delegated to the Gateway.
    RefuseOrDelegate(String),
}

/// Refuses with `code` unless `fine`.
fn demand(fine: bool, code: &str) -> Ruling {
    if fine { Ruling::Pass } else { Ruling::Refuse(code.to_owned()) }
}

type Rule = fn(&Rules<'_>, &Request, &Headers, &mut Option<String>) -> Ruling;

/// Rules 1 to 10 in the order of section 3.
const RULES: [Rule; 13] = [
    peer_is_known,
    peer_is_a_proxy,
    loopback_is_allowed,
    peer_is_another_host,
    certificate_is_trusted,
    client_is_attributable,
    required_headers_are_there,
    required_values_are_right,
    user_is_there,
    identities_stand_once,
    assertion_agrees,
    user_is_allowed,
    origin_is_allowed,
];

/// Rule 0: only plain paths, and for upgrades only the entries with `ws:`.
fn is_anonymous(rules: &Rules<'_>, headers: &Headers) -> bool {
    let entries = match rules.filter.get("anonymousPaths") {
        Some(list) => texts(list),
        None => vec!["/health", "/healthz", "/ready", "/readyz", "/startup", "/startupz"],
    };
    let path = headers.path();
    path::is_plain(&path)
        && entries.iter().any(|entry| match entry.strip_prefix("ws:") {
            Some(upgrades) => headers.is_upgrade() && path::matches(upgrades, &path),
            None => !headers.is_upgrade() && path::matches(entry, &path),
        })
}

/// The peer's address, or the code that refuses the request (section 2).
fn peer(rules: &Rules<'_>, request: &Request) -> Result<Literal, &'static str> {
    let text = latin1(request.peer.as_deref().unwrap_or_default());
    if rules.filter["peerAddress"].is_object() { address::filter_state(&text) } else { address::connection(&text) }
}

/// The peer's identity, and whether it comes out of a filter state: the first of the sources that is there.
fn identity(rules: &Rules<'_>, request: &Request) -> Option<(String, bool)> {
    let certificate =
        || Some((request.uri_san.as_deref().map(latin1).unwrap_or_default(), false)).filter(|_| request.mtls);
    let Some(sources) = rules.filter["peerIdentity"].as_array() else { return certificate() };
    sources.iter().find_map(|source| match source["filterState"].as_str() {
        None => certificate(),
        Some(key) => request.filter_states.iter().find(|(name, _)| name == key).map(|(_, value)| (latin1(value), true)),
    })
}

/// Whether the peer is the end of a tunnel whose identity is enough: then it needs no address.
fn is_tunnel(rules: &Rules<'_>, request: &Request) -> bool {
    let asked = !rules.edge() && rules.filter["peerTrust"] == "certificate";
    asked && peer(rules, request).is_err() && identity(rules, request).is_some_and(|(_, by_state)| by_state)
}

/// Whether a text is one SPIFFE ID, by its standard.
fn is_spiffe_id(text: &str) -> bool {
    let named = |part: &str, upper: bool| {
        let may = |c: char| {
            c.is_ascii_lowercase() || c.is_ascii_digit() || ".-_".contains(c) || upper && c.is_ascii_uppercase()
        };
        !part.is_empty() && part.chars().all(may)
    };
    let Some((domain, path)) = text.strip_prefix("spiffe://").and_then(|rest| rest.split_once('/')) else {
        return false;
    };
    named(domain, false) && path.split('/').all(|part| named(part, true) && part != "." && part != "..")
}

/// Rule 1.
fn peer_is_known(rules: &Rules<'_>, request: &Request, _: &Headers, _: &mut Option<String>) -> Ruling {
    match peer(rules, request) {
        Ok(_) => Ruling::Pass,
        Err(_) if is_tunnel(rules, request) => Ruling::Pass,
        Err(code) => Ruling::Refuse(code.to_owned()),
    }
}

/// Rule 2.
fn peer_is_a_proxy(rules: &Rules<'_>, request: &Request, _: &Headers, _: &mut Option<String>) -> Ruling {
    let skipped = rules.edge() || rules.filter["peerTrust"] == "certificate";
    let listed = peer(rules, request).is_ok_and(|peer| address::listed(&rules.proxies(), peer));
    demand(skipped || listed, "trusted_proxy_untrusted_source")
}

/// Rule 3.
fn loopback_is_allowed(rules: &Rules<'_>, request: &Request, _: &Headers, _: &mut Option<String>) -> Ruling {
    let loopback = peer(rules, request).is_ok_and(Literal::is_loopback);
    demand(rules.edge() || !loopback || rules.allow_loopback(), "trusted_proxy_loopback_source")
}

/// Rule 3b.
fn peer_is_another_host(rules: &Rules<'_>, request: &Request, _: &Headers, _: &mut Option<String>) -> Ruling {
    if rules.edge() || !is_true(&rules.filter["rejectSameHost"]) || is_tunnel(rules, request) {
        return Ruling::Pass;
    }
    let own = address::destination(&latin1(request.destination.as_deref().unwrap_or_default()));
    let same = match (peer(rules, request), own) {
        (Ok(peer), Some(own)) => !peer.is_loopback() && peer.ip == own.ip,
        // Nothing shows that the peer is another host.
        (peer, _) => !peer.is_ok_and(Literal::is_loopback),
    };
    demand(!same, "trusted_proxy_local_interface_source")
}

/// Rule 4.
fn certificate_is_trusted(rules: &Rules<'_>, request: &Request, _: &Headers, _: &mut Option<String>) -> Ruling {
    let peers = texts(&rules.filter["trustedPeers"]);
    let listed = identity(rules, request)
        .is_some_and(|(name, by_state)| peers.contains(&name.as_str()) && (!by_state || is_spiffe_id(&name)));
    demand(rules.edge() || peers.is_empty() || listed, "trusted_proxy_peer_certificate")
}

/// Rule 5.
fn client_is_attributable(rules: &Rules<'_>, request: &Request, headers: &Headers, _: &mut Option<String>) -> Ruling {
    let required = match rules.filter["attribution"].as_str() {
        Some(word) => word == "required",
        None => Release::of(rules).wants_attribution(),
    };
    if !required {
        return Ruling::Pass;
    }
    // The Gateway skips its proxies even if the peer is one of them.
    let edge_client = || peer(rules, request).ok().filter(|peer| !address::listed(&all_proxies(rules), *peer));
    let client = if rules.edge() { edge_client() } else { forwarded_client(rules, headers) };
    demand(client.is_some_and(|client| !client.is_loopback()), "proxy_attribution_required")
}

/// Both lists of proxies: rule 5 skips the addresses in either.
fn all_proxies(rules: &Rules<'_>) -> Vec<String> {
    let mut all = rules.proxies();
    all.extend(rules.gateway_proxies());
    all
}

/// The client that the forwarded headers name: from the right, skipping loopback and both lists of proxies.
fn forwarded_client(rules: &Rules<'_>, headers: &Headers) -> Option<Literal> {
    let lists = all_proxies(rules);
    let chain = headers.joined("x-forwarded-for").unwrap_or_default();
    let named = chain
        .split(',')
        .filter_map(|entry| address::forwarded(&trim(entry)))
        .rfind(|hop| !hop.is_loopback() && !address::listed(&lists, *hop));
    if named.is_some() || !is_true(&rules.gateway["allowRealIpFallback"]) {
        return named;
    }
    address::forwarded(&trim(&headers.joined("x-real-ip")?))
}

/// Rule 6.
fn required_headers_are_there(rules: &Rules<'_>, _: &Request, headers: &Headers, _: &mut Option<String>) -> Ruling {
    for entry in rules.required_headers() {
        if !headers.is_present(entry) {
            return Ruling::RefuseOrDelegate(format!("trusted_proxy_missing_header_{entry}"));
        }
    }
    Ruling::Pass
}

/// Rule 6b.
fn required_values_are_right(rules: &Rules<'_>, _: &Request, headers: &Headers, _: &mut Option<String>) -> Ruling {
    let mut all: Vec<_> = rules.filter["requiredValues"].as_object().into_iter().flatten().collect();
    all.sort_by_key(|(name, _)| trim_configured(name).to_lowercase());
    for (name, entry) in all {
        let name = trim_configured(name);
        let digests: Vec<_> = texts(&entry["sha256"]).into_iter().map(str::to_lowercase).collect();
        let right = match &headers.copies(name)[..] {
            [value] if !value.is_empty() => digests.contains(&sha256(value)),
            _ => false,
        };
        if !right {
            return Ruling::Refuse(format!("trusted_proxy_header_value_{name}"));
        }
    }
    Ruling::Pass
}

/// The SHA-256 digest of a header's value, in hexadecimal.
fn sha256(value: &str) -> String {
    use sha2::Digest as _;
    let bytes: Vec<u8> = value.chars().filter_map(|c| u8::try_from(u32::from(c)).ok()).collect();
    sha2::Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Rule 7, which also determines the user.
fn user_is_there(rules: &Rules<'_>, request: &Request, headers: &Headers, user: &mut Option<String>) -> Ruling {
    if rules.identity_is_asserted() {
        *user = verified(request);
        return Ruling::Pass;
    }
    match headers.joined(rules.user_header()).map(|value| trim(&value)) {
        Some(value) if !value.is_empty() => {
            let prefix = rules.filter["userPrefix"].as_str().unwrap_or_default();
            *user = value.strip_prefix(prefix).map(trim).filter(|rest| !rest.is_empty());
            if user.is_none() {
                return Ruling::RefuseOrDelegate("trusted_proxy_user_malformed".to_owned());
            }
            Ruling::Pass
        }
        _ => Ruling::RefuseOrDelegate("trusted_proxy_user_missing".to_owned()),
    }
}

/// Rule 7b.
fn identities_stand_once(rules: &Rules<'_>, _: &Request, headers: &Headers, _: &mut Option<String>) -> Ruling {
    if !rules.identity_is_asserted() && headers.copies(rules.user_header()).len() > 1 {
        return Ruling::Refuse("trusted_proxy_user_repeated".to_owned());
    }
    let groups = rules.groups_header().map(|name| headers.copies(name)).unwrap_or_default();
    if groups.len() > 1 {
        return Ruling::Refuse("trusted_proxy_groups_repeated".to_owned());
    }
    let is_json = groups.iter().any(|value| trim(value).starts_with(['[', '{']));
    demand(!is_json, "trusted_proxy_groups_unreadable")
}

/// The identity that Envoy verified. It is `None` if no header could carry it or if it is not text.
fn verified(request: &Request) -> Option<String> {
    String::from_utf8(request.assertion.clone()?).ok()?;
    let identity = latin1(request.assertion.as_deref()?);
    let carried = !identity.chars().any(|c| c < ' ' || c == '\u{7F}') && trim(&identity) == identity;
    Some(identity).filter(|identity| carried && !identity.is_empty())
}

/// Rule 8.
fn assertion_agrees(rules: &Rules<'_>, request: &Request, _: &Headers, user: &mut Option<String>) -> Ruling {
    if !rules.filter["assertion"].is_object() {
        return Ruling::Pass;
    }
    let claims = rules.filter["assertion"]["requireTrue"].as_array().cloned().unwrap_or_default();
    let holds = |path: &Value| texts(path).last().is_some_and(|name| request.true_claims.iter().any(|one| one == name));
    match (verified(request), user) {
        (None, _) => Ruling::Refuse("trusted_proxy_assertion_missing".to_owned()),
        _ if !claims.iter().all(holds) => Ruling::Refuse("trusted_proxy_assertion_claim".to_owned()),
        // Nothing to compare: rule 7 has decided, and no identity is forwarded.
        (Some(_), None) => Ruling::Pass,
        (Some(identity), Some(user)) => demand(identity == *user, "trusted_proxy_assertion_mismatch"),
    }
}

/// Rule 9.
fn user_is_allowed(rules: &Rules<'_>, _: &Request, _: &Headers, user: &mut Option<String>) -> Ruling {
    let list = rules.trusted_proxy()["allowUsers"].as_array().cloned().unwrap_or_default();
    let Some(user) = user else { return Ruling::Pass };
    if list.is_empty() || list.iter().any(|entry| entry.as_str() == Some(user.as_str())) {
        Ruling::Pass
    } else {
        Ruling::RefuseOrDelegate("trusted_proxy_user_not_allowed".to_owned())
    }
}

/// Rule 10.
fn origin_is_allowed(rules: &Rules<'_>, _: &Request, headers: &Headers, _: &mut Option<String>) -> Ruling {
    match origin::judge(rules, headers) {
        origin::Judged::Passes => Ruling::Pass,
        origin::Judged::PassesUnlessStricter(code) => Ruling::PassUnlessStricter(code),
        origin::Judged::CrossSite => Ruling::Refuse("trusted_proxy_cross_site".to_owned()),
        origin::Judged::Fails => Ruling::Refuse(origin::NOT_ALLOWED.to_owned()),
    }
}
