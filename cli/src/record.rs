//! The record of a request from which its decision can be made again: the format that `render envoy --record` prints,
//! and how `replay` reads it.
//!
//! The filter changes headers, and access logs are written after the filter. So a `set_filter_state` right before the
//! filter stores what the filter is about to see, as one JSON text, and the access log prints it. `%REQ(NAME)%` gives
//! only the first copy of a header; CEL gives all copies, joined with commas. Where the number of copies matters, both
//! are recorded: they are equal if there is one copy. For a required header, the record only says whether it is present
//! and not blank, because its value may be a secret.

use std::borrow::Cow;

use policy::headers::{FIRST_COPY_ONLY, serialize};
use policy::names::SCOPES_HEADER;
use policy::peer::socket_address;
use policy::{IdentitySource, Peer, PeerAddress, Policy, Request};
use serde::Deserialize;
use serde_json::{Map, Value, json};

/// The filter state that holds the record.
pub const STATE: &str = "openclaw.recorded";
/// The key of the record in a line of the access log.
pub const KEY: &str = "recorded";

/// Headers that are always recorded. Envoy itself joins their copies, or there is only one.
const ALWAYS: [&str; 4] = [":authority", "origin", "upgrade", "x-forwarded-for"];
const REAL_IP: &str = "x-real-ip";
/// What browsers say of the site that makes the request.
const SITES: [&str; 3] = ["sec-fetch-site", "sec-fetch-mode", "sec-fetch-dest"];

/// The value of a header that was recorded as present only.
pub const STAND_IN: &[u8] = b"recorded";
/// The SHA-256 digest of [`STAND_IN`].
const STAND_IN_DIGEST: &str = "3d96a458120e68868ccca6bad66be3fc8df4627a6b7372d69b98d3ba7688774d";

/// The configuration for records: secrets are not recorded, so a header that must hold one is right if it is present.
pub fn without_secrets(mut configuration: Value) -> Value {
    let secrets = configuration.pointer_mut("/filter/requiredValues").and_then(Value::as_object_mut);
    for secret in secrets.into_iter().flat_map(Map::values_mut) {
        *secret = json!({"sha256": [STAND_IN_DIGEST]});
    }
    configuration
}

/// What a policy reads from a request, in addition to what is always recorded.
#[derive(Debug, Clone)]
pub struct Inputs {
    /// The keys of filter states.
    state: Vec<String>,
    destination: bool,
    certificate: bool,
    /// The path in dynamic metadata.
    assertion: Option<Vec<String>>,
    /// The paths of claims that must be true.
    claims: Vec<Vec<String>>,
    real_ip: bool,
    /// Headers whose number of copies matters: user, groups, and what browsers say of the site that asks.
    counted: Vec<String>,
    /// Whether it matters that the request has a bearer token.
    bearer: bool,
    /// Headers that must be present. Those that must hold a secret count as right if they are.
    required: Vec<String>,
}

