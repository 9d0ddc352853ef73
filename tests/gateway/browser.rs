//! Chromium in front of Envoy, the filter and, for the Control UI, a real Gateway: what people see. The screenshots
//! are kept in the build folder, under `screenshots/`.

use std::fs;
use std::net::TcpListener;
use std::path::PathBuf;

use harness::clients::{Client, Front, Kind, Over, SESSION};
use harness::echo::Echo;
use harness::envoy::{Source, eventually, root};
use harness::gateway::{self, Gateway, Relay, Session};
use harness::wire::{self, Connection};
use serde_json::{Value, json};

const NICK: Option<&str> = Some("nick@example.com");
const MALLORY: Option<&str> = Some("mallory@example.com");
const NOBODY: Option<&str> = None;
/// What the Control UI shows while it has no socket, once it has had one.
const RECONNECTING: &str = "Reconnecting…";
/// An origin that is not the page's.
const ELSEWHERE: &str = "https://claw.example.com";
/// The user who approves browsers, and whom the filter's policy does not list.
const ADMIN: &str = "admin@example.com";

#[test]
fn the_control_ui_connects_and_reports_when_its_next_socket_is_refused() {
    let config = json!({
        "auth": {"identityScopes": {ADMIN: ["operator.admin"]}},
        "controlUi": {"allowedOrigins": ["*"]},
    });
    let gateway = Gateway::start(&config, &Default::default());
    let relay = Relay::start(gateway.address()).unwrap();
    let mut front = Front::start(relay.address(), &json!({}), Over::Http2);
    let mut chromium = Client::start(Kind::Chromium, &front.certificate());

    // The setting, how the page was loaded (over TLS: HTTP/2), the card of the Control UI, and its raw error.
    let refusals = [
        ("close", "http", "Gateway unreachable", "(1008): proxy authentication required: trusted_proxy_user_missing"),
        ("close", "https", "Gateway unreachable", "(WebSocket 1006)"),
        ("http", "http", "Gateway unreachable", "(WebSocket 1006)"),
        ("delegate", "http", "Proxy authentication required", "unauthorized"),
        ("delegate", "https", "Proxy authentication required", "unauthorized"),
    ];
    for (setting, scheme, card, raw_error) in refusals {
        let mut policy = front.policy().clone();
        policy["filter"] = json!({"webSocketRefusal": setting});
        front.put_policy(policy);
        let page = format!("{}/", front.origin(scheme));
        assert_eq!(visit(&mut chromium, &page, NICK, DESKTOP, "light")["status"], 200);
        // The Gateway accepted the user. It must also know the browser, and the page keeps asking until somebody
        // approves it.
        look(&mut chromium, json!({"text": "Approve this browser"}));
        chromium.ask(&json!({"op": "signOut"}));
        let details = "[...document.querySelectorAll('details')].map(one => one.textContent).join()";
        let seen = look(
            &mut chromium,
            json!({"text": card, "screenshot": picture(&format!("control-ui-{setting}-{scheme}")), "probe": details}),
        );
        assert!(seen["found"].as_str().unwrap().contains(raw_error), "{setting}, {scheme}: {}", seen["found"]);
    }

    // A user who is not signed in gets no page from the Gateway, even if its service worker was installed before.
    for scheme in ["http", "https"] {
        let before = relay.count();
        let page = format!("{}/", front.origin(scheme));
        assert_eq!(visit(&mut chromium, &page, NOBODY, DESKTOP, "light")["status"], 401, "{scheme}");
        let workers = "navigator.serviceWorker.getRegistrations().then(all => all.length)";
        let seen = look(&mut chromium, json!({"text": "You are not signed in", "probe": workers}));
        // Chromium rejects a service worker from a server whose certificate it does not trust.
        assert_eq!(seen["found"], u8::from(scheme == "http"), "{scheme}: service workers");
        assert_eq!(relay.count(), before, "what is refused must not reach the Gateway");
    }

    let page = format!("{}/", front.origin("https"));
    visit(&mut chromium, &page, NICK, DESKTOP, "light");
    look(&mut chromium, json!({"text": "Approve this browser", "screenshot": picture("control-ui-approve")}));
    approve_browsers(&gateway, &front.origin("https"));
    // The page notices this on its own.
    look(&mut chromium, json!({"text": "Ask OpenClaw", "screenshot": picture("control-ui-connected")}));
    visit(&mut chromium, &format!("{}/settings/profile", front.origin("https")), NICK, DESKTOP, "light");
    look(&mut chromium, json!({"text": "nick@example.com", "screenshot": picture("control-ui-profile")}));
}

