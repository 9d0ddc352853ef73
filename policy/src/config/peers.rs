//! Reads which peers may connect to this Envoy, and where their addresses come from (contract, section 2).

use hashbrown::HashSet;

use rustc_hash::FxBuildHasher;

use super::audit::Audit;
use super::json::Node;
use super::keys;
use super::proxies;
use super::reader::{Cursor, Reader};
use crate::cidrs::{Cidrs, Entry};
use crate::policy::{PeerAddress, TrustedPeers};

/// The proxies of rule 2, and the Gateway's own proxies if the filter has a list of its own.
pub(super) fn read_proxies(
    reader: &mut Reader,
    audit: &mut Audit,
    gateway: &Cursor<'_>,
    filter: &Cursor<'_>,
    may_be_empty: bool,
) -> (Cidrs, Cidrs) {
    let (theirs, ours) = (gateway.member("trustedProxies"), filter.member("trustedProxies"));
    let gateway_proxies = read_proxy_list(reader, &theirs);
    let filter_proxies = read_proxy_list(reader, &ours);
    let cursor = if ours.node.is_some() { &ours } else { &theirs };
    if !may_be_empty
        && matches!(cursor.node, None | Some(Node::List(_)))
        && !matches!(cursor.node, Some(Node::List(items)) if !items.is_empty())
    {
        reader.error(
            cursor,
            "names no proxy",
            "list the address of every proxy that connects to this Envoy, and nothing else",
        );
    }
    if let Some(proxies) = &filter_proxies {
        let theirs: HashSet<&Entry, FxBuildHasher> = gateway_proxies.iter().flatten().map(|(_, entry)| entry).collect();
        audit.note_own_proxies(proxies.iter().any(|(_, entry)| !theirs.contains(entry)));
    }
    for (at, entry) in filter_proxies.as_ref().or(gateway_proxies.as_ref()).into_iter().flatten() {
        audit.note_proxy(entry, || cursor.item(*at).path);
    }
    let count = |list: &Option<Vec<_>>| list.as_ref().map_or(0, Vec::len);
    audit.note_chain(count(&filter_proxies).max(count(&gateway_proxies)), may_be_empty);
    let set = |list: Option<Vec<(usize, Entry)>>| Cidrs::new(list.into_iter().flatten().map(|(_, entry)| entry));
    match filter_proxies {
        Some(proxies) => (set(Some(proxies)), set(gateway_proxies)),
        None => (set(gateway_proxies), Cidrs::default()),
    }
}

fn read_proxy_list(reader: &mut Reader, cursor: &Cursor<'_>) -> Option<Vec<(usize, Entry)>> {
    let entries = reader.strings(cursor)?;
    let mut list = Vec::with_capacity(entries.len());
    for (at, entry) in entries {
        match proxies::parse(entry) {
            Ok(entry) => list.push((at, entry)),
            Err(bad) => reader.error(&cursor.item(at), bad.problem, bad.remedy),
        }
    }
    Some(list)
}

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

pub(super) fn read_peer_address(reader: &mut Reader, cursor: &Cursor<'_>) -> PeerAddress {
    const WANTED: &str =
        "write \"connection\", or {\"filterState\": \"KEY\"} with the key under which Envoy stores the peer";
    match cursor.node {
        None => PeerAddress::Connection,
        Some(Node::String(text)) if text == keys::CONNECTION => PeerAddress::Connection,
        Some(Node::Object(_)) => {
            reader.known_keys(cursor, keys::PEER_ADDRESS_NAMES);
            let key = cursor.member("filterState");
            match key.node {
                // Property paths are separated by NULs.
                Some(Node::String(key)) if !key.is_empty() && !key.contains('\0') => {
                    PeerAddress::FilterState(key.clone())
                }
                _ => {
                    reader.error(&key, "does not name a filter state", WANTED);
                    PeerAddress::Connection
                }
            }
        }
        Some(node) => {
            reader.error(
                cursor,
                format!("is {}", node.text().map_or_else(|| node.kind().to_owned(), |text| format!("{text:?}"))),
                WANTED,
            );
            PeerAddress::Connection
        }
    }
}