impl Inputs {
    /// What a policy reads, from the configuration that it was compiled from.
    pub fn of(configuration: &Value, policy: &Policy) -> Self {
        let at = |path: &str| configuration.pointer(path);
        // The configuration is valid: names are tokens, possibly with white space around them.
        let name = |value: &Value| {
            let token = value.as_str()?.trim_matches(|c: char| !c.is_ascii_graphic());
            Some(if token.eq_ignore_ascii_case("host") { ":authority".to_owned() } else { token.to_ascii_lowercase() })
        };
        let trusted = "/gateway/auth/trustedProxy";
        let user = at(&format!("{trusted}/userHeader")).and_then(name);
        let groups = at("/filter/scopes/groupsHeader").and_then(name);
        let tailscale = at("/gateway/auth/allowTailscale") == Some(&Value::Bool(true));
        let refuses = at("/filter/crossSite").is_some_and(|value| value == "refuse");
        let sites: &[&str] = match (refuses, tailscale) {
            (true, _) => &SITES,
            (false, true) => &SITES[..1],
            (false, false) => &[],
        };
        let sites = sites.iter().map(|name| (*name).to_owned());
        let required = at(&format!("{trusted}/requiredHeaders")).and_then(Value::as_array);
        let address = match policy.peer_address() {
            PeerAddress::Connection => None,
            PeerAddress::FilterState(key) => Some(key.clone()),
        };
        let identities = policy.identity_sources().iter().filter_map(|source| match source {
            IdentitySource::Certificate => None,
            IdentitySource::FilterState(key) => Some(key.clone()),
        });
        let mut required: Vec<_> = required.into_iter().flatten().filter_map(name).collect();
        for header in policy.secret_headers().map(str::to_ascii_lowercase) {
            if !required.contains(&header) {
                required.push(header);
            }
        }
        Self {
            state: address.into_iter().chain(identities).collect(),
            destination: policy.needs_destination(),
            certificate: policy.needs_certificate(),
            assertion: at("/filter/assertion/metadata").and_then(|path| serde_json::from_value(path.clone()).ok()),
            claims: at("/filter/assertion/requireTrue")
                .and_then(|paths| serde_json::from_value(paths.clone()).ok())
                .unwrap_or_default(),
            real_ip: at("/gateway/allowRealIpFallback") == Some(&Value::Bool(true)),
            counted: user.into_iter().chain(groups).chain(sites).collect(),
            bearer: tailscale,
            required,
        }
    }

    /// Required headers that are not recorded for another reason.
    fn only_required(&self) -> impl Iterator<Item = &String> {
        let known = |name: &str| {
            ALWAYS.contains(&name)
                || [SCOPES_HEADER, REAL_IP].contains(&name)
                || self.counted.iter().any(|other| other == name)
        };
        self.required.iter().filter(move |name| !known(name))
    }
}

/// The record of everything that these policies read, as Envoy's `json_format`, in the order in which it is written.
///
/// # Errors
/// A name that Envoy's format cannot contain: its path in the configuration, and the name.
pub fn format(all: &[Inputs]) -> Result<Vec<(&'static str, Value)>, (&'static str, String)> {
    const HEADERS: &str = "gateway.auth.trustedProxy";
    let fits = |place, name: &str| {
        let fits = name.bytes().all(|byte| byte.is_ascii_graphic() && !b"%':()\\\"".contains(&byte));
        if fits || name == ":authority" { Ok(()) } else { Err((place, name.to_owned())) }
    };
    let first = |name: &str| json!(format!("%REQ({})%", name.to_ascii_uppercase()));
    let joined = |name: &str| json!(format!("%CEL(request.headers['{name}'])%"));
    let mut headers: Map<_, _> = ALWAYS.iter().map(|name| ((*name).to_owned(), first(name))).collect();
    let mut copies: Map<_, _> =
        [SCOPES_HEADER, REAL_IP].iter().map(|name| ((*name).to_owned(), joined(name))).collect();
    for name in all.iter().flat_map(|inputs| &inputs.counted) {
        fits(HEADERS, name)?;
        headers.insert(name.clone(), first(name));
        copies.insert(name.clone(), joined(name));
    }
    let mut present = Map::new();
    for name in all.iter().flat_map(Inputs::only_required) {
        fits(HEADERS, name)?;
        // Node keeps only the first copy of some headers, so a second copy must not make up for a blank first one.
        let first_only = FIRST_COPY_ONLY.iter().any(|only| only.eq_ignore_ascii_case(name.as_bytes()));
        let not_blank = if first_only { "^[ \\t]*[^ \\t,]" } else { "[^ \\t]" };
        let there = format!("%CEL(request.headers['{name}'].matches('{not_blank}'))%");
        present.insert(name.clone(), json!(there));
    }
    let mut state = Map::new();
    for key in all.iter().flat_map(|inputs| &inputs.state) {
        fits("filter", key)?;
        state.insert(key.clone(), json!(format!("%FILTER_STATE({key}:PLAIN)%")));
    }
    let mut metadata = Map::new();
    for path in all.iter().flat_map(|inputs| inputs.assertion.iter().chain(&inputs.claims)) {
        path.iter().try_for_each(|part| fits("filter.assertion", part))?;
        let path = path.join(":");
        let value = json!(format!("%DYNAMIC_METADATA({path})%"));
        metadata.insert(path, value);
    }
    let mut format = vec![
        ("peer", json!("%CEL(source.address)%")),
        ("method", json!("%REQ(:METHOD)%")),
        // Without the query: it may contain secrets, and no rule reads it.
        ("path", json!("%PATH(NQ)%")),
        ("headers", headers.into()),
        ("copies", copies.into()),
    ];
    let more = [("present", present), ("state", state), ("metadata", metadata)];
    format
        .extend(more.into_iter().filter(|(_, fields)| !fields.is_empty()).map(|(name, fields)| (name, fields.into())));
    if all.iter().any(|inputs| inputs.bearer) {
        // Only the first copy counts. The token itself is not recorded.
        let bearer = "^[ \\t]*[Bb][Ee][Aa][Rr][Ee][Rr] [ \\t]*[^ \\t,]";
        format.push(("bearer", json!(format!("%CEL(request.headers['authorization'].matches('{bearer}'))%"))));
    }
    if all.iter().any(|inputs| inputs.destination) {
        format.push(("destination", json!("%CEL(destination.address)%")));
    }
    if all.iter().any(|inputs| inputs.certificate) {
        format.push(("mtls", json!("%CEL(connection.mtls)%")));
        format.push(("certificate", json!("%CEL(connection.uri_san_peer_certificate)%")));
    }
    Ok(format)
}