/// Approves all waiting browsers, as an operator who connects directly to the Gateway.
fn approve_browsers(gateway: &Gateway, origin: &str) {
    let headers = [("x-forwarded-user", ADMIN), ("x-forwarded-for", "203.0.113.8"), ("origin", origin)]
        .map(|(name, value)| (name.to_owned(), value.as_bytes().to_vec()));
    let mut session = Session::open(wire::open(gateway.address()).unwrap(), "/", &headers, &gateway::control_ui())
        .unwrap_or_else(|denied| panic!("{denied:?}"));
    let pending = session.call("device.pair.list", &json!({})).unwrap()["pending"].clone();
    for request in pending.as_array().unwrap() {
        session.call("device.pair.approve", &json!({"requestId": request["requestId"]})).unwrap();
    }
}

/// The sockets follow the policy while the page stays open.
#[test]
fn the_control_ui_tries_again_after_an_edit_closed_its_socket_and_a_reload_says_why() {
    let everyone = [NICK.unwrap(), ADMIN, "somebody@example.com"];
    let config = json!({
        "auth": {"identityScopes": {ADMIN: ["operator.admin"]}},
        "controlUi": {"allowedOrigins": ["*"]},
    });
    let gateway = Gateway::start(&config, &Default::default());
    let relay = Relay::start(gateway.address()).unwrap();
    let mut front = Front::start(relay.address(), &json!({}), Over::Http1);
    let with_users = |front: &Front, users: &[&str]| {
        let mut policy = front.policy().clone();
        policy["gateway"]["auth"]["trustedProxy"]["allowUsers"] = json!(users);
        policy
    };
    front.put_policy(with_users(&front, &everyone));
    let mut chromium = Client::start(Kind::Chromium, &front.certificate());
    visit(&mut chromium, &format!("{}/", front.origin("http")), NICK, DESKTOP, "light");
    look(&mut chromium, json!({"text": "Approve this browser"}));
    approve_browsers(&gateway, &front.origin("http"));
    look(&mut chromium, json!({"text": "Ask OpenClaw", "screenshot": picture("open-socket-before")}));

    let sockets = || relay.arrivals().iter().filter(|one| !one.values("upgrade").is_empty()).count();
    let closed = |front: &Front| {
        let name = "wasmcustom.openclaw_trusted_proxy.sockets.result=closed.reason=trusted_proxy_user_not_allowed";
        front.envoy().process().stat(name)
    };
    // An edit that does not concern the user. The page's socket is still open when the next edit closes it.
    let before = sockets();
    front.put_policy(with_users(&front, &everyone[..2]));
    look(&mut chromium, json!({"text": "Ask OpenClaw"}));
    front.put_policy(with_users(&front, &[ADMIN]));
    eventually("the page's socket to be closed", || closed(&front) == 1);
    // A page that was connected keeps what it shows, and tries again and again. It does not show the reason.
    let text = look(&mut chromium, json!({"text": RECONNECTING, "screenshot": picture("open-socket-removed")}));
    assert!(!text["text"].as_str().unwrap().contains("trusted_proxy"), "{text}");
    let refused = |line: &String| {
        line.contains("refused reason=trusted_proxy_user_not_allowed") && line.contains("method=GET path=/ user=")
    };
    eventually("the page to be refused", || front.envoy().lines(Source::Log).iter().any(refused));
    assert_eq!(sockets(), before, "neither before nor after it was closed did the page connect again");

    // It goes on by itself once the user is back.
    front.put_policy(with_users(&front, &everyone));
    eventually("the page to connect again", || sockets() > before);
    let gone = format!(
        "(async () => {{ while (document.body.innerText.includes('{RECONNECTING}')) {{ \
         await new Promise((done) => setTimeout(done, 50)); }} }})()"
    );
    look(&mut chromium, json!({"probe": gone}));
    look(&mut chromium, json!({"text": "Ask OpenClaw", "screenshot": picture("open-socket-back")}));

    // A reload shows the reason.
    front.put_policy(with_users(&front, &[ADMIN]));
    eventually("the page's socket to be closed", || closed(&front) == 2);
    let page = format!("{}/", front.origin("http"));
    assert_eq!(visit(&mut chromium, &page, NICK, DESKTOP, "light")["status"], 401);
    let reason = "trusted_proxy_user_not_allowed";
    look(&mut chromium, json!({"text": reason, "screenshot": picture("open-socket-reload")}));
}

