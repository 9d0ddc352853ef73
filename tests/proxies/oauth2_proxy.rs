//! The real oauth2-proxy: the one that nginx, Caddy and Traefik ask, and the one that is the proxy itself.

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;

use harness::daemon::Daemon;
use harness::envoy::{eventually, root};
use harness::openid::{Browser, SECRET};
use serde_json::json;

use crate::place::{HOST, ORIGIN, Place, Seen};
use crate::visitor::Visitor;
use crate::{Front, HOW, check, check_browser, check_cookies, check_groups, put};

/// The start of the names of its cookies.
const COOKIE: &str = "_oauth2_proxy";

/// Runs it with a file of `envoy/proxies/oauth2-proxy/`, with more of its paths replaced, and with more arguments. It
/// also knows `nobody`, who signs in with a password, and has no address.
fn start(place: &Place, name: &str, more: &[(&str, &str)], arguments: &[&str]) -> Daemon {
    let folder = place.folder();
    let put_secret = |name: &str, text: &str| fs::write(folder.join(name), text).unwrap();
    put_secret("client-secret", SECRET);
    put_secret("cookie-secret", "0123456789abcdef0123456789abcdef");
    // The digest of `x`.
    put_secret("htpasswd", "nobody:{SHA}EfatjsUqKYSrqv18O1FlA3hcIHI=\n");
    let own = folder.to_str().unwrap();
    let secrets = ["client", "cookie"].map(|kind| format!("/etc/oauth2-proxy/{kind}-secret"));
    let places = secrets.each_ref().map(|secret| (secret.as_str(), secret.replace("/etc/oauth2-proxy", own)));
    let config =
        put(place, name, &[places.each_ref().map(|(from, to)| (*from, to.as_str())).as_slice(), more].concat());
    let program: PathBuf = root().join(".tools/cluster/oauth2-proxy/oauth2-proxy");
    let mut command = place.provider().known_to(&program);
    command.args(["--config", &config, "--htpasswd-file"]).arg(folder.join("htpasswd")).args(arguments);
    Daemon::start(&mut command, HOW)
}

/// Nick, eve and others, signed in by the forms of oauth2-proxy and of the provider.
fn sign_in(place: &Place, user_header: &'static str, asks_to_sign_in: u16, keeps_addresses: bool) -> Front {
    // The login ends on the page that was asked for.
    let signed_in = |login: &str, status: u16| {
        let mut visitor = Visitor::new(place);
        let seen = visitor.sign_in("/page?number=1", login);
        assert_eq!(seen.status, status, "{login}: {seen:?}");
        assert_eq!(seen.json()["path"].as_str(), (status == 200).then_some("/page?number=1"), "{login}: {seen:?}");
        visitor
    };
    let nick = signed_in("nick", 200);
    let to_provider = nick.redirects.iter().find(|url| url.path() == "/auth").expect("a redirect to the provider");
    let challenge = to_provider.query_pairs().find(|(name, _)| name == "code_challenge_method");
    assert_eq!(challenge.expect("PKCE").1, "S256", "{to_provider}");
    let mut nobody = Visitor::new(place);
    nobody.post("/oauth2/sign_in", &[("username", "nobody"), ("password", "x")]);
    assert!(nobody.cookies().contains(COOKIE), "{}", nobody.cookies());
    // The provider knows them; oauth2-proxy does not want them.
    for login in ["nick@example.org", "nobody"] {
        let mut refused = Visitor::new(place);
        refused.sign_in("/", login);
        assert!(refused.redirects.iter().any(|url| url.path() == "/oauth2/callback"), "{:?}", refused.redirects);
        assert!(!refused.cookies().contains(&format!("{COOKIE}=")), "{login}: {}", refused.cookies());
    }
    let nick = nick.cookies();
    let spoiled = format!("{}x", nick.strip_suffix('=').unwrap_or(&nick));
    Front {
        user_header,
        asks_to_sign_in,
        keeps_addresses,
        groupless: signed_in("nick-alone", 200).cookies(),
        eve: signed_in("eve", 401).cookies(),
        nameless: Some(nobody.cookies()),
        strangers: vec![String::new(), format!("{COOKIE}=mallory"), spoiled],
        nick,
    }
}

/// Signs out: the browser forgets the cookie, and is asked to sign in.
fn sign_out(place: &Place, asks_to_sign_in: u16) {
    let mut visitor = Visitor::new(place);
    assert_eq!(visitor.sign_in("/", "nick").status, 200);
    visitor.get("/oauth2/sign_out");
    assert!(!visitor.cookies().contains(&format!("{COOKIE}=")), "{}", visitor.cookies());
    let cookies = visitor.cookies();
    assert_eq!(place.get(&[("cookie", &cookies), ORIGIN]), Seen::Answered(asks_to_sign_in, None));
}

/// Sessions of a few seconds, and what a visitor gets whose session has expired.
const EXPIRES_SOON: &str = "--cookie-expire=5s";

