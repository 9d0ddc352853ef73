//! Managed header names, and what folds like one of them (contract, section 5).
#![forbid(unsafe_code)]

/// Identity headers of the proxies that people use; scrubbed unless the policy spares one.
const BUILT_IN: [&str; 9] = [
    "x-forwarded-user",
    "x-forwarded-email",
    "x-forwarded-groups",
    "x-forwarded-preferred-username",
    "x-forwarded-access-token",
    "remote-user",
    "remote-email",
    "remote-groups",
    "remote-name",
];

/// Identity headers of which only the beginning is known.
const BUILT_IN_PREFIXES: [&str; 10] = [
    "x-auth-request-",
    "x-pomerium-",
    "tailscale-",
    "cf-access-",
    "x-goog-authenticated-user-",
    "x-goog-iap-",
    "x-ms-client-principal",
    "x-amzn-oidc-",
    "x-webauth-",
    "x-authentik-",
];

/// The header that names the caller's scopes.
pub const SCOPES_HEADER: &str = "x-openclaw-scopes";

/// What the filter does with a header by its name alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// Not the filter's business: it stays byte for byte as it came.
    Foreign,
    /// A managed header or an alias of one: it goes.
    Scrubbed,
    /// A managed header that the policy spares where the request is admitted with an identity.
    Spared,
    /// The header that the user comes in, where it is another than the one that the user is stamped into.
    User,
    /// The header that the user is stamped into.
    UpstreamUser,
    /// [`SCOPES_HEADER`].
    Scopes,
}

/// One byte of a folded name: lower case, and everything outside `[a-z0-9]` is `-`.
const fn fold(byte: u8) -> u8 {
    match byte {
        b'a'..=b'z' | b'0'..=b'9' => byte,
        b'A'..=b'Z' => byte.to_ascii_lowercase(),
        _ => b'-',
    }
}

/// A whole name, folded.
#[must_use]
pub fn folded(name: &[u8]) -> Vec<u8> {
    name.iter().map(|&byte| fold(byte)).collect()
}

/// Whether two names fold alike.
#[must_use]
pub fn fold_alike(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && folds_to_start_with(a, b)
}

/// Whether `name`, folded, starts with `prefix`, folded.
fn folds_to_start_with(name: &[u8], prefix: &[u8]) -> bool {
    name.len() >= prefix.len() && name.iter().zip(prefix).all(|(&a, &b)| fold(a) == fold(b))
}

/// The managed names of one policy.
///
/// Every header of every request is looked up, and almost none is managed. Names are therefore told apart by their
/// length and third byte first: the first two are `x-` for most of them.
#[derive(Debug, Clone)]
pub struct Names {
    /// Names with a class of their own: the user, upstream user and scopes headers, and the spared ones.
    special: Vec<(Box<[u8]>, Class)>,
    /// Folded managed names by length; those that are longer than the table are in the last place.
    by_length: [Vec<Box<[u8]>>; LENGTHS],
    /// For each length a bit for each third byte, folded, that a managed name of that length can have.
    third_bytes: [u64; LENGTHS],
    /// The same for all prefixes.
    prefix_bytes: u64,
}

const LENGTHS: usize = 48;

/// The place of a length in the tables.
fn place(length: usize) -> usize {
    length.min(LENGTHS.saturating_sub(1))
}

/// The bit of a name's third byte; of a name that has none, that of `-`.
fn third_bit(name: &[u8]) -> u64 {
    match name.get(2).map_or(b'-', |&byte| fold(byte)) {
        letter @ b'a'..=b'z' => 1 << (letter.wrapping_sub(b'a')),
        digit @ b'0'..=b'9' => 1 << (digit.wrapping_sub(b'0').wrapping_add(26)),
        _ => 1 << 36,
    }
}

impl Names {
    /// The built-in names, and the policy's own.
    ///
    /// `spared` holds the names that stay with an admitted request, `stripped` those that are scrubbed besides the
    /// built-in ones. A name's case does not matter.
    #[must_use]
    pub fn new<'n>(
        user: &'n str,
        upstream_user: &'n str,
        spared: impl IntoIterator<Item = &'n str>,
        stripped: impl IntoIterator<Item = &'n str>,
    ) -> Self {
        let own = |name: &str| name.to_ascii_lowercase().into_bytes().into_boxed_slice();
        // The first entry of a name wins.
        let mut special = vec![
            (own(upstream_user), Class::UpstreamUser),
            (own(user), Class::User),
            (own(SCOPES_HEADER), Class::Scopes),
        ];
        special.extend(spared.into_iter().map(|name| (own(name), Class::Spared)));
        let mut by_length = [const { Vec::new() }; LENGTHS];
        let mut third_bytes = [0; LENGTHS];
        for name in BUILT_IN.into_iter().chain([user, upstream_user, SCOPES_HEADER]).chain(stripped) {
            let name = folded(name.as_bytes()).into_boxed_slice();
            let (names, bits) = (by_length.get_mut(place(name.len())), third_bytes.get_mut(place(name.len())));
            if let (Some(names), Some(bits)) = (names, bits)
                && !names.contains(&name)
            {
                *bits |= third_bit(&name);
                names.push(name);
            }
        }
        let mut prefix_bytes = 0;
        for prefix in BUILT_IN_PREFIXES {
            prefix_bytes |= third_bit(prefix.as_bytes());
            third_bytes.iter_mut().skip(place(prefix.len())).for_each(|bits| *bits |= third_bit(prefix.as_bytes()));
        }
        Self { special, by_length, third_bytes, prefix_bytes }
    }

    /// What becomes of a header of this name.
    #[must_use]
    pub fn class(&self, name: &[u8]) -> Class {
        let third = third_bit(name);
        if self.third_bytes.get(place(name.len())).is_none_or(|bits| bits & third == 0) || !self.is_managed(name, third)
        {
            return Class::Foreign;
        }
        self.special
            .iter()
            .find(|(special, _)| special.eq_ignore_ascii_case(name))
            .map_or(Class::Scrubbed, |&(_, class)| class)
    }

    /// Whether a name folds like a managed one.
    fn is_managed(&self, name: &[u8], third: u64) -> bool {
        let starts_alike = |prefix: &&str| folds_to_start_with(name, prefix.as_bytes());
        (self.prefix_bytes & third != 0 && BUILT_IN_PREFIXES.iter().any(starts_alike))
            || self.by_length.get(place(name.len())).is_some_and(|names| {
                // Names of one length mostly share their beginning (`x-forwarded-`): the last byte tells them apart.
                let last = name.last().map(|&byte| fold(byte));
                names.iter().any(|managed| managed.last().copied() == last && fold_alike(name, managed))
            })
    }
}