#[test]
fn an_address_that_is_not_allowed_shows_the_control_uis_own_card_about_it() {
    let gateway = Gateway::start(&json!({"controlUi": {"allowedOrigins": [ELSEWHERE]}}), &Default::default());
    let relay = Relay::start(gateway.address()).unwrap();
    let mut front = Front::start(relay.address(), &json!({}), Over::Http1);
    let mut chromium = Client::start(Kind::Chromium, &front.certificate());
    let right = front.policy().clone();
    let mut wrong = right.clone();
    wrong["gateway"]["controlUi"]["allowedOrigins"] = json!([ELSEWHERE]);
    let mut refusing = wrong.clone();
    refusing["filter"]["crossSite"] = "refuse".into();

    // Who does not allow the address, the raw error on the card, and how many WebSockets reach the Gateway.
    let mut judged = 0;
    let by_filter = "origin not allowed: trusted_proxy_origin_not_allowed";
    let by_gateway = "origin not allowed (open the Control UI from the gateway host";
    let cases = [
        ("filter", &wrong, by_filter, false),
        ("filter-cross-site", &refusing, by_filter, false),
        ("gateway", &right, by_gateway, true),
    ];
    for (name, policy, raw_error, reaches) in cases {
        front.put_policy(policy.clone());
        for (window, size, scheme) in [("phone", PHONE, "http"), ("desktop", DESKTOP, "https")] {
            let context = format!("{name}, {window}, {scheme}");
            let before = relay.count();
            let page = format!("{}/", front.origin(scheme));
            assert_eq!(visit(&mut chromium, &page, NICK, size, "light")["status"], 200, "{context}");
            let details = "[...document.querySelectorAll('details')].map(one => one.textContent).join()";
            let file = picture(&format!("control-ui-origin-{name}-{window}"));
            let seen = look(
                &mut chromium,
                json!({"text": "Browser origin not allowed", "screenshot": file, "probe": details}),
            );
            let text = seen["text"].as_str().unwrap();
            assert!(text.contains("Add this browser origin to gateway.controlUi.allowedOrigins"), "{context}: {text}");
            assert!(seen["found"].as_str().unwrap().contains(raw_error), "{context}: {}", seen["found"]);
            // The scripts of the page carry its Origin. Nothing else that does reaches the Gateway.
            let arrivals = relay.arrivals().split_off(before);
            let (sockets, others): (Vec<_>, Vec<_>) =
                arrivals.iter().partition(|one| !one.values("upgrade").is_empty());
            assert_eq!(!sockets.is_empty(), reaches, "{context}: {sockets:?}");
            let with_origin: Vec<_> = others.into_iter().filter(|one| !one.values("origin").is_empty()).collect();
            // The browser keeps most files after the first visit.
            judged += with_origin.len();
            for one in with_origin {
                let is_file = one.path.starts_with("/assets/") || one.path.starts_with("/fonts/");
                assert!((is_file || one.path == "/manifest.webmanifest") && one.method == "GET", "{context}: {one:?}");
            }
        }
    }
    assert!(judged > 20, "{judged}");
}

