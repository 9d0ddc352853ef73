//! The identity proxies of `envoy/proxies/`: real ones with exactly the files in that folder, and, for those that
//! cannot be installed, the headers that they are documented to send. In front of each: a browser. Behind each: a
//! real Envoy with the filter, and an echo server.

mod apache;
mod gateways;
mod oauth2_proxy;
mod oidc;
mod place;
mod replayed;
mod tokens;
mod visitor;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;

use harness::daemon::Daemon;
use harness::envoy::root;
use harness::openid::Browser;
use harness::wire::{Headers, values};
use oauth2_proxy::Asked;
use place::{BROWSER, HOST, ORIGIN, Place, Seen, file};
use replayed::table;
use serde_json::json;
use visitor::Visitor;

const HOW: &str = "run `make test-proxies`, which installs it";

/// What a proxy does, and the cookies by which it knows users.
struct Front {
    user_header: &'static str,
    /// The status that a stranger gets from the proxy.
    asks_to_sign_in: u16,
    /// It lets a client's own X-Real-IP through, and adds the client's address to a client's own X-Forwarded-For.
    keeps_addresses: bool,
    nick: String,
    /// Nick, in no group.
    groupless: String,
    eve: String,
    /// Signed in, without an address.
    nameless: Option<String>,
    strangers: Vec<String>,
}

/// The header that only the filter writes.
const OWN: &str = "x-openclaw-user";

/// Checks that the cookies of nick's session end at the filter, and so do those of a login that somebody began at this
/// path in another tab, and did not finish. Other cookies pass.
fn check_cookies(place: &Place, session: &str, begins: &str, begun_with: &str) {
    let mut begun = Visitor::new(place);
    begun.get(begins);
    assert!(begun.cookies().starts_with(begun_with), "{}", begun.cookies());
    let all = format!("first=1; {session}; {}; last=2", begun.cookies());
    for seen in [place.get(&[("cookie", &all), ORIGIN]), place.websocket(&[("cookie", &all), ORIGIN])] {
        let Seen::Arrived(upstream) = seen else { panic!("{seen:?}") };
        assert_eq!(values(&upstream, "cookie"), ["first=1; last=2"]);
        assert_eq!(values(&upstream, OWN), ["nick@example.com"]);
    }
}

