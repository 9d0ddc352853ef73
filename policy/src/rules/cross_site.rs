//! Requests without an Origin out of other web sites: what rule 10 asks where a login is ambient.
//!
//! Browsers send Origin with every POST, with CORS and with WebSockets, but not with the plain GET of an image, a
//! script or a frame. They name the site that it comes from in `Sec-Fetch-Site`.

use crate::path::PathSet;
use crate::request::Request;
use crate::text::trim;

/// The routes that the Gateway authorizes as reads of its Control UI. With `auth.allowTailscale`, a request for one of
/// these needs an origin that the list names, or `Sec-Fetch-Site: same-origin`.
#[derive(Debug, Clone)]
pub struct ControlUiReads {
    /// Paths that are read with GET or HEAD.
    pub(crate) paths: PathSet,
    /// The path of the assistant's media, which is also read with POST.
    pub(crate) media: Box<[u8]>,
}

impl ControlUiReads {
    /// Whether the Gateway authorizes this request as a read of the Control UI. The Gateway resolves paths that are not
    /// plain, so these can be any of its routes.
    pub(crate) fn cover(&self, request: &Request<'_>) -> bool {
        if request.is_upgrade() {
            return false;
        }
        let is_media = request.plain_path.is_none_or(|path| *path == *self.media);
        match request.method() {
            b"GET" | b"HEAD" => is_media || request.plain_path.is_some_and(|path| self.paths.contains(path)),
            b"POST" => is_media,
            _ => false,
        }
    }
}

/// Whether the request has a bearer token, as the Gateway reads it.
pub(crate) fn has_bearer(request: &Request<'_>) -> bool {
    const SCHEME: &[u8] = b"bearer ";
    let Some(value) = request.headers.joined(b"authorization") else { return false };
    let Some((scheme, token)) = trim(&value).split_at_checked(SCHEME.len()) else { return false };
    scheme.eq_ignore_ascii_case(SCHEME) && !trim(token).is_empty()
}

/// Whether the browser says that the request is from the Gateway's own origin, as the Gateway reads it.
pub(crate) fn is_same_origin(request: &Request<'_>) -> bool {
    request.headers.joined(b"sec-fetch-site").is_some_and(|value| trim(&value).eq_ignore_ascii_case(b"same-origin"))
}

/// Whether another web site makes the request (`crossSite: "refuse"`). A person who follows a link to the page itself
/// does not count.
pub(crate) fn is_cross_site(request: &Request<'_>) -> bool {
    let only = |name: &[u8]| {
        let mut copies = request.headers.copies(name);
        let first = copies.next().map(trim);
        if copies.next().is_some() { None } else { first }
    };
    if request.is_upgrade() || request.headers.copies(b"sec-fetch-site").next().is_none() {
        return false;
    }
    match only(b"sec-fetch-site") {
        Some(b"same-origin" | b"none") => false,
        Some(b"same-site" | b"cross-site") => {
            let is_navigation = matches!(request.method(), b"GET" | b"HEAD")
                && only(b"sec-fetch-mode") == Some(b"navigate")
                && only(b"sec-fetch-dest") == Some(b"document");
            !is_navigation
        }
        // Repeated, or of an unknown value.
        _ => true,
    }
}