/// A mark that is put into every part of a request that could be reflected.
const MARK: &str = "reflect-7f3a";
const DESKTOP: (u32, u32) = (1280, 800);
const PHONE: (u32, u32) = (390, 844);
/// The narrowest window that a page must fit (WCAG 2.2, 1.4.10), a phone, and a desktop.
const WINDOWS: [(&str, (u32, u32)); 3] = [("narrow", (320, 640)), ("phone", PHONE), ("desktop", DESKTOP)];

#[test]
fn a_refused_navigation_shows_a_page_that_everybody_can_read() {
    let echo = Echo::start().unwrap();
    let mut front = Front::start(echo.address(), &json!({}), Over::Http2);
    let mut chromium = Client::start(Kind::Chromium, &front.certificate());
    let probe = fs::read_to_string(root().join("tests/gateway/clients/page.js")).unwrap();
    let plain = front.policy().clone();
    let with = |place: &str, value: Value| {
        let mut policy = plain.clone();
        *policy.pointer_mut(place).unwrap() = value;
        policy
    };
    let missing = with("/gateway/auth/trustedProxy", {
        let mut auth = plain["gateway"]["auth"]["trustedProxy"].clone();
        auth["requiredHeaders"] = json!(["x-edge-secret"]);
        auth
    });
    let nobody_is_a_client = with("/gateway/trustedProxies", json!(["127.0.0.1", "203.0.113.0/24"]));
    let hidden = with("/filter", json!({"hideReasons": true}));

    let cases = [
        ("user-missing", &plain, NOBODY, 401, Some("trusted_proxy_user_missing".to_owned())),
        ("user-not-allowed", &plain, MALLORY, 401, Some("trusted_proxy_user_not_allowed".to_owned())),
        ("missing-header", &missing, NICK, 401, Some("trusted_proxy_missing_header".to_owned())),
        ("attribution", &nobody_is_a_client, NICK, 403, Some("proxy_attribution_required".to_owned())),
        ("hidden", &hidden, NOBODY, 401, None),
    ];
    for (name, policy, user, status, code) in cases {
        if front.policy() != policy {
            front.put_policy(policy.clone());
        }
        for (window, size) in WINDOWS {
            for scheme in ["light", "dark"] {
                let context = format!("{name}, {window}, {scheme}");
                let url = format!("{}/{MARK}/<b>{MARK}</b>?{MARK}=%3Cb%3E{MARK}#{MARK}", front.origin("https"));
                let answer = visit(&mut chromium, &url, user, size, scheme);
                check_answer(&answer, status, &context);
                let seen = look(
                    &mut chromium,
                    json!({"probe": probe, "screenshot": picture(&format!("refusal-{name}-{window}-{scheme}"))}),
                );
                check_page(&seen, code.as_deref(), scheme, &context);
            }
        }
    }
    assert_eq!(echo.requests(), 0, "what is refused must not reach the upstream");
}