/// Checks that hold behind every proxy.
fn check(place: &Place, front: &Front) {
    let user_header = front.user_header;
    let forged = [
        (user_header, "nick@example.com"),
        (OWN, "nick@example.com"),
        ("x-forwarded-for", "192.0.2.99"),
        ("x-webauth-user", "nick@example.com"),
    ];
    // The browser has a cookie of another application too.
    let with = |cookie: &str, more: &[(&str, &str)]| -> Vec<(String, String)> {
        let cookies = if cookie.is_empty() { "kept=1".to_owned() } else { format!("{cookie}; kept=1") };
        let own = [("cookie", cookies.as_str()), ORIGIN];
        own.iter().chain(more).map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    };
    let both = |headers: &[(String, String)]| {
        let headers: Vec<(&str, &str)> = headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        [place.get(&headers), place.websocket(&headers)]
    };
    let claim = (user_header, "nick@example.com");
    let assert_nick = |upstream: &Headers, is_websocket: bool, more: &[(&str, &str)]| {
        assert_eq!(values(upstream, OWN), ["nick@example.com"], "{more:?}");
        // The Gateway compares it with the origin.
        assert_eq!(values(upstream, "host"), [HOST], "{more:?}");
        let is_identity = |name: &str| name == user_header || policy::names::is_built_in(name);
        assert!(!upstream.iter().any(|(name, _)| is_identity(name)), "{upstream:?}");
        let sent = |name| more.iter().find(|(other, _)| *other == name).map(|(_, value)| *value);
        let clients = match sent("x-forwarded-for").filter(|_| front.keeps_addresses) {
            Some(own) => format!("{own}, {BROWSER}"),
            None => BROWSER.to_owned(),
        };
        assert_eq!(values(upstream, "x-forwarded-for"), [clients], "{more:?}");
        let real: Vec<&str> = sent("x-real-ip").into_iter().collect();
        let wrong = if front.keeps_addresses {
            values(upstream, "x-real-ip") != real
        } else {
            values(upstream, "x-real-ip").iter().any(|address| address != BROWSER)
        };
        assert!(!wrong, "{upstream:?}");
        let scopes: &[&str] = if is_websocket { &[] } else { &["operator.write"] };
        assert_eq!(values(upstream, "x-openclaw-scopes"), scopes, "{more:?}");
        assert_eq!(values(upstream, "cookie"), ["kept=1"], "the login's cookies end at the filter: {more:?}");
    };

    // Nick is always nick, with any additional headers, over HTTP and WebSocket.
    let every = of_every_proxy();
    let every: Vec<(&str, &str)> = every.iter().map(|(name, value)| (name.as_str(), *value)).collect();
    let lies: [&[(&str, &str)]; 5] = [
        &[],
        &[(user_header, "eve@example.com"), ("x-forwarded-for", "192.0.2.99"), ("x-webauth-user", "root")],
        &[(OWN, "eve@example.com"), ("x-real-ip", "192.0.2.99")],
        &[(user_header, "eve@example.com"), (user_header, "mallory@example.com")],
        &every,
    ];
    let mut arrived = Vec::new();
    for more in lies {
        for (seen, is_websocket) in both(&with(&front.nick, more)).into_iter().zip([false, true]) {
            let Seen::Arrived(upstream) = seen else { panic!("nick with {more:?}: {seen:?}") };
            assert_nick(&upstream, is_websocket, more);
            arrived.push((is_websocket, upstream));
        }
    }
    // Other spellings of the same names are dropped by the proxy, or refused by Envoy.
    for name in [user_header, OWN, "x-openclaw-scopes"] {
        let spelled = name.replace('-', "_");
        let value = if name.ends_with("scopes") { "operator.admin" } else { "eve@example.com" };
        let more = [(spelled.as_str(), value)];
        for (seen, is_websocket) in both(&with(&front.nick, &more)).into_iter().zip([false, true]) {
            match seen {
                Seen::Answered(400, None) => {}
                Seen::Arrived(upstream) => {
                    assert_nick(&upstream, is_websocket, &more);
                    assert!(values(&upstream, &spelled).is_empty(), "{upstream:?}");
                    arrived.push((is_websocket, upstream));
                }
                seen => panic!("nick with {spelled}: {seen:?}"),
            }
        }
    }
    place.gateway_takes(&arrived, "nick@example.com");
    let arrived = place.requests();

    // Another site's page cannot use nick's cookie. The filter's answers come back through the proxy, including the
    // close frame.
    let foreign = [("cookie", front.nick.as_str()), ("origin", "https://evil.example")];
    let reason = "origin not allowed: trusted_proxy_origin_not_allowed".to_owned();
    assert_eq!(place.websocket(&foreign), Seen::Closed(1008, reason));
    // Eve is signed in, but not on the list.
    for more in [&[][..], &[claim]] {
        let reason = "trusted_proxy_user_not_allowed";
        let [page, socket] = both(&with(&front.eve, more));
        assert_eq!(page, Seen::Answered(401, Some(reason.to_owned())), "{more:?}");
        assert_eq!(socket, Seen::Closed(1008, format!("proxy authentication required: {reason}")), "{more:?}");
    }
    // Signed in, but the proxy has no user name; the client's own header must not become one.
    if let Some(nameless) = &front.nameless {
        for more in [&[][..], &[claim]] {
            let reason = "trusted_proxy_user_missing";
            let [page, socket] = both(&with(nameless, more));
            assert_eq!(page, Seen::Answered(401, Some(reason.to_owned())), "{more:?}");
            assert_eq!(socket, Seen::Closed(1008, format!("proxy authentication required: {reason}")), "{more:?}");
        }
    }
    // Strangers do not get past the proxy, with any headers.
    for stranger in &front.strangers {
        for more in [&[][..], &[claim]] {
            for seen in both(&with(stranger, more)) {
                assert_eq!(seen, Seen::Answered(front.asks_to_sign_in, None), "{stranger:?} {more:?}");
            }
        }
    }
    // They cannot bypass it either, even with all headers that the proxy would send.
    for host in ["browser", "stranger", "gateway"] {
        let reason = "trusted_proxy_untrusted_source";
        assert_eq!(place::ask(place.to_envoy(host), &forged), Seen::Answered(401, Some(reason.to_owned())), "{host}");
        let closed = Seen::Closed(1008, format!("proxy authentication required: {reason}"));
        assert_eq!(place::open(place.to_envoy(host), place::HOST, &forged), closed, "{host}");
    }
    assert_eq!(place.requests(), arrived, "what is refused must not reach the upstream");
    place.is_closed_without_the_filter(
        "proxy",
        &[ORIGIN, (user_header, "nick@example.com"), ("x-forwarded-for", BROWSER)],
    );
}

