//! Headers whose values are compared with a secret (`filter.requiredValues`).

use std::hint::black_box;

use sha2::{Digest as _, Sha256};

/// A SHA-256 digest.
pub(crate) type Digest = [u8; 32];

/// What a header holds for the Gateway once its value was compared, if the Gateway requires the header.
pub(crate) const VERIFIED: &[u8] = b"verified";

/// A header that must hold one of a few secrets, of which only the digests are known.
#[derive(Debug, Clone)]
pub(crate) struct Secret {
    /// The header, spelled as configured.
    pub(crate) header: String,
    /// The same in lower case.
    pub(crate) name: Box<[u8]>,
    pub(crate) digests: Vec<Digest>,
    /// Whether the Gateway requires the header too (`requiredHeaders`).
    pub(crate) is_required: bool,
}

impl Secret {
    /// The index of the digest that a value has. The time that this takes does not depend on how much of a digest is
    /// right, or on which one is.
    pub(crate) fn find(&self, value: &[u8]) -> Option<usize> {
        let digest: Digest = Sha256::digest(value).into();
        let mut found = None;
        for (at, expected) in self.digests.iter().enumerate() {
            let differs = digest.iter().zip(expected).fold(0, |differs, (a, b)| black_box(differs | (a ^ b)));
            if differs == 0 {
                found = Some(at);
            }
        }
        found
    }
}

/// Reads the 64 hexadecimal digits of a digest.
pub(crate) fn parse(hex: &str) -> Option<Digest> {
    let mut digest = Digest::default();
    let (pairs, rest) = hex.as_bytes().as_chunks::<2>();
    if pairs.len() != digest.len() || !rest.is_empty() {
        return None;
    }
    for (byte, [high, low]) in digest.iter_mut().zip(pairs) {
        let digit = |hex: &u8| char::from(*hex).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
        *byte = digit(high)? << 4 | digit(low)?;
    }
    Some(digest)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// The digest of "abc" (FIPS 180-2, appendix B.1).
    const ABC: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

    #[test]
    fn a_value_is_known_by_its_digest_alone() {
        let digests = vec![[0; 32], parse(&ABC.to_uppercase()).unwrap()];
        let secret = Secret { header: "X".into(), name: (*b"x").into(), digests, is_required: false };
        assert_eq!(secret.find(b"abc"), Some(1));
        for other in [&b"ABC"[..], b"ab", b"abc ", b"", ABC.as_bytes()] {
            assert_eq!(secret.find(other), None, "{}", other.escape_ascii());
        }
    }

    #[test]
    fn a_digest_has_64_hexadecimal_digits() {
        assert!(parse(ABC).is_some());
        for other in ["", "ba78", &ABC[1..], &ABC.replace('b', "g"), &ABC.replacen("ba", "\u{e9}", 1)] {
            assert_eq!(parse(other), None, "{other}");
        }
    }
}