/// Checks the status, the headers and the bytes of the page.
fn check_answer(answer: &Value, status: u16, context: &str) {
    assert_eq!(answer["status"], status, "{context}");
    let header = |name: &str| answer["headers"][name].as_str().unwrap_or_default().to_owned();
    assert_eq!(header("content-type"), "text/html; charset=utf-8", "{context}");
    assert_eq!(header("cache-control"), "no-store", "{context}");
    assert_eq!(header("x-content-type-options"), "nosniff", "{context}");
    assert_eq!(header("referrer-policy"), "no-referrer", "{context}");
    assert_eq!(!header("www-authenticate").is_empty(), status == 401, "{context}");
    let policy = header("content-security-policy");
    let mut directives: Vec<&str> = policy.split(';').map(str::trim).collect();
    let style = directives.iter().position(|one| one.starts_with("style-src 'sha256-")).expect(context);
    assert_eq!(directives.remove(style).split_whitespace().count(), 2, "one style sheet, by its hash: {policy}");
    directives.sort_unstable();
    assert_eq!(directives, ["base-uri 'none'", "default-src 'none'", "form-action 'none'", "frame-ancestors 'none'"]);
    let body = answer["body"].as_str().unwrap();
    assert!(body.len() < 4096, "{context}: {} bytes", body.len());
    for shown in [MARK, "mallory", "nick", "203.0.113.7", "127.0.0.1", "Chrome"] {
        assert!(!body.contains(shown), "{context}: the page shows {shown} of the request:\n{body}");
    }
}

/// Checks what the page shows, and how.
fn check_page(seen: &Value, code: Option<&str>, scheme: &str, context: &str) {
    let found = &seen["found"];
    assert_eq!((&found["doctype"], &found["compatMode"]), (&json!("html"), &json!("CSS1Compat")), "{context}");
    assert_eq!((&found["lang"], &found["mains"]), (&json!("en"), &json!(1)), "{context}");
    assert_eq!(found["headings"].as_array().unwrap()[0], "H1", "{context}");
    assert_eq!(found["headings"].as_array().unwrap().iter().filter(|one| *one == "H1").count(), 1, "{context}");
    assert!(!found["title"].as_str().unwrap().is_empty() && found["title"] == found["h1"], "{context}: {found}");
    let codes: Vec<&str> = found["code"].as_array().unwrap().iter().map(|one| one.as_str().unwrap()).collect();
    assert_eq!(codes, code.into_iter().collect::<Vec<_>>(), "{context}");

    let texts = found["texts"].as_array().unwrap();
    assert!(texts.len() >= 6, "{context}: {texts:?}");
    for text in texts {
        let number = |name: &str| text[name].as_f64().unwrap();
        assert_eq!(text["visible"], true, "{context}: {text}");
        assert!(number("contrast") >= 4.5, "{context}: hard to read: {text}");
        assert!(number("size") >= 13.0, "{context}: too small: {text}");
        assert!(number("right") <= found["width"].as_f64().unwrap(), "{context}: runs out of the window: {text}");
    }
    assert!(found["scrollWidth"].as_f64() <= found["width"].as_f64(), "{context}: the page scrolls sideways");
    let background: Vec<f64> =
        found["background"].as_array().unwrap().iter().map(|one| one.as_f64().unwrap()).collect();
    let is_dark = background[..3].iter().sum::<f64>() / 3.0 < 96.0;
    assert_eq!(is_dark, scheme == "dark", "{context}: {background:?}");

    // One request and one style sheet: nothing is executed or fetched, and the browser complains about nothing except
    // the status.
    assert_eq!((&found["scripts"], &found["loaded"]), (&json!(0), &json!([])), "{context}");
    assert_eq!(found["styled"].as_array().unwrap().len(), 1, "{context}");
    assert_eq!(seen["requests"].as_array().unwrap().len(), 1, "{context}: {}", seen["requests"]);
    for message in seen["console"].as_array().unwrap() {
        let text = message["text"].as_str().unwrap();
        assert!(
            text.starts_with("Failed to load resource: the server responded with a status of 40"),
            "{context}: {message}"
        );
    }
}

