//! The page that a browser shows for a refused navigation (contract, section 6).
//!
//! It has no script, no external resources, and no part of the request.

use crate::reason::{Reason, Refusal};
use crate::request::Request;
use crate::text::trim;

/// Headers that only the page has. The content security policy allows the style sheet below, by its hash, and nothing
/// else.
pub(super) const HEADERS: [(&str, &[u8]); 4] = [
    ("content-type", b"text/html; charset=utf-8"),
    (
        "content-security-policy",
        b"default-src 'none'; style-src 'sha256-f4o1Fwo3aCa81LXGk+qmrylK1u5IjP/c2ySWJwAdGu4='; base-uri 'none'; \
          form-action 'none'; frame-ancestors 'none'",
    ),
    ("referrer-policy", b"no-referrer"),
    ("x-content-type-options", b"nosniff"),
];

const STYLE: &str = "\
:root{color-scheme:light dark;--page:#f4f5f7;--card:#fff;--text:#1d2127;--soft:#535b66;--line:#d8dce2;--mark:#b3261e;--link:#0b57d0}\n\
@media (prefers-color-scheme:dark){:root{--page:#14171b;--card:#1e2228;--text:#eceef1;--soft:#aab2bd;--line:#363c45;--mark:#ff8a80;--link:#a8c7fa}}\n\
*{box-sizing:border-box}\n\
body{margin:0;min-height:100vh;min-height:100dvh;display:grid;place-items:center;padding:1.25rem;background:var(--page);color:var(--text);font:1rem/1.55 system-ui,sans-serif}\n\
main{max-width:36rem;width:100%;padding:2rem;background:var(--card);border:1px solid var(--line);border-top:4px solid var(--mark);border-radius:.6rem}\n\
h1{margin:0 0 .75rem;font-size:1.6rem;line-height:1.25;text-wrap:balance}\n\
h2{margin:1.75rem 0 .35rem;font-size:1rem}\n\
p{margin:0}\n\
a{color:var(--link)}\n\
.status{margin-bottom:.35rem;color:var(--mark);font-weight:600}\n\
.soft{color:var(--soft);font-size:.925rem}\n\
.code{margin-bottom:.35rem}\n\
code{font:1rem ui-monospace,monospace;overflow-wrap:anywhere;user-select:all}\n\
@media (max-width:30rem){main{padding:1.25rem}code{font-size:.875rem}}";

/// Whether the client prefers HTML to anything else, as browsers do when they navigate.
pub(super) fn is_wanted(request: &Request<'_>) -> bool {
    let Some(accept) = request.headers.joined(b"accept") else { return false };
    let (mut html, mut others, mut json) = (0, 0, 0);
    for range in accept.split(|&byte| byte == b',') {
        let mut parts = range.split(|&byte| byte == b';').map(trim);
        let media = parts.next().unwrap_or_default();
        let weight = parts
            .find_map(|part| part.strip_prefix(b"q=").or_else(|| part.strip_prefix(b"Q=")))
            .map_or(1000, thousandths);
        let best = match media {
            _ if media.eq_ignore_ascii_case(b"text/html") => &mut html,
            _ if media.eq_ignore_ascii_case(b"application/json") => &mut json,
            _ => &mut others,
        };
        *best = weight.max(*best);
    }
    html > json && html >= others
}

/// A weight such as `0.8` in thousandths (RFC 9110, section 12.4.2). Anything that is not a weight is 0.
fn thousandths(weight: &[u8]) -> u32 {
    match weight {
        [b'1'] | [b'1', b'.', ..] => 1000,
        [b'0', b'.', digits @ ..] if digits.len() <= 3 && digits.iter().all(u8::is_ascii_digit) => {
            let digit = |at: usize| digits.get(at).map_or(0, |digit| u32::from(digit.wrapping_sub(b'0')));
            digit(0).wrapping_mul(100).wrapping_add(digit(1).wrapping_mul(10)).wrapping_add(digit(2))
        }
        _ => 0,
    }
}