/// Headers that mean something else to HTTP, Envoy or the Gateway, and so can be neither a user header nor stripped.
#[must_use]
pub fn is_reserved(name: &str) -> bool {
    const EXACT: [&str; 25] = [
        "host",
        "origin",
        "authorization",
        "referer",
        "cookie",
        "forwarded",
        "x-forwarded-for",
        "x-forwarded-proto",
        "x-forwarded-host",
        "x-forwarded-port",
        "x-real-ip",
        "x-request-id",
        SCOPES_HEADER,
        // Hop by hop (RFC 9110, section 7.6.1, and its forerunners).
        "connection",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "trailers",
        "transfer-encoding",
        "upgrade",
        "http2-settings",
        "expect",
    ];
    const PREFIXES: [&str; 3] = ["x-envoy-", "sec-", "content-"];
    EXACT.iter().any(|reserved| fold_alike(name.as_bytes(), reserved.as_bytes()))
        || PREFIXES.iter().any(|prefix| folds_to_start_with(name.as_bytes(), prefix.as_bytes()))
}

/// Whether `name` is one of the built-in identity headers, or folds like one.
#[must_use]
pub fn is_built_in(name: &str) -> bool {
    BUILT_IN.iter().any(|managed| fold_alike(name.as_bytes(), managed.as_bytes()))
        || BUILT_IN_PREFIXES.iter().any(|prefix| folds_to_start_with(name.as_bytes(), prefix.as_bytes()))
}

/// Whether `name` can be a header's name: a token (RFC 9110, section 5.6.2).
#[must_use]
pub fn is_token(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_judged_by_what_it_folds_to() {
        let names = Names::new("X-User", "x-up", ["x-pomerium-jwt-assertion", "X-Forwarded-Proto"], ["X-Very-Own"]);
        let cases = [
            ("x-user", Class::User),
            ("X-USER", Class::User),
            ("x_user", Class::Scrubbed),
            ("x.user", Class::Scrubbed),
            ("x-up", Class::UpstreamUser),
            ("x~up", Class::Scrubbed),
            ("x-openclaw-scopes", Class::Scopes),
            ("x-openclaw_scopes", Class::Scrubbed),
            ("x-forwarded-user", Class::Scrubbed),
            ("x_forwarded_user", Class::Scrubbed),
            ("remote.groups", Class::Scrubbed),
            ("x-very-own", Class::Scrubbed),
            ("x-very-owns", Class::Foreign),
            ("x-pomerium-jwt-assertion", Class::Spared),
            ("x_pomerium-jwt-assertion", Class::Scrubbed),
            ("x-pomerium-", Class::Scrubbed),
            ("x-pomerium", Class::Foreign),
            ("X-Ms-Client-Principal", Class::Scrubbed),
            ("x-ms-client-principal-name", Class::Scrubbed),
            ("tailscale-user-login", Class::Scrubbed),
            ("tailscale_x", Class::Scrubbed),
            ("cf-access-jwt-assertion", Class::Scrubbed),
            ("x-auth-request-a-name-that-is-longer-than-the-table-of-lengths", Class::Scrubbed),
            ("x-forwarded-proto", Class::Foreign),
            ("x-forwarded-for", Class::Foreign),
            ("authorization", Class::Foreign),
            (":path", Class::Foreign),
            ("", Class::Foreign),
        ];
        for (name, expected) in cases {
            assert_eq!(names.class(name.as_bytes()), expected, "{name}");
        }
    }

    #[test]
    fn one_header_for_both_ends_is_stamped_in_place() {
        let names = Names::new("x-user", "X-User", [], []);
        assert_eq!(names.class(b"x-user"), Class::UpstreamUser);
    }

    #[test]
    fn reserved_names_are_reserved_in_every_spelling() {
        for name in
            ["Host", "x_forwarded_for", "X-Envoy-Peer", "sec-websocket-key", "content.type", "X_OpenClaw_Scopes", "te"]
        {
            assert!(is_reserved(name), "{name}");
        }
        for name in ["x-forwarded-user", "x-user", "hosts", "section"] {
            assert!(!is_reserved(name), "{name}");
        }
    }

    #[test]
    fn a_token_has_no_separators() {
        assert!(
            is_token("x-a_b.c!")
                && !is_token("")
                && !is_token(":path")
                && !is_token("a b")
                && !is_token("x\u{e9}")
                && !is_token("a,b")
        );
    }
}