#[test]
fn whatever_is_no_navigation_gets_json_and_head_gets_no_body() {
    let echo = Echo::start().unwrap();
    let front = Front::start(echo.address(), &json!({}), Over::Http2);
    let reason = |body: &[u8]| {
        let body: Value = serde_json::from_slice(body).unwrap_or_default();
        body["error"]["reason"].as_str().unwrap_or_default().to_owned()
    };
    const HTML: &str = "text/html; charset=utf-8";
    const JSON: &str = "application/json; charset=utf-8";
    let of_chrome = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,image/apng,*/*;q=0.8";
    let of_firefox = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8";
    let cases = [
        ("GET", Some(of_chrome), HTML),
        ("GET", Some(of_firefox), HTML),
        ("POST", Some(of_chrome), HTML),
        ("HEAD", Some(of_chrome), HTML),
        ("GET", None, JSON),
        ("GET", Some("*/*"), JSON),
        ("GET", Some("application/json"), JSON),
        ("GET", Some("application/json, text/plain, */*"), JSON),
        ("GET", Some("image/avif,image/webp,image/apng,image/svg+xml,image/*,*/*;q=0.8"), JSON),
        ("POST", Some("*/*"), JSON),
        ("HEAD", None, JSON),
        ("HEAD", Some("*/*"), JSON),
    ];
    for (method, accept, expected) in cases {
        let mut headers = vec![("host", "claw.example.com"), ("connection", "close")];
        headers.extend(accept.map(|accept| ("accept", accept)));
        if method == "POST" {
            headers.push(("content-length", "0"));
        }
        let mut connection = Connection::open(front.envoy().address("http")).unwrap();
        connection.send(&wire::request(method, "/", &headers)).unwrap();
        let response = connection.response(method).unwrap();
        let context = format!("{method}, accept: {accept:?}: {response:?}");
        assert_eq!((response.status, response.header("content-type").as_deref()), (401, Some(expected)), "{context}");
        match (method, expected) {
            ("HEAD", _) => assert_eq!(connection.rest().unwrap(), b"", "{context}"),
            (_, HTML) => assert!(response.text().starts_with("<!doctype html>"), "{context}"),
            _ => assert_eq!(reason(&response.body), "trusted_proxy_user_missing", "{context}"),
        }
    }

    // A script on a page gets JSON from `fetch`.
    let mut chromium = Client::start(Kind::Chromium, &front.certificate());
    let origin = front.origin("https");
    let answer =
        chromium.ask(&json!({"op": "fetch", "page": format!("{origin}/health"), "url": format!("{origin}/v1/models")}));
    assert_eq!((&answer["status"], &answer["type"]), (&json!(401), &json!(JSON)), "{answer}");
    assert_eq!(reason(answer["body"].as_str().unwrap().as_bytes()), "trusted_proxy_user_missing", "{answer}");
    assert_eq!(echo.requests(), 1, "nothing but /health reaches the upstream");
}

/// A page of another site that shows what is at a path of the guarded origin, and a link to it.
struct OtherSite(TcpListener);

impl OtherSite {
    fn start(html: String) -> (Self, String) {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let accepting = listener.try_clone().unwrap();
        std::thread::spawn(move || {
            for stream in accepting.incoming().map_while(Result::ok) {
                let mut connection = Connection::new(stream);
                if !matches!(connection.head(), Ok(Some(_))) {
                    continue;
                }
                let head = "HTTP/1.1 200 OK\r\ncontent-type: text/html\r\nconnection: close";
                let answer = format!("{head}\r\ncontent-length: {}\r\n\r\n{html}", html.len());
                drop(connection.send(answer.as_bytes()));
            }
        });
        // To a browser, localhost is another site than 127.0.0.1.
        let page = format!("http://localhost:{}/", listener.local_addr().unwrap().port());
        (Self(listener), page)
    }
}

