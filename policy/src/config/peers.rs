//! Reads which peers may connect to this Envoy, and where their addresses come from (contract, section 2).

use hashbrown::HashSet;

use ipnet::IpNet;
use rustc_hash::FxBuildHasher;

use super::audit::Audit;
use super::json::Node;
use super::keys;
use super::proxies;
use super::reader::{Cursor, Reader};
use super::releases::{Gateway, MappedBlocks};
use crate::cidrs::{Cidrs, Entry};
use crate::policy::PeerAddress;

/// The proxies of rule 2, and the Gateway's own proxies if the filter has a list of its own.
pub(super) fn read_proxies(
    reader: &mut Reader,
    audit: &mut Audit,
    release: &Gateway,
    gateway: &Cursor<'_>,
    filter: &Cursor<'_>,
    may_be_empty: bool,
) -> (Cidrs, Cidrs) {
    let (theirs, ours) = (gateway.member("trustedProxies"), filter.member("trustedProxies"));
    let mut gateway_proxies = read_proxy_list(reader, &theirs);
    for (at, entry) in gateway_proxies.iter_mut().flatten() {
        read_mapped_block(reader, audit, release, &theirs, *at, entry);
    }
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
    let own = filter_proxies.as_ref().or(gateway_proxies.as_ref());
    for (at, entry) in own.into_iter().flatten() {
        audit.note_proxy(entry, || cursor.item(*at).path);
    }
    if own.is_some_and(|list| !list.is_empty() && list.iter().all(|(_, entry)| proxies::is_loopback(entry))) {
        audit.note_loopback_alone(&cursor.path);
    }
    for (cursor, list) in [(&theirs, &gateway_proxies), (&ours, &filter_proxies)] {
        let all = list.iter().flatten().find(|(_, entry)| proxies::is_everything(entry));
        if let Some((at, entry)) = all {
            audit.note_everything(cursor.item(*at).path, entry);
        }
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

/// Changes an IPv4-mapped block to what the Gateway's release reads it as.
fn read_mapped_block(
    reader: &mut Reader,
    audit: &mut Audit,
    release: &Gateway,
    list: &Cursor<'_>,
    at: usize,
    entry: &mut Entry,
) {
    let text = match list.node {
        Some(Node::List(items)) => items.get(at).and_then(Node::text).unwrap_or_default(),
        _ => "",
    };
    let Entry::Block(IpNet::V4(net)) = *entry else { return };
    if !text.contains(':') || net.prefix_len() == 32 {
        return;
    }
    match release.rules.mapped_blocks {
        MappedBlocks::Whole => {}
        MappedBlocks::First => {
            audit.note_mapped_block(&list.item(at).path, &release.name);
            *entry = Entry::Exact(net.addr().into());
        }
        MappedBlocks::Unknown => reader.error(
            &list.item(at),
            format!("{text:?} is an IPv4-mapped block, and it is not known how the Gateway {} reads it", release.name),
            format!("write it as IPv4, \"{net}\", here and in openclaw.json"),
        ),
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
            match filter_state_key(&key) {
                Some(key) => PeerAddress::FilterState(key.to_owned()),
                None => {
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

/// The key of a filter state. Paths of properties are separated by NULs, so it has none.
pub(super) fn filter_state_key<'n>(cursor: &Cursor<'n>) -> Option<&'n str> {
    match cursor.node {
        Some(Node::String(key)) if !key.is_empty() && !key.contains('\0') => Some(key),
        _ => None,
    }
}