fn expires(place: &Place, asks_to_sign_in: u16) {
    let mut visitor = Visitor::new(place);
    assert_eq!(visitor.sign_in("/", "nick").status, 200);
    // Whatever the browser does with its cookie, oauth2-proxy knows how old it is.
    let cookies = visitor.cookies();
    let asks = |seen: Seen| seen == Seen::Answered(asks_to_sign_in, None);
    eventually("the cookie to expire", || asks(place.get(&[("cookie", &cookies), ORIGIN])));
    assert!(asks(place.websocket(&[("cookie", &cookies), ORIGIN])));
}

/// The oauth2-proxy that another proxy asks.
pub struct Asked(#[allow(dead_code, reason = "it ends with this")] Daemon);

impl Asked {
    pub fn start(place: &Place) -> Self {
        Self::start_with(place, &[])
    }

    fn start_with(place: &Place, arguments: &[&str]) -> Self {
        let mut daemon = start(place, "oauth2-proxy/auth-request.cfg", &[], arguments);
        daemon.listens(SocketAddr::new("127.0.0.1".parse().unwrap(), 4180));
        Self(daemon)
    }

    pub fn sign_in(&self, place: &Place, user_header: &'static str, asks_to_sign_in: u16) -> Front {
        sign_in(place, user_header, asks_to_sign_in, false)
    }

    pub fn sign_out(&self, place: &Place, asks_to_sign_in: u16) {
        sign_out(place, asks_to_sign_in);
    }

    /// Starts again, with sessions that expire soon.
    pub fn expires(self, place: &Place, asks_to_sign_in: u16) {
        drop(self);
        let _again = Self::start_with(place, &[EXPIRES_SOON]);
        expires(place, asks_to_sign_in);
    }
}

/// Signs in from oauth2-proxy's own page.
pub fn sign_in_on_page(browser: &mut Browser, user: &str) {
    browser.submit("Sign in with");
    browser.sign_in(user);
}

fn in_front(arguments: &[&str]) -> (Place, Daemon) {
    let place = Place::with_provider("oauth2-proxy", "client_secret_basic");
    let folder = place.certificate();
    let tls = [("/etc/oauth2-proxy/tls", folder.to_str().unwrap())];
    let mut daemon = start(&place, "oauth2-proxy/oauth2-proxy.cfg", &tls, arguments);
    daemon.listens(place.proxy());
    (place, daemon)
}

#[test]
fn oauth2_proxy_in_front() {
    let (place, _daemon) = in_front(&[]);
    let front = sign_in(&place, "x-forwarded-email", 403, true);
    check(&place, &front);
    check_groups(&place, "x-forwarded-groups", &front, true);
    sign_out(&place, 403);
    let mut nick = Visitor::new(&place);
    assert_eq!(nick.sign_in("/", "nick").header("gap-auth").as_deref(), Some("nick@example.com"));
    // Nobody but the browser is told that it signed out: a copy of the cookie is good until it expires.
    assert!(matches!(place.get(&[("cookie", &front.nick), ORIGIN]), Seen::Arrived(_)));
}

#[test]
fn a_session_of_oauth2_proxy_that_is_longer_than_a_cookie_ends_at_the_filter() {
    let (place, _daemon) = in_front(&[]);
    let mut visitor = Visitor::new(&place);
    assert_eq!(visitor.sign_in("/", "nick-busy").status, 200);
    let cookies = visitor.cookies();
    for part in ["_oauth2_proxy_0=", "_oauth2_proxy_1="] {
        assert!(cookies.contains(part), "{cookies}");
    }
    check_cookies(&place, &cookies, "/oauth2/start", "_oauth2_proxy_csrf=");
}

#[test]
fn a_cookie_of_oauth2_proxy_that_expired_is_asked_to_sign_in() {
    let (place, _daemon) = in_front(&[EXPIRES_SOON]);
    expires(&place, 403);
}

#[test]
fn oauth2_proxy_in_front_with_a_browser() {
    let (place, _daemon) = in_front(&[]);
    let mut browser = check_browser(&place, sign_in_on_page);

    // A socket that is open when its page signs out stays open: the filter is not told.
    browser.evaluate(&format!(
        "new Promise((done) => {{ kept = new WebSocket('wss://{HOST}/'); kept.onmessage = done; }}).then(() => 1)"
    ));
    let seen = browser.evaluate("fetch('/oauth2/sign_out', {redirect: 'manual'}).then(({ type }) => type)");
    assert_eq!(seen, "opaqueredirect");
    assert_eq!(browser.fetch(&json!({}))["status"], 403);
    assert_eq!(browser.websocket().map_err(|(code, _)| code), Err(1006), "the handshake is answered by oauth2-proxy");
    let echo = "new Promise((done) => { kept.onmessage = ({ data }) => done(data); kept.send('still'); })";
    assert_eq!(browser.evaluate(echo), "still");
}