/// The login is ambient: the browser is signed in wherever it asks from, as in a tailnet or with a client certificate.
#[test]
fn another_site_uses_no_signed_in_browser_but_its_links_work() {
    let echo = Echo::start().unwrap();
    let filter = json!({"crossSite": "refuse", "upstreamUserHeader": "x-openclaw-user"});
    let mut front = Front::of_a_tailnet(echo.address(), &filter);
    let mut chromium = Client::start(Kind::Chromium, &front.certificate());
    let origin = front.origin("https");
    let parts = [
        format!("<img src='{origin}/seen/image'>"),
        format!("<script src='{origin}/seen/script'></script>"),
        format!("<link rel=stylesheet href='{origin}/seen/style'>"),
        format!("<iframe src='{origin}/seen/frame'></iframe>"),
        format!("<a id=link href='{origin}/seen/link'>a link</a>"),
    ];
    let (site, page) = OtherSite::start(format!("<!doctype html><title>other</title>{}", parts.concat()));
    let lines = |front: &Front, path: &str| -> Vec<Value> {
        let all = front.envoy().lines(Source::Access).into_iter().map(|line| serde_json::from_str(&line).unwrap());
        all.filter(|line: &Value| line["path"] == path).collect()
    };
    for (setting, passes) in [("refuse", false), ("allow", true)] {
        let mut policy = front.policy().clone();
        policy["filter"]["crossSite"] = json!(setting);
        if *front.policy() != policy {
            front.put_policy(policy);
        }
        let before =
            ["image", "script", "style", "frame", "link"].map(|one| lines(&front, &format!("/seen/{one}")).len());
        let answer = chromium.ask(&json!({"op": "visit", "url": page}));
        assert!(answer["error"].is_null(), "{answer}");
        for (one, before) in ["image", "script", "style", "frame"].into_iter().zip(before) {
            let path = format!("/seen/{one}");
            eventually("the line of a request", || lines(&front, &path).len() > before);
            let line = lines(&front, &path).pop().unwrap();
            let (status, reason) = if passes { (200, Value::Null) } else { (401, json!("trusted_proxy_cross_site")) };
            assert_eq!((&line["status"], &line["reason"]), (&json!(status), &reason), "{setting}: {line}");
            // It came with the user's login.
            let user = if passes { &line["admitted_user"] } else { &line["user"] };
            assert_eq!(*user, json!(NICK), "{setting}: {line}");
        }
        // A person who follows the link gets the page.
        look(&mut chromium, json!({"probe": "setTimeout(() => document.getElementById('link').click(), 100)"}));
        look(&mut chromium, json!({"text": "\"path\":\"/seen/link\""}));
        let line = lines(&front, "/seen/link").pop().unwrap();
        assert_eq!((&line["status"], &line["admitted_user"]), (&json!(200), &json!("nick@example.com")), "{line}");
        // And its own parts are its own.
        let own = "fetch('/seen/own').then((response) => response.status)";
        assert_eq!(look(&mut chromium, json!({"probe": own}))["found"], 200, "{setting}");
    }
    drop(site.0);
}

/// Opens a page in a window of this size, as a user or without one.
fn visit(chromium: &mut Client, url: &str, user: Option<&str>, (width, height): (u32, u32), scheme: &str) -> Value {
    let answer = chromium.ask(&json!({
        "op": "visit",
        "url": url,
        "cookie": user.map(|user| json!({"name": SESSION, "value": user})),
        "viewport": {"width": width, "height": height},
        "scheme": scheme,
    }));
    assert!(answer["error"].is_null(), "{url}: {answer}");
    answer
}

/// Waits until a text appears on the page, and inspects the page.
fn look(chromium: &mut Client, mut question: Value) -> Value {
    question["op"] = "look".into();
    let answer = chromium.ask(&question);
    assert!(answer["error"].is_null(), "looked for {}, and saw: {} {answer}", question["text"], answer["text"]);
    answer
}

/// The file for a screenshot.
fn picture(name: &str) -> PathBuf {
    let program = std::env::current_exe().unwrap();
    // A test runs from <build folder>/debug/deps.
    let folder = program.ancestors().nth(3).unwrap().join("screenshots");
    fs::create_dir_all(&folder).unwrap();
    folder.join(format!("{name}.png"))
}
