//! A map with byte strings as keys: users, paths, origins, identities, names.

use std::hash::Hasher as _;
use std::ops::Deref;

use hashbrown::HashTable;
use rustc_hash::FxHasher;

use crate::text::same;

/// A hash map from byte strings to values. Keys are equal if all of their bytes are. The cost of a look-up does not
/// depend on the number of entries.
///
/// The standard library's maps compare keys with `memcmp`, which WebAssembly does not have. The hash is not keyed: an
/// operator could write keys that collide, but a client cannot, because keys from requests are only looked up.
#[derive(Debug, Clone)]
pub struct ByteMap<V = (), K = Box<[u8]>>(HashTable<(K, V)>);

impl<V, K> Default for ByteMap<V, K> {
    fn default() -> Self {
        Self(HashTable::new())
    }
}

fn hash(text: &[u8]) -> u64 {
    let mut hasher = FxHasher::default();
    hasher.write(text);
    hasher.finish()
}

impl<V, K: Deref<Target = [u8]>> ByteMap<V, K> {
    /// An empty map with room for `capacity` entries.
    #[must_use]
    pub fn with_capacity(capacity: usize) -> Self {
        Self(HashTable::with_capacity(capacity))
    }

    /// Adds an entry. Returns false, and changes nothing, if the key is present already.
    pub fn insert(&mut self, text: K, value: V) -> bool {
        let is_new = !self.contains(&text);
        if is_new {
            self.0.insert_unique(hash(&text), (text, value), |(known, _)| hash(known));
        }
        is_new
    }

    /// The value of a key.
    #[must_use]
    pub fn get(&self, text: &[u8]) -> Option<&V> {
        self.0.find(hash(text), |(known, _)| same(known, text)).map(|(_, value)| value)
    }

    /// Whether the key is present.
    #[must_use]
    pub fn contains(&self, text: &[u8]) -> bool {
        self.get(text).is_some()
    }

    /// Whether the map has no entries.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// All keys, in no particular order.
    pub fn keys(&self) -> impl Iterator<Item = &[u8]> {
        self.0.iter().map(|(key, _)| &**key)
    }

    /// All values, in no particular order.
    pub fn values(&self) -> impl Iterator<Item = &V> {
        self.0.iter().map(|(_, value)| value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_spread_over_the_whole_table() {
        let hashes: std::collections::HashSet<_> = (0..10_000).map(|n| hash(format!("{n}").as_bytes())).collect();
        assert_eq!(hashes.len(), 10_000);
    }

    #[test]
    fn a_text_is_found_byte_for_byte_among_many() {
        let text = |n: u32| format!("user-{n}@example.com").into_bytes().into_boxed_slice();
        let mut texts = ByteMap::with_capacity(10);
        assert!(texts.is_empty() && !texts.contains(b""));
        for n in 0..10_000 {
            assert!(texts.insert(text(n), n), "{n} is new");
        }
        for n in 0..10_000 {
            assert_eq!(texts.get(&text(n)), Some(&n));
            assert!(!texts.contains(&text(n).to_ascii_uppercase()));
        }
        assert!(!texts.insert(text(7), 0));
        assert_eq!((texts.get(&text(7)), texts.values().count(), texts.is_empty()), (Some(&7), 10_000, false));
        assert!(!texts.contains(&text(10_000)) && !texts.contains(b""));
    }
}