/// A record in a log.
#[derive(Debug, Default, Deserialize)]
pub struct Record<'a> {
    #[serde(borrow, default)]
    peer: Recorded<'a>,
    #[serde(borrow, default)]
    method: Recorded<'a>,
    #[serde(borrow, default)]
    path: Recorded<'a>,
    #[serde(borrow, default)]
    headers: Named<'a>,
    #[serde(borrow, default)]
    copies: Named<'a>,
    #[serde(borrow, default)]
    present: Named<'a>,
    #[serde(borrow, default)]
    state: Named<'a>,
    #[serde(borrow, default)]
    bearer: Recorded<'a>,
    #[serde(borrow, default)]
    destination: Recorded<'a>,
    #[serde(borrow, default)]
    mtls: Recorded<'a>,
    #[serde(borrow, default)]
    certificate: Recorded<'a>,
    #[serde(borrow, default)]
    metadata: Named<'a>,
}

/// One recorded value.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
enum Recorded<'a> {
    /// The record has no such field.
    #[default]
    Missing,
    /// The request had no such value.
    None,
    /// Text, where each character is one byte (Latin-1).
    Text(Cow<'a, str>),
    /// The boolean `true`.
    True,
    /// Any other value that is not text.
    Other,
}

impl<'a> Recorded<'a> {
    /// The bytes, if the request had the value.
    fn bytes(&self) -> Option<Cow<'_, [u8]>> {
        match self {
            Self::Text(text) => Some(bytes(text)),
            _ => None,
        }
    }

    /// The bytes, if the request had the value; an error if the record has no such field.
    fn known(&self, field: &str) -> Result<Option<Cow<'_, [u8]>>, Unjudged> {
        if *self == Self::Missing { Err(Unjudged::Lacks(field.to_owned())) } else { Ok(self.bytes()) }
    }
}

struct Visitor;

impl<'de> serde::de::Visitor<'de> for Visitor {
    type Value = Recorded<'de>;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a recorded value")
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(Recorded::None)
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(Recorded::Text(Cow::Borrowed(text)))
    }

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Recorded::Text(Cow::Owned(text.to_owned())))
    }

    fn visit_bool<E>(self, value: bool) -> Result<Self::Value, E> {
        Ok(if value { Recorded::True } else { Recorded::Other })
    }

    fn visit_f64<E>(self, _: f64) -> Result<Self::Value, E> {
        Ok(Recorded::Other)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Self::Value, E> {
        Ok(Recorded::Other)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Self::Value, E> {
        Ok(Recorded::Other)
    }

    fn visit_seq<A: serde::de::SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
        while items.next_element::<serde::de::IgnoredAny>()?.is_some() {}
        Ok(Recorded::Other)
    }

    fn visit_map<A: serde::de::MapAccess<'de>>(self, mut entries: A) -> Result<Self::Value, A::Error> {
        while entries.next_entry::<serde::de::IgnoredAny, serde::de::IgnoredAny>()?.is_some() {}
        Ok(Recorded::Other)
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Recorded<'a> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Visitor)
    }
}