/// Checks that hold for the pages of a Chromium behind every login. `sign_in`: from the page that a stranger sees.
/// Returns the browser on nick's page.
fn check_browser(place: &Place, sign_in: impl Fn(&mut Browser, &str)) -> Browser {
    let mut browser = place.browser();
    // The provider knows Eve, but she is not on the list.
    browser.visit("/");
    sign_in(&mut browser, "eve");
    browser.look("trusted_proxy_user_not_allowed", "1");
    assert_eq!(place.requests(), 0, "what is refused must not reach the upstream");
    browser.forget();

    browser.visit("/");
    sign_in(&mut browser, "nick");
    let mut arrived = vec![(false, browser.echoed())];
    let lies =
        json!({"x-forwarded-email": "eve@example.com", "x-forwarded-user": "eve@example.com", OWN: "eve@example.com"});
    let answer = browser.fetch(&lies);
    assert_eq!(answer["status"], 200, "{answer}");
    let echoed = serde_json::from_str(answer["body"].as_str().unwrap()).unwrap();
    arrived.push((false, harness::echo::received(&echoed)));
    arrived.push((true, harness::echo::received(&browser.websocket().unwrap())));
    // Frames go both ways.
    let echoed = browser.evaluate(&format!(
        "new Promise((done) => {{ const socket = new WebSocket('wss://{HOST}/'); \
         socket.onopen = () => socket.send('hello'); \
         socket.onmessage = ({{ data }}) => data === 'hello' && done(data); socket.onclose = ({{ code }}) => done(code); }})"
    ));
    assert_eq!(echoed, "hello");
    for (_, upstream) in &arrived {
        assert_eq!(values(upstream, OWN), ["nick@example.com"], "{upstream:?}");
        assert_eq!(values(upstream, "x-forwarded-for"), [BROWSER], "{upstream:?}");
        assert!(values(upstream, "cookie").is_empty(), "{upstream:?}");
    }
    place.gateway_takes(&arrived, "nick@example.com");
    browser
}

/// Every identity header that the table of proxies knows, and what else might name a user or an address, with another
/// user's.
fn of_every_proxy() -> Vec<(String, &'static str)> {
    let known = table::PROXIES.iter().flat_map(table::Proxy::headers);
    // Envoy refuses underscores, and takes 100 headers.
    let mut names: Vec<String> =
        known.map(|name| name.replace('*', "email").replace('_', "-")).chain([OWN.to_owned()]).collect();
    names.sort();
    names.dedup();
    names.retain(|name| policy::names::is_built_in(name) || name == OWN);
    assert!((40..80).contains(&names.len()), "{names:?}");
    names.push("gap-auth".to_owned());
    let addresses = ["x-forwarded-for", "x-real-ip"].map(|name| (name.to_owned(), "192.0.2.99"));
    names.into_iter().map(|name| (name, "eve@example.com")).chain(addresses).collect()
}

