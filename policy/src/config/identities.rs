//! Reads who the peer must be, and where its identity comes from (rule 4).

use super::audit::Audit;
use super::json::Node;
use super::keys;
use super::peers::filter_state_key;
use super::reader::{Cursor, Reader};
use crate::policy::{IdentitySource, TrustedPeers};

/// The identities that a peer's certificate may have, and whether a certificate is enough (rule 4).
pub(super) fn read_trusted_peers(
    reader: &mut Reader,
    audit: &mut Audit,
    filter: &Cursor<'_>,
    edge: bool,
) -> TrustedPeers {
    let (list_cursor, trust_cursor) = (filter.member("trustedPeers"), filter.member("peerTrust"));
    let mut peers = TrustedPeers::default();
    let entries = reader.strings(&list_cursor).unwrap_or_default();
    let is_empty = entries.is_empty();
    for (at, entry) in entries {
        let cursor = list_cursor.item(at);
        match check_identity(entry) {
            Ok(()) => {
                if let Some(doubt) = doubt_spiffe_id(entry) {
                    audit.note_useless(cursor.path, format!("{entry:?} {doubt}"));
                }
                peers.identities.insert(entry.as_bytes().into(), ());
            }
            Err(problem) => reader.error(
                &cursor,
                format!("{entry:?} {problem}"),
                "write one URI exactly as it is in the certificate, such as \"spiffe://cluster.local/ns/edge/sa/proxy\"",
            ),
        }
    }
    peers.sources = read_sources(reader, audit, &filter.member("peerIdentity"), is_empty || edge);
    peers.suffice = reader.choice(&trust_cursor, &keys::PEER_TRUSTS).unwrap_or(false);
    if peers.suffice && is_empty && list_cursor.node.is_none_or(|node| matches!(node, Node::List(_))) {
        reader.error(
            &trust_cursor,
            "is \"certificate\" without trustedPeers",
            "list in filter.trustedPeers the identity of every proxy that connects to this Envoy",
        );
    }
    if edge && !is_empty {
        audit.note_useless(list_cursor.path, "is not checked when filter.edge is true".to_owned());
    }
    audit.note_trusted_peers(&peers);
    peers
}

/// The word for the peer's certificate in `peerIdentity`.
const CERTIFICATE: &str = "certificate";

/// Where the peer's identity is read from. `is_unused` if no rule needs it.
fn read_sources(reader: &mut Reader, audit: &mut Audit, cursor: &Cursor<'_>, is_unused: bool) -> Vec<IdentitySource> {
    const WANTED: &str = "write [\"certificate\"], or list where the identity can be, such as [\"certificate\", {\"filterState\": \"io.istio.peer_principal\"}]";
    let items: &[Node] = match cursor.node {
        None => return vec![IdentitySource::Certificate],
        Some(Node::List(items)) => items,
        Some(node) => {
            reader.error(cursor, format!("is {}", node.kind()), WANTED);
            return Vec::new();
        }
    };
    if items.is_empty() {
        reader.error(cursor, "is empty", WANTED);
    }
    let mut sources = Vec::with_capacity(items.len());
    for (at, node) in items.iter().enumerate() {
        let item = Cursor { node: Some(node), ..cursor.item(at) };
        let Some(source) = read_source(reader, audit, &item, WANTED) else { continue };
        if sources.contains(&source) {
            reader.error(&item, "appears twice", "remove one of them");
        }
        sources.push(source);
    }
    if is_unused && sources != [IdentitySource::Certificate] {
        audit.note_useless(cursor.path.clone(), "is not read: no rule asks for the peer's identity".to_owned());
    }
    sources
}

fn read_source(reader: &mut Reader, audit: &mut Audit, item: &Cursor<'_>, wanted: &str) -> Option<IdentitySource> {
    match item.node? {
        Node::String(word) if word == CERTIFICATE => Some(IdentitySource::Certificate),
        Node::String(word) => {
            reader.error(item, format!("is {word:?}"), wanted);
            None
        }
        Node::Object(_) => {
            reader.known_keys(item, keys::PEER_ADDRESS_NAMES);
            let key = item.member("filterState");
            let Some(name) = filter_state_key(&key) else {
                reader.error(&key, "does not name a filter state", wanted);
                return None;
            };
            if name.starts_with("wasm.") {
                reader.error(&key, format!("{name:?} is what plugins write, during requests"), wanted);
            }
            audit.note_peer_identity(&key.path, name);
            Some(IdentitySource::FilterState(name.to_owned()))
        }
        node => {
            reader.error(item, format!("is {}", node.kind()), wanted);
            None
        }
    }
}

/// Checks that a text can be a URI SAN of a certificate, and names a single identity.
fn check_identity(text: &str) -> Result<(), &'static str> {
    let scheme = text.split_once(':').map_or("", |(scheme, _)| scheme);
    if text.is_empty() {
        Err("is blank")
    } else if !text.bytes().all(|byte| matches!(byte, 0x21..=0x7E)) {
        Err("has bytes that a URI cannot have")
    } else if text.contains('*') {
        Err("is a pattern, and identities are compared byte for byte")
    } else if !scheme.starts_with(|c: char| c.is_ascii_alphabetic())
        || !scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+.-".contains(&byte))
    {
        Err("is not a URI")
    } else {
        Ok(())
    }
}

/// Why a text is not a SPIFFE ID that an issuer would sign, if it looks like one (SPIFFE ID standard, section 2).
fn doubt_spiffe_id(text: &str) -> Option<&'static str> {
    if !text.get(..9).is_some_and(|start| start.eq_ignore_ascii_case("spiffe://")) {
        return None;
    }
    let (domain, path) = text.get(9..)?.split_once('/').unwrap_or((text.get(9..)?, ""));
    let is_domain = |text: &str| {
        !text.is_empty()
            && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'.' | b'-' | b'_'))
    };
    if !text.starts_with("spiffe://") {
        Some("has an upper-case scheme, and SPIFFE issuers write \"spiffe\"")
    } else if !is_domain(domain) {
        Some("has a trust domain that SPIFFE does not allow (lower-case letters, digits, \".\", \"-\", \"_\"; no port)")
    } else if path.is_empty() {
        Some("names a whole trust domain, and peers present an identity within one")
    } else if path.contains(['?', '#', '%']) || path.split('/').any(|part| matches!(part, "" | "." | "..")) {
        Some("has a path that SPIFFE does not allow")
    } else {
        None
    }
}
