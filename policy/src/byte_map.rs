//! Tables of texts: users, paths, origins, identities, names.

use std::hash::Hasher as _;
use std::ops::Deref;

use hashbrown::HashTable;
use rustc_hash::FxHasher;

use crate::text::same;

/// What is under each of many texts; compared byte for byte. A look-up costs the same however many there are.
///
/// The standard library's maps compare texts with `memcmp`, which WebAssembly has not. Who writes the configuration
/// can make texts collide, who sends requests cannot: those are only looked up.
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
    /// A table with room for this many.
    #[must_use]
    pub fn with_capacity(capacity: usize) -> Self {
        Self(HashTable::with_capacity(capacity))
    }

    /// Adds a text; false where it is there already, and then nothing changes.
    pub fn insert(&mut self, text: K, value: V) -> bool {
        let is_new = !self.contains(&text);
        if is_new {
            self.0.insert_unique(hash(&text), (text, value), |(known, _)| hash(known));
        }
        is_new
    }

    /// What is under a text.
    #[must_use]
    pub fn get(&self, text: &[u8]) -> Option<&V> {
        self.0.find(hash(text), |(known, _)| same(known, text)).map(|(_, value)| value)
    }

    /// Whether the text is there.
    #[must_use]
    pub fn contains(&self, text: &[u8]) -> bool {
        self.get(text).is_some()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What is under all of them, in no order.
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