/// Checks that the groups are the proxy's. `has_groups`: it knows that nick is one of the staff.
fn check_groups(place: &Place, groups_header: &'static str, front: &Front, has_groups: bool) {
    let groups = json!({"staff": ["operator.read"], "admins": ["operator.admin"]});
    place.put_filter(&json!({"scopes": {"users": {"*": []}, "groupsHeader": groups_header, "groups": groups}}));
    let scopes = |cookie: &str, more: &[(&str, &str)]| {
        let headers = [&[("cookie", cookie), ORIGIN][..], more].concat();
        [place.get(&headers), place.websocket(&headers)].map(|seen| {
            let Seen::Arrived(upstream) = seen else { panic!("{more:?}: {seen:?}") };
            values(&upstream, "x-openclaw-scopes").join("")
        })
    };
    for (cookie, is_staff) in [(&front.nick, has_groups), (&front.groupless, false)] {
        let honest = scopes(cookie, &[]);
        assert_eq!(honest[0], if is_staff { "operator.read" } else { "" }, "{groups_header}");
        assert_eq!(honest[1].split(',').any(|scope| scope == "operator.read"), is_staff, "{groups_header}");
        let claim = (groups_header, "admins");
        for lies in [&[claim][..], &[claim, claim], &[(groups_header, "staff,admins")]] {
            assert_eq!(scopes(cookie, lies), honest, "{lies:?}");
        }
        // A client may ask for fewer scopes than its user has, and for no others.
        let asked = scopes(cookie, &[claim, ("x-openclaw-scopes", "operator.admin,operator.read")]);
        let read = if is_staff { "operator.read" } else { "" };
        assert_eq!(asked, [read, read], "{groups_header}");
    }
}

/// A file of `envoy/proxies/`, with this test's addresses filled in.
fn put(place: &Place, name: &str, places: &[(&str, &str)]) -> String {
    let text = places.iter().fold(file(name), |text, (from, to)| {
        assert!(text.contains(from), "{name} has no {from}");
        text.replace(from, to)
    });
    let path = place.folder().join(name.replace('/', "-"));
    fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

#[test]
fn nginx_with_auth_request() {
    let place = Place::with_provider("nginx", "client_secret_basic");
    let folder = place.certificate().to_str().unwrap().to_owned();
    let site = put(&place, "nginx/openclaw.conf", &[("/etc/nginx/tls", &folder)]);
    let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|kind| format!("{kind}_temp_path {folder}/{kind};"))
        .concat();
    let main = format!(
        "daemon off; worker_processes 1; pid {folder}/nginx.pid; error_log stderr; user root;\n\
         events {{}}\nhttp {{ access_log off; {temporary} include {site}; }}\n"
    );
    let asked = Asked::start(&place);
    let main_file = place.folder().join("nginx.conf");
    fs::write(&main_file, main).unwrap();
    let mut nginx =
        Daemon::start(Command::new("nginx").args(["-e", "stderr", "-p", &folder, "-c"]).arg(main_file), HOW);
    nginx.listens(place.proxy());
    check_browser(&place, oauth2_proxy::sign_in_on_page);
    let front = asked.sign_in(&place, "x-auth-request-email", 302);
    check(&place, &front);
    check_groups(&place, "x-auth-request-groups", &front, true);
    asked.sign_out(&place, 302);
    asked.expires(&place, 302);
}

/// Caddy's handling of a header that the login did not send differs between releases; its file must be correct for
/// all of them.
#[test]
fn caddy_with_forward_auth_old_and_new() {
    let makefile = fs::read_to_string(root().join("Makefile")).unwrap();
    let versions =
        makefile.lines().find_map(|line| line.strip_prefix("CADDY_VERSIONS := ")).expect("versions of Caddy");
    let installed = versions.split(' ').map(|version| root().join(format!(".tools/caddy-{version}/bin/caddy")));
    for program in installed.chain([PathBuf::from("caddy")]) {
        // Each on its own thread, which is on the proxy's host.
        thread::spawn(move || caddy(&program)).join().unwrap();
    }
}