/// Recorded values by name. There are only a few, so a list will do.
#[derive(Debug, Default)]
struct Named<'a>(Vec<(Cow<'a, str>, Recorded<'a>)>);

impl<'a> Named<'a> {
    fn get(&self, name: &str) -> &Recorded<'a> {
        self.0.iter().find(|(other, _)| other == name).map_or(&Recorded::Missing, |(_, value)| value)
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Named<'a> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Names;
        impl<'de> serde::de::Visitor<'de> for Names {
            type Value = Named<'de>;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: serde::de::MapAccess<'de>>(self, mut entries: A) -> Result<Self::Value, A::Error> {
                let mut all = Vec::new();
                while let Some((Name(name), value)) = entries.next_entry()? {
                    all.push((name, value));
                }
                Ok(Named(all))
            }
        }
        deserializer.deserialize_map(Names)
    }
}

/// A key. Serde borrows a `Cow` only with this attribute.
#[derive(Deserialize)]
struct Name<'a>(#[serde(borrow)] Cow<'a, str>);

/// Why a request cannot be judged.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Unjudged {
    /// The policy reads a field that the record does not have.
    Lacks(String),
    /// The number of copies of this header is unclear.
    UnclearCopies(String),
    /// The record itself cannot be read.
    Unreadable,
}

/// Envoy writes bytes that are not UTF-8 as one `\u00..` each, and everything else unchanged. This turns every other
/// byte into such a character too, so that each character of each text is one byte.
pub fn as_latin1(text: &str) -> Cow<'_, str> {
    if text.is_ascii() { Cow::Borrowed(text) } else { Cow::Owned(text.bytes().map(char::from).collect()) }
}