/// The page.
pub(super) fn render(refusal: &Refusal<'_>, hide_reason: bool) -> String {
    // What is hidden must not show in any other words either.
    let shown = if hide_reason { Reason::UntrustedSource } else { refusal.reason };
    let status = match shown.status() {
        403 => "403 Forbidden",
        _ => "401 Unauthorized",
    };
    let title = match shown {
        Reason::UserMissing | Reason::AssertionMissing => "You are not signed in",
        Reason::UserNotAllowed => "Your account has no access",
        _ => "You cannot come in this way",
    };
    let advice = shown.advice();
    let reason = if hide_reason {
        "<p class=\"soft\">The reason is in the log of the Envoy that guards this service.</p>".to_owned()
    } else {
        // Clients are not told which header is missing.
        let code = shown.code();
        format!(
            "<p class=\"code\"><code>{code}</code></p>\n<p class=\"soft\">This reason is also in the log of the Envoy \
             that guards this service, with the address that the request came from. The documentation of \
             openclaw-trusted-proxy says what to change.</p>"
        )
    };
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"robots\" content=\"noindex\">\n<title>{title}</title>\n<style>{STYLE}</style>\n</head>\n\
         <body>\n<main>\n<p class=\"status\">{status}</p>\n<h1>{title}</h1>\n\
         <p>Access to the OpenClaw Gateway at this address is restricted, and this request was refused.</p>\n\
         <h2>What you can do</h2>\n<p>{advice} <a href=\"\">Try again</a></p>\n\
         <h2>For the operator</h2>\n{reason}\n</main>\n</body>\n</html>\n"
    )
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::headers::serialize;
    use crate::names::Names;
    use crate::peer::Peer;

    #[test]
    fn the_page_is_for_browsers_that_navigate() {
        let wanted = |accepts: &[&str]| {
            let map = serialize(&accepts.iter().map(|accept| ("accept", accept)).collect::<Vec<_>>());
            is_wanted(&Request::read(&Names::default(), Peer::Unknown, &map).unwrap())
        };
        for accept in [
            "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8",
            "text/html",
            "TEXT/HTML ; charset=utf-8",
            "text/html;q=0.8, application/json;q=0.75",
            "text/html;q=1",
            "text/html;q=1.0, application/json;q=0.999",
            "application/json;q=0.09, text/html;q=0.1",
        ] {
            assert!(wanted(&[accept]), "{accept}");
        }
        for accept in [
            "*/*",
            "",
            "application/json",
            "application/json, text/plain, */*",
            "application/json, text/html",
            "text/html;q=0.5, */*",
            "text/html;q=0",
            "text/html;q=x",
            "text/html;q=0.12345",
            "text/*",
            "text/htmlx",
        ] {
            assert!(!wanted(&[accept]), "{accept}");
        }
        assert!(!wanted(&[]) && !wanted(&["text/html", "application/json"]));
    }

    #[test]
    fn every_page_is_small_and_says_its_code_once() {
        for reason in Reason::ALL {
            let header = (*reason == Reason::MissingHeader).then_some("x-&'edge");
            let refusal = Refusal { header, user: Some(b"<script>"), ..(*reason).into() };
            let page = render(&refusal, false);
            assert!(page.len() < 4096, "{reason:?}: {} bytes", page.len());
            assert_eq!(page.matches(reason.code()).count(), 1, "{reason:?}");
            assert!(!page.contains("<script") && !page.contains("http:") && !page.contains("url("), "{reason:?}");
            assert!(!render(&refusal, true).contains(reason.code()), "{reason:?} hidden");
            let (status, title) = match reason {
                Reason::AttributionRequired => ("403 Forbidden", "You cannot come in this way"),
                Reason::UserMissing | Reason::AssertionMissing => ("401 Unauthorized", "You are not signed in"),
                Reason::UserNotAllowed => ("401 Unauthorized", "Your account has no access"),
                _ => ("401 Unauthorized", "You cannot come in this way"),
            };
            assert!(page.contains(&format!(">{status}</p>")), "{reason:?}: {status}");
            assert!(page.contains(&format!("<h1>{title}</h1>")), "{reason:?}: {title}");
        }
    }
}
