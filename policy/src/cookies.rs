//! Cookies that a login leaves behind, and that the Gateway must not see (`filter.removeCookies`).

use crate::headers::Headers;
use crate::text::{trim, trim_start};

/// The names of the cookies that the Gateway 2026.9.6 itself sets and reads; each starts with one of these: the tabs of
/// plugins (`src/gateway/control-ui-plugin-auth-cookie.ts`), and portals (`src/gateway/portals/portal-http-proxy.ts`).
pub(crate) const OF_THE_GATEWAY: [&str; 3] = ["__openclaw_plugin_tab_auth_", "openclaw_portal_", "oc_portal_"];

/// A set of cookie names, exact ones and prefixes. Case matters, as it does to browsers.
#[derive(Debug, Clone, Default)]
pub(crate) struct CookieNames {
    exact: Vec<Box<[u8]>>,
    prefixes: Vec<Box<[u8]>>,
}

impl CookieNames {
    /// Adds an entry: a name, or the start of names, followed by `*`.
    pub(crate) fn insert(&mut self, entry: &str) {
        match entry.strip_suffix('*') {
            Some(prefix) => self.prefixes.push(prefix.as_bytes().into()),
            None => self.exact.push(entry.as_bytes().into()),
        }
    }

    /// Whether there are no names.
    pub(crate) const fn is_empty(&self) -> bool {
        self.exact.is_empty() && self.prefixes.is_empty()
    }

    fn contains(&self, name: &[u8]) -> bool {
        self.exact.iter().any(|exact| **exact == *name) || self.prefixes.iter().any(|prefix| name.starts_with(prefix))
    }

    /// The value of the Cookie header without these cookies. The others keep their bytes and their order. `None` if no
    /// cookie has to go. Empty if none stays.
    pub(crate) fn remove_from(&self, headers: &Headers<'_>) -> Option<Vec<u8>> {
        let cookies = headers.joined(b"cookie")?;
        let goes = |pair: &&[u8]| self.contains(name(pair));
        let all = || cookies.split(|&byte| byte == b';');
        if !all().any(|pair| goes(&pair)) {
            return None;
        }
        if all().all(|pair| goes(&pair) || trim(pair).is_empty()) {
            return Some(Vec::new());
        }
        let kept = all().filter(|pair| !goes(pair)).collect::<Vec<_>>().join(&b';');
        Some(trim_start(&kept).to_vec())
    }
}

/// The name of one cookie, as the Gateway reads it. A cookie without a name has its whole text as one.
fn name(pair: &[u8]) -> &[u8] {
    trim(pair.split(|&byte| byte == b'=').next().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::headers::serialize;

    #[test]
    fn only_the_cookies_that_are_named_go_and_all_others_keep_their_bytes() {
        let mut names = CookieNames::default();
        ["IdToken", "_oauth2_proxy*"].iter().for_each(|entry| names.insert(entry));
        let cases: &[(&[&str], Option<&str>)] = &[
            (&[], None),
            (&[""], None),
            (&["a=1; b=2"], None),
            (&["idtoken=x; IdToken2=y; x_oauth2_proxy=z"], None),
            (&["IdToken=x"], Some("")),
            (&["IdToken=x; a=1"], Some("a=1")),
            (&["a=1; IdToken=x; b=\"2\";c = 3"], Some("a=1; b=\"2\";c = 3")),
            (&["a=1;IdToken=x"], Some("a=1")),
            (&["a=1;  IdToken = x ;b=2"], Some("a=1;b=2")),
            (&["_oauth2_proxy_0=p; _oauth2_proxy_1=q; _oauth2_proxy=r; z=;"], Some("z=;")),
            (&["IdToken"], Some("")),
            (&["IdToken=a=b; x==y"], Some("x==y")),
            (&["a=1", "IdToken=x", "b=2"], Some("a=1; b=2")),
            (&["IdToken=x", "IdToken=y"], Some("")),
            (&["a=IdToken; b=1, IdToken=x"], None),
            (&[" \u{a0}IdToken\t=x; a=1"], Some("a=1")),
            (&["; IdToken=x; "], Some("")),
        ];
        for (copies, expected) in cases {
            let headers: Vec<_> = copies.iter().map(|value| (b"cookie".to_vec(), latin1(value))).collect();
            let map = serialize(&headers);
            let kept = Headers::parse(&map).ok().and_then(|headers| names.remove_from(&headers));
            assert_eq!(kept, expected.map(latin1), "{copies:?}");
        }
    }

    fn latin1(text: &str) -> Vec<u8> {
        text.chars().filter_map(|c| u8::try_from(u32::from(c)).ok()).collect()
    }

    #[test]
    fn without_names_nothing_is_read() {
        let map = serialize(&[("cookie", "a=1")]);
        assert_eq!(Headers::parse(&map).ok().and_then(|headers| CookieNames::default().remove_from(&headers)), None);
    }
}