/// The bytes of a text in which each character is one byte.
fn bytes(text: &str) -> Cow<'_, [u8]> {
    if text.is_ascii() {
        return Cow::Borrowed(text.as_bytes());
    }
    // Other characters cannot come from Envoy. In a header they would be their bytes in UTF-8.
    let mut bytes = Vec::with_capacity(text.len());
    for c in text.chars() {
        match u8::try_from(u32::from(c)) {
            Ok(byte) => bytes.push(byte),
            Err(_) => bytes.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
    Cow::Owned(bytes)
}

impl<'a> Record<'a> {
    /// Reads a record from a text that went through [`as_latin1`].
    ///
    /// # Errors
    /// If the text is not a record.
    pub fn read(text: &'a str) -> Result<Self, Unjudged> {
        // Serde would also accept a list of the fields in order.
        let object = Some(text).filter(|text| text.trim_ascii_start().starts_with('{'));
        object.and_then(|text| serde_json::from_str(text).ok()).ok_or(Unjudged::Unreadable)
    }

    /// The peer as it was recorded.
    pub fn peer(&self) -> Cow<'_, [u8]> {
        self.peer.bytes().unwrap_or_default()
    }

    /// The peer's address, from where the policy reads it.
    fn peer_for(&self, policy: &Policy) -> Result<Peer, Unjudged> {
        Ok(match policy.peer_address() {
            PeerAddress::Connection => Peer::from_connection(&self.peer.known("peer")?.unwrap_or_default()),
            PeerAddress::FilterState(key) => {
                Peer::from_filter_state(&self.state.get(key).known(&format!("state.{key}"))?.unwrap_or_default())
            }
        })
    }

    /// The peer's identity, if this source had one.
    fn identity(&self, source: &IdentitySource) -> Result<Option<Cow<'_, [u8]>>, Unjudged> {
        match source {
            IdentitySource::Certificate => {
                let is_mutual = self.mtls.known("mtls")?.as_deref() == Some(b"true");
                let name = self.certificate.known("certificate")?;
                Ok(is_mutual.then(|| name.unwrap_or_default()))
            }
            IdentitySource::FilterState(key) => self.state.get(key).known(&format!("state.{key}")),
        }
    }

    /// The headers that the policy reads, with the values that matter to it.
    fn headers(&self, inputs: &'a Inputs) -> Result<Vec<(&'a str, Cow<'_, [u8]>)>, Unjudged> {
        let mut headers: Vec<(&str, Cow<'_, [u8]>)> = Vec::with_capacity(12);
        headers.extend(self.method.known("method")?.map(|value| (":method", value)));
        headers.extend(self.path.known("path")?.map(|value| (":path", value)));
        for name in ALWAYS {
            headers.extend(self.headers.get(name).known(&format!("headers.{name}"))?.map(|value| (name, value)));
        }
        let joined = |name: &str| self.copies.get(name).known(&format!("copies.{name}"));
        headers.extend(joined(SCOPES_HEADER)?.map(|value| (SCOPES_HEADER, value)));
        if inputs.real_ip {
            headers.extend(joined(REAL_IP)?.map(|value| (REAL_IP, value)));
        }
        for name in &inputs.counted {
            let first = self.headers.get(name).known(&format!("headers.{name}"))?;
            match (first, joined(name)?) {
                (None, None) => {}
                (Some(first), Some(all)) if first == all => headers.push((name, first)),
                (Some(first), Some(all)) => {
                    let rest = all.strip_prefix(&*first).and_then(|rest| rest.strip_prefix(b","));
                    let rest = rest.ok_or_else(|| Unjudged::UnclearCopies(name.clone()))?.to_vec();
                    headers.extend([(name.as_str(), first), (name.as_str(), Cow::Owned(rest))]);
                }
                _ => return Err(Unjudged::UnclearCopies(name.clone())),
            }
        }
        if inputs.bearer && self.bearer.known("bearer")?.as_deref() == Some(b"true") {
            headers.push(("authorization", Cow::Borrowed(b"Bearer recorded")));
        }
        for name in inputs.only_required() {
            headers.extend(self.stand_in(name)?.map(|value| (name.as_str(), value)));
        }
        Ok(headers)
    }

    /// A stand-in value for a header that only has to be present and not blank.
    fn stand_in(&self, name: &str) -> Result<Option<Cow<'_, [u8]>>, Unjudged> {
        match self.present.get(name) {
            Recorded::Text(text) if text == "true" => Ok(Some(Cow::Borrowed(STAND_IN))),
            Recorded::Text(_) | Recorded::None | Recorded::True | Recorded::Other => Ok(None),
            // It may have been recorded by value for another policy.
            Recorded::Missing => self.copies.get(name).known(&format!("present.{name}")),
        }
    }

    /// Has the policy with these inputs judge the request.
    ///
    /// # Errors
    /// If the record lacks something that the policy reads.
    pub fn judge<T>(
        &'a self,
        policy: &Policy,
        inputs: &'a Inputs,
        judge: impl FnOnce(&Request<'_>) -> T,
    ) -> Result<T, Unjudged> {
        let peer = self.peer_for(policy)?;
        let map = serialize(&self.headers(inputs)?);
        let mut request = policy.read(peer, &map).map_err(|_| Unjudged::Unreadable)?;
        if inputs.destination {
            request.destination = self.destination.known("destination")?.as_deref().and_then(socket_address);
        }
        let mut identity = None;
        for source in policy.identity_sources() {
            if let Some(value) = self.identity(source)? {
                identity = Some((source, value));
                break;
            }
        }
        request.identity = identity.as_ref().map(|(source, value)| source.of(value));
        let assertion = match &inputs.assertion {
            None => None,
            Some(path) => {
                let path = path.join(":");
                self.metadata.get(&path).known(&format!("metadata.{path}"))?
            }
        };
        request.assertion = assertion.as_deref();
        request.claims_are_true = true;
        for path in &inputs.claims {
            let path = path.join(":");
            let claim = self.metadata.get(&path);
            claim.known(&format!("metadata.{path}"))?;
            request.claims_are_true &= *claim == Recorded::True;
        }
        Ok(judge(&request))
    }
}