fn caddy(program: &Path) {
    let place = Place::with_provider("caddy", "client_secret_basic");
    let asked = Asked::start(&place);
    let folder = place.certificate().to_str().unwrap().to_owned();
    let caddyfile = put(&place, "caddy/Caddyfile", &[("/etc/caddy/tls", &folder)]);
    let caddyfile_text = fs::read_to_string(&caddyfile).unwrap();
    fs::write(&caddyfile, format!("{{\n\tadmin off\n}}\n{caddyfile_text}")).unwrap();
    let mut caddy = Daemon::start(
        Command::new(program)
            .args(["run", "--adapter", "caddyfile", "--config", &caddyfile])
            .envs(["HOME", "XDG_DATA_HOME", "XDG_CONFIG_HOME"].map(|name| (name, &folder))),
        HOW,
    );
    caddy.listens(place.proxy());
    let front = asked.sign_in(&place, "x-forwarded-user", 302);
    check(&place, &front);
    check_groups(&place, "x-forwarded-groups", &front, true);
    asked.sign_out(&place, 302);
}

#[test]
fn haproxy_with_signed_tokens() {
    let place = Place::new("haproxy");
    let folder = place.certificate();
    let both = ["cert.pem", "key.pem"].map(|name| fs::read_to_string(folder.join(name)).unwrap()).concat();
    fs::write(folder.join("claw.pem"), both).unwrap();
    fs::write(folder.join("id.pem"), tokens::KEY).unwrap();
    let folder = folder.to_str().unwrap();
    let config = put(
        &place,
        "haproxy/haproxy.cfg",
        &[("/etc/haproxy/tls", folder), ("/etc/haproxy/id.example.com.pem", &format!("{folder}/id.pem"))],
    );
    let mut haproxy = Daemon::start(Command::new("haproxy").args(["-db", "-f", &config]), HOW);
    haproxy.listens(place.proxy());
    let cookie = |token| format!("claw_token={token}");
    let strangers = [
        tokens::EXPIRED,
        tokens::OTHER_APP,
        tokens::OTHER_ISSUER,
        tokens::FORGED,
        tokens::UNSIGNED,
        tokens::SIGNED_WITH_THE_PUBLIC_KEY,
        "x",
        "",
    ]
    .map(cookie);
    let front = Front {
        user_header: "x-forwarded-user",
        asks_to_sign_in: 401,
        keeps_addresses: false,
        nick: cookie(tokens::NICK),
        groupless: cookie(tokens::NICK),
        eve: cookie(tokens::EVE),
        nameless: Some(cookie(tokens::NAMELESS)),
        strangers: strangers.into(),
    };
    check(&place, &front);
    check_groups(&place, "x-forwarded-groups", &front, false);
}

#[test]
fn traefik_with_forward_auth() {
    let place = Place::with_provider("traefik", "client_secret_basic");
    let asked = Asked::start(&place);
    let folder = place.certificate().to_str().unwrap().to_owned();
    let dynamic = put(&place, "traefik/dynamic.yml", &[("/etc/traefik/tls", &folder)]);
    let config = put(&place, "traefik/traefik.yml", &[("/etc/traefik/dynamic.yml", &dynamic)]);
    let installed = root().join(".tools/traefik/bin/traefik");
    let mut traefik =
        Daemon::start(Command::new(installed).arg(format!("--configFile={config}")).env("HOME", &folder), HOW);
    traefik.listens(place.proxy());
    // It listens before it has read the second file.
    place.is_ready(403);
    let front = asked.sign_in(&place, "x-auth-request-email", 403);
    check(&place, &front);
    check_groups(&place, "x-auth-request-groups", &front, true);
    asked.sign_out(&place, 403);
}
